// The map: a plotly figure made ready for one reader (theme, filters, step), and drawn.

import { placeLabels } from "../core/label-placement.js";

const MARGIN = 8;

/** Whether scattergl can draw here: it compiles functions and needs a WebGL context. */
export function canDrawWebGL() {
  try {
    new Function("return 1")();
    return Boolean(document.createElement("canvas").getContext("webgl"));
  } catch {
    return false;
  }
}

/** The figure to draw: `view` has dark, hidden outcomes, layers and runs, and a step. */
export function prepare(figure, view, webgl, size) {
  const { meta } = figure.layout;
  const data = figure.data.map((trace) => {
    const shown = restrict(trace, meta, view);
    const type = shown.type === "scattergl" && !webgl ? "scatter" : shown.type;
    return { ...shown, type };
  });
  arrangeTexts(data, figure.layout, size);
  const layout = {
    ...figure.layout,
    title: undefined,
    showlegend: false,
    width: size[0],
    height: size[1],
    margin: { l: MARGIN, r: MARGIN, t: MARGIN, b: MARGIN },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
  };
  return view.dark ? recolor({ data, layout }, meta.dark) : { data, layout };
}

/** Moves the names of outcomes and layers so that none covers another, nor a newest point. */
function arrangeTexts(data, { xaxis, yaxis, font, meta }, [width, height]) {
  const [left, right] = xaxis.range;
  const [low, high] = yaxis.range;
  const scale = Math.min((width - 2 * MARGIN) / (right - left), (height - 2 * MARGIN) / (high - low));
  const across = (x) => width / 2 + (x - (left + right) / 2) * scale;
  const along = (y) => height / 2 - (y - (low + high) / 2) * scale;
  const drawn = data.filter((trace) => trace.visible !== false && trace.x.length > 0);
  const newest = drawn.filter((trace) => trace.meta?.role === "current");
  const names = drawn.filter((trace) => trace.meta?.role === "outcome");
  const places = placeLabels({
    size: [width, height],
    family: font.family,
    points: newest.map((trace) => [across(trace.x.at(-1)), along(trace.y.at(-1))]),
    labels: newest.map((trace) => meta.layers[trace.meta.layer].name),
    titles: names.map((trace) => [across(trace.customdata[0]), along(trace.customdata[1]), trace.meta.outcome]),
  });
  newest.forEach((trace, index) => {
    const side = places.sides[index];
    trace.textposition = side ?? "middle right";
    if (side === null) trace.text = trace.text.map(() => "");
  });
  names.forEach((trace, index) => {
    const [x, y] = places.centers[index];
    trace.x = [(left + right) / 2 + (x - width / 2) / scale];
    trace.y = [(low + high) / 2 - (y - height / 2) / scale];
  });
}

/** How many snapshots a prepared figure shows. */
export function countPoints(data) {
  const roles = new Set(["landmark", "current"]);
  return data
    .filter((trace) => roles.has(trace.meta?.role) && trace.visible !== false)
    .reduce((sum, trace) => sum + trace.x.length, 0);
}

function restrict(trace, meta, view) {
  const { role, outcome, layer, run } = trace.meta ?? {};
  if (role === "landmark" || role === "outcome") {
    if (view.outcomes.has(outcome)) return { ...trace, visible: false };
    if (role === "outcome" || view.layers.size === 0) return trace;
    return select(trace, (code) => !view.layers.has(code));
  }
  if (role === "current" || role === "line") {
    if (view.runs.has(run) || view.layers.has(layer)) return { ...trace, visible: false };
    if (view.step === null) return trace;
    return grow(select(trace, (step) => step <= view.step), meta);
  }
  return trace;
}

/** The trace with those points whose custom datum passes. */
function select(trace, passes) {
  const passed = trace.customdata.flatMap((datum, index) => (passes(datum) ? [index] : []));
  if (passed.length === trace.customdata.length) return trace;
  const pick = (value) =>
    Array.isArray(value) && value.length === trace.customdata.length
      ? passed.map((index) => value[index])
      : value;
  const part = { ...trace };
  for (const key of ["x", "y", "customdata", "hovertext", "text"]) {
    if (key in part) part[key] = pick(part[key]);
  }
  if (part.marker) {
    part.marker = Object.fromEntries(
      Object.entries(part.marker).map(([key, value]) => [key, pick(value)]),
    );
  }
  return part;
}

/** The newest of the points that are left is the largest, and carries the layer's name. */
function grow(trace, meta) {
  if (trace.meta.role !== "current" || trace.x.length === 0) return trace;
  const [small, large] = meta.sizes;
  const last = trace.x.length - 1;
  return {
    ...trace,
    text: trace.x.map((_, index) => (index === last ? trace.name : "")),
    marker: { ...trace.marker, size: trace.x.map((_, index) => (index === last ? large : small)) },
  };
}

const UNCHANGED = new Set(["meta", "x", "y", "customdata", "hovertext"]);

/** What a figure holds, with the dark color in the place of each light one. */
export function recolor(value, dark) {
  if (typeof value === "string") return dark[value] ?? value;
  if (Array.isArray(value)) return value.map((item) => recolor(item, dark));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, UNCHANGED.has(key) ? item : recolor(item, dark)]),
  );
}
