// The third view of a comparison: the probe points along one direction, from those with one value towards those with
// another, in A and in B. Lines join the two places of points that moved.

import { element, messageOf } from "../shared/dom.js";
import { shades } from "../shared/palette.js";
import { CanvasRenderer } from "../shared/renderers.js";
import { choice } from "../shared/widgets.js";
import { placesAlong } from "./direction.js";

const REACH = 12;
const EDGE = 26;
// The points of a row are spread vertically, by a sequence that gives consecutive points different heights.
const GOLDEN = 0.618034;
const BAND = 0.28;
// The heights of the rows of A and B, as shares of the picture.
const HEIGHTS = [0.38, 0.8];
// The ends lie at -1 and 1; outliers are drawn at the edge.
const LEAST_REACH = 1.3;
const SHARE_OUTSIDE = 0.02;

export class Axis {
  /** @type {{ a: number[], b: number[] } | null} the place of each point in A and in B */
  places = null;
  /** @type {number[]} points that are joined */
  moved = [];
  ends = ["", ""];
  /** The places at the left and at the right edge. */
  span = [-LEAST_REACH, LEAST_REACH];
  exact = false;

  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.from = choice("From", (from) => bench.store.showDirection(from, this.ends[1]), "Start of the direction");
    this.towards = choice("towards", (towards) => bench.store.showDirection(this.ends[0], towards), "End of the direction");
    this.note = element("span", { className: "detail" });
    this.canvas = element("canvas", { role: "img" });
    this.renderer = new CanvasRenderer(this.canvas);
    this.node = element("div", { className: "axis", hidden: true },
      element("div", { className: "axis-head" }, this.from.node, this.towards.node, this.note),
      element("div", { className: "axis-plot" }, this.canvas));
    this.canvas.addEventListener("pointermove", (event) => bench.store.previewPoint(this.hit(event)));
    this.canvas.addEventListener("pointerleave", () => bench.store.previewPoint(-1));
    this.canvas.addEventListener("click", (event) => bench.store.holdPoint(this.hit(event)));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** Hides the view: there is nothing to compare, or the color does not have two values. */
  hide() {
    this.places = null;
    this.node.hidden = true;
  }

  /**
   * @param {{ a: number, b: number }} rows the snapshots that are compared
   * @param {[number, number]} usual the codes of the two ends if none are chosen
   * @param {number[]} moved points that are joined
   */
  async show(rows, usual, moved) {
    const { scene, state, pointScale } = this.bench;
    const items = pointScale.items ?? [];
    if (items.length < 2) return this.hide();
    const names = items.map(({ name }) => name);
    const chosen = [state.from, state.towards].map((name, at) => (names.includes(name) ? name : names[usual[at]]));
    this.ends = chosen[0] === chosen[1] ? [chosen[0], names.find((name) => name !== chosen[0]) ?? ""] : chosen;
    this.moved = moved;
    const pairs = names.map((name) => [name, `${state.by} ${name}`]);
    this.from.show(pairs, this.ends[0]);
    this.towards.show(pairs, this.ends[1]);
    this.node.hidden = false;
    const key = JSON.stringify([rows, this.ends, scene.stamp, state.by]);
    this.wanted = key;
    try {
      const [a, b] = await Promise.all([this.measure(rows.a), this.measure(rows.b)]);
      if (this.wanted !== key) return undefined;
      this.places = a && b && { a, b };
      this.span = spanOf(this.places ? [...this.places.a, ...this.places.b] : []);
      this.note.textContent = this.note.title = this.explain();
    } catch (error) {
      if (this.wanted !== key) return undefined;
      this.places = null;
      this.note.textContent = messageOf(error);
    }
    return this.draw();
  }

  /** The places in one snapshot: exact if they come from the server, else those of its picture. */
  async measure(row) {
    const { scene, state, pointScale } = this.bench;
    const { source } = scene;
    this.exact = source !== null;
    if (source) return source.direction(scene.snapshots.id[row], state.by, this.ends[0], this.ends[1]);
    const view = await scene.view(row);
    const [a, b] = this.ends.map((name) => Array.from(view.x.keys()).filter((point) => nameAt(pointScale, point) === name));
    return placesAlong(view, a, b);
  }

