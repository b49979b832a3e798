// Density and clusters: a shading under the points, darker where there are more of them, and the
// names of clusters while the view is zoomed out.

import { contextOf } from "../shared/dom.js";
import { SIDE } from "./view.js";
import { channels } from "../shared/palette.js";

const MARGIN = (SIDE * 8) / 112; // of the shading, around the square of the points
const FAREST_IN = 6; // the zoom up to which names are written
const DARKEST = 0.09; // of the ink, in the densest place
const FONTS = ["650 15px system-ui, sans-serif", "600 12.5px system-ui, sans-serif"];
// Room around a name: that of a smaller region is written where nothing else is near.
const AROUND = [[6, 10], [18, 19]];

/** The shading of an atlas as a small picture, or null where there are too few points for one. */
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

/** Draws the shading where the view sees it. */
export function drawShade(context, view, picture) {
  if (!picture) return;
  const [left, top] = view.toScreen(-MARGIN, SIDE + MARGIN);
  const [right, bottom] = view.toScreen(SIDE + MARGIN, -MARGIN);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, right - left, bottom - top);
}

/** Names that have room, large regions first and each name once: [[x, y, name, level], …]. */
export function chooseNames({ clusters }, view, context, room) {
  if (view.zoom > FAREST_IN) return [];
  /** @type {[number, number, string, number][]} */
  const chosen = [];
  for (const [x, y, name, level] of clusters) {
    const [px, py] = view.toScreen(x, y);
    context.font = FONTS[level];
    const [across, along] = AROUND[level];
    const half = context.measureText(name).width / 2;
    const box = [px - half - across, py - along, px + half + across, py + along];
    const again = chosen.some(([, , other]) => other === name);
    if (again || !room.free(box)) continue;
    room.take([px - half - 6, py - 10, px + half + 6, py + 10]);
    chosen.push([px, py, name, level]);
  }
  return chosen;
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
