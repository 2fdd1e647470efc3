// What is asked of the server for a turn: the messages of one lane, and what the plan is to be.

import { pathTo } from "./tree.js";
import { textOf } from "./reply.js";

// The model of another server, where that answers.
export const otherOf = (turn, lane) => (lane === "plain" ? turn.settings.other ?? null : null);

export const placeFor = (turn, lane) => (otherOf(turn, lane) ? "chat/other" : "v1/chat/completions");

export function messagesFor(turn, lane) {
  const path = pathTo(turn);
  const { system } = path[0];
  const said = system ? [{ role: "system", content: system }] : [];
  for (const each of path) {
    said.push({ role: "user", content: each.user });
    if (each !== turn) said.push({ role: "assistant", content: textOf(each.replies[lane]) });
  }
  return said;
}

export function bodyFor(model, turn, lane) {
  const { temperature, seed, length, clean, plan, percentile, layers } = turn.settings;
  const persona = { plan: "none", projections: true, clean };
  if (lane === "plan") {
    persona.plan = plan;
    if (percentile !== null) persona.percentile = percentile;
    if (layers !== null) persona.layers = layers;
  }
  return {
    model, messages: messagesFor(turn, lane), stream: true, logprobs: true,
    temperature, seed, max_tokens: length, persona,
  };
}

// "18-20, 3" as numbers, in order; null for none given. Raises what to tell whoever wrote it.
export function parsedLayers(text, allowed) {
  if (!text.trim()) return null;
  const found = new Set();
  for (const part of text.split(",")) {
    const [, low, high] = part.match(/^\s*(\d{1,4})\s*(?:[-–]\s*(\d{1,4})\s*)?$/) ?? [];
    if (low === undefined || Number(high ?? low) < Number(low)) {
      throw new Error("Layers are written as 18-26 or 3, 7, 11.");
    }
    for (let layer = Number(low); layer <= Number(high ?? low); layer += 1) found.add(layer);
  }
  const layers = [...found].sort((a, b) => a - b);
  const wrong = layers.find((layer) => !allowed.includes(layer));
  if (wrong !== undefined) throw new Error(`Layer ${wrong} is not among those allowed here: ${spanned(allowed)}.`);
  return layers;
}

export function spanned(layers) {
  const spans = [];
  for (const layer of layers) {
    if (spans.length && spans.at(-1)[1] === layer - 1) spans.at(-1)[1] = layer;
    else spans.push([layer, layer]);
  }
  return spans.map(([low, high]) => (low === high ? `${low}` : `${low}-${high}`)).join(", ");
}
