// Menus, keys and clicks.

import { followLink, redraw, remember, select, setLayer, setList } from "./actions.js";
import { atlas, DEFAULT, layers, looks, traits } from "./data.js";
import { directions, isAxis } from "./directions.js";
import { download } from "./export.js";
import { byLayer } from "./layers.js";
import { darkness, followLook } from "./look.js";
import { drawMap, relabelMap } from "./map.js";
import { drawRanking, ENDS } from "./ranking.js";
import { closeSuggestions, searchKey, suggest } from "./search.js";
import { state } from "./state.js";
import { byId, element, fill, soon } from "../../shared/dom.js";

export function fillControls() {
  byId("layer").max = layers.length - 1;
  for (const name of ["x", "y"]) {
    const menu = byId(`map-${name}`);
    fill(menu, ...directions().map((value) =>
      element("option", { value }, isAxis(value) ? "Assistant Axis" : value.toUpperCase())));
    menu.value = state[name];
    menu.addEventListener("change", () => { state[name] = menu.value; drawMap(); remember(); });
  }
  const groups = Object.keys(looks).map((group) => element("option", { value: `group:${group}` }, group));
  fill(byId("ranking-show"), element("option", { value: "all" }, "all"),
    element("option", { value: "ends" }, `${ENDS} at either end`), ...groups);
  byId("ranking-kind").value = state.list;
}

export function listen() {
  byId("layer").addEventListener("input", (event) => setLayer(Number(event.target.value)));
  byId("search").addEventListener("input", suggest);
  byId("search").addEventListener("keydown", (event) => searchKey(event, select));
  byId("search").addEventListener("blur", () => setTimeout(closeSuggestions, 150));
  byId("suggestions").addEventListener("mousedown", (event) => {
    const entry = event.target.closest("li");
    if (entry) select(Number(entry.dataset.place));
  });
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("button.link");
    if (chosen) select(Number(chosen.dataset.place));
  });
  byId("detail-clear").addEventListener("click", () => select(DEFAULT));
  byId("ranking-kind").addEventListener("change", (event) => setList(event.target.value));
  byId("ranking-show").addEventListener("change", (event) => { state.show = event.target.value; drawRanking(); });
  byId("csv").addEventListener("click", download);
  window.addEventListener("hashchange", followLink);
  byId("chosen").addEventListener("click", () => {
    byId("detail").scrollIntoView();
    byId("detail").focus({ preventScroll: true });
  });
  darkness.addEventListener("change", () => { followLook(); redraw(); });
}

export function listenToPlots() {
  window.addEventListener("resize", () => soon(drawMap));
  byId("map").on("plotly_click", ({ points }) => points[0].customdata !== undefined && select(points[0].customdata));
  byId("map").on("plotly_relayout", relabelMap);
}

// Plots by layer take the reader to the layer that is clicked, heat maps select the row (and column) as well.
export function listenToRest() {
  for (const id of byLayer) {
    byId(id).on("plotly_click", ({ points }) => setLayer(layers.indexOf(points[0].x)));
  }
  for (const id of traits.length ? ["trait-axis", "trait-pc", "trait-role"] : []) {
    byId(id).on("plotly_click", ({ points }) => select(atlas.traitOrder[points[0].pointIndex[0]]));
  }
}
