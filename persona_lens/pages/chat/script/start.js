// The page: what is shown, what buttons do, and the replies that are being written.

import { byId, element, fill, soon } from "../../shared/dom.js";
import { fixed } from "../../shared/numbers.js";
import { GONE, Trouble, ask, stream, useKey } from "./asking.js";
import { READINGS, drawTrace } from "./chart.js";
import { fillControls, settingsNow } from "./controls.js";
import { logLines, save, standalone } from "./exporting.js";
import { beginReplay, endReplay, nextOfReplay, offer, readLog, replaying } from "./replaying.js";
import { answered, freshReply, hear, textOf } from "./reply.js";
import { bodyFor, otherOf, placeFor } from "./requests.js";
import { drawReply, drawTalk, turnNode } from "./talk.js";
import { scaleOf } from "./tint.js";
import { LANES, branchEnds, freshTree, grow, pathTo, takeBack } from "./tree.js";

const page = { card: null, tree: freshTree(), running: new Set(), editing: null, cleared: null, playing: false };

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
const path = () => pathTo(page.tree.head);

function viewNow() {
  const pieces = path().flatMap((turn) => LANES.flatMap((lane) => turn.replies[lane]?.pieces ?? []));
  const values = pieces.map((piece) => piece.before ?? piece.clean).filter(Number.isFinite);
  return {
    reading: chosen("reading"), tint: chosen("tint"), scale: scaleOf(page.card.tint, values),
    model: page.card.name, names: { plain: "as it is", plan: "with the plan" }, edit, again: (turn, lane) => run(turn, [lane]),
  };
}

function drawAll() {
  const talk = byId("talk");
  const low = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  drawTalk(talk, path(), viewNow());
  byId("empty").hidden = Boolean(page.tree.head);
  if (low) talk.scrollTop = talk.scrollHeight;
  drawBranches();
  drawCurves();
  showBusy();
}

function drawCurves() {
  const view = viewNow();
  byId("trace-reading").textContent = READINGS[view.reading];
  byId("trace-box").hidden = !page.tree.head;
  drawTrace(byId("trace"), path(), { reading: view.reading, names: view.names, spread: page.card.spread, chosen: show });
}

// While replies are written: what they have, and no more.
function drawRunning() {
  const talk = byId("talk");
  const low = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  const view = viewNow();
  for (const { turn, lane } of page.running) drawReply(turn, lane, view);
  if (low) talk.scrollTop = talk.scrollHeight;
  drawCurves();
}

function drawBranches() {
  const ends = branchEnds(page.tree);
  byId("branch-field").hidden = ends.length < 2;
  fill(byId("branch"), ...ends.map((turn, index) => {
    const text = `${index + 1}: ${turn.user.slice(0, 40)} (${pathTo(turn).length} turns)`;
    return element("option", { value: `${turn.id}`, textContent: text, selected: turn === page.tree.head });
  }));
}

function show(turn) {
  document.querySelectorAll(".turn.shown").forEach((each) => each.classList.remove("shown"));
  turnNode(turn).classList.add("shown");
  turnNode(turn).scrollIntoView({ block: "nearest" });
}

function say(text, { label = null, action = null } = {}) {
  const parts = text ? [element("span", { textContent: text })] : [];
  if (action) {
    const button = element("button", { type: "button", className: "small", textContent: label });
    button.addEventListener("click", action);
    parts.push(button);
  }
  fill(byId("say"), ...parts);
}

function showBusy() {
  const busy = page.running.size > 0;
  document.documentElement.dataset.busy = `${busy}`;
  for (const id of ["send", "again", "undo", "new", "clear", "replay-turn", "replay-all", "replay-begin", "branch"]) byId(id).disabled = busy;
  byId("stop").disabled = !busy;
  for (const id of ["again", "undo", "export-log", "export-page"]) byId(id).disabled = busy || !page.tree.head;
  const started = page.tree.head && path()[0].system !== byId("system").value.trim();
  byId("system-note").hidden = !started;
}

async function run(turn, lanes) {
  const jobs = lanes.map((lane) => ({ turn, lane, stop: new AbortController() }));
  for (const job of jobs) {
    turn.replies[job.lane] = freshReply(otherOf(turn, job.lane));
    page.running.add(job);
  }
  say("");
  drawAll();
  await Promise.all(jobs.map(runOne));
  drawAll();
}

async function runOne(job) {
  const { turn, lane, stop } = job;
  const reply = turn.replies[lane];
  try {
    await stream(placeFor(turn, lane), bodyFor(page.card.name, turn, lane), stop.signal, (chunk) => {
      hear(reply, chunk);
      soon(drawRunning);
    });
    reply.status = "done";
    const alarm = reply.told?.monitor?.alarming ? " The monitor alarms." : "";
    byId("heard").textContent = `${lane === "plain" ? reply.other ?? "As it is" : "With the plan"}: ${textOf(reply)}${alarm}`;
  } catch (error) {
    reply.status = error.name === "AbortError" ? "stopped" : "failed";
    if (reply.status === "failed") reply.trouble = error instanceof Trouble ? error : new Trouble(`${error.message}. ${GONE}`);
  }
  page.running.delete(job);
}

