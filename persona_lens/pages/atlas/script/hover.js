// What a point of the map says when it is pointed at.

import { neighbours, units, valueAt, zAt } from "./data.js";
import { state } from "./state.js";
import { label } from "./words.js";
import { fixed, number, signed } from "../../shared/numbers.js";
import { escaped, wrapped } from "../../shared/text.js";

export function hoverText(place) {
  const unit = units[place];
  const facts = [unit.kind === "role" ? escaped(unit.group) : "", unit.replies ? `${unit.replies.toLocaleString("en")} replies` : ""];
  const [inRoles, inTraits] = ["role", "trait"].map((kind) =>
    neighbours(place, kind, state.layer).slice(0, 3).map((found) => `${label(found.place)} (${fixed(found.cosine, 2)})`).join(", "));
  return [
    `<b>${label(place)}</b>`, facts.filter(Boolean).join(" · "),
    unit.description && `<i>${wrapped(unit.description, 52)}</i>`,
    `on the axis ${number(valueAt(place, state.layer))}, z = ${signed(zAt(place, state.layer), 2)}`,
    inRoles && `nearest roles: ${inRoles}`, inTraits && `nearest traits: ${inTraits}`,
  ].filter(Boolean).join("<br>");
}
