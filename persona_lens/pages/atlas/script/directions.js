// Directions of the map: the axis and the components.

import { atlas, nComponents, scoreAt, spread, units, valueAt } from "./data.js";
import { state } from "./state.js";

export const directions = () => ["axis", ...Array.from({ length: nComponents }, (_, i) => `pc${i + 1}`)];
export const isAxis = (direction) => direction === "axis";
const componentOf = (direction) => Number(direction.slice(2)) - 1;

// Place of a unit along a direction, from the mean of the roles; of a trait the cosine.
export function along(place, direction, layer) {
  if (!isAxis(direction)) return scoreAt(place, componentOf(direction), layer);
  const value = valueAt(place, layer);
  return units[place].kind === "trait" ? value : value - spread[layer].mean;
}

export function directionTitle(direction) {
  if (isAxis(direction)) return "Projection on the Assistant Axis, from the mean of roles";
  const share = (atlas.stability.ratios[componentOf(direction)] || [])[state.layer];
  const percent = share === undefined ? "" : ` (${(100 * share).toFixed(1)}% of variance)`;
  return `PC${componentOf(direction) + 1}${percent}`;
}
