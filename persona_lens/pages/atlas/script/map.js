// The persona map.

import { atlas, DEFAULT, layers, looks, style, units } from "./data.js";
import { directionTitle, isAxis } from "./directions.js";
import { placedNames } from "./placing.js";
import { axisLook, react } from "./plots.js";
import { state } from "./state.js";
import { axisTrace, coordinates, groupTraces, mapped, selectionTrace, starTrace } from "./traces.js";
import { label, mark } from "./words.js";
import { byId, element, fill } from "../../shared/dom.js";

const MAP_CONFIG = { responsive: true, displaylogo: false, displayModeBar: true, scrollZoom: true,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
const MAP_MARGIN = { l: 62, r: 14, t: 30, b: 48 };
const mapSize = () => [byId("map").clientWidth - MAP_MARGIN.l - MAP_MARGIN.r,
  byId("map").clientHeight - MAP_MARGIN.t - MAP_MARGIN.b];

const equalUnits = () => atlas.equalUnits || isAxis(state.x) === isAxis(state.y);

// A legend of our own: plotly's would move the plot area, in which names are placed in pixels.
export function buildLegend() {
  const buttons = Object.keys(looks).map((group) => {
    const sample = units.find((unit) => unit.group === group);
    const button = element("button", { type: "button" }, mark(sample), group);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      if (!state.hidden.delete(group)) state.hidden.add(group);
      button.setAttribute("aria-pressed", String(!state.hidden.has(group)));
      drawMap();
    });
    return button;
  });
  const star = element("span", {}, mark(units[DEFAULT]), units[DEFAULT].name);
  fill(byId("map-legend"), ...buttons, star, element("span", { className: "dashed" }, "Assistant Axis"));
}

// Ranges with room for labels; where both directions have the same units, a unit is as long upwards as sideways.
function mapRanges() {
  const points = mapped.map(coordinates);
  const size = mapSize();
  const found = [0, 1].map((k) => {
    const values = points.map((point) => point[k]);
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    return { centre: (low + high) / 2, half: 0.56 * (high - low) || 1 };
  });
  if (equalUnits()) {
    const scale = Math.max(found[0].half / size[0], found[1].half / size[1]);
    found.forEach((range, k) => { range.half = scale * size[k]; });
  }
  return found.map(({ centre, half }) => [centre - half, centre + half]);
}

// Names from the outside in, those of the selected unit and of the default first.
function mapLabels(ranges) {
  const size = mapSize();
  const pixels = (place) => coordinates(place).map((value, k) => {
    const share = (value - ranges[k][0]) / (ranges[k][1] - ranges[k][0]);
    return (k ? 1 - share : share) * size[k];
  });
  const spots = mapped.filter((place) => !state.hidden.has(units[place].group))
    .map((place) => ({ place, at: pixels(place), name: units[place].name, gap: place === DEFAULT ? 13 : 7, always: place === state.selected }))
    .filter(({ at }) => at.every((value, k) => value > 4 && value < size[k] - 4));
  const centre = [0, 1].map((k) => spots.reduce((sum, { at }) => sum + at[k], 0) / spots.length);
  const rank = ({ place, at }) => (place === state.selected ? 1e9 : place === DEFAULT ? 1e8 :
    Math.hypot((at[0] - centre[0]) / size[0], (at[1] - centre[1]) / size[1]));
  spots.sort((a, b) => rank(b) - rank(a));
  return placedNames(spots, size).map(mapLabel);
}

function mapLabel({ place, shift }) {
  const chosen = place === state.selected || place === DEFAULT;
  const [x, y] = coordinates(place);
  return { x, y, xshift: shift[0], yshift: -shift[1], showarrow: false, captureevents: false,
    text: chosen ? `<b>${label(place)}</b>` : label(place),
    font: { size: 11, color: chosen ? style.ink : style.quiet } };
}

export function drawMap() {
  const ranges = mapRanges();
  const traces = [...groupTraces(), starTrace()];
  if (!isAxis(state.x) && !isAxis(state.y)) traces.unshift(axisTrace(ranges));
  traces.push(selectionTrace(ranges));
  const zero = { zeroline: true, zerolinecolor: style.zero, zerolinewidth: 1 };
  byId("map").dataset.layer = layers[state.layer];
  fill(byId("map-note"), mapNote());
  return react("map", traces, {
    margin: MAP_MARGIN, annotations: mapLabels(ranges), dragmode: "pan",
    xaxis: { ...axisLook({ title: directionTitle(state.x), range: ranges[0] }), ...zero },
    yaxis: { ...axisLook({ title: directionTitle(state.y), range: ranges[1],
      ...(equalUnits() ? { scaleanchor: "x", constrain: "domain" } : {}) }), ...zero },
  }, MAP_CONFIG);
}

function mapNote() {
  const hollow = units.some((unit) => unit.kind === "role" && !unit.onAxis);
  return [
    "Origin: mean of the roles.", hollow ? "Hollow: replies only somewhat in role." : "",
    units[state.selected].kind === "trait" ? "Arrow: the trait’s cosines with the two directions, not a distance." : "",
    "Scroll or drag to zoom and move: more names appear where there is room; double-click to go back.",
  ].filter(Boolean).join(" ");
}

// After zooming there is room for other names.
export function relabelMap(change) {
  if (!Object.keys(change).some((key) => /^[xy]axis/.test(key))) return;
  const shown = byId("map").layout;
  Plotly.relayout("map", { annotations: mapLabels([shown.xaxis.range, shown.yaxis.range]) });
}
