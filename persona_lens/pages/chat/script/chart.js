// The trace of both conversations along the axis, drawn as SVG: a point a turn, its interval, the default's band.

import { fixed } from "../../shared/numbers.js";
import { LANES } from "./tree.js";
import { placed, readingOf } from "./reply.js";

export const READINGS = {
  after: "after the plan, as the replies were written",
  before: "before the plan acted at this layer",
  clean: "clean re-reading, with nothing acting",
};
const SIZE = { height: 200, left: 54, right: 14, top: 12, bottom: 30 };

export function drawn(tag, properties = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

// Round steps for an axis of numbers, at most `most` of them.
export function ticks(low, high, most = 6) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step))) };
}

export function pointsOf(path, lane, reading) {
  return path.map((turn, index) => ({ turn, index, lane, reply: turn.replies[lane], at: placed(turn.replies[lane], reading) }))
    .filter((point) => point.at);
}

export function told(at, digits = 2) {
  if (!at) return "not read";
  const unknown = at.early ? ", so far" : " (interval not known)";
  const range = Number.isFinite(at.low) ? ` (${fixed(at.low, digits)} to ${fixed(at.high, digits)}, 95 %)` : unknown;
  const z = Number.isFinite(at.z) ? `, z ${fixed(at.z, 2)}` : "";
  return `${fixed(at.mean, digits)}${range}${z}, ${at.tokens} token${at.tokens === 1 ? "" : "s"}`;
}

export const alarmed = (reply) => Boolean(reply?.told?.monitor?.alarming);

// Draws into `svg`; `chosen` is called with the turn of a point that is clicked.
export function drawTrace(svg, path, { reading, spread, names, chosen }) {
  const width = Math.max(320, svg.clientWidth || 320);
  const lanes = LANES.map((lane) => pointsOf(path, lane, reading));
  const values = lanes.flat().flatMap(({ at }) => [at.mean, at.low, at.high]).filter(Number.isFinite);
  if (spread) values.push(spread.default.mean - spread.default.deviation, spread.default.mean + spread.default.deviation);
  if (spread?.role) values.push(spread.role.mean);
  svg.setAttribute("viewBox", `0 0 ${width} ${SIZE.height}`);
  svg.replaceChildren();
  if (!values.length) return;
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const margin = (most - least || 1) * 0.08;
  const [low, high] = [least - margin, most + margin];
  const y = (value) => SIZE.top + ((high - value) / (high - low)) * (SIZE.height - SIZE.top - SIZE.bottom);
  const slots = Math.max(path.length, 4);
  const x = (index) => SIZE.left + ((index + 0.5) / slots) * (width - SIZE.left - SIZE.right);
  scale(svg, ticks(low, high), y, path, x, width);
  reference(svg, spread, y, width);
  lanes.forEach((points, which) => {
    const shift = which ? 5 : -5;
    curve(svg, points, LANES[which], (point) => x(point.index) + shift, y, { names, reading, chosen });
  });
}

function reference(svg, spread, y, width) {
  if (!spread) return;
  const { mean, deviation } = spread.default;
  const span = { x: SIZE.left, width: width - SIZE.left - SIZE.right };
  const band = { ...span, y: y(mean + deviation), height: y(mean - deviation) - y(mean + deviation), class: "band" };
  svg.append(drawn("rect", band));
  const ends = { x1: SIZE.left, x2: width - SIZE.right };
  svg.append(drawn("line", { ...ends, y1: y(mean), y2: y(mean), class: "mean" }));
  const right = { x: width - SIZE.right - 4, "text-anchor": "end", class: "label" };
  svg.append(drawn("text", { ...right, y: y(mean) - 4 }, "default replies, mean ± 1 sd"));
  if (!spread.role) return;
  svg.append(drawn("line", { ...ends, y1: y(spread.role.mean), y2: y(spread.role.mean), class: "roles" }));
  svg.append(drawn("text", { ...right, y: y(spread.role.mean) - 4 }, "replies in role, mean"));
}

function scale(svg, { values, digits }, y, path, x, width) {
  for (const value of values) {
    svg.append(drawn("line", { x1: SIZE.left, x2: width - SIZE.right, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(drawn("text", { x: SIZE.left - 8, y: y(value) + 4, "text-anchor": "end", class: "label" }, fixed(value, digits)));
  }
  const every = Math.ceil(path.length / 24);
  path.forEach((turn, index) => {
    if (index % every) return;
    svg.append(drawn("text", { x: x(index), y: SIZE.height - 10, "text-anchor": "middle", class: "label" }, `turn ${index + 1}`));
  });
}

function curve(svg, points, lane, x, y, { names, reading, chosen }) {
  if (points.length > 1) {
    const line = points.map((point) => `${x(point)},${y(point.at.mean)}`).join(" ");
    svg.append(drawn("polyline", { points: line, class: `curve ${lane}` }));
  }
  for (const point of points) {
    const { at, reply, turn, index } = point;
    const place = { cx: x(point), cy: y(at.mean) };
    if (Number.isFinite(at.low)) {
      svg.append(drawn("line", { x1: place.cx, x2: place.cx, y1: y(at.low), y2: y(at.high), class: `whisker ${lane}` }));
    }
    const alarm = alarmed(reply) ? "; the monitor alarms" : "";
    const label = `Turn ${index + 1}, ${reply.other ?? names[lane]}, ${READINGS[readingOf(reply, reading)]}: ${told(at)}${alarm}`;
    const mark = lane === "plain"
      ? drawn("circle", { ...place, r: 5 })
      : drawn("rect", { x: place.cx - 5, y: place.cy - 5, width: 10, height: 10 });
    mark.setAttribute("class", `point ${lane}`);
    for (const [name, value] of Object.entries({ tabindex: 0, role: "button", "aria-label": label })) mark.setAttribute(name, value);
    mark.append(drawn("title", {}, label));
    mark.addEventListener("click", () => chosen(turn));
    mark.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); chosen(turn); } });
    if (alarm) svg.append(drawn("circle", { ...place, r: 10, class: "alarm" }));
    svg.append(mark);
  }
}
