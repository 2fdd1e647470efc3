// The ranking as a CSV file.

import { endsAt, layers, units, valueAt, zAt } from "./data.js";
import { ranked } from "./ranking.js";
import { state } from "./state.js";
import { element } from "../../shared/dom.js";
import { quoted } from "../../shared/text.js";

function csv() {
  const head = ["layer", "rank", "name", "kind", "group", "replies", state.list === "trait" ? "cosine" : "projection",
    "low", "high", ...(state.list === "trait" ? [] : ["z_roles"])];
  const rows = ranked().map(({ place, rank }) => {
    const unit = units[place];
    const ends = endsAt(place, state.layer).map((end) => (Number.isFinite(end) ? end : ""));
    return [layers[state.layer], rank, quoted(unit.key), unit.kind, quoted(unit.group || ""), unit.replies,
      valueAt(place, state.layer), ...ends, ...(state.list === "trait" ? [] : [zAt(place, state.layer)])];
  });
  return [head, ...rows].map((row) => row.join(",")).join("\n") + "\n";
}

export function download() {
  const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  element("a", { href: url, download: `ranking-${state.list}s-layer-${layers[state.layer]}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
