// What is shown, as a link says it: #layer=12&select=pirate&x=axis.

import { plain } from "../../shared/text.js";

const USUAL = { x: "pc1", y: "pc2" };

export function addressOf({ layer, selected, x, y }, { layers, units }) {
  const parts = new URLSearchParams({ layer: layers[layer] });
  if (selected) parts.set("select", units[selected].key);
  if (x !== USUAL.x) parts.set("x", x);
  if (y !== USUAL.y) parts.set("y", y);
  return `#${parts}`;
}

// What a link says of the state; nonsense in it is left out, and selects the default.
export function addressed(hash, { layers, units }, directions) {
  const parts = new URLSearchParams(hash.slice(1));
  const layer = layers.indexOf(Number(parts.get("layer") ?? NaN));
  const wanted = parts.get("select");
  const exact = units.findIndex((unit) => unit.key === wanted);
  const found = exact >= 0 ? exact : units.findIndex((unit) => wanted && plain(unit.name) === plain(wanted));
  const known = Object.keys(USUAL).filter((name) => directions.includes(parts.get(name)));
  return { ...(layer >= 0 && { layer }), selected: Math.max(found, 0), ...Object.fromEntries(known.map((name) => [name, parts.get(name)])) };
}
