// Text where it is not a text node: labels of plotly, cells of a CSV file, what people type.

export const escaped = (text) =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads some tags

export function wrapped(text, columns) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= columns) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines.map(escaped).join("<br>");
}

export const quoted = (text) => `"${String(text).replace(/"/g, '""')}"`;

export const plain = (text) => text.toLowerCase().replace(/_/g, " ").trim();
