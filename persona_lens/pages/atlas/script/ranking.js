// The ranking along the axis.

import { atlas, DEFAULT, endsAt, marginAt, roles, spread, traits, units, valueAt, zAt } from "./data.js";
import { state } from "./state.js";
import { colourOf, interval, mark, selector } from "./words.js";
import { byId, element, fill } from "../../shared/dom.js";
import { digitsFor, fixed, signed } from "../../shared/numbers.js";

export const ENDS = 15;

export function ranked() {
  const places = (state.list === "trait" ? traits : roles).slice();
  return places.sort((a, b) => valueAt(b, state.layer) - valueAt(a, state.layer))
    .map((place, index) => ({ place, rank: index + 1 }));
}

function shownRows(rows) {
  if (state.show === "ends") return rows.filter(({ rank }) => rank <= ENDS || rank > rows.length - ENDS);
  if (state.show.startsWith("group:")) return rows.filter(({ place }) => units[place].group === state.show.slice(6));
  return rows;
}

// From values to places on the track, in percent; the default is on it as well if roles are ranked.
function trackScale(rows) {
  const ends = rows.flatMap(({ place }) => [valueAt(place, state.layer), ...endsAt(place, state.layer)])
    .filter(Number.isFinite);
  ends.push(state.list === "trait" ? 0 : valueAt(DEFAULT, state.layer));
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return { low, high, at: (value) => 2 + (96 * (value - low)) / (high - low || 1) };
}

function track(place, scale) {
  const [low, high] = endsAt(place, state.layer);
  const box = element("div", { className: "track" });
  box.style.color = colourOf(units[place]);
  if (Number.isFinite(low)) {
    const bar = element("i");
    bar.style.left = `${scale.at(low)}%`;
    bar.style.width = `${scale.at(high) - scale.at(low)}%`;
    box.append(bar);
  }
  const dot = element("b");
  dot.style.left = `${scale.at(valueAt(place, state.layer))}%`;
  box.append(dot);
  return box;
}

function rankingRow({ place, rank }, scale, digits) {
  const value = valueAt(place, state.layer);
  const z = state.list === "trait" ? "" : signed(zAt(place, state.layer), 2);
  const graphic = element("td", { title: interval(place, state.layer, (v) => fixed(v, digits)) }, track(place, scale));
  const row = element("tr", {}, element("td", { className: "right" }, String(rank)),
    element("td", { className: "name", title: units[place].name }, mark(units[place]), selector(place)), graphic,
    element("td", { className: "right" }, fixed(value, digits)), element("td", { className: "right" }, z));
  row.dataset.place = place;
  return row;
}

export function drawRanking() {
  const rows = ranked();
  const trait = state.list === "trait";
  const scale = trackScale(rows);
  const digits = trait ? 2 : digitsFor([scale.low, scale.high]);
  const table = byId("ranking");
  table.style.setProperty("--mean", `${scale.at(trait ? 0 : spread[state.layer].mean)}%`);
  table.style.setProperty("--default", `${scale.at(valueAt(DEFAULT, state.layer))}%`);
  table.style.setProperty("--default-shown", trait ? 0 : 1);
  fill(table.tBodies[0], ...shownRows(rows).map((row) => rankingRow(row, scale, digits)));
  fill(byId("track-low"), fixed(scale.low, digits));
  fill(byId("track-high"), fixed(scale.high, digits));
  fill(byId("ranking-value"), trait ? "cosine" : "projection");
  fill(byId("ranking-z"), trait ? "" : "z");
  const unknown = rows.every(({ place }) => !Number.isFinite(marginAt(place, state.layer)));
  const bars = unknown ? "Intervals are not known: the space has no folds." :
    `Bars: 95 % intervals over folds of the ${atlas.foldedBy}, the axis taken as given.`;
  fill(byId("ranking-note"), trait ? `${bars} Dotted: cosine 0.` :
    `${bars} Dotted: mean of the roles. Black: the default Assistant, ${fixed(valueAt(DEFAULT, state.layer), digits)}. z: standard deviations of roles from their mean; zero of the projection has no meaning.`);
  markRanking(false);
}

export function markRanking(scroll) {
  for (const row of byId("ranking").tBodies[0].rows) {
    const chosen = Number(row.dataset.place) === state.selected;
    row.classList.toggle("selected", chosen);
    // Not scrollIntoView: that would move the whole page.
    if (chosen && scroll) byId("ranking").parentElement.scrollTop = row.offsetTop - 200;
  }
}
