// Colours of tokens: blue towards the Assistant, orange towards role-play; violet by how far the plan moved them.

const FULL = 0.55;

// Where there is no colour and where all of it: by the calibration, or by the tokens that are there.
export function scaleOf(tint, values) {
  if (tint) return tint;
  if (!values.length) return { middle: 0, reach: 1 };
  const middle = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { middle, reach: Math.max(...values.map((value) => Math.abs(value - middle))) || 1 };
}

const coloured = (rgb, share) => `rgba(${rgb}, ${(FULL * Math.min(1, Math.abs(share))).toFixed(2)})`;

export function tinted(piece, mode, reading, scale) {
  if (mode === "none") return "";
  if (mode === "moved") {
    if (!Number.isFinite(piece.before) || !Number.isFinite(piece.after)) return "";
    const moved = piece.after - piece.before;
    return moved === 0 ? "" : coloured("139, 63, 199", moved / scale.reach);
  }
  if (!Number.isFinite(piece[reading])) return "";
  const share = (piece[reading] - scale.middle) / scale.reach;
  return coloured(share > 0 ? "0, 114, 178" : "213, 94, 0", share);
}
