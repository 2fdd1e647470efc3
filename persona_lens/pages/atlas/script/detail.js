// The selected unit: its numbers, its neighbours, and its trace over the layers.

import { DEFAULT, endsAt, layers, neighbours, roles, spread, style, traits, units, valueAt, zAt } from "./data.js";
import { axisLook, band, layerLine, line, react } from "./plots.js";
import { state } from "./state.js";
import { colourOf, interval, label, mark, selector } from "./words.js";
import { byId, element, fill } from "../../shared/dom.js";
import { fixed, number, signed } from "../../shared/numbers.js";

function rankOf(place) {
  const unit = units[place];
  const rivals = unit.kind === "trait" ? traits : roles;
  if (unit.kind === "default" || !rivals.includes(place)) return "";
  const ahead = rivals.filter((other) => valueAt(other, state.layer) > valueAt(place, state.layer)).length;
  return `${ahead + 1} of ${rivals.length} ${unit.kind}s, the most Assistant-like first`;
}

function detailNumbers(place) {
  const unit = units[place];
  const pairs = unit.kind === "trait"
    ? [["cosine with the axis", interval(place, state.layer, (value) => fixed(value, 2))]]
    : [["on the axis", interval(place, state.layer, number)],
      ["z among roles", `${signed(zAt(place, state.layer), 2)} standard deviations from their mean`]];
  pairs.push(["rank", rankOf(place)]);
  return pairs.filter(([, text]) => text)
    .flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
}

// What the bar at the top says of it, in sight wherever the reader is.
function chosenLine(place) {
  const unit = units[place];
  if (unit.kind === "trait") return ` cosine ${fixed(valueAt(place, state.layer), 2)} with the axis`;
  const rank = rankOf(place);
  return ` z ${signed(zAt(place, state.layer), 2)}${rank && `, ${rank.split(",")[0]}`}`;
}

export function drawDetail() {
  const place = state.selected;
  const unit = units[place];
  fill(byId("detail-name"), mark(unit), unit.name);
  fill(byId("chosen"), mark(unit), element("b", {}, unit.name), chosenLine(place));
  byId("detail").dataset.key = unit.key;
  byId("detail-clear").hidden = place === DEFAULT;
  const labelled = { fully: "fully in role", somewhat: "somewhat in role" }[unit.label];
  const facts = [unit.kind === "default" ? "" : unit.kind, unit.group, unit.replies ?
    `${unit.replies.toLocaleString("en")} replies ${labelled || ""}`.trim() : "", `layer ${layers[state.layer]}`];
  fill(byId("detail-kind"), facts.filter(Boolean).join(" · "));
  fill(byId("detail-description"), unit.description);
  fill(byId("detail-numbers"), ...detailNumbers(place));
  for (const kind of ["role", "trait"]) {
    fill(byId(`near-${kind}s`), ...neighbours(place, kind, state.layer).map((found) =>
      element("li", {}, selector(found.place), element("span", {}, fixed(found.cosine, 2)))));
  }
  fill(byId("trace-title"), unit.kind === "trait" ? "Cosine with the axis, by layer" : "z on the axis, by layer");
}

export function drawTrace() {
  const place = state.selected;
  const trait = units[place].kind === "trait";
  const shown = (value, layer) => (trait ? value : (value - spread[layer].mean) / spread[layer].deviation);
  const values = layers.map((_, layer) => shown(valueAt(place, layer), layer));
  const ends = [0, 1].map((side) => layers.map((_, layer) => shown(endsAt(place, layer)[side], layer)));
  const colour = trait ? style.trait : place === DEFAULT ? style.axis : colourOf(units[place]);
  return react("trace", [band(layers, ends[0], ends[1], colour), line(layers, values, label(place), colour)], {
    margin: { l: 40, r: 8, t: 6, b: 34 }, shapes: [layerLine()],
    xaxis: axisLook({ title: "layer" }), yaxis: axisLook({ zeroline: true, zerolinecolor: style.zero }),
  });
}
