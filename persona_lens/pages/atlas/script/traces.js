// What is drawn on the persona map: groups of roles, the default, the axis, the selected unit.

import { DEFAULT, looks, style, units } from "./data.js";
import { along } from "./directions.js";
import { hoverText } from "./hover.js";
import { seen } from "./look.js";
import { state } from "./state.js";
import { label } from "./words.js";
import { fixed } from "../../shared/numbers.js";
import { escaped } from "../../shared/text.js";

export const mapped = units.map((_, place) => place).filter((place) => units[place].kind !== "trait");
export const coordinates = (place) => [along(place, state.x, state.layer), along(place, state.y, state.layer)];

export function groupTraces() {
  return Object.entries(looks).map(([group, look]) => {
    const places = mapped.filter((place) => units[place].group === group);
    const points = places.map(coordinates);
    return {
      type: "scatter", mode: "markers", name: escaped(group), visible: !state.hidden.has(group), x: points.map((p) => p[0]), y: points.map((p) => p[1]),
      customdata: places, hovertext: places.map(hoverText), hoverinfo: "text",
      marker: { size: 8, color: seen(look.colour), opacity: 0.85,
        // Replies only somewhat in role are hollow, as in the figures of the package.
        symbol: places.map((place) => look.symbol + (units[place].onAxis ? "" : "-open")),
        line: { width: 0.8, color: places.map((place) => (units[place].onAxis ? style.paper : seen(look.colour))) } },
    };
  });
}

export function starTrace() {
  const [x, y] = coordinates(DEFAULT);
  return { type: "scatter", mode: "markers", name: "default Assistant", x: [x], y: [y], customdata: [DEFAULT],
    hovertext: [hoverText(DEFAULT)], hoverinfo: "text",
    marker: { symbol: "star", size: 19, color: style.default, line: { color: style.ink, width: 1.4 } } };
}

// The ring around the selected unit; of a trait an arrow whose length is its cosine with the plane.
export function selectionTrace(ranges) {
  const chosen = state.selected;
  if (units[chosen].kind !== "trait") {
    const [x, y] = coordinates(chosen);
    return { type: "scatter", mode: "markers", x: [x], y: [y], hoverinfo: "skip", showlegend: false,
      visible: chosen !== DEFAULT, // the star can be seen as it is
      marker: { symbol: "circle-open", size: 19, color: style.ink, line: { width: 2.2 } } };
  }
  const [x, y] = coordinates(chosen);
  const reach = ranges.map(([low, high]) => 0.45 * (high - low));
  return { type: "scatter", mode: "lines+markers", x: [0, x * reach[0]], y: [0, y * reach[1]],
    name: `${label(chosen)} (cosines ${fixed(x, 2)}, ${fixed(y, 2)})`, hoverinfo: "name",
    line: { color: style.trait, width: 2 },
    marker: { color: style.trait, symbol: "arrow", angleref: "previous", size: [0, 13], opacity: 1 } };
}

// The dashed line through the mean of the roles and the default: the axis as it lies in a plane of components.
export function axisTrace(ranges) {
  const [x, y] = coordinates(DEFAULT);
  const length = 2 * Math.max(...ranges.map(([low, high]) => high - low)) / (Math.hypot(x, y) || 1);
  return { type: "scatter", mode: "lines", name: "Assistant Axis", x: [-x * length, x * length],
    y: [-y * length, y * length], hoverinfo: "skip", line: { color: style.quiet, width: 1.2, dash: "dash" } };
}