// Whether a turn could be asked; what stands in the way is said.
async function send(text, parent = page.tree.head) {
  if (page.running.size || !text.trim()) return false;
  if (parent && !LANES.every((lane) => answered(parent.replies[lane]))) {
    say("The last turn lacks a reply: try it again there, or undo it.");
    return false;
  }
  let settings;
  try {
    settings = settingsNow(page.card);
  } catch (error) {
    say(error.message);
    return false;
  }
  page.cleared = null;
  const turn = grow(page.tree, parent, text, { settings, system: parent ? pathTo(parent)[0].system : byId("system").value.trim() });
  await run(turn, LANES);
  return LANES.every((lane) => answered(turn.replies[lane]));
}

async function sendTyped() {
  const text = byId("message").value;
  const parent = page.editing ? page.editing.parent : page.tree.head;
  if (page.running.size || !text.trim()) return;
  const asked = send(text, parent);
  if (!page.running.size) return; // something stood in the way, and the text is still there
  byId("message").value = "";
  edit(null);
  await asked;
}

function stopAll() {
  page.playing = false;
  for (const { stop } of page.running) stop.abort();
}

function edit(turn) {
  page.editing = turn;
  byId("editing").hidden = !turn;
  if (!turn) return;
  byId("message").value = turn.user;
  byId("message").focus();
}

function undo() {
  const last = takeBack(page.tree);
  if (last && !byId("message").value.trim()) byId("message").value = last.user;
  edit(null);
  drawAll();
}

function begin() {
  page.tree.head = null;
  edit(null);
  drawAll();
  byId("message").focus();
}

function clear() {
  if (!page.tree.turns.length) return;
  page.cleared = page.tree;
  page.tree = freshTree();
  edit(null);
  endReplay();
  drawAll();
  say("Cleared, with all branches.", { label: "Bring back", action: () => { page.tree = page.cleared ?? page.tree; say(""); drawAll(); } });
}

async function playReplay(all) {
  page.playing = all;
  do {
    if (!replaying() || !(await send(nextOfReplay()))) break;
  } while (page.playing);
  page.playing = false;
}

async function startReplay() {
  const script = beginReplay();
  if (!script) return;
  if (script.system) byId("system").value = script.system;
  begin();
  await playReplay(false);
}

async function openLog(file) {
  if (!file) return;
  try {
    say(await readLog(file));
  } catch (error) {
    say(error.message);
  }
}

function exportPage() {
  const style = document.querySelector("style").textContent;
  const facts = element("p", { className: "note", textContent: byId("facts").textContent });
  save(standalone(`Chat with ${page.card.name}`, [facts, byId("trace-box"), byId("talk")], style), "chat.html", "text/html");
}

function factsOf({ space, reading, spread, monitor }) {
  const band = spread
    ? `default replies ${fixed(spread.default.mean, 2)} ± ${fixed(spread.default.deviation, 2)} (n = ${spread.default.n.toLocaleString("en")})`
    : "the space does not know where default replies lie";
  return `Space ${space}. Replies are read along the ${reading.direction} after block ${reading.layer}, Assistant positive; ${band}.`
    + `${monitor ? ` ${monitor.trim().replace(/\s*\n\s*/g, "; ")}.` : ""}`;
}

function onKey(event) {
  if (event.key === "Escape" && page.running.size) {
    event.preventDefault();
    stopAll();
  } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === byId("message")) {
    event.preventDefault();
    sendTyped();
  }
}

function wire() {
  const clicks = {
    send: sendTyped, stop: stopAll, undo, new: begin, clear, "editing-end": () => { edit(null); byId("message").value = ""; },
    again: () => { const last = page.tree.head; if (last) send(last.user, last.parent); },
    "replay-begin": startReplay, "replay-turn": () => playReplay(false), "replay-all": () => playReplay(true), "replay-end": endReplay,
    "export-log": () => save(logLines(page.tree, page.card), "chat.jsonl", "application/x-ndjson"), "export-page": exportPage,
  };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
  document.addEventListener("keydown", onKey);
  document.querySelectorAll('input[type="radio"]').forEach((each) => each.addEventListener("change", drawAll));
  byId("log").addEventListener("change", (event) => openLog(event.target.files[0]));
  byId("system").addEventListener("input", showBusy);
  byId("branch").addEventListener("change", (event) => {
    page.tree.head = page.tree.turns.find((turn) => `${turn.id}` === event.target.value);
    drawAll();
  });
  addEventListener("resize", () => soon(drawCurves));
  byId("settings").open = innerWidth > 900;
}

async function load() {
  try {
    const [card, roles, scripts] = await Promise.all(
      ["chat/card", "chat/roles", "chat/scripts"].map(async (place) => (await ask(place)).json()));
    page.card = card;
    fillControls(card, roles);
    offer(scripts);
  } catch (error) {
    byId("key-form").hidden = error.kind !== "key";
    say(error.message, error.kind === "key" ? {} : { label: "Try again", action: load });
    return;
  }
  byId("key-form").hidden = true;
  byId("facts").textContent = factsOf(page.card);
  byId("alarm-key").hidden = !page.card.monitor;
  say("");
  wire();
  drawAll();
  document.documentElement.dataset.ready = "true";
}

function start() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim());
    load();
  });
  load();
}

start();
