// Arrays out of a page: what persona_lens/pages/shared/inline.py packs and deflates.

const bytesOf = (data) => Uint8Array.from(atob(data), (character) => character.charCodeAt(0));

export const unpack = ({ type, data }) => new { Float32Array, Int16Array, Int8Array }[type](bytesOf(data).buffer);

// Whole steps that were stored as differences to `perLayer` places before, deflated.
export async function inflate(data, perLayer) {
  const stream = new Blob([bytesOf(data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const steps = new Int8Array(await new Response(stream).arrayBuffer());
  // 8-bit arithmetic wraps around as it did when written.
  for (let i = perLayer; i < steps.length; i += 1) steps[i] += steps[i - perLayer];
  return steps;
}
