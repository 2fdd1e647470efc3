// The atlas: one state (layer, selected unit, directions of the map, list of the ranking), and panels that draw it.
// Names come from catalogues anybody may write: they only ever become text nodes, or escaped plotly labels.
(() => {
  "use strict";

  // Data ---------------------------------------------------------------------------------------------

  const byId = (id) => document.getElementById(id);
  const atlas = JSON.parse(byId("atlas-data").textContent);
  const { units, layers, traits, roles, looks, style } = atlas;

  function unpack({ type, data }) {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    return new { Float32Array, Int16Array, Int8Array }[type](bytes.buffer);
  }

  const nComponents = atlas.scores.shape[2];
  const axisValues = unpack(atlas.axis);
  const margins = unpack(atlas.margins);
  const scores = unpack(atlas.scores);
  const near = unpack(atlas.near);
  const nearCosines = unpack(atlas.nearCosines);
  let traitRoles = null; // [layer, trait, role], in steps; decoded after the first view is drawn

  const valueAt = (place, layer) => axisValues[layer * units.length + place];
  const marginAt = (place, layer) => margins[layer * units.length + place];
  const scoreAt = (place, component, layer) => scores[(layer * units.length + place) * nComponents + component];

  async function decodeTraitRoles() {
    if (typeof DecompressionStream === "undefined") {
      fill(byId("trait-role"), "This panel needs a browser of 2023 or later.");
      return;
    }
    const bytes = Uint8Array.from(atob(byId("trait-role-cosines").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const steps = new Int8Array(await new Response(stream).arrayBuffer());
    const perLayer = traits.length * roles.length;
    // What is stored is the difference to the layer before; 8-bit arithmetic wraps around as it did when written.
    for (let i = perLayer; i < steps.length; i += 1) steps[i] += steps[i - perLayer];
    traitRoles = steps;
  }

  // Mean and standard deviation of the roles at each layer: what z is measured against.
  const spread = layers.map((_, layer) => {
    const values = roles.map((place) => valueAt(place, layer));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return { mean, deviation: Math.sqrt(squares / (values.length - 1)) };
  });
  const zAt = (place, layer) => (valueAt(place, layer) - spread[layer].mean) / spread[layer].deviation;

  const DEFAULT = 0;
  const state = {
    layer: atlas.anchor, selected: DEFAULT, hidden: new Set(), x: "pc1", y: nComponents > 1 ? "pc2" : "axis", list: "role", show: "all",
  };

  // Words --------------------------------------------------------------------------------------------

  const minus = (text) => text.replace(/-/g, "−");
  const signed = (value, digits) => (value > 0 ? "+" : "") + fixed(value, digits);

  function fixed(value, digits) {
    if (!Number.isFinite(value)) return "not known";
    const text = value.toFixed(digits);
    return Number(text) === 0 ? text.replace("-", "") : minus(text);
  }

  // Four significant digits, as the figures of the package have them.
  function number(value) {
    if (!Number.isFinite(value)) return "not known";
    return minus(Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4))));
  }

  // Digits after the point that all numbers of a layer share, so that columns line up.
  function digitsFor(values) {
    const largest = Math.max(...values.map(Math.abs), 1e-9);
    return Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(largest))));
  }

  const escaped = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads some tags
  const label = (place) => escaped(units[place].name);

  function wrapped(text, columns) {
    const lines = [""];
    for (const word of text.split(/\s+/)) {
      if (lines.at(-1) && lines.at(-1).length + word.length >= columns) lines.push("");
      lines.push(`${lines.pop()} ${word}`.trim());
    }
    return lines.map(escaped).join("<br>");
  }

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  const fill = (node, ...children) => node.replaceChildren(...children);
  const colourOf = (unit) =>
    unit.kind === "trait" ? style.trait : unit.kind === "default" ? style.ink : looks[unit.group].colour;

  function mark(unit) {
    if (unit.kind === "default") return element("span", { className: "mark star", textContent: "★", ariaHidden: "true" });
    const character = unit.kind === "trait" ? "➤" : looks[unit.group].character;
    const made = element("span", { className: "mark", textContent: character, ariaHidden: "true" });
    made.style.color = colourOf(unit);
    return made;
  }

  function selector(place) {
    const button = element("button", { type: "button", className: "link" }, units[place].name);
    button.dataset.place = place;
    return button;
  }

  // Ends of the interval, NaN where there are no folds; a cosine's cannot lie beyond 1.
  function endsAt(place, layer) {
    const limit = units[place].kind === "trait" ? 1 : Infinity;
    const [value, margin] = [valueAt(place, layer), marginAt(place, layer)];
    return [Math.max(value - margin, -limit), Math.min(value + margin, limit)];
  }

  function interval(place, layer, format) {
    const [low, high] = endsAt(place, layer);
    const value = format(valueAt(place, layer));
    return Number.isFinite(low) ? `${value} (${format(low)} to ${format(high)})` : value;
  }

  // Plots in the house style -------------------------------------------------------------------------

  const CONFIG = { responsive: true, displayModeBar: false };
  const MAP_CONFIG = { responsive: true, displaylogo: false, displayModeBar: true, scrollZoom: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const DIVERGING = [[0, "#8a3800"], [0.2, "#d55e00"], [0.38, "#f3bd8f"], [0.5, "#f7f7f7"], [0.62, "#9fcbe8"],
    [0.8, "#0072b2"], [1, "#053461"]];
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

  const axisLook = (extra) => ({
    gridcolor: style.grid, zeroline: false, linecolor: style.faint, showline: true, ticks: "outside", ticklen: 4,
    tickcolor: style.faint, tickfont: { size: 11, color: style.quiet }, ...extra,
    title: { font: { size: 12, color: style.ink }, standoff: 8, text: extra.title || "" },
  });

  const layout = (extra) => ({
    font: { family: style.font, size: 12, color: style.ink }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    hovermode: "closest", showlegend: false, margin: { l: 52, r: 12, t: 8, b: 42 },
    hoverlabel: { align: "left", bgcolor: "#fff", bordercolor: style.faint,
      font: { family: style.font, size: 12, color: style.ink } },
    ...extra,
  });

  function react(id, traces, extra, config = CONFIG) {
    return Plotly.react(byId(id), traces, layout(extra), config);
  }

  const layerLine = () => ({ type: "line", x0: layers[state.layer], x1: layers[state.layer], yref: "paper", y0: 0,
    y1: 1, line: { color: style.ink, width: 1.3 } });

  // A band between two series, and the line in it; NaN and null leave gaps.
  function band(x, low, high, colour) {
    const known = x.map((_, i) => i).filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]));
    return { x: [...known, ...known.slice().reverse()].map((i) => x[i]), type: "scatter", mode: "lines",
      y: [...known.map((i) => high[i]), ...known.slice().reverse().map((i) => low[i])],
      fill: "toself", fillcolor: `${colour}26`, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  }

  const line = (x, y, name, colour, look = {}, hover = "%{y:.2f}") => ({ x, y, name, type: "scatter",
    mode: "lines", line: { color: colour, width: 2, ...look }, hovertemplate: `layer %{x}: ${hover}<extra>${name}</extra>` });

  const legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 }, tracegroupgap: 0 };

  // Persona map --------------------------------------------------------------------------------------

  const isAxis = (direction) => direction === "axis";
  const componentOf = (direction) => Number(direction.slice(2)) - 1;

  // Place of a unit along a direction, from the mean of the roles; of a trait the cosine.
  function along(place, direction, layer) {
    if (!isAxis(direction)) return scoreAt(place, componentOf(direction), layer);
    const value = valueAt(place, layer);
    return units[place].kind === "trait" ? value : value - spread[layer].mean;
  }

  function directionTitle(direction) {
    if (isAxis(direction)) return "Projection on the Assistant Axis, from the mean of roles";
    const share = (atlas.stability.ratios[componentOf(direction)] || [])[state.layer];
    const percent = share === undefined ? "" : ` (${(100 * share).toFixed(1)}% of variance)`;
    return `PC${componentOf(direction) + 1}${percent}`;
  }

  function hoverText(place) {
    const unit = units[place];
    const facts = [unit.kind === "role" ? escaped(unit.group) : "", unit.replies ? `${unit.replies.toLocaleString("en")} replies` : ""];
    const [inRoles, inTraits] = ["role", "trait"].map((kind) =>
      neighbours(place, kind).slice(0, 3).map((found) => `${label(found.place)} (${fixed(found.cosine, 2)})`).join(", "));
    return [
      `<b>${label(place)}</b>`, facts.filter(Boolean).join(" · "),
      unit.description && `<i>${wrapped(unit.description, 52)}</i>`,
      `on the axis ${number(valueAt(place, state.layer))}, z = ${signed(zAt(place, state.layer), 2)}`,
      inRoles && `nearest roles: ${inRoles}`, inTraits && `nearest traits: ${inTraits}`,
    ].filter(Boolean).join("<br>");
  }

  // A legend of our own: plotly's would move the plot area, in which names are placed in pixels.
  function buildLegend() {
    const buttons = Object.keys(looks).map((group) => {
      const sample = units.find((unit) => unit.group === group);
      const button = element("button", { type: "button" }, mark(sample), group);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        if (!state.hidden.delete(group)) state.hidden.add(group);
        button.setAttribute("aria-pressed", String(!state.hidden.has(group)));
        drawMap();
      });
      return button;
    });
    const star = element("span", {}, mark(units[DEFAULT]), units[DEFAULT].name);
    fill(byId("map-legend"), ...buttons, star, element("span", { className: "dashed" }, "Assistant Axis"));
  }

  const mapped = units.map((_, place) => place).filter((place) => units[place].kind !== "trait");
  const coordinates = (place) => [along(place, state.x, state.layer), along(place, state.y, state.layer)];

  function groupTraces() {
    return Object.entries(looks).map(([group, look]) => {
      const places = mapped.filter((place) => units[place].group === group);
      const points = places.map(coordinates);
      return {
        type: "scatter", mode: "markers", name: escaped(group), visible: !state.hidden.has(group), x: points.map((p) => p[0]), y: points.map((p) => p[1]),
        customdata: places, hovertext: places.map(hoverText), hoverinfo: "text",
        marker: { size: 8, color: look.colour, opacity: 0.85,
          // Replies only somewhat in role are hollow, as in the figures of the package.
          symbol: places.map((place) => look.symbol + (units[place].onAxis ? "" : "-open")),
          line: { width: 0.8, color: places.map((place) => (units[place].onAxis ? "#fff" : look.colour)) } },
      };
    });
  }

  function starTrace() {
    const [x, y] = coordinates(DEFAULT);
    return { type: "scatter", mode: "markers", name: "default Assistant", x: [x], y: [y], customdata: [DEFAULT],
      hovertext: [hoverText(DEFAULT)], hoverinfo: "text",
      marker: { symbol: "star", size: 19, color: style.default, line: { color: style.ink, width: 1.4 } } };
  }

  // The ring around the selected unit; of a trait an arrow whose length is its cosine with the plane.
  function selectionTrace(ranges) {
    const chosen = state.selected;
    if (units[chosen].kind !== "trait") {
      const [x, y] = coordinates(chosen);
      return { type: "scatter", mode: "markers", x: [x], y: [y], hoverinfo: "skip", showlegend: false,
        visible: chosen !== DEFAULT, // the star can be seen as it is
        marker: { symbol: "circle-open", size: 19, color: style.ink, line: { width: 2.2 } } };
    }
    const [x, y] = coordinates(chosen);
    const reach = ranges.map(([low, high]) => 0.45 * (high - low));
    return { type: "scatter", mode: "lines+markers", x: [0, x * reach[0]], y: [0, y * reach[1]],
      name: `${label(chosen)} (cosines ${fixed(x, 2)}, ${fixed(y, 2)})`, hoverinfo: "name",
      line: { color: style.trait, width: 2 },
      marker: { color: style.trait, symbol: "arrow", angleref: "previous", size: [0, 13], opacity: 1 } };
  }

  // The dashed line through the mean of the roles and the default: the axis as it lies in a plane of components.
  function axisTrace(ranges) {
    const [x, y] = coordinates(DEFAULT);
    const length = 2 * Math.max(...ranges.map(([low, high]) => high - low)) / (Math.hypot(x, y) || 1);
    return { type: "scatter", mode: "lines", name: "Assistant Axis", x: [-x * length, x * length],
      y: [-y * length, y * length], hoverinfo: "skip", line: { color: style.quiet, width: 1.2, dash: "dash" } };
  }

  const MAP_MARGIN = { l: 62, r: 14, t: 30, b: 48 };
  const mapSize = () => [byId("map").clientWidth - MAP_MARGIN.l - MAP_MARGIN.r,
    byId("map").clientHeight - MAP_MARGIN.t - MAP_MARGIN.b];

  // Ranges with room for labels; where both directions have the same units, a unit is as long upwards as sideways.
  function mapRanges() {
    const points = mapped.map(coordinates);
    const size = mapSize();
    const found = [0, 1].map((k) => {
      const values = points.map((point) => point[k]);
      const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
      return { centre: (low + high) / 2, half: 0.56 * (high - low) || 1 };
    });
    if (equalUnits()) {
      const scale = Math.max(found[0].half / size[0], found[1].half / size[1]);
      found.forEach((range, k) => { range.half = scale * size[k]; });
    }
    return found.map(({ centre, half }) => [centre - half, centre + half]);
  }

  const equalUnits = () => atlas.equalUnits || isAxis(state.x) === isAxis(state.y);

  // Names from the outside in, each where it hides neither a marker's neighbourhood nor another name.
  function mapLabels(ranges) {
    const size = mapSize();
    const pixels = (place) => coordinates(place).map((value, k) => {
      const share = (value - ranges[k][0]) / (ranges[k][1] - ranges[k][0]);
      return (k ? 1 - share : share) * size[k];
    });
    const spots = mapped.filter((place) => !state.hidden.has(units[place].group)).map((place) => ({ place, at: pixels(place) }))
      .filter(({ at }) => at.every((value, k) => value > 4 && value < size[k] - 4));
    const centre = [0, 1].map((k) => spots.reduce((sum, { at }) => sum + at[k], 0) / spots.length);
    const rank = ({ place, at }) => (place === state.selected ? 1e9 : place === DEFAULT ? 1e8 :
      Math.hypot((at[0] - centre[0]) / size[0], (at[1] - centre[1]) / size[1]));
    spots.sort((a, b) => rank(b) - rank(a));
    const taken = spots.map(({ at }) => [at[0] - 4, at[1] - 4, at[0] + 4, at[1] + 4]);
    return spots.flatMap((spot) => placedLabel(spot, taken, size));
  }

  function placedLabel({ place, at }, taken, size) {
    const gap = place === DEFAULT ? 13 : 7;
    const width = 6 * units[place].name.length + 4;
    const sides = [[gap + width / 2, 0], [-gap - width / 2, 0], [0, -gap - 7], [0, gap + 7]];
    for (const [dx, dy] of sides) {
      const box = [at[0] + dx - width / 2, at[1] + dy - 7, at[0] + dx + width / 2, at[1] + dy + 7];
      const inside = box[0] > 0 && box[1] > 0 && box[2] < size[0] && box[3] < size[1];
      // Its own marker is always touched by none of the four boxes, so anything touched belongs to others.
      const free = inside && !taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3]);
      if (free || place === state.selected) {
        taken.push(box);
        const chosen = place === state.selected || place === DEFAULT;
        const [x, y] = coordinates(place);
        return [{ x, y, xshift: dx, yshift: -dy, showarrow: false, captureevents: false,
          text: chosen ? `<b>${label(place)}</b>` : label(place),
          font: { size: 11, color: chosen ? style.ink : style.quiet } }];
      }
    }
    return [];
  }

  function drawMap() {
    const ranges = mapRanges();
    const traces = [...groupTraces(), starTrace()];
    if (!isAxis(state.x) && !isAxis(state.y)) traces.unshift(axisTrace(ranges));
    traces.push(selectionTrace(ranges));
    const zero = { zeroline: true, zerolinecolor: style.zero, zerolinewidth: 1 };
    byId("map").dataset.layer = layers[state.layer];
    fill(byId("map-note"), mapNote());
    return react("map", traces, {
      margin: MAP_MARGIN, annotations: mapLabels(ranges), dragmode: "pan",
      xaxis: { ...axisLook({ title: directionTitle(state.x), range: ranges[0] }), ...zero },
      yaxis: { ...axisLook({ title: directionTitle(state.y), range: ranges[1],
        ...(equalUnits() ? { scaleanchor: "x", constrain: "domain" } : {}) }), ...zero },
    }, MAP_CONFIG);
  }

  function mapNote() {
    const hollow = units.some((unit) => unit.kind === "role" && !unit.onAxis);
    return [
      "Origin: mean of the roles.", hollow ? "Hollow: replies only somewhat in role." : "",
      units[state.selected].kind === "trait" ? "Arrow: the trait’s cosines with the two directions, not a distance." : "",
      "Scroll or drag to zoom and move: more names appear where there is room; double-click to go back.",
    ].filter(Boolean).join(" ");
  }

  // After zooming there is room for other names.
  function relabelMap(change) {
    if (!Object.keys(change).some((key) => /^[xy]axis/.test(key))) return;
    const shown = byId("map").layout;
    Plotly.relayout("map", { annotations: mapLabels([shown.xaxis.range, shown.yaxis.range]) });
  }

  // Detail of the selected unit ----------------------------------------------------------------------

  function neighbours(place, kind) {
    const count = atlas.neighbours;
    const start = (state.layer * units.length + place) * 2 * count + (kind === "trait" ? count : 0);
    const found = [];
    for (let i = start; i < start + count; i += 1) {
      if (near[i] >= 0) found.push({ place: near[i], cosine: nearCosines[i] * atlas.cosineStep });
    }
    return found;
  }

  function rankOf(place) {
    const unit = units[place];
    const rivals = unit.kind === "trait" ? traits : roles;
    if (unit.kind === "default" || !rivals.includes(place)) return "";
    const ahead = rivals.filter((other) => valueAt(other, state.layer) > valueAt(place, state.layer)).length;
    return `${ahead + 1} of ${rivals.length} ${unit.kind}s, the most Assistant-like first`;
  }

  function detailNumbers(place) {
    const unit = units[place];
    const pairs = unit.kind === "trait"
      ? [["cosine with the axis", interval(place, state.layer, (value) => fixed(value, 2))]]
      : [["on the axis", interval(place, state.layer, number)],
        ["z among roles", `${signed(zAt(place, state.layer), 2)} standard deviations from their mean`]];
    pairs.push(["rank", rankOf(place)]);
    return pairs.filter(([, text]) => text)
      .flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
  }

  function drawDetail() {
    const place = state.selected;
    const unit = units[place];
    fill(byId("detail-name"), mark(unit), unit.name);
    byId("detail").dataset.key = unit.key;
    byId("detail-clear").hidden = place === DEFAULT;
    const labelled = { fully: "fully in role", somewhat: "somewhat in role" }[unit.label];
    const facts = [unit.kind === "default" ? "" : unit.kind, unit.group, unit.replies ?
      `${unit.replies.toLocaleString("en")} replies ${labelled || ""}`.trim() : "", `layer ${layers[state.layer]}`];
    fill(byId("detail-kind"), facts.filter(Boolean).join(" · "));
    fill(byId("detail-description"), unit.description);
    fill(byId("detail-numbers"), ...detailNumbers(place));
    for (const kind of ["role", "trait"]) {
      fill(byId(`near-${kind}s`), ...neighbours(place, kind).map((found) =>
        element("li", {}, selector(found.place), element("span", {}, fixed(found.cosine, 2)))));
    }
    fill(byId("trace-title"), unit.kind === "trait" ? "Cosine with the axis, by layer" : "z on the axis, by layer");
  }

  function drawTrace() {
    const place = state.selected;
    const trait = units[place].kind === "trait";
    const shown = (value, layer) => (trait ? value : (value - spread[layer].mean) / spread[layer].deviation);
    const values = layers.map((_, layer) => shown(valueAt(place, layer), layer));
    const ends = [0, 1].map((side) => layers.map((_, layer) => shown(endsAt(place, layer)[side], layer)));
    const colour = trait ? style.trait : place === DEFAULT ? "#0072B2" : colourOf(units[place]);
    return react("trace", [band(layers, ends[0], ends[1], colour), line(layers, values, label(place), colour)], {
      margin: { l: 40, r: 8, t: 6, b: 34 }, shapes: [layerLine()],
      xaxis: axisLook({ title: "layer" }), yaxis: axisLook({ zeroline: true, zerolinecolor: style.zero }),
    });
  }

  // Ranking ------------------------------------------------------------------------------------------

  const ENDS = 15;

  function ranked() {
    const places = (state.list === "trait" ? traits : roles).slice();
    return places.sort((a, b) => valueAt(b, state.layer) - valueAt(a, state.layer))
      .map((place, index) => ({ place, rank: index + 1 }));
  }

  function shownRows(rows) {
    if (state.show === "ends") return rows.filter(({ rank }) => rank <= ENDS || rank > rows.length - ENDS);
    if (state.show.startsWith("group:")) return rows.filter(({ place }) => units[place].group === state.show.slice(6));
    return rows;
  }

  // From values to places on the track, in percent; the default is on it as well if roles are ranked.
  function trackScale(rows) {
    const ends = rows.flatMap(({ place }) => [valueAt(place, state.layer), ...endsAt(place, state.layer)])
      .filter(Number.isFinite);
    ends.push(state.list === "trait" ? 0 : valueAt(DEFAULT, state.layer));
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    return { low, high, at: (value) => 2 + (96 * (value - low)) / (high - low || 1) };
  }

  function track(place, scale) {
    const [low, high] = endsAt(place, state.layer);
    const box = element("div", { className: "track" });
    box.style.color = colourOf(units[place]);
    if (Number.isFinite(low)) {
      const bar = element("i");
      bar.style.left = `${scale.at(low)}%`;
      bar.style.width = `${scale.at(high) - scale.at(low)}%`;
      box.append(bar);
    }
    const dot = element("b");
    dot.style.left = `${scale.at(valueAt(place, state.layer))}%`;
    box.append(dot);
    return box;
  }

  function rankingRow({ place, rank }, scale, digits) {
    const value = valueAt(place, state.layer);
    const z = state.list === "trait" ? "" : signed(zAt(place, state.layer), 2);
    const graphic = element("td", { title: interval(place, state.layer, (v) => fixed(v, digits)) }, track(place, scale));
    const row = element("tr", {}, element("td", { className: "right" }, String(rank)),
      element("td", { className: "name", title: units[place].name }, mark(units[place]), selector(place)), graphic,
      element("td", { className: "right" }, fixed(value, digits)), element("td", { className: "right" }, z));
    row.dataset.place = place;
    return row;
  }

  function drawRanking() {
    const rows = ranked();
    const trait = state.list === "trait";
    const scale = trackScale(rows);
    const digits = trait ? 2 : digitsFor([scale.low, scale.high]);
    const table = byId("ranking");
    table.style.setProperty("--mean", `${scale.at(trait ? 0 : spread[state.layer].mean)}%`);
    table.style.setProperty("--default", `${scale.at(valueAt(DEFAULT, state.layer))}%`);
    table.style.setProperty("--default-shown", trait ? 0 : 1);
    fill(table.tBodies[0], ...shownRows(rows).map((row) => rankingRow(row, scale, digits)));
    fill(byId("track-low"), fixed(scale.low, digits));
    fill(byId("track-high"), fixed(scale.high, digits));
    fill(byId("ranking-value"), trait ? "cosine" : "projection");
    fill(byId("ranking-z"), trait ? "" : "z");
    const unknown = rows.every(({ place }) => !Number.isFinite(marginAt(place, state.layer)));
    const bars = unknown ? "Intervals are not known: the space has no folds." :
      `Bars: 95 % intervals over folds of the ${atlas.foldedBy}, the axis taken as given.`;
    fill(byId("ranking-note"), trait ? `${bars} Dotted: cosine 0.` :
      `${bars} Dotted: mean of the roles. Black: the default Assistant, ${fixed(valueAt(DEFAULT, state.layer), digits)}. z: standard deviations of roles from their mean; zero of the projection has no meaning.`);
    markRanking(false);
  }

  function markRanking(scroll) {
    for (const row of byId("ranking").tBodies[0].rows) {
      const chosen = Number(row.dataset.place) === state.selected;
      row.classList.toggle("selected", chosen);
      // Not scrollIntoView: that would move the whole page.
      if (chosen && scroll) byId("ranking").parentElement.scrollTop = row.offsetTop - 200;
    }
  }

  const quoted = (text) => `"${String(text).replace(/"/g, '""')}"`;

  function csv() {
    const head = ["layer", "rank", "name", "kind", "group", "replies", state.list === "trait" ? "cosine" : "projection",
      "low", "high", ...(state.list === "trait" ? [] : ["z_roles"])];
    const rows = ranked().map(({ place, rank }) => {
      const unit = units[place];
      const ends = endsAt(place, state.layer).map((end) => (Number.isFinite(end) ? end : ""));
      return [layers[state.layer], rank, quoted(unit.key), unit.kind, quoted(unit.group || ""), unit.replies,
        valueAt(place, state.layer), ...ends, ...(state.list === "trait" ? [] : [zAt(place, state.layer)])];
    });
    return [head, ...rows].map((row) => row.join(",")).join("\n") + "\n";
  }

  function download() {
    const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    element("a", { href: url, download: `ranking-${state.list}s-layer-${layers[state.layer]}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // By layer -----------------------------------------------------------------------------------------

  const layerAxes = (title, extra = {}) => ({
    margin: { l: 46, r: 10, t: 22, b: 36 }, showlegend: true, legend, shapes: [layerLine()],
    xaxis: axisLook({ title: "layer" }), yaxis: axisLook({ title, rangemode: "tozero", ...extra }),
  });

  function drawCosine() {
    const [cosine, shuffled, random] = atlas.stability.columns;
    const dash = { dash: "dash", width: 1.4 };
    return react("cosine", [
      band(layers, cosine.low, cosine.high, "#0072B2"), line(layers, cosine.value, "cos(PC1, axis)", "#0072B2"),
      line(layers, shuffled.value, "null, 95 %", "#7d8590", dash),
      line(layers, atlas.stability.nullMean, "null, mean", "#7d8590", { dash: "dot", width: 1.4 }),
      line(layers, random.value, "random direction, 95 %", "#D55E00", dash),
    ], layerAxes("", { range: [0, 1.02] }));
  }

  function drawVariance() {
    const traces = atlas.stability.ratios.map((values, number) =>
      line(layers, values, `PC${number + 1}`, COLOURS[number], { dash: ["solid", "dash", "dot"][number] }, "%{y:.1%}"));
    return react("variance", traces, layerAxes("", { tickformat: ".0%" }));
  }

  function drawComponents() {
    return react("components", [line(layers, atlas.stability.components70, "components", "#009E73", {}, "%{y}")],
      { ...layerAxes(""), showlegend: false, margin: { l: 46, r: 10, t: 8, b: 36 } });
  }

  const DASHES = ["dash", "dot", "dashdot", "longdash"];

  // A kind has a colour, a null has a dash: both stay the same within a panel.
  function drawSweepPanel(panel, id) {
    const names = [...new Set(panel.lines.flatMap((series) => series.nulls.map((chance) => chance.name)))];
    const traces = panel.lines.flatMap((series, number) => {
      const colour = COLOURS[number % COLOURS.length];
      const kind = escaped(series.kind);
      const nulls = series.nulls.map((chance) => ({
        ...line(chance.layer, chance.high, `${kind}, 95 % of ${escaped(chance.name)}`, colour,
          { dash: DASHES[names.indexOf(chance.name) % DASHES.length], width: 1.3 }),
        opacity: 0.75, showlegend: false,
      }));
      return [band(series.layer, series.low, series.high, colour),
        line(series.layer, series.value, kind, colour), ...nulls];
    });
    const keys = names.map((name, number) => ({ type: "scatter", mode: "lines", x: [null], y: [null], hoverinfo: "skip",
      name: `null: ${escaped(name)}`, line: { color: style.quiet, width: 1.3, dash: DASHES[number % DASHES.length] } }));
    return react(id, [...traces, ...keys], layerAxes("", { rangemode: "normal" }));
  }

  function sweepNote(panel) {
    const counts = panel.lines.filter(({ n }) => n)
      .map(({ kind, n }) => `${n[0] === n[1] ? n[0] : n.join(" to ")} (${kind})`);
    return [panel.note, counts.length && `n = ${counts.join(", ")}.`].filter(Boolean).join(" ");
  }

  function buildSweep() {
    atlas.sweep.forEach((panel, number) => {
      const plot = element("div", { className: "plot", id: `sweep-${number}`, role: "img", ariaLabel: `${panel.title} by layer` });
      byId("sweep").append(element("div", {}, element("h3", {}, panel.title), plot,
        element("p", { className: "note" }, sweepNote(panel))));
    });
  }

  // Heat maps ----------------------------------------------------------------------------------------

  const HEAT_MARGIN = { l: 128, r: 8, t: 6, b: 44 };

  // 240 names have no room at once: rows shrink to what a screen holds, and zooming in brings the names.
  const heatHeight = (rows) => Math.min(680, Math.max(180, rows * 17)) + HEAT_MARGIN.t + HEAT_MARGIN.b + 40;

  function heat(id, { z, x, y, reach, xTitle, hover, bottom = HEAT_MARGIN.b, xLabels, shapes, height }) {
    byId(id).style.height = `${height || heatHeight(y.length)}px`;
    return react(id, [{
      type: "heatmap", z, x, y: y.map(label), zmin: -reach, zmax: reach, colorscale: DIVERGING, hoverongaps: false,
      hovertemplate: `${hover}<extra></extra>`,
      colorbar: { thickness: 11, outlinewidth: 0, len: 1, tickfont: { size: 11, color: style.quiet }, xpad: 6,
        title: { text: "cosine", side: "right", font: { size: 11, color: style.quiet } } },
    }], {
      margin: { ...HEAT_MARGIN, b: bottom }, shapes, dragmode: "zoom",
      xaxis: axisLook({ title: xTitle, showgrid: false, ...xLabels }),
      yaxis: axisLook({ type: "category", autorange: "reversed", showgrid: false, automargin: true,
        tickfont: { size: 10, color: style.quiet } }),
    });
  }

  const reachOf = (rows) => Math.max(0.05, ...rows.map((row) => Math.max(...row.map(Math.abs))));
  const across = (row) => ({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: row - 0.5, y1: row + 0.5,
    line: { color: style.ink, width: 1.6 } });
  const downwards = (column) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: column - 0.5, x1: column + 0.5,
    line: { color: style.ink, width: 1.6 } });
  const traitRow = () => (atlas.traitOrder.includes(state.selected) ? [across(atlas.traitOrder.indexOf(state.selected))] : []);

  function drawTraitAxis() {
    const z = atlas.traitOrder.map((place) => layers.map((_, layer) => valueAt(place, layer)));
    const shapes = [{ ...downwards(layers[state.layer]) }, ...traitRow()];
    return heat("trait-axis", { z, x: layers, y: atlas.traitOrder, reach: reachOf(z), xTitle: "layer", shapes,
      hover: "%{y}, layer %{x}: %{z:.2f}" });
  }

  function drawTraitComponents() {
    const z = atlas.traitOrder.map((place) =>
      Array.from({ length: nComponents }, (_, component) => scoreAt(place, component, state.layer)));
    const x = z[0].map((_, component) => `PC${component + 1}`);
    return heat("trait-pc", { z, x, y: atlas.traitOrder, reach: reachOf(z), xTitle: `component, layer ${layers[state.layer]}`,
      shapes: traitRow(), hover: "%{y}, %{x}: %{z:.2f}" });
  }

  function drawTraitRoles() {
    if (!traitRoles) return undefined;
    const [traitNumber, roleNumber] = [traits, roles].map((places) => new Map(places.map((place, i) => [place, i])));
    const start = state.layer * traits.length * roles.length;
    const z = atlas.traitOrder.map((trait) => atlas.roleOrder.map((role) =>
      traitRoles[start + traitNumber.get(trait) * roles.length + roleNumber.get(role)] * atlas.cosineStep));
    const column = atlas.roleOrder.indexOf(state.selected);
    const height = Math.min(720, Math.max(200, 15 * traits.length)) + 130;
    return heat("trait-role", { z, x: atlas.roleOrder.map(label), y: atlas.traitOrder, reach: reachOf(z), height,
      xTitle: "", bottom: 96, xLabels: { type: "category", automargin: true, tickangle: -60, tickfont: { size: 10, color: style.quiet } },
      shapes: [...traitRow(), ...(column < 0 ? [] : [downwards(column)])], hover: "%{y} and %{x}: %{z:.2f}" });
  }

  // Card ---------------------------------------------------------------------------------------------

  function drawCard() {
    const table = byId("stability");
    const { columns, p } = atlas.stability;
    const titles = ["layer", ...columns.map((column) => column.title), "p of cos(PC1, axis)"];
    fill(table.tHead, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))));
    const orUnknown = (value) => (value === null ? "–" : fixed(value, 2));
    fill(table.tBodies[0], ...layers.map((layer, index) => {
      const cells = columns.map(({ value, low, high }) => orUnknown(value[index]) +
        (low && low[index] !== null ? ` (${orUnknown(low[index])} to ${orUnknown(high[index])})` : ""));
      return element("tr", {}, ...[String(layer), ...cells, p[index] === null ? "–" : p[index].toFixed(3)]
        .map((text) => element("td", {}, text)));
    }));
    fill(byId("sign-note"), `at layer ${layers[atlas.anchor]} they agree, and every other layer follows its neighbour.`);
  }

  function markStability() {
    [...byId("stability").tBodies[0].rows].forEach((row, index) => row.classList.toggle("selected", index === state.layer));
  }

  // Search -------------------------------------------------------------------------------------------

  const MOST_SUGGESTIONS = 9;
  const plain = (text) => text.toLowerCase().replace(/_/g, " ").trim();
  let active = -1;

  function matches(text) {
    const wanted = plain(text);
    if (!wanted) return [];
    const found = units.map((unit, place) => ({ place, at: plain(unit.name).indexOf(wanted) })).filter(({ at }) => at >= 0);
    return found.sort((a, b) => Math.sign(a.at) - Math.sign(b.at) || units[a.place].name.length - units[b.place].name.length)
      .slice(0, MOST_SUGGESTIONS).map(({ place }) => place);
  }

  function suggest() {
    const places = matches(byId("search").value);
    active = places.length ? 0 : -1;
    fill(byId("suggestions"), ...places.map((place, index) => {
      const entry = element("li", { id: `suggestion-${index}` }, mark(units[place]), units[place].name,
        element("span", { className: "of" }, units[place].kind));
      entry.setAttribute("role", "option");
      entry.dataset.place = place;
      return entry;
    }));
    showActive();
  }

  function showActive() {
    const entries = [...byId("suggestions").children];
    byId("suggestions").hidden = !entries.length;
    byId("search").setAttribute("aria-expanded", String(entries.length > 0));
    entries.forEach((entry, index) => entry.setAttribute("aria-selected", String(index === active)));
    if (active >= 0) byId("search").setAttribute("aria-activedescendant", `suggestion-${active}`);
    else byId("search").removeAttribute("aria-activedescendant");
  }

  function closeSuggestions() {
    fill(byId("suggestions"));
    active = -1;
    showActive();
  }

  function searchKey(event) {
    const entries = byId("suggestions").children;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && entries.length) {
      active = (active + step + entries.length) % entries.length;
      showActive();
    } else if (event.key === "Enter" && entries[active]) select(Number(entries[active].dataset.place));
    else if (event.key === "Escape") closeSuggestions();
    else return;
    event.preventDefault();
  }

  // State and drawing --------------------------------------------------------------------------------

  const marked = ["cosine", "variance", "components", "trace"];
  let drawn = false; // plots other than the map are there

  function markLayer() {
    const lined = [...marked, ...atlas.sweep.map((_, number) => `sweep-${number}`)];
    for (const id of lined) Plotly.relayout(id, { shapes: [layerLine()] });
    if (traits.length) Plotly.relayout("trait-axis", { shapes: [downwards(layers[state.layer]), ...traitRow()] });
    markStability();
  }

  function showLayer() {
    const layer = layers[state.layer];
    const share = atlas.depth > 1 ? layer / (atlas.depth - 1) : 0;
    byId("layer").value = state.layer;
    byId("layer").setAttribute("aria-valuetext", `layer ${layer}, relative depth ${share.toFixed(2)}`);
    fill(byId("layer-text"), element("b", {}, String(layer)), ` of ${layers.at(-1)}, relative depth ${share.toFixed(2)}`);
  }

  function setLayer(index) {
    const bounded = Math.min(layers.length - 1, Math.max(0, index));
    if (bounded === state.layer) return;
    state.layer = bounded;
    showLayer();
    soon(() => {
      [drawDetail, drawRanking, drawMap].forEach((draw) => draw());
      if (drawn && traits.length) [drawTraitComponents, drawTraitRoles].forEach((draw) => draw());
      if (drawn) markLayer();
      remember();
    });
  }

  function select(place) {
    state.selected = place;
    closeSuggestions();
    byId("search").value = "";
    const kind = units[place].kind;
    if (kind !== "default" && kind !== state.list) setList(kind);
    drawDetail();
    markRanking(true);
    drawMap();
    if (drawn) {
      drawTrace();
      if (traits.length) [drawTraitAxis, drawTraitComponents, drawTraitRoles].forEach((draw) => draw());
    }
    remember();
  }

  function setList(kind) {
    state.list = kind;
    byId("ranking-kind").value = kind;
    if (kind === "trait" && state.show.startsWith("group:")) state.show = byId("ranking-show").value = "all";
    drawRanking();
  }

  // Many moves of the slider within a frame are drawn once.
  let waiting = null;
  function soon(work) {
    if (waiting) cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { waiting = null; work(); });
  }

  // Links --------------------------------------------------------------------------------------------

  function remember() {
    const parts = new URLSearchParams({ layer: layers[state.layer] });
    if (state.selected !== DEFAULT) parts.set("select", units[state.selected].key);
    if (state.x !== "pc1") parts.set("x", state.x);
    if (state.y !== "pc2") parts.set("y", state.y);
    // Not location.hash: every step of the slider would be a step back.
    history.replaceState(null, "", `#${parts}`);
  }

  function readLink() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const index = layers.indexOf(Number(parts.get("layer") ?? NaN));
    if (index >= 0) state.layer = index;
    const wanted = parts.get("select");
    const exact = units.findIndex((unit) => unit.key === wanted);
    const found = exact >= 0 ? exact : units.findIndex((unit) => wanted && plain(unit.name) === plain(wanted));
    state.selected = found >= 0 ? found : DEFAULT;
    if (units[state.selected].kind !== "default") state.list = units[state.selected].kind;
    for (const name of ["x", "y"]) {
      if (directions().includes(parts.get(name))) state[name] = parts.get(name);
    }
  }

  function followLink() {
    readLink();
    showLayer();
    for (const name of ["x", "y"]) byId(`map-${name}`).value = state[name];
    setList(state.list);
    [drawDetail, drawMap].forEach((draw) => draw());
    markRanking(true);
    if (drawn) drawRest();
  }

  const directions = () => ["axis", ...Array.from({ length: nComponents }, (_, i) => `pc${i + 1}`)];

  // Start --------------------------------------------------------------------------------------------

  function fillControls() {
    byId("layer").max = layers.length - 1;
    for (const name of ["x", "y"]) {
      const menu = byId(`map-${name}`);
      fill(menu, ...directions().map((value) =>
        element("option", { value }, isAxis(value) ? "Assistant Axis" : value.toUpperCase())));
      menu.value = state[name];
      menu.addEventListener("change", () => { state[name] = menu.value; drawMap(); remember(); });
    }
    const groups = Object.keys(looks).map((group) => element("option", { value: `group:${group}` }, group));
    fill(byId("ranking-show"), element("option", { value: "all" }, "all"),
      element("option", { value: "ends" }, `${ENDS} at either end`), ...groups);
    byId("ranking-kind").value = state.list;
  }

  function listen() {
    byId("layer").addEventListener("input", (event) => setLayer(Number(event.target.value)));
    byId("search").addEventListener("input", suggest);
    byId("search").addEventListener("keydown", searchKey);
    byId("search").addEventListener("blur", () => setTimeout(closeSuggestions, 150));
    byId("suggestions").addEventListener("mousedown", (event) => {
      const entry = event.target.closest("li");
      if (entry) select(Number(entry.dataset.place));
    });
    document.addEventListener("click", (event) => {
      const chosen = event.target.closest("button.link");
      if (chosen) select(Number(chosen.dataset.place));
    });
    byId("detail-clear").addEventListener("click", () => select(DEFAULT));
    byId("ranking-kind").addEventListener("change", (event) => setList(event.target.value));
    byId("ranking-show").addEventListener("change", (event) => { state.show = event.target.value; drawRanking(); });
    byId("csv").addEventListener("click", download);
    window.addEventListener("hashchange", followLink);
  }

  function listenToPlots() {
    window.addEventListener("resize", () => soon(drawMap));
    byId("map").on("plotly_click", ({ points }) => points[0].customdata !== undefined && select(points[0].customdata));
    byId("map").on("plotly_relayout", relabelMap);
  }

  // Plots by layer take the reader to the layer that is clicked, heat maps select the row (and column) as well.
  function listenToRest() {
    for (const id of [...marked, ...atlas.sweep.map((_, number) => `sweep-${number}`)]) {
      byId(id).on("plotly_click", ({ points }) => setLayer(layers.indexOf(points[0].x)));
    }
    for (const id of traits.length ? ["trait-axis", "trait-pc", "trait-role"] : []) {
      byId(id).on("plotly_click", ({ points }) => select(atlas.traitOrder[points[0].pointIndex[0]]));
    }
  }

  function drawRest() {
    [drawTrace, drawCosine, drawVariance, drawComponents].forEach((draw) => draw());
    if (traits.length) [drawTraitAxis, drawTraitComponents, drawTraitRoles].forEach((draw) => draw());
    atlas.sweep.forEach((panel, number) => drawSweepPanel(panel, `sweep-${number}`));
    markStability();
  }

  async function start() {
    readLink();
    fillControls();
    buildLegend();
    showLayer();
    [drawRanking, drawDetail, drawCard].forEach((draw) => draw());
    listen();
    await drawMap();
    performance.mark("first view"); // read by benchmarks/atlas.py
    listenToPlots();
    buildSweep();
    if (traits.length) await decodeTraitRoles();
    // A frame with the first view is shown before the rest is drawn.
    setTimeout(() => {
      drawRest();
      drawn = true;
      listenToRest();
      markRanking(state.selected !== DEFAULT);
      document.documentElement.dataset.ready = "true";
    }, 0);
  }

  start();
})();
