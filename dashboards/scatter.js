// Points on a canvas that can be pointed at: fitting, zoom, gliding, lasso, keys, saving. What a
// point looks like is the business of whoever paints.

import { element } from "./marks.js";
import { CanvasPen, SvgPen } from "./pens.js";

const GLIDE = 260;
const REACH = 22;
const NEAREST_ZOOM = 40;

/**
 * options: label, paint(pen, place, size), onPoint(index or -1), onPick(index or -1),
 * onLasso(indices), margin. `place(index)` gives [x, y] in pixels.
 */
export class Scatter {
  constructor(options) {
    this.options = { margin: 26, onLasso: null, ...options };
    this.x = new Float32Array(0);
    this.y = new Float32Array(0);
    this.from = null;
    this.pointed = -1;
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.canvas = element("canvas", { tabIndex: 0, role: "application", "aria-label": options.label });
    this.node = element("div", { className: "plot" }, this.canvas);
    this.pen = new CanvasPen(this.canvas);
    this.size = [0, 0];
    new ResizeObserver(() => this.resize()).observe(this.node);
    this.listen();
  }

  resize() {
    const size = [this.node.clientWidth, this.node.clientHeight];
    if (size[0] < 20 || size[1] < 20) return;
    this.size = size;
    this.draw();
  }

  /** New positions, NaN for none. `glide` moves from the old ones to them. `box` is [x0, x1, y0, y1]. */
  setPositions({ x, y }, box, glide = false) {
    const moving = glide && this.x.length === x.length && !calm() && document.visibilityState === "visible";
    this.from = moving ? this.current() : null;
    this.began = performance.now();
    this.x = x;
    this.y = y;
    this.box = box;
    this.draw();
  }

  /** Where points are just now, on their way. */
  current() {
    const share = this.share();
    if (!this.from || share >= 1) return { x: this.x, y: this.y };
    const mix = (a, b) => Float32Array.from(b, (value, index) => (Number.isFinite(a[index]) ? a[index] + (value - a[index]) * share : value));
    return { x: mix(this.from.x, this.x), y: mix(this.from.y, this.y) };
  }

