// Plots by layer: stability, variance, and a sweep if there is one.

import { atlas, layers, style } from "./data.js";
import { axisLook, band, COLOURS, layerLine, legend, line, react } from "./plots.js";
import { byId, element } from "../../shared/dom.js";
import { escaped } from "../../shared/text.js";

const layerAxes = (title, extra = {}) => ({
  margin: { l: 46, r: 10, t: 22, b: 36 }, showlegend: true, legend, shapes: [layerLine()],
  xaxis: axisLook({ title: "layer" }), yaxis: axisLook({ title, rangemode: "tozero", ...extra }),
});

function drawCosine() {
  const [cosine, shuffled, random] = atlas.stability.columns;
  const dash = { dash: "dash", width: 1.4 };
  return react("cosine", [
    band(layers, cosine.low, cosine.high, style.axis), line(layers, cosine.value, "cos(PC1, axis)", style.axis),
    line(layers, shuffled.value, "null, 95 %", style.null, dash),
    line(layers, atlas.stability.nullMean, "null, mean", style.null, { dash: "dot", width: 1.4 }),
    line(layers, random.value, "random direction, 95 %", style.faint, { dash: "dot", width: 1.4 }),
  ], layerAxes("", { range: [0, 1.02] }));
}

function drawVariance() {
  const traces = atlas.stability.ratios.map((values, number) =>
    line(layers, values, `PC${number + 1}`, [style.ink, style.quiet, style.quiet][number], { dash: ["solid", "dash", "dot"][number] }, "%{y:.1%}"));
  return react("variance", traces, layerAxes("", { tickformat: ".0%" }));
}

function drawComponents() {
  return react("components", [line(layers, atlas.stability.components70, "components", style.ink, {}, "%{y}")],
    { ...layerAxes(""), showlegend: false, margin: { l: 46, r: 10, t: 8, b: 36 } });
}

const DASHES = ["dash", "dot", "dashdot", "longdash"];

// A kind has a colour, a null has a dash: both stay the same within a panel.
function drawSweepPanel(panel, id) {
  const names = [...new Set(panel.lines.flatMap((series) => series.nulls.map((chance) => chance.name)))];
  const traces = panel.lines.flatMap((series, number) => {
    const colour = { role: style.role, trait: style.trait, "role-trait": style.both }[series.kind] || COLOURS[number % COLOURS.length];
    const kind = escaped(series.kind);
    const nulls = series.nulls.map((chance) => ({
      ...line(chance.layer, chance.high, `${kind}, 95 % of ${escaped(chance.name)}`, colour,
        { dash: DASHES[names.indexOf(chance.name) % DASHES.length], width: 1.3 }),
      opacity: 0.75, showlegend: false,
    }));
    return [band(series.layer, series.low, series.high, colour),
      line(series.layer, series.value, kind, colour), ...nulls];
  });
  const keys = names.map((name, number) => ({ type: "scatter", mode: "lines", x: [null], y: [null], hoverinfo: "skip",
    name: `null: ${escaped(name)}`, line: { color: style.quiet, width: 1.3, dash: DASHES[number % DASHES.length] } }));
  return react(id, [...traces, ...keys], layerAxes("", { rangemode: "normal" }));
}

function sweepNote(panel) {
  const counts = panel.lines.filter(({ n }) => n)
    .map(({ kind, n }) => `${n[0] === n[1] ? n[0] : n.join(" to ")} (${kind})`);
  return [panel.note, counts.length && `n = ${counts.join(", ")}.`].filter(Boolean).join(" ");
}

export function buildSweep() {
  atlas.sweep.forEach((panel, number) => {
    const plot = element("div", { className: "plot", id: `sweep-${number}`, role: "img", ariaLabel: `${panel.title} by layer` });
    byId("sweep").append(element("div", {}, element("h3", {}, panel.title), plot,
      element("p", { className: "note" }, sweepNote(panel))));
  });
}

const sweepIds = atlas.sweep.map((_, number) => `sweep-${number}`);
export const byLayer = ["cosine", "variance", "components", "trace", ...sweepIds];

export function drawLayers() {
  [drawCosine, drawVariance, drawComponents].forEach((draw) => draw());
  sweepIds.forEach((id, number) => drawSweepPanel(atlas.sweep[number], id));
}

export function markLayer() {
  for (const id of byLayer) Plotly.relayout(id, { shapes: [layerLine()] });
}
