// A conversation and its branches: a tree of turns, of which one path is shown. Nothing here knows the page.

export const LANES = ["plain", "plan"];

export const freshTree = () => ({ turns: [], head: null, next: 1 });

export function pathTo(turn) {
  const path = [];
  for (let at = turn; at; at = at.parent) path.unshift(at);
  return path;
}

// A turn behind another (null begins a conversation); `given` has its system prompt and settings.
export function grow(tree, parent, user, given) {
  const turn = { id: tree.next, parent, user, ...given, replies: {} };
  tree.next += 1;
  tree.turns.push(turn);
  tree.head = turn;
  return turn;
}

const hasNext = (tree, turn) => tree.turns.some((other) => other.parent === turn);

// The ends that can be gone to: where a branch ends, and where one stands now.
export const branchEnds = (tree) =>
  tree.turns.filter((turn) => turn === tree.head || !hasNext(tree, turn));

// Takes the last turn back; it is forgotten unless other branches go through it.
export function takeBack(tree) {
  const last = tree.head;
  if (!last) return null;
  if (!hasNext(tree, last)) tree.turns = tree.turns.filter((turn) => turn !== last);
  tree.head = last.parent;
  return last;
}
