// The table of stability.

import { atlas, layers } from "./data.js";
import { state } from "./state.js";
import { byId, element, fill } from "../../shared/dom.js";
import { fixed } from "../../shared/numbers.js";

export function drawCard() {
  const table = byId("stability");
  const { columns, p } = atlas.stability;
  const titles = ["layer", ...columns.map((column) => column.title), "p of cos(PC1, axis)"];
  fill(table.tHead, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))));
  const orUnknown = (value) => (value === null ? "–" : fixed(value, 2));
  fill(table.tBodies[0], ...layers.map((layer, index) => {
    const cells = columns.map(({ value, low, high }) => orUnknown(value[index]) +
      (low && low[index] !== null ? ` (${orUnknown(low[index])} to ${orUnknown(high[index])})` : ""));
    return element("tr", {}, ...[String(layer), ...cells, p[index] === null ? "–" : p[index].toFixed(3)]
      .map((text) => element("td", {}, text)));
  }));
  fill(byId("sign-note"), `at layer ${layers[atlas.anchor]} they agree, and every other layer follows its neighbour.`);
}

export function markStability() {
  [...byId("stability").tBodies[0].rows].forEach((row, index) => row.classList.toggle("selected", index === state.layer));
}
