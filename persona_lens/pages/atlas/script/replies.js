// What the selected role or trait said: question, reply, label, and the system prompt behind it.

import { atlas, units } from "./data.js";
import { state } from "./state.js";
import { byId, element, fill } from "../../shared/dom.js";

const LABELS = { fully: "fully in role", somewhat: "somewhat in role", not: "not in role" };

function described([side, system, , , label, averaged]) {
  const asked = atlas.replies.texts[system];
  const facts = [side && `${side} side`, LABELS[label] || (units[state.selected].kind === "role" ? "not labelled" : ""),
    averaged ? "" : "not among those averaged"];
  return element("details", {},
    element("summary", {}, facts.filter(Boolean).concat("system prompt").join(" · ")),
    element("p", {}, asked || "none"));
}

export function drawReplies() {
  const unit = units[state.selected];
  const found = atlas.replies.of[state.selected] || [];
  fill(byId("replies-title"), found.length ? `What it says as ${unit.name}` : `What ${unit.name} says`);
  fill(byId("replies-none"), found.length ? "" : atlas.replies.why);
  fill(byId("replies"), ...found.map((reply) => element("li", {},
    element("p", { className: "asked" }, atlas.replies.texts[reply[2]]),
    element("blockquote", {}, reply[3] || "(an empty reply)"), described(reply))));
}
