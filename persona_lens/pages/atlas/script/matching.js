// Units whose name has a text in it.

import { plain } from "../../shared/text.js";

const MOST_SUGGESTIONS = 9;

// Places of the units, those that begin with it and the shortest first.
export function matches(text, units) {
  const wanted = plain(text);
  if (!wanted) return [];
  const found = units.map((unit, place) => ({ place, at: plain(unit.name).indexOf(wanted) })).filter(({ at }) => at >= 0);
  return found.sort((a, b) => Math.sign(a.at) - Math.sign(b.at) || units[a.place].name.length - units[b.place].name.length)
    .slice(0, MOST_SUGGESTIONS).map(({ place }) => place);
}
