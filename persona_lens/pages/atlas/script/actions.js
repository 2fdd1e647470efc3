// What people do: another layer, another unit, another list. Each draws again what it changes.

import { addressed, addressOf } from "./address.js";
import { markStability } from "./card.js";
import { atlas, layers, units } from "./data.js";
import { drawDetail, drawTrace } from "./detail.js";
import { directions } from "./directions.js";
import { drawTraits, drawTraitsAtLayer, markTraitLayer } from "./heat.js";
import { drawLayers, markLayer } from "./layers.js";
import { drawMap } from "./map.js";
import { drawRanking, markRanking } from "./ranking.js";
import { drawReplies } from "./replies.js";
import { closeSuggestions } from "./search.js";
import { state } from "./state.js";
import { byId, element, fill, soon } from "../../shared/dom.js";

export function showLayer() {
  const layer = layers[state.layer];
  const share = atlas.depth > 1 ? layer / (atlas.depth - 1) : 0;
  byId("layer").value = state.layer;
  byId("layer").setAttribute("aria-valuetext", `layer ${layer}, relative depth ${share.toFixed(2)}`);
  fill(byId("layer-text"), element("b", {}, String(layer)), ` of ${layers.at(-1)}, relative depth ${share.toFixed(2)}`);
}

export function setLayer(index) {
  const bounded = Math.min(layers.length - 1, Math.max(0, index));
  if (bounded === state.layer) return;
  state.layer = bounded;
  showLayer();
  soon(() => {
    [drawDetail, drawRanking, drawMap].forEach((draw) => draw());
    if (state.drawn) [drawTraitsAtLayer, markLayer, markTraitLayer, markStability].forEach((draw) => draw());
    remember();
  });
}

export function select(place) {
  state.selected = place;
  closeSuggestions();
  byId("search").value = "";
  const kind = units[place].kind;
  if (kind !== "default" && kind !== state.list) setList(kind);
  [drawDetail, drawReplies].forEach((draw) => draw());
  markRanking(true);
  drawMap();
  if (state.drawn) [drawTrace, drawTraits].forEach((draw) => draw());
  remember(true);
}

export function setList(kind) {
  state.list = kind;
  byId("ranking-kind").value = kind;
  if (kind === "trait" && state.show.startsWith("group:")) state.show = byId("ranking-show").value = "all";
  drawRanking();
}

// Another unit is a step of the browser's history; the steps of the slider are not, or Back would go through each.
export function remember(step = false) {
  const address = addressOf(state, atlas);
  if (step && address !== location.hash) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

export function readLink() {
  Object.assign(state, addressed(location.hash, atlas, directions()));
  if (units[state.selected].kind !== "default") state.list = units[state.selected].kind;
}

export function followLink() {
  readLink();
  showLayer();
  for (const name of ["x", "y"]) byId(`map-${name}`).value = state[name];
  setList(state.list);
  [drawDetail, drawReplies, drawMap].forEach((draw) => draw());
  markRanking(true);
  if (state.drawn) drawRest();
}

export function redraw() {
  [drawDetail, drawRanking, drawMap].forEach((draw) => draw());
  if (state.drawn) drawRest();
}

export function drawRest() {
  [drawTrace, drawLayers, drawTraits, markStability].forEach((draw) => draw());
}