  share() {
    const time = Math.min((performance.now() - this.began) / GLIDE, 1);
    return time < 0.5 ? 2 * time * time : 1 - 2 * (1 - time) ** 2;
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    const frame = document.visibilityState === "visible" ? requestAnimationFrame : (act) => setTimeout(act, 0);
    frame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.box || this.size[0] < 20) return;
    this.pen.begin(...this.size);
    this.options.paint(this.pen, this.placer(this.current()), this.size);
    if (this.lasso) this.pen.line(this.lasso, { stroke: "#0072b2", width: 1.5, dash: [4, 3] });
    this.node.dataset.drawn = String(Number(this.node.dataset.drawn ?? 0) + 1);
    if (this.from && this.share() < 1) this.draw();
    else this.from = null;
  }

  placer(points) {
    const [left, right, low, high] = this.box;
    const { margin } = this.options;
    const room = Math.min((this.size[0] - 2 * margin) / (right - left), (this.size[1] - 2 * margin) / (high - low));
    const scale = room * this.zoom.scale;
    const across = this.size[0] / 2 + this.zoom.x - ((left + right) / 2) * scale;
    const along = this.size[1] / 2 + this.zoom.y + ((low + high) / 2) * scale;
    const place = (index) => [across + points.x[index] * scale, along - points.y[index] * scale];
    place.at = (x, y) => [across + x * scale, along - y * scale];
    return place;
  }

  /** The point nearest to a pixel, within reach, or -1. */
  hit(px, py) {
    const place = this.placer(this.current());
    let best = -1;
    let least = REACH ** 2;
    for (let index = 0; index < this.x.length; index += 1) {
      if (this.options.skip?.(index)) continue;
      const [x, y] = place(index);
      const far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least) [best, least] = [index, far];
    }
    return best;
  }

  point(index) {
    if (index === this.pointed) return;
    this.pointed = index;
    this.canvas.style.cursor = index < 0 ? "" : "pointer";
    this.options.onPoint?.(index);
  }

  listen() {
    const spot = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener("pointermove", (event) => {
      const here = spot(event);
      if (this.lasso) {
        this.lasso.push(here);
        this.draw();
      } else if (this.drag) this.pan(here);
      else this.point(this.box ? this.hit(...here) : -1);
    });
    this.canvas.addEventListener("pointerleave", () => !this.drag && !this.lasso && this.point(-1));
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const here = spot(event);
      if (this.options.onLasso && (event.shiftKey || this.lassoing)) this.lasso = [here];
      else this.drag = { from: here, zoom: { ...this.zoom }, moved: false };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointerup", (event) => this.release(spot(event)));
    this.canvas.addEventListener("pointercancel", () => {
      this.drag = null;
      this.lasso = null;
      this.draw();
    });
    this.canvas.addEventListener("dblclick", () => this.resetZoom());
    this.canvas.addEventListener("wheel", (event) => this.wheel(event, spot(event)), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  release(here) {
    if (this.lasso) {
      const shape = this.lasso;
      this.lasso = null;
      this.options.onLasso(shape.length > 2 ? this.inside(shape) : []);
      this.draw();
    } else if (this.drag && !this.drag.moved) this.options.onPick?.(this.hit(...here));
    this.drag = null;
  }

  pan([x, y]) {
    const [dx, dy] = [x - this.drag.from[0], y - this.drag.from[1]];
    if (!this.drag.moved && Math.hypot(dx, dy) < 4) return;
    this.drag.moved = true;
    this.zoom = { ...this.drag.zoom, x: this.drag.zoom.x + dx, y: this.drag.zoom.y + dy };
    this.draw();
  }

  wheel(event, [x, y]) {
    // A page that scrolls keeps its wheel, but for a pinch, or when the plot is already entered.
    if (document.documentElement.scrollHeight > window.innerHeight + 1 && !event.ctrlKey && this.zoom.scale === 1) return;
    event.preventDefault();
    const scale = Math.min(Math.max(this.zoom.scale * Math.exp(-event.deltaY / 400), 1), NEAREST_ZOOM);
    if (scale === 1) return this.resetZoom();
    const ratio = scale / this.zoom.scale;
    const keep = (at, middle, shift) => at - middle - (at - middle - shift) * ratio;
    this.zoom = {
      scale,
      x: keep(x, this.size[0] / 2, this.zoom.x),
      y: keep(y, this.size[1] / 2, this.zoom.y),
    };
    return this.draw();
  }

  resetZoom() {
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.draw();
  }

  /** Arrows go to the nearest point in their direction, Enter holds it, Escape lets go. */
  key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in directions) this.point(this.neighbour(directions[event.key]));
    else if (event.key === "Enter") this.options.onPick?.(this.pointed);
    else if (event.key === "Escape") this.options.onPick?.(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  neighbour([dx, dy]) {
    const place = this.placer(this.current());
    const start = this.pointed >= 0 ? this.pointed : (this.options.start?.() ?? -1);
    const [x, y] = start >= 0 ? place(start) : [this.size[0] / 2, this.size[1] / 2];
    let [best, least] = [start, Infinity];
    for (let index = 0; index < this.x.length; index += 1) {
      if (index === start || this.options.skip?.(index)) continue;
      const [px, py] = place(index);
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along > 0.5 && along + 2 * aside < least) [best, least] = [index, along + 2 * aside];
    }
    return best;
  }

  inside(shape) {
    const place = this.placer(this.current());
    return Array.from({ length: this.x.length }, (_, index) => index).filter((index) => {
      if (this.options.skip?.(index)) return false;
      const [x, y] = place(index);
      return shape.reduce((within, [ax, ay], at) => {
        const [bx, by] = shape.at(at - 1);
        return ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax ? !within : within;
      }, false);
    });
  }

  /** The picture as a promise of a PNG, twice as fine as the screen, on the page's paper. */
  png(paper) {
    const canvas = document.createElement("canvas");
    const pen = new CanvasPen(canvas);
    pen.begin(...this.size, paper, 2);
    this.options.paint(pen, this.placer(this.current()), this.size);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  svg(paper) {
    const pen = new SvgPen(this.pen);
    pen.begin(...this.size, paper);
    this.options.paint(pen, this.placer(this.current()), this.size);
    return new Blob([pen.finish()], { type: "image/svg+xml" });
  }
}

function calm() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}
