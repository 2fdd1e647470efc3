// The numbers of the atlas, by the place of a unit and the index of a layer.

import { byId } from "../../shared/dom.js";
import { unpack } from "../../shared/unpacking.js";

export const atlas = JSON.parse(byId("atlas-data").textContent);
export const { units, layers, traits, roles, looks, style } = atlas;

export const nComponents = atlas.scores.shape[2];
const axisValues = unpack(atlas.axis);
const margins = unpack(atlas.margins);
const scores = unpack(atlas.scores);
const near = unpack(atlas.near);
const nearCosines = unpack(atlas.nearCosines);

export const valueAt = (place, layer) => axisValues[layer * units.length + place];
export const marginAt = (place, layer) => margins[layer * units.length + place];
export const scoreAt = (place, component, layer) => scores[(layer * units.length + place) * nComponents + component];

// Mean and standard deviation of the roles at each layer: what z is measured against.
export const spread = layers.map((_, layer) => {
  const values = roles.map((place) => valueAt(place, layer));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) };
});

export const zAt = (place, layer) => (valueAt(place, layer) - spread[layer].mean) / spread[layer].deviation;

export const DEFAULT = 0; // place of the default Assistant

// Ends of the interval, NaN where there are no folds; a cosine's cannot lie beyond 1.
export function endsAt(place, layer) {
  const limit = units[place].kind === "trait" ? 1 : Infinity;
  const [value, margin] = [valueAt(place, layer), marginAt(place, layer)];
  return [Math.max(value - margin, -limit), Math.min(value + margin, limit)];
}

export function neighbours(place, kind, layer) {
  const count = atlas.neighbours;
  const start = (layer * units.length + place) * 2 * count + (kind === "trait" ? count : 0);
  const found = [];
  for (let i = start; i < start + count; i += 1) {
    if (near[i] >= 0) found.push({ place: near[i], cosine: nearCosines[i] * atlas.cosineStep });
  }
  return found;
}
