// Heat maps of the traits.

import { atlas, layers, nComponents, roles, scoreAt, style, traits, valueAt } from "./data.js";
import { axisLook, react } from "./plots.js";
import { state } from "./state.js";
import { label } from "./words.js";
import { byId, fill } from "../../shared/dom.js";
import { inflate } from "../../shared/unpacking.js";

let traitRoles = null; // [layer, trait, role], in steps; decoded after the first view is drawn

export async function decodeTraitRoles() {
  if (typeof DecompressionStream === "undefined") {
    fill(byId("trait-role"), "This panel needs a browser of 2023 or later.");
    return;
  }
  traitRoles = await inflate(byId("trait-role-cosines").textContent, traits.length * roles.length);
}

const DIVERGING = [[0, "#8a3800"], [0.2, "#d55e00"], [0.38, "#f3bd8f"], [0.5, "#f7f7f7"], [0.62, "#9fcbe8"],
  [0.8, "#0072b2"], [1, "#053461"]];
const HEAT_MARGIN = { l: 20, r: 8, t: 6, b: 44 }; // names make their own room

// 240 names have no room at once: rows shrink to what a screen holds, and zooming in brings the names.
const heatHeight = (rows) => Math.min(680, Math.max(180, rows * 17)) + HEAT_MARGIN.t + HEAT_MARGIN.b + 40;

function heat(id, { z, x, y, reach, xTitle, hover, bottom = HEAT_MARGIN.b, xLabels, shapes, height }) {
  byId(id).style.height = `${height || heatHeight(y.length)}px`;
  return react(id, [{
    type: "heatmap", z, x, y: y.map(label), zmin: -reach, zmax: reach, colorscale: DIVERGING, hoverongaps: false,
    hovertemplate: `${hover}<extra></extra>`,
    colorbar: { thickness: 11, outlinewidth: 0, len: 1, tickfont: { size: 11, color: style.quiet }, xpad: 6,
      title: { text: "cosine", side: "right", font: { size: 11, color: style.quiet } } },
  }], {
    margin: { ...HEAT_MARGIN, b: bottom }, shapes, dragmode: "zoom",
    xaxis: axisLook({ title: xTitle, showgrid: false, ...xLabels }),
    yaxis: axisLook({ type: "category", autorange: "reversed", showgrid: false, automargin: true,
      tickfont: { size: 10, color: style.quiet } }),
  });
}

const reachOf = (rows) => Math.max(0.05, ...rows.map((row) => Math.max(...row.map(Math.abs))));
const across = (row) => ({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: row - 0.5, y1: row + 0.5,
  line: { color: style.ink, width: 1.6 } });
const downwards = (column) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: column - 0.5, x1: column + 0.5,
  line: { color: style.ink, width: 1.6 } });
const traitRow = () => (atlas.traitOrder.includes(state.selected) ? [across(atlas.traitOrder.indexOf(state.selected))] : []);

function drawTraitAxis() {
  const z = atlas.traitOrder.map((place) => layers.map((_, layer) => valueAt(place, layer)));
  const shapes = [{ ...downwards(layers[state.layer]) }, ...traitRow()];
  return heat("trait-axis", { z, x: layers, y: atlas.traitOrder, reach: reachOf(z), xTitle: "layer", shapes,
    hover: "%{y}, layer %{x}: %{z:.2f}" });
}

function drawTraitComponents() {
  const z = atlas.traitOrder.map((place) =>
    Array.from({ length: nComponents }, (_, component) => scoreAt(place, component, state.layer)));
  const x = z[0].map((_, component) => `PC${component + 1}`);
  return heat("trait-pc", { z, x, y: atlas.traitOrder, reach: reachOf(z), xTitle: `component, layer ${layers[state.layer]}`,
    shapes: traitRow(), hover: "%{y}, %{x}: %{z:.2f}" });
}

function drawTraitRoles() {
  if (!traitRoles) return undefined;
  const [traitNumber, roleNumber] = [traits, roles].map((places) => new Map(places.map((place, i) => [place, i])));
  const start = state.layer * traits.length * roles.length;
  const z = atlas.traitOrder.map((trait) => atlas.roleOrder.map((role) =>
    traitRoles[start + traitNumber.get(trait) * roles.length + roleNumber.get(role)] * atlas.cosineStep));
  const column = atlas.roleOrder.indexOf(state.selected);
  const height = Math.min(720, Math.max(200, 15 * traits.length)) + 130;
  return heat("trait-role", { z, x: atlas.roleOrder.map(label), y: atlas.traitOrder, reach: reachOf(z), height,
    xTitle: "", bottom: 96, xLabels: { type: "category", automargin: true, tickangle: -60, tickfont: { size: 10, color: style.quiet } },
    shapes: [...traitRow(), ...(column < 0 ? [] : [downwards(column)])], hover: "%{y} and %{x}: %{z:.2f}" });
}

// What of the heat maps changes with the layer, and all of it.
export const drawTraitsAtLayer = () => traits.length && [drawTraitComponents, drawTraitRoles].forEach((draw) => draw());
export const drawTraits = () => traits.length && [drawTraitAxis, drawTraitsAtLayer].forEach((draw) => draw());

export function markTraitLayer() {
  if (traits.length) Plotly.relayout("trait-axis", { shapes: [downwards(layers[state.layer]), ...traitRow()] });
}
