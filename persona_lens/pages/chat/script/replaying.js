// Conversations that are replayed: what a user says in a script of the catalogue or in a saved log, turn by turn.

import { byId, element, fill } from "../../shared/dom.js";
import { ask } from "./asking.js";

const offered = { list: [], now: null, next: 0 };

export function offer(scripts, choose = false) {
  const first = offered.list.length;
  offered.list.push(...scripts);
  const made = scripts.map(({ id, messages }, index) =>
    element("option", { value: `${first + index}`, textContent: `${id} (${messages.length} turns)` }));
  byId("script").append(...made);
  if (choose && made.length) byId("script").value = made[0].value;
}

export async function readLog(file) {
  const response = await ask(`chat/log?name=${encodeURIComponent(file.name)}`, { body: file, type: "application/octet-stream" });
  const { conversations, report } = await response.json();
  offer(conversations, true);
  return report;
}

export function beginReplay() {
  offered.now = offered.list[byId("script").value] ?? null;
  offered.next = 0;
  showReplay();
  return offered.now;
}

export function endReplay() {
  offered.now = null;
  showReplay();
}

// The next message; null at the end.
export function nextOfReplay() {
  const message = offered.now?.messages[offered.next] ?? null;
  if (message !== null) offered.next += 1;
  if (offered.now && offered.next >= offered.now.messages.length) offered.now = null;
  showReplay();
  return message;
}

export const replaying = () => offered.now !== null;

export function showReplay() {
  byId("replay").hidden = !offered.now;
  if (!offered.now) return;
  const { id, messages } = offered.now;
  fill(byId("replay-where"), `${id}: turn ${offered.next + 1} of ${messages.length} comes next`);
  byId("replay-next").textContent = messages[offered.next];
}