  explain() {
    if (!this.places) return "Both ends are in the same place, so there is no direction between them.";
    const made = this.exact ? "from the RDMs" : "from the pictures (two principal components); exact in TensorBoard's tab";
    return `Each point in A and in B, ${made}. Lines join the points that lost the most neighbors.`;
  }

  /** Where a point is drawn in the row of A (0) or B (1). */
  spot(point, row) {
    const { width, height } = this.size();
    const place = (row === 0 ? this.places?.a : this.places?.b)?.[point] ?? 0;
    const spread = ((point * GOLDEN) % 1) - 0.5;
    return [
      this.across(place, width),
      height * HEIGHTS[row] + spread * BAND * height,
    ];
  }

  /** Where a place is, in pixels from the left. */
  across(place, width) {
    const [low, high] = this.span;
    const bounded = Math.min(Math.max(place, low), high);
    return EDGE + ((bounded - low) / (high - low)) * (width - 2 * EDGE);
  }

  size() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  hit(event) {
    if (!this.places) return -1;
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [-1, REACH ** 2];
    for (let point = 0; point < this.bench.scene.n; point += 1) {
      if (this.bench.hiddenPoint(point)) continue;
      for (const row of [0, 1]) {
        const [x, y] = this.spot(point, row);
        const far = (x - px) ** 2 + (y - py) ** 2;
        if (far < least) [best, least] = [point, far];
      }
    }
    return best;
  }

  draw() {
    const { width, height } = this.size();
    if (this.node.hidden || width < 20 || height < 20) return;
    const { scene, dark, point, marked, pointScale } = this.bench;
    const theme = shades(dark);
    this.renderer.begin(width, height);
    this.canvas.setAttribute("aria-label", `Probe points from ${this.ends[0]} towards ${this.ends[1]}, in A and in B`);
    this.node.dataset.ends = this.ends.join(" to ");
    this.node.dataset.points = String(this.places ? scene.n : 0);
    if (!this.places) return;
    this.drawFrame(theme, width, height);
    for (let index = 0; index < scene.n; index += 1) {
      if (this.bench.hiddenPoint(index)) continue;
      const style = { fill: pointScale.color(index), alpha: marked && !marked[index] ? 0.12 : 0.75 };
      for (const row of [0, 1]) this.drawDot(index, row, 2.2, style);
    }
    for (const index of [...this.moved, ...(point >= 0 ? [point] : [])]) {
      const strong = index === point;
      const stroke = strong ? theme.ink : theme.fresh;
      this.renderer.line([this.spot(index, 0), this.spot(index, 1)], { stroke, width: strong ? 2 : 1.3, alpha: strong ? 1 : 0.8 });
      for (const row of [0, 1]) this.drawDot(index, row, strong ? 4.5 : 3, { fill: pointScale.color(index), stroke, width: 1.4 });
    }
  }

  drawDot(point, row, radius, style) {
    const [x, y] = this.spot(point, row);
    this.renderer.circle(x, y, radius, style);
  }

  /** Both ends, with their names, and the letters of the rows. */
  drawFrame(theme, width, height) {
    const style = { fill: theme.muted, size: 11, halo: theme.paper };
    this.ends.forEach((name, at) => {
      const x = this.across(at ? 1 : -1, width);
      this.renderer.line([[x, 14], [x, height]], { stroke: theme.line, width: 1, dash: [3, 3] });
      // On the outer side, so that the names of two close ends do not overlap.
      const align = at ? "left" : "right";
      this.renderer.text(`${this.bench.state.by} ${name}`, x + (at ? -3 : 3), 7, { ...style, fill: theme.ink, weight: 650, align });
    });
    this.renderer.text("A", 6, height * HEIGHTS[0], { ...style, weight: 650 });
    this.renderer.text("B", 6, height * HEIGHTS[1], { ...style, weight: 650 });
  }
}

/** The range of nearly all places, including both ends. */
function spanOf(places) {
  const sorted = [...places].sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))] ?? 0;
  return [Math.min(at(SHARE_OUTSIDE), -LEAST_REACH), Math.max(at(1 - SHARE_OUTSIDE), LEAST_REACH)];
}

/** The name of the value that a point has, or undefined. */
function nameAt(scale, point) {
  return scale.codes === null || scale.codes[point] < 0 ? undefined : scale.items[scale.codes[point]].name;
}
