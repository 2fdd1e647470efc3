// The conversation that is shown, as JSON Lines for persona_lens.conversations, and as a page without scripts.

import { element } from "../../shared/dom.js";
import { LANES, pathTo } from "./tree.js";
import { answered, textOf } from "./reply.js";
import { messagesFor } from "./requests.js";

// A line a lane: what was said, and what is known of every turn. Turns without a reply end it.
export function logLines(tree, card) {
  const lines = [];
  for (const lane of LANES) {
    const path = pathTo(tree.head);
    const end = path.findIndex((turn) => !answered(turn.replies[lane]));
    const whole = end < 0 ? path : path.slice(0, end);
    if (!whole.length) continue;
    const last = whole.at(-1);
    const messages = [...messagesFor(last, lane), { role: "assistant", content: textOf(last.replies[lane]) }];
    lines.push(JSON.stringify({
      id: `chat-${last.id}-${lane === "plain" ? "as-it-is" : "plan"}`,
      messages, model: card.name, space: card.space, reading: card.reading,
      turns: whole.map((turn) => aboutTurn(turn, lane)), persona_lens: 1,
    }));
  }
  return `${lines.join("\n")}\n`;
}

function aboutTurn(turn, lane) {
  const { status, finish, plan, told, other } = turn.replies[lane];
  const { temperature, seed, length } = turn.settings;
  return {
    status, finish, plan, other_model: other, temperature, seed, max_tokens: length,
    projection: told?.projection ?? null, tokens: told?.tokens ?? null, nearest: told?.nearest ?? null,
    monitor: told?.monitor ?? null,
  };
}

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

// A page of its own: text and drawing as they stand, without buttons, scripts or anything to load.
export function standalone(title, parts, style) {
  const made = document.implementation.createHTMLDocument(title);
  const meta = (properties) => {
    const tag = made.createElement("meta");
    for (const [name, value] of Object.entries(properties)) tag.setAttribute(name, value);
    return tag;
  };
  made.head.prepend(
    meta({ charset: "utf-8" }), meta({ "http-equiv": "Content-Security-Policy", content: POLICY }),
    meta({ name: "viewport", content: "width=device-width, initial-scale=1" }),
  );
  made.head.append(Object.assign(made.createElement("style"), { textContent: style }));
  made.documentElement.lang = "en";
  made.body.className = "exported";
  made.body.append(Object.assign(made.createElement("h1"), { textContent: title }));
  for (const part of parts) {
    const copy = made.importNode(part, true);
    copy.querySelectorAll("button, form, textarea").forEach((each) => each.remove());
    copy.querySelectorAll("[tabindex]").forEach((each) => each.removeAttribute("tabindex"));
    made.body.append(copy);
  }
  return `<!DOCTYPE html>\n${made.documentElement.outerHTML}`;
}

export function save(text, name, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
