// A reply as it grows: its tokens with their text and readings, and what is said of the whole.

// `other` names the model of another server, if that writes it; it is read again by ours, and in no other way.
export const freshReply = (other = null) => ({
  pieces: [], status: "running", told: null, plan: null, finish: null, trouble: null, other,
});

const newPiece = (text = "") => ({ thought: "", text, before: null, after: null, clean: null, counted: true });

export const readingOf = (reply, reading) => (reply?.other ? "clean" : reading);

// Takes in one chunk of a stream. Readings of a token come behind it; text that was held back joins the last token.
export function hear(reply, chunk) {
  const choice = chunk.choices?.[0];
  if (choice) {
    for (let i = 0; i < (choice.logprobs?.content?.length ?? 0); i += 1) reply.pieces.push(newPiece());
    const { content: text, reasoning_content: thought } = choice.delta ?? {};
    if ((text || thought) && !reply.pieces.length) reply.pieces.push(newPiece());
    if (thought) reply.pieces.at(-1).thought += thought;
    if (text) reply.pieces.at(-1).text += text;
    if (choice.finish_reason) reply.finish = choice.finish_reason;
  }
  const persona = chunk.persona ?? {};
  if (persona.plan) reply.plan = persona.plan;
  for (const each of persona.choices ?? []) {
    if (Array.isArray(each.tokens)) readTokens(reply, each.tokens);
    else conclude(reply, each);
  }
}

function readTokens(reply, tokens) {
  for (const { index, before, after } of tokens) {
    if (reply.pieces[index]) Object.assign(reply.pieces[index], { before, after });
  }
}

function conclude(reply, told) {
  const { projections, words, ...rest } = told;
  reply.told = rest;
  if (words) reply.pieces = words.map(newPiece); // as our model cuts it
  const at = (reading, index) => projections[reading]?.[index] ?? null;
  (projections?.counted ?? []).forEach((counted, index) => {
    const piece = reply.pieces[index];
    if (piece) Object.assign(piece, { counted, before: at("before", index), after: at("after", index), clean: at("clean", index) });
  });
}

export const textOf = (reply) => reply.pieces.map((piece) => piece.text).join("");

// Where a reply lies by one reading; while it is written, the mean of its tokens so far, without an interval.
export function placed(reply, wanted) {
  const reading = readingOf(reply, wanted);
  const told = reply?.told?.projection?.[reading];
  if (told) return Number.isFinite(told.mean) ? told : null;
  if (!reply || reply.told) return null;
  const values = reply.pieces.filter((piece) => piece.counted && Number.isFinite(piece[reading]))
    .map((piece) => piece[reading]);
  if (!values.length) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, low: null, high: null, z: null, tokens: values.length, early: true };
}

// Whether a conversation can go on behind it.
export const answered = (reply) =>
  Boolean(reply) && (reply.status === "done" || (reply.status === "stopped" && textOf(reply) !== ""));
