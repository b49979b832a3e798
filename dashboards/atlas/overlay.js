// What is written and ringed over the points: labels, the lasso, the points under the pointer and chosen.

import { css } from "./point-colors.js";
import { cell } from "./data.js";
import { chooseNames, drawNames, drawShade } from "./clusters.js";
import { chooseLabels, pointSize, SHOWN } from "./points.js";
import { shades } from "../core/palette.js";
import { Room } from "../core/label-grid.js";

const LABEL_FONT = "500 12px system-ui, sans-serif";
const LONGEST_LABEL = 28;

/** An empty layer of the atlas, ready to write on, and its inks. */
function emptyLayer(page, canvas) {
  const pen = canvas.getContext("2d");
  pen.setTransform(page.ratio, 0, 0, page.ratio, 0, 0);
  pen.clearRect(0, 0, page.view.width, page.view.height);
  Object.assign(pen, { font: LABEL_FONT, textAlign: "center", textBaseline: "middle", lineJoin: "round" });
  return { pen, ...shades(page.theme.matches) };
}

/** The shading, below the points. */
export function drawGround(page) {
  drawShade(emptyLayer(page, page.ground).pen, page.view, page.shade);
}

/** Names of clusters, labels by interest, and the lasso; gives how many names and labels there are. */
export function drawLabels(page, polygon) {
  const { pen, ink, muted, paper } = emptyLayer(page, page.over);
  const room = new Room([page.view.width, page.view.height]);
  const names = chooseNames(page.atlas, page.view, pen, room);
  pen.font = LABEL_FONT;
  const labels = page.label ? chooseLabels({
    atlas: page.atlas, view: page.view, pen, room, passes: (i) => page.shown[i] !== SHOWN.dim,
    text: (i) => shorten(cell(page.label, i)),
  }) : [];
  pen.lineWidth = 3.5;
  pen.strokeStyle = paper;
  // Beside names of clusters, those of points are calmer.
  pen.fillStyle = names.length ? muted : ink;
  for (const [px, py, words] of labels) {
    pen.globalAlpha = 0.85;
    pen.strokeText(words, px, py);
    pen.globalAlpha = 1;
    pen.fillText(words, px, py);
  }
  drawNames(pen, names, ink, paper);
  drawLasso(pen, page.view, polygon, ink);
  return { names: names.length, labels: labels.length };
}

/**
 * Points with a ring, their label, and a line to the point that each belongs to; on a layer of their
 * own, so that nothing else is drawn again. Gives how many lines there are.
 */
export function drawMarked(page, points) {
  const { pen, ink, paper } = emptyLayer(page, page.top);
  const { view, atlas } = page;
  const place = (i) => view.toScreen(atlas.x[i], atlas.y[i]);
  const pairs = points.map((i) => [i, page.partnerOf(i)]).filter(([i, other]) => other >= 0 && other !== i);
  for (const pair of pairs) {
    for (const [color, width] of [[paper, 4.5], [ink, 1.6]]) {
      pen.beginPath();
      for (const i of pair) pen.lineTo(...place(i));
      Object.assign(pen, { strokeStyle: color, lineWidth: width });
      pen.stroke();
    }
  }
  // The other ends lie below the points themselves.
  for (const i of new Set([...pairs.map(([, other]) => other), ...points])) {
    const [px, py] = place(i);
    const radius = pointSize(view, atlas.count) / 2 + 3.5;
    pen.beginPath();
    pen.arc(px, py, radius, 0, 2 * Math.PI);
    pen.fillStyle = css(page.colors.subarray(4 * i, 4 * i + 3));
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = ink;
    pen.stroke();
    const words = page.label ? shorten(cell(page.label, i)) : "";
    if (words) drawName(pen, view, [px, py], radius, page.linkOf(i) ? `${words} ↗` : words, ink, paper);
  }
  return pairs.length;
}

function drawName(pen, view, [px, py], radius, words, ink, paper) {
  const half = pen.measureText(words).width / 2 + 6;
  const middle = Math.min(Math.max(px, half), Math.max(view.width - half, half));
  const height = py > 40 ? py - radius - 13 : py + radius + 13;
  pen.fillStyle = ink;
  pen.fillRect(middle - half, height - 10, 2 * half, 20);
  pen.fillStyle = paper;
  pen.fillText(words, middle, height);
}

function drawLasso(pen, view, polygon, ink) {
  if (polygon.length < 2) return;
  pen.beginPath();
  for (const [x, y] of polygon) pen.lineTo(...view.toScreen(x, y));
  pen.closePath();
  pen.strokeStyle = ink;
  pen.lineWidth = 1.2;
  pen.setLineDash([4, 3]);
  pen.stroke();
  pen.setLineDash([]);
}

function shorten(text) {
  return text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 1)}…` : text;
}
