// Thumbnails as marks: gray ones take the color of their value, as ink; colored ones get an edge.

import { contextOf } from "../shared/dom.js";
import { CanvasRenderer } from "../shared/renderers.js";

export class Sprites {
  /** A promise of the thumbnails in a sprite ({source, width, height, across}). */
  static async read(sprite) {
    const image = new Image();
    image.src = sprite.source;
    await image.decode();
    return new Sprites(sprite, image);
  }

  constructor(sprite, image) {
    this.sprite = sprite;
    this.image = image;
    this.tinted = new Map();
    this.mask = inkMask(image);
  }

  /** Where a point's thumbnail is in the sheet. */
  frame(point) {
    const { width, height, across } = this.sprite;
    return [(point % across) * width, Math.floor(point / across) * height, width, height];
  }

  draw(renderer, point, color, x, y, side, alpha) {
    const { width, height } = this.sprite;
    const high = (side * height) / width;
    const [left, top] = [Math.round(x - side / 2), Math.round(y - high / 2)];
    if (this.mask) {
      renderer.image(this.tint(this.mask, color), this.frame(point), left, top, side, high, alpha);
      return;
    }
    renderer.image(this.image, this.frame(point), left, top, side, high, alpha);
    const corners = [[left, top], [left + side, top], [left + side, top + high], [left, top + high], [left, top]];
    renderer.line(corners, { stroke: color, width: 1.5, alpha });
  }

  tint(mask, color) {
    if (!this.tinted.has(color)) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [mask.width, mask.height];
      const context = contextOf(canvas);
      context.drawImage(mask, 0, 0);
      context.globalCompositeOperation = "source-in";
      context.fillStyle = color;
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (this.tinted.size > 64) this.tinted.clear();
      this.tinted.set(color, canvas);
    }
    return this.tinted.get(color);
  }

  /** All thumbnails in rows of this width, in the colors of their values. */
  whole(count, width, color) {
    const canvas = document.createElement("canvas");
    const across = Math.ceil(Math.sqrt(count));
    const step = width / across;
    const high = (step * this.sprite.height) / this.sprite.width;
    const renderer = new CanvasRenderer(canvas);
    renderer.begin(width, Math.ceil(count / across) * high);
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${Math.ceil(count / across) * high}px`];
    for (let point = 0; point < count; point += 1) {
      const [x, y] = [((point % across) + 0.5) * step, (Math.floor(point / across) + 0.5) * high];
      this.draw(renderer, point, color(point), x, y, step * 0.84, 1);
    }
    return canvas;
  }

  /** One thumbnail, enlarged by the largest whole number that keeps it within `most` pixels. */
  canvas(point, most) {
    const [left, top, width, height] = this.frame(point);
    const times = Math.max(1, Math.floor(most / Math.max(width, height)));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width * times, height * times];
    const context = contextOf(canvas);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.image, left, top, width, height, 0, 0, canvas.width, canvas.height);
    return canvas;
  }
}

/** The sheet as ink on a transparent ground, if it is gray: dark is ink if most of it is light, and vice versa. */
function inkMask(image) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = contextOf(canvas, { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  let sum = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] !== data[at + 1] || data[at] !== data[at + 2]) return null;
    sum += data[at];
  }
  const light = sum / (data.length / 4) > 127;
  for (let at = 0; at < data.length; at += 4) {
    data[at + 3] = light ? 255 - data[at] : data[at];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
