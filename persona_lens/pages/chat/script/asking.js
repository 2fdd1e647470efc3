// Asking the server, and what to tell people when it cannot answer.

export class Trouble extends Error {
  constructor(text, { kind = "refused", wait = 0 } = {}) {
    super(text);
    Object.assign(this, { kind, wait });
  }
}

export const GONE = "The server does not answer. Look whether it still runs in its terminal, then try again.";

// What was refused, in words that say what to do.
export function troubleOf(status, body, retryAfter) {
  const said = body?.error?.message ?? `The server answered with status ${status}.`;
  const code = body?.error?.code;
  const wait = Number(retryAfter) || 0;
  if (status === 401) return new Trouble("The server wants the key it was started with.", { kind: "key" });
  if (status === 429) return new Trouble(`The queue is full. ${said}`, { kind: "busy", wait: wait || 2 });
  if (code === "context_length_exceeded") {
    const hint = "Edit an earlier message, ask for fewer tokens, or begin a new conversation.";
    return new Trouble(`The context is full. ${said} ${hint}`, { kind: "full" });
  }
  if (code === "shutting_down") return new Trouble(`${said} Start it again, then try again.`, { kind: "gone", wait });
  return new Trouble(said);
}

const access = { key: "" };
export const useKey = (key) => { access.key = key; };

export async function ask(path, { body = null, type = "application/json", signal = null } = {}) {
  const headers = access.key ? { Authorization: `Bearer ${access.key}` } : {};
  if (body !== null) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(path, { method: body === null ? "GET" : "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(GONE, { kind: "gone" });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw troubleOf(response.status, told, response.headers.get("Retry-After"));
}

// The events that are whole in a text, and the rest of it.
export function splitEvents(text) {
  const parts = text.split(/\r?\n\r?\n/);
  const rest = parts.pop();
  const events = parts.map((part) => part.replace(/^data: ?/, "")).filter((part) => part && part[0] !== ":");
  return { events, rest };
}

// Calls `hearing` with each chunk of a streamed reply; raises if it ends before its end.
export async function stream(path, body, signal, hearing) {
  const response = await ask(path, { body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let step;
    try {
      step = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble(GONE, { kind: "gone" });
    }
    if (step.done) throw new Trouble(`The reply broke off. ${GONE}`, { kind: "gone" });
    const { events, rest } = splitEvents(text + step.value);
    text = rest;
    for (const event of events) {
      if (event === "[DONE]") return;
      const chunk = JSON.parse(event);
      if (chunk.error) throw troubleOf(500, chunk, null);
      hearing(chunk);
    }
  }
}
