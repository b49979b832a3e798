// The overlay of the points: labels, the lasso, and rings around the hovered and selected points.

import { css } from "./point-colors.js";
import { cell } from "./data.js";
import { chooseNames, drawNames, drawShade } from "./clusters.js";
import { chooseLabels, pointSize, SHOWN } from "./points.js";
import { shades } from "../shared/palette.js";
import { contextOf } from "../shared/dom.js";
import { LabelGrid } from "../shared/label-grid.js";

const LABEL_FONT = "500 12px system-ui, sans-serif";
const LONGEST_LABEL = 28;

/** An empty layer of the atlas, ready to draw on, and its colors. */
function emptyLayer(page, canvas) {
  const context = contextOf(canvas);
  context.setTransform(page.ratio, 0, 0, page.ratio, 0, 0);
  context.clearRect(0, 0, page.view.width, page.view.height);
  Object.assign(context, { font: LABEL_FONT, textAlign: "center", textBaseline: "middle", lineJoin: "round" });
  return { context, ...shades(page.theme.matches) };
}

/** The shading, below the points. */
export function drawGround(page) {
  drawShade(emptyLayer(page, page.ground).context, page.view, page.shade);
}

/** Draws names of clusters, labels by interest, and the lasso; returns the number of names and labels. */
export function drawLabels(page, polygon) {
  const { context, ink, muted, paper } = emptyLayer(page, page.over);
  const room = new LabelGrid([page.view.width, page.view.height]);
  const names = chooseNames(page.atlas, page.view, context, room, page.grid);
  context.font = LABEL_FONT;
  const labels = page.label ? chooseLabels({
    atlas: page.atlas, view: page.view, context, room, passes: (i) => page.shown[i] !== SHOWN.dim,
    text: (i) => shorten(cell(page.label, i)),
  }) : [];
  context.lineWidth = 3.5;
  context.strokeStyle = paper;
  // Next to names of clusters, labels of points are muted.
  context.fillStyle = names.length ? muted : ink;
  for (const [px, py, words] of labels) {
    context.globalAlpha = 0.85;
    context.strokeText(words, px, py);
    context.globalAlpha = 1;
    context.fillText(words, px, py);
  }
  drawNames(context, names, ink, paper);
  drawLasso(context, page.view, polygon, ink);
  return { names: names.length, labels: labels.length };
}

/**
 * Draws points with a ring, their label, and a line to the point that each belongs to, on a layer of their own, so
 * that nothing else is redrawn. Returns the number of lines.
 */
export function drawMarked(page, points) {
  const { context, ink, paper } = emptyLayer(page, page.top);
  const { view, atlas } = page;
  /** @returns {[number, number]} */
  const place = (i) => view.toScreen(atlas.x[i], atlas.y[i]);
  const pairs = points.map((i) => [i, page.partnerOf(i)]).filter(([i, other]) => other >= 0 && other !== i);
  for (const pair of pairs) {
    for (const [color, width] of [[paper, 4.5], [ink, 1.6]]) {
      context.beginPath();
      for (const i of pair) context.lineTo(...place(i));
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.stroke();
    }
  }
  // The other ends are drawn below the points themselves.
  for (const i of new Set([...pairs.map(([, other]) => other), ...points])) {
    const [px, py] = place(i);
    const radius = pointSize(view, atlas.count) / 2 + 3.5;
    context.beginPath();
    context.arc(px, py, radius, 0, 2 * Math.PI);
    context.fillStyle = css(page.colors.subarray(4 * i, 4 * i + 3));
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = ink;
    context.stroke();
    const words = page.label ? shorten(cell(page.label, i)) : "";
    if (words) drawName(context, view, [px, py], radius, page.linkOf(i) ? `${words} ↗` : words, ink, paper);
  }
  return pairs.length;
}

function drawName(context, view, [px, py], radius, words, ink, paper) {
  const half = context.measureText(words).width / 2 + 6;
  const middle = Math.min(Math.max(px, half), Math.max(view.width - half, half));
  const height = py > 40 ? py - radius - 13 : py + radius + 13;
  context.fillStyle = ink;
  context.fillRect(middle - half, height - 10, 2 * half, 20);
  context.fillStyle = paper;
  context.fillText(words, middle, height);
}

function drawLasso(context, view, polygon, ink) {
  if (polygon.length < 2) return;
  context.beginPath();
  for (const [x, y] of polygon) context.lineTo(...view.toScreen(x, y));
  context.closePath();
  context.strokeStyle = ink;
  context.lineWidth = 1.2;
  context.setLineDash([4, 3]);
  context.stroke();
  context.setLineDash([]);
}

function shorten(text) {
  return text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 1)}…` : text;
}
