// Density and clusters: a shading under the points, darker where there are more of them, and the
// names of clusters while the view is zoomed out.

import { contextOf } from "../shared/dom.js";
import { SIDE } from "./view.js";
import { channels } from "../shared/palette.js";

const MARGIN = (SIDE * 8) / 112; // width of the shading around the square of the points
const FAREST_IN = 6; // names are written up to this zoom
const DARKEST = 0.09; // opacity of the ink in the densest place
const FONTS = ["650 15px system-ui, sans-serif", "600 12.5px system-ui, sans-serif"];
const HALF_HEIGHT = 8;
// How far from the middle of its cluster a name may be placed, in pixels. There it may cover at most this share of the
// points that it would cover in the middle.
const ASIDE = [-16, 16, -32, 32, -48, 48];
const LITTLE = 0.25;
// Room around a name: the name of a smaller region is written only where nothing else is near.
const AROUND = [[6, 10], [18, 19]];

/** The shading of an atlas as a small picture, or null if there are too few points. */
export function makeShade({ shade }, ink) {
  const side = Math.sqrt(shade.length);
  if (!side) return null;
  const picture = document.createElement("canvas");
  picture.width = side;
  picture.height = side;
  const context = contextOf(picture);
  const pixels = context.createImageData(side, side);
  const most = Math.max(...shade);
  const color = channels(ink);
  shade.forEach((level, i) => pixels.data.set([...color, Math.round((255 * DARKEST * level) / most)], 4 * i));
  context.putImageData(pixels, 0, 0);
  return picture;
}

/** Draws the visible part of the shading. */
export function drawShade(context, view, picture) {
  if (!picture) return;
  const [left, top] = view.toScreen(-MARGIN, SIDE + MARGIN);
  const [right, bottom] = view.toScreen(SIDE + MARGIN, -MARGIN);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, right - left, bottom - top);
}

/**
 * Names that have room, large regions first and each name once: [[x, y, name, level], …]. A name that would cover its
 * cluster is placed beside it.
 */
export function chooseNames({ clusters }, view, context, room, grid) {
  if (view.zoom > FAREST_IN) return [];
  /** @type {[number, number, string, number][]} */
  const chosen = [];
  for (const [x, y, name, level] of clusters) {
    const [px, py] = view.toScreen(x, y);
    context.font = FONTS[level];
    const [across, along] = AROUND[level];
    const half = context.measureText(name).width / 2;
    if (chosen.some(([, , other]) => other === name)) continue;
    const box = (at) => [px - half - across, at - along, px + half + across, at + along];
    const middle = placesBeside(view, grid, px, py, half).find((at) => room.free(box(at)));
    if (middle === undefined) continue;
    room.take([px - half - 6, middle - 10, px + half + 6, middle + 10]);
    chosen.push([px, middle, name, level]);
  }
  return chosen;
}

/**
 * Heights at which a name may be placed, best first: beside its cluster, if it covers only a few of the points there
 * that it would cover in the middle; otherwise in the middle, as in a large cluster.
 */
function placesBeside(view, grid, px, py, half) {
  const covered = (at) => {
    const [left, top] = view.toPlane(px - half, at - HALF_HEIGHT);
    const [right, bottom] = view.toPlane(px + half, at + HALF_HEIGHT);
    return grid.count(left, bottom, right, top);
  };
  const most = covered(py);
  return [...ASIDE.map((by) => py + by).filter((at) => covered(at) < most * LITTLE), py];
}

export function drawNames(context, names, ink, paper) {
  context.lineWidth = 5;
  context.strokeStyle = paper;
  context.fillStyle = ink;
  for (const [px, py, name, level] of names) {
    context.font = FONTS[level];
    context.strokeText(name, px, py);
    context.fillText(name, px, py);
  }
}
