// Names, marks and numbers of a unit.

import { endsAt, looks, style, units, valueAt } from "./data.js";
import { seen } from "./look.js";
import { element } from "../../shared/dom.js";
import { escaped } from "../../shared/text.js";

export const label = (place) => escaped(units[place].name);

export const colourOf = (unit) =>
  unit.kind === "trait" ? style.trait : unit.kind === "default" ? style.ink : seen(looks[unit.group].colour);

export function mark(unit) {
  if (unit.kind === "default") return element("span", { className: "mark star", textContent: "★", ariaHidden: "true" });
  const character = unit.kind === "trait" ? "➤" : looks[unit.group].character;
  const made = element("span", { className: "mark", textContent: character, ariaHidden: "true" });
  made.style.color = colourOf(unit);
  return made;
}

export function selector(place) {
  const button = element("button", { type: "button", className: "link" }, units[place].name);
  button.dataset.place = place;
  return button;
}

export function interval(place, layer, format) {
  const [low, high] = endsAt(place, layer);
  const value = format(valueAt(place, layer));
  return Number.isFinite(low) ? `${value} (${format(low)} to ${format(high)})` : value;
}
