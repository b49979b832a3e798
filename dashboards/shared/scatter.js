// Points on a canvas that can be pointed at: fitting, zoom, gliding, lasso, keys, saving. How a
// point looks is up to the `paint` callback.

import { PointerGestures } from "./pointer-gestures.js";
import { bestTurn, boundsOf, scaleInto } from "./turn.js";
import { element } from "./dom.js";
import { insidePolygon } from "./polygon.js";
import { CanvasRenderer, SvgRenderer } from "./renderers.js";

const GLIDE = 260;
const REACH = 22;
const NEAREST_ZOOM = 40;

/**
 * @typedef {import("../types.js").Places} Places
 * @typedef {[number, number, number, number]} Box left, right, low, high
 * @typedef {Places & { angle: number, box: Box }} Seen positions, and how they are seen
 */

/**
 * `paint` draws the points: `place(index)` gives [x, y] in pixels, `place.at(x, y)` those of any position,
 * `place.scale` the pixels for each unit. An index of -1 means no point.
 * @typedef {object} ScatterOptions
 * @property {string} label
 * @property {(renderer: any, place: any, size: number[]) => void} paint
 * @property {number} [margin]
 * @property {(index: number) => boolean} [skip] whether a point is not shown
 * @property {() => number} [start] the point that keys move from at first
 * @property {(index: number) => void} [onPoint]
 * @property {(index: number) => void} [onPick]
 * @property {(indices: number[]) => void} [onLasso]
 * @property {(zoom: string) => void} [onZoom]
 */

export class Scatter {
  /** @param {ScatterOptions} options */
  constructor(options) {
    /** @type {ScatterOptions & { margin: number }} */
    this.options = { margin: 26, ...options };
    /** @type {Float32Array} */
    this.x = new Float32Array(0);
    /** @type {Float32Array} */
    this.y = new Float32Array(0);
    /** @type {Seen | null} from where points glide */
    this.from = null;
    this.began = 0;
    /** @type {number | null} the angle at which points are seen */
    this.angle = null;
    /** @type {number | null} the same, where it is decided elsewhere */
    this.given = null;
    /** @type {Box | null} */
    this.box = null;
    /** @type {number[][] | null} the shape that is being drawn around points */
    this.lasso = null;
    this.lassoing = false;
    this.waiting = false;
    this.pointed = -1;
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.canvas = element("canvas", { tabIndex: 0, role: "application", "aria-label": options.label });
    this.node = element("div", { className: "plot" }, this.canvas);
    this.renderer = new CanvasRenderer(this.canvas);
    this.size = [0, 0];
    new ResizeObserver(() => this.resize()).observe(this.node);
    this.gestures = new PointerGestures(this.canvas, this.acts());
    this.listen();
  }

  resize() {
    const size = [this.node.clientWidth, this.node.clientHeight];
    if (size[0] < 20 || size[1] < 20) return;
    this.size = size;
    this.fit();
    this.draw();
  }

  /**
   * New positions, NaN for none. `glide` moves from the old ones to them. `turn` is the angle at which
   * they are seen, where another picture decides that; else they are turned so as to fill the panel.
   * @param {Places} places
   * @param {{ glide?: boolean, turn?: number | null }} options
   */
  setPositions({ x, y }, { glide = false, turn = null } = {}) {
    const moving = glide && this.x.length === x.length && !calm() && document.visibilityState === "visible";
    this.from = moving && this.box ? this.current() : null;
    this.began = performance.now();
    this.x = x;
    this.y = y;
    this.given = turn;
    this.fit();
    this.draw();
  }

  /** Turns the picture into its panel, once both are known. */
  fit() {
    if (this.x.length === 0 || this.size[0] < 20) return;
    this.angle = this.given ?? bestTurn(this, this.room(), this.angle);
    this.box = boundsOf(this, this.angle);
  }

  /**
   * Width and height that points may fill.
   * @returns {[number, number]}
   */
  room() {
    const { margin } = this.options;
    const inner = (side) => Math.max(side - 2 * margin, 20);
    return [inner(this.size[0]), inner(this.size[1])];
  }

  /**
   * Where points are now, perhaps while they glide, and how they are seen.
   * @returns {Seen}
   */
  current() {
    const share = this.share();
    const { from, x, y } = this;
    const angle = this.angle ?? 0;
    const box = this.box ?? [0, 1, 0, 1];
    if (!from || share >= 1) return { x, y, angle, box };
    const between = (a, b) => a + (b - a) * share;
    const mix = (a, b) => Float32Array.from(b, (value, index) => (Number.isFinite(a[index]) ? between(a[index], value) : value));
    return {
      x: mix(from.x, x),
      y: mix(from.y, y),
      angle: between(from.angle, angle),
      box: /** @type {Box} */ (box.map((side, index) => between(from.box[index], side))),
    };
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
    this.renderer.begin(this.size[0], this.size[1]);
    this.options.paint(this.renderer, this.placer(this.current()), this.size);
    if (this.lasso) this.renderer.line(this.lasso, { stroke: getComputedStyle(this.canvas).color, width: 1.5, dash: [4, 3] });
    this.node.dataset.drawn = String(Number(this.node.dataset.drawn ?? 0) + 1);
    if (this.from && this.share() < 1) this.draw();
    else this.from = null;
  }

