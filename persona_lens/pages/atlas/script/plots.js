// Plots in the house style.

import { layers, style } from "./data.js";
import { state } from "./state.js";
import { byId } from "../../shared/dom.js";

const CONFIG = { responsive: true, displayModeBar: false, showSendToCloud: false };
export const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

export const axisLook = (extra) => ({
  gridcolor: style.grid, zeroline: false, linecolor: style.faint, showline: true, ticks: "outside", ticklen: 4,
  tickcolor: style.faint, tickfont: { size: 11, color: style.quiet }, ...extra,
  title: { font: { size: 12, color: style.ink }, standoff: 8, text: extra.title || "" },
});

const layout = (extra) => ({
  font: { family: style.font, size: 12, color: style.ink }, paper_bgcolor: style.paper, plot_bgcolor: style.paper,
  hovermode: "closest", showlegend: false, margin: { l: 52, r: 12, t: 8, b: 42 },
  hoverlabel: { align: "left", bgcolor: style.paper, bordercolor: style.faint,
    font: { family: style.font, size: 12, color: style.ink } },
  ...extra,
});

export function react(id, traces, extra, config = CONFIG) {
  return Plotly.react(byId(id), traces, layout(extra), config);
}

export const layerLine = () => ({ type: "line", x0: layers[state.layer], x1: layers[state.layer], yref: "paper", y0: 0,
  y1: 1, line: { color: style.ink, width: 1.3 } });

// A band between two series, and the line in it; NaN and null leave gaps.
export function band(x, low, high, colour) {
  const known = x.map((_, i) => i).filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]));
  return { x: [...known, ...known.slice().reverse()].map((i) => x[i]), type: "scatter", mode: "lines",
    y: [...known.map((i) => high[i]), ...known.slice().reverse().map((i) => low[i])],
    fill: "toself", fillcolor: `${colour}26`, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
}

export const line = (x, y, name, colour, look = {}, hover = "%{y:.2f}") => ({ x, y, name, type: "scatter",
  mode: "lines", line: { color: colour, width: 2, ...look }, hovertemplate: `layer %{x}: ${hover}<extra>${name}</extra>` });

export const legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 }, tracegroupgap: 0 };
