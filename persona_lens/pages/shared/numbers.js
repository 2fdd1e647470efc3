// Numbers as people read them, with a true minus sign.

const minus = (text) => text.replace(/-/g, "−");

export function fixed(value, digits) {
  if (!Number.isFinite(value)) return "not known";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : minus(text);
}

export const signed = (value, digits) => (value > 0 ? "+" : "") + fixed(value, digits);

// Four significant digits, as the figures of the package have them.
export function number(value) {
  if (!Number.isFinite(value)) return "not known";
  return minus(Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4))));
}

// Digits after the point that all numbers of a layer share, so that columns line up.
export function digitsFor(values) {
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  return Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(largest))));
}
