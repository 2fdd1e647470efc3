// Names beside points, one after the other, each where it hides neither a point nor another name.

// Of spots { at: [x, y], name, gap, always } in pixels those whose name has room, with the shift of its centre from
// the point; the name of one that is `always` shown may hide others.
export function placedNames(spots, size) {
  const taken = spots.map(({ at }) => [at[0] - 4, at[1] - 4, at[0] + 4, at[1] + 4]);
  return spots.map((spot) => ({ ...spot, shift: shiftOf(spot, taken, size) })).filter(({ shift }) => shift);
}

function shiftOf({ at, name, gap, always }, taken, size) {
  const width = 6 * name.length + 4;
  const sides = [[gap + width / 2, 0], [-gap - width / 2, 0], [0, -gap - 7], [0, gap + 7]];
  for (const [dx, dy] of sides) {
    const box = [at[0] + dx - width / 2, at[1] + dy - 7, at[0] + dx + width / 2, at[1] + dy + 7];
    const inside = box[0] > 0 && box[1] > 0 && box[2] < size[0] && box[3] < size[1];
    // Its own marker is always touched by none of the four boxes, so anything touched belongs to others.
    const free = inside && !taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3]);
    if (free || always) {
      taken.push(box);
      return [dx, dy];
    }
  }
  return null;
}
