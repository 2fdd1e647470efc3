// The turns as they are read: what the user said, and both replies beside one another, token by token.

import { element, fill } from "../../shared/dom.js";
import { fixed, signed } from "../../shared/numbers.js";
import { told } from "./chart.js";
import { placed, readingOf } from "./reply.js";
import { otherOf } from "./requests.js";
import { tinted } from "./tint.js";
import { LANES } from "./tree.js";

const nodes = new Map();
const keyOf = (turn, lane) => `${turn.id}/${lane}`;

export const turnNode = (turn) => document.getElementById(`turn-${turn.id}`);

// `view` says how: reading, tint, scale, what lanes are called; and what buttons do (edit, again).
export function drawTalk(node, path, view) {
  nodes.clear();
  fill(node, ...path.map((turn, index) => drawTurn(turn, index, view)));
  for (const turn of path) for (const lane of LANES) drawReply(turn, lane, view);
}

function drawTurn(turn, index, view) {
  const edit = element("button", { type: "button", className: "small", textContent: "Edit" });
  edit.setAttribute("aria-label", `Edit message ${index + 1} and fork here`);
  edit.addEventListener("click", () => view.edit(turn));
  const lanes = LANES.map((lane) => {
    const text = element("p", { className: "said model", dir: "auto" });
    const notes = element("div", { className: "notes" });
    const name = lane === "plain" ? otherOf(turn, lane) ?? view.names.plain : `with ${turn.settings.label}`;
    const label = element("h3", { textContent: name });
    nodes.set(keyOf(turn, lane), { label, text, notes });
    const made = element("section", { className: `reply ${lane}` }, label, text, notes);
    made.setAttribute("aria-label", `Reply ${index + 1}, ${name}`);
    return made;
  });
  const head = element("div", { className: "head" }, element("h3", { textContent: `Turn ${index + 1}` }), edit);
  const said = element("p", { className: "said user", dir: "auto", textContent: turn.user });
  return element("article", { className: "turn", id: `turn-${turn.id}` }, head, said,
    element("div", { className: "pair" }, ...lanes));
}

export function drawReply(turn, lane, view) {
  const found = nodes.get(keyOf(turn, lane));
  const reply = turn.replies[lane];
  if (!found || !reply) return;
  drawPieces(found.text, reply.pieces, view, readingOf(reply, view.reading));
  found.label.title = reply.plan?.steps?.join("; ") ?? "";
  found.text.classList.toggle("writing", reply.status === "running");
  fill(found.notes, ...notesOf(turn, lane, reply, view));
}

function readingName(reading, lane, reply, view) {
  if (reply.other) return `Clean re-reading by ${view.model}`;
  if (reading === "clean") return "Clean re-reading";
  if (lane === "plain") return "As written";
  return reading === "after" ? "After the plan" : "Before the plan";
}

function drawPieces(node, pieces, view, reading) {
  while (node.children.length > pieces.length) node.lastChild.remove();
  pieces.forEach((piece, index) => {
    const span = node.children[index] ?? node.appendChild(element("span"));
    const text = piece.thought + piece.text;
    if (span.textContent !== text) span.textContent = text;
    span.className = piece.thought ? "thought" : "";
    span.style.backgroundColor = tinted(piece, view.tint, reading, view.scale);
    span.title = titleOf(piece);
  });
}

function titleOf({ before, after, clean }) {
  const again = Number.isFinite(clean) ? `${fixed(clean, 2)} by the clean re-reading` : "";
  if (!Number.isFinite(before) || !Number.isFinite(after)) return again;
  const written = after === before ? `${fixed(before, 2)}, not moved`
    : `${fixed(before, 2)} before the plan, ${fixed(after, 2)} after it: moved ${signed(after - before, 2)}`;
  return again ? `${written}; ${again}` : written;
}

function notesOf(turn, lane, reply, view) {
  const note = (text, className = "note") => element("p", { className, textContent: text });
  const made = [];
  const at = placed(reply, view.reading);
  const reading = readingName(view.reading, lane, reply, view);
  if (at) made.push(note(`${reading}: ${told(at)}`));
  else if (reply.told) made.push(note(`${reading}: ${reply.told.unread ?? "not read"}`));
  if (reply.told?.nearest) made.push(note(nearestText(reply.told.nearest)));
  if (lane === "plan" && reply.told?.tokens) made.push(note(movedBy(reply.told.tokens)));
  if (reply.finish === "length") made.push(note(`Cut at ${turn.settings.length} tokens.`));
  if (reply.status === "done" && !reply.pieces.length) made.push(note("The model said nothing."));
  if (reply.status === "stopped") made.push(note("Stopped; its numbers are of the tokens that were read."));
  if (reply.told?.monitor?.alarming) made.push(note(alarmText(reply.told.monitor), "note alarm-note"));
  if (reply.trouble || (reply.status === "stopped" && !reply.pieces.length)) {
    const again = element("button", { type: "button", className: "small", textContent: "Try again" });
    again.addEventListener("click", () => view.again(turn, lane));
    const wait = reply.trouble?.wait ? ` Wait ${reply.trouble.wait} s.` : "";
    const box = element("div", { className: "trouble" }, note(`${reply.trouble?.message ?? ""}${wait}`, ""), again);
    if (reply.trouble) box.setAttribute("role", "alert");
    made.push(box);
  }
  return made;
}

export function nearestText({ roles, cosine }) {
  const named = roles.map((role) => role.replace(/_/g, " ")).join(", ");
  return `Nearest roles: ${named} (clean re-reading; cosine ${fixed(cosine, 2)} with the first).`;
}

export function movedBy({ seen, moved, change }) {
  if (!seen) return "No plan acted.";
  const by = moved ? `, by ${fixed(100 * change, 1)} % of the residual norm on average` : "";
  return `The plan moved ${moved} of ${seen} tokens of prompt and reply${by}.`;
}

export function alarmText({ statistic, direction, value, threshold, p, since, false_alarms: rate, caution }) {
  const chance = Number.isFinite(p) ? `, p ${fixed(p, 3)}` : "";
  const calm = `${fixed(100 * rate.rate, 1)} % of ${rate.calm} calm conversations alarm at it`;
  const more = caution ? ` Note: ${caution}.` : "";
  return `Drift since turn ${since + 1}, by the clean re-reading: the monitor's statistic (${statistic}, ${direction}) is`
    + ` ${fixed(value, 2)}, above its threshold of ${fixed(threshold, 2)} (${calm}${chance}).${more}`;
}