  /** @param {{ x: Float32Array, y: Float32Array, angle: number | null, box: Box | null }} seen */
  placer({ x, y, angle, box }) {
    const bounds = box ?? [0, 1, 0, 1];
    const [left, right, low, high] = bounds;
    const scale = scaleInto(bounds, this.room()) * this.zoom.scale;
    const [cos, sin] = [Math.cos(angle ?? 0) * scale, Math.sin(angle ?? 0) * scale];
    const across = this.size[0] * (0.5 + this.zoom.x) - ((left + right) / 2) * scale;
    const along = this.size[1] * (0.5 + this.zoom.y) + ((low + high) / 2) * scale;
    const at = (px, py) => [across + cos * px - sin * py, along - sin * px - cos * py];
    return Object.assign((index) => at(x[index], y[index]), { at, scale });
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

  acts() {
    return {
      hover: (here) => this.point(this.box ? this.hit(...here) : -1),
      leave: () => this.point(-1),
      press: (here, event) => {
        if (this.options.onLasso && (event.shiftKey || this.lassoing)) this.lasso = [here];
      },
      drag: (here, moved) => {
        if (this.lasso) this.lasso.push(here);
        else this.moveBy(moved);
        this.draw();
      },
      drop: () => this.drop(),
      tap: (here) => {
        if (this.lasso) this.drop();
        else if (this.box) this.options.onPick?.(this.hit(...here));
      },
      pinch: (factor, here, moved) => {
        this.moveBy(moved);
        this.zoomAt(factor, here);
      },
      cancel: () => {
        this.lasso = null;
        this.draw();
      },
    };
  }

  listen() {
    this.canvas.addEventListener("dblclick", () => this.resetZoom());
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** Whether a drag draws around points instead of moving the picture. */
  setLasso(lassoing) {
    this.lassoing = lassoing;
  }

  drop() {
    const shape = this.lasso;
    this.lasso = null;
    if (shape) this.options.onLasso?.(shape.length > 2 ? this.inside(shape) : []);
    this.draw();
  }

  wheel(event) {
    // On a page that scrolls, the wheel scrolls unless it pinches or the plot is zoomed already.
    if (document.documentElement.scrollHeight > window.innerHeight + 1 && !event.ctrlKey && this.zoom.scale === 1) return;
    event.preventDefault();
    this.zoomAt(Math.exp(-event.deltaY / 400), this.gestures.at(event));
  }

  moveBy([dx, dy]) {
    this.setZoom({ ...this.zoom, x: this.zoom.x + dx / this.size[0], y: this.zoom.y + dy / this.size[1] });
  }

  /** Zooms so that what is under (x, y) stays there. */
  zoomAt(factor, [x, y]) {
    const scale = Math.min(Math.max(this.zoom.scale * factor, 1), NEAREST_ZOOM);
    if (scale === 1) return this.resetZoom();
    const ratio = scale / this.zoom.scale;
    const keep = (at, shift) => at - 0.5 - (at - 0.5 - shift) * ratio;
    this.setZoom({ scale, x: keep(x / this.size[0], this.zoom.x), y: keep(y / this.size[1], this.zoom.y) });
    return this.draw();
  }

  resetZoom() {
    this.setZoom({ scale: 1, x: 0, y: 0 });
    this.draw();
  }

  /** Zoom and shift, as shares of the panel's size, so that they mean the same in a window of another size. */
  setZoom(zoom) {
    this.zoom = zoom;
    // A finger scrolls the page until the plot is zoomed.
    this.canvas.style.touchAction = zoom.scale === 1 ? "" : "none";
    this.options.onZoom?.(zoomText(zoom));
  }

  /** Takes a zoom from the address, "" for none. */
  showZoom(text) {
    if (text === zoomText(this.zoom)) return;
    const [scale, x, y] = text.split(" ").map(Number);
    const known = [scale, x, y].every(Number.isFinite) && scale >= 1 && scale <= NEAREST_ZOOM;
    this.zoom = known ? { scale, x, y } : { scale: 1, x: 0, y: 0 };
    this.canvas.style.touchAction = this.zoom.scale === 1 ? "" : "none";
    this.draw();
  }

  /** Arrows go to the nearest point in their direction, Enter holds it, Escape releases it. */
  key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in directions) this.point(this.neighbor(directions[event.key]));
    else if (event.key === "Enter") this.options.onPick?.(this.pointed);
    else if (event.key === "Escape") this.options.onPick?.(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  neighbor([dx, dy]) {
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
      return insidePolygon(shape, x, y);
    });
  }

  /** The picture as a promise of a PNG, at twice the resolution of the screen, on the page's background. */
  png(paper) {
    const canvas = document.createElement("canvas");
    const renderer = new CanvasRenderer(canvas);
    renderer.begin(this.size[0], this.size[1], paper, 2);
    this.options.paint(renderer, this.placer(this.current()), this.size);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  svg(paper) {
    const renderer = new SvgRenderer(this.renderer);
    renderer.begin(this.size[0], this.size[1], paper);
    this.options.paint(renderer, this.placer(this.current()), this.size);
    return new Blob([renderer.finish()], { type: "image/svg+xml" });
  }
}

function zoomText({ scale, x, y }) {
  return scale === 1 && x === 0 && y === 0 ? "" : [scale, x, y].map((value) => Number(value.toFixed(4))).join(" ");
}

function calm() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}
