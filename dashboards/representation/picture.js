// One representation as a picture of its probe points.

import { turnOnto } from "../shared/turn.js";
import { element, messageOf } from "../shared/dom.js";
import { shades } from "../shared/palette.js";
import { LabelGrid } from "../shared/label-grid.js";
import { Scatter } from "../shared/scatter.js";
import { saver } from "../shared/widgets.js";

const EDGES = 3;
const ARROW_HEAD = 8;
const SMALLEST_THUMBNAIL = 14;
const LARGEST_THUMBNAIL = 32;
// Share of a thumbnail's side: ink seldom reaches the edges, so thumbnails may touch.
const COVERS = 0.8;

/** @typedef {import("../types.js").View} View */

/** One picture. The one that `leads` chooses the angle at which all are seen, so that they can be compared. */
export class Picture {
  /**
   * `before(row)` returns the snapshot against which neighbors count as new: the one before, or the other half.
   * @param {import("../page/workbench.js").Workbench} bench
   * @param {string} name
   */
  constructor(bench, name, leads = false, { before = (row) => bench.scene.before(row) } = {}) {
    this.bench = bench;
    this.leads = leads;
    this.before = before;
    /** @type {{ row: number, view: View | null } | null} the picture that this one is turned onto, if it has its own */
    this.onto = null;
    /** @type {number[]} the points whose movement from the picture `onto` is drawn */
    this.arrows = [];
    this.row = -1;
    /** @type {View | null} */
    this.view = null;
    this.asked = 0;
    this.key = "";
    this.scatter = new Scatter({
      label: `${name}. Arrow keys go from probe point to probe point, Enter holds one; drag with Shift to choose many.`,
      margin: 24,
      paint: (renderer, place, size) => this.paint(renderer, place, size),
      start: () => bench.point,
      onPoint: (point) => bench.store.previewPoint(point),
      onPick: (point) => bench.store.holdPoint(point),
      onLasso: (points) => bench.store.choosePoints(points),
      onZoom: (zoom) => bench.store.keepZoom("pictureZoom", zoom),
    });
    this.title = element("h2", { className: "title" });
    this.state = element("p", { className: "nothing", role: "status" });
    this.stage = element("div", { className: "stage" }, this.scatter.node, this.state);
    this.save = saver(() => `repwatch-${this.bench.nameOf(this.row)}`, this.scatter, () => shades(bench.dark).paper);
  }

  /**
   * Shows the picture of a snapshot, gliding there from the one before; turned onto another picture, where one is given.
   * @param {number} row
   * @param {{ row: number, view: View | null } | null} onto
   */
  async show(row, onto = null) {
    const turn = ++this.asked;
    this.onto = onto;
    const { scene, state } = this.bench;
    this.title.textContent = row < 0 ? "" : this.bench.nameOf(row);
    this.title.title = this.title.textContent;
    this.scatter.showZoom(state.pictureZoom);
    const key = `${row} ${state.view} ${scene.stamp} ${this.leads ? "" : this.bench.layouts.turn} ${this.onto?.row ?? ""}`;
    if (key === this.key) return this.scatter.draw();
    if (row < 0) return undefined;
    try {
      const view = scene.viewNow(row) ?? (await scene.view(row));
      if (turn !== this.asked) return undefined;
      const made = this.bench.layouts.of(row, view, state.view, scene.n, scene.k);
      this.place(made);
      this.row = row;
      this.key = key;
      this.state.textContent = "";
      this.scatter.node.dataset.shown = this.bench.nameOf(row);
    } catch (error) {
      if (turn !== this.asked) return undefined;
      // What was drawn is not the snapshot that the title names.
      Object.assign(this, { view: null, key: "" });
      this.state.textContent = messageOf(error);
      this.scatter.setPositions({ x: new Float32Array(0), y: new Float32Array(0) });
    }
    return undefined;
  }

  /** Shows a message in place of the picture. */
  say(words) {
    this.state.textContent = words;
  }

  /** Draws how these points moved from the picture that this one is turned onto. */
  showArrows(points) {
    this.arrows = points;
    this.scatter.draw();
  }

  /** Turns a picture onto the one before, so that points that moved can be seen, and shows it. */
  place(made) {
    const { scatter } = this;
    const { layouts } = this.bench;
    // A picture that was hidden until now needs its size to choose its angle.
    if (scatter.size[0] < 20) scatter.resize();
    const fits = (view) => view && view.x.length === made.x.length;
    const glide = Boolean(fits(this.view));
    const reference = [this.onto?.view, this.view, layouts.reference].find(fits);
    const view = reference ? turnOnto(made, reference) : made;
    this.view = view;
    scatter.setPositions(view, { glide, turn: this.leads ? null : layouts.turn });
    if (this.leads || layouts.turn === null) layouts.lead(view, scatter.angle ?? 0);
  }

  /** How large thumbnails are: a whole number of times their size where that fits; 0 for dots. */
  thumbnail([width, height]) {
    const { scene, state } = this.bench;
    const { sprite } = scene.points;
    if (!sprite || !this.bench.sprites || state.marks === "dots") return 0;
    const closer = Math.sqrt(this.scatter.zoom.scale);
    const even = Math.sqrt((0.5 * width * height) / scene.n);
    const room = Math.min(Math.max(even, SMALLEST_THUMBNAIL), LARGEST_THUMBNAIL) * closer;
    return sprite.width <= room ? Math.floor(room / sprite.width) * sprite.width : room;
  }

  /** Which points have room for a thumbnail; the highlighted point and its neighbors come first. */
  pictured(view, size, side) {
    const { scene, point, marked } = this.bench;
    const place = this.scatter.placer(this.scatter);
    const near = point < 0 ? [] : [point, ...view.near.subarray(point * scene.k, (point + 1) * scene.k)];
    const room = new LabelGrid(size, -side);
    const half = (COVERS * side) / 2;
    const chosen = new Set();
    for (const index of [...near, ...view.x.keys()]) {
      if (chosen.has(index) || this.bench.hiddenPoint(index)) continue;
      if (marked && !marked[index] && index !== point) continue;
      const [x, y] = place(index);
      const box = [x - half, y - half, x + half, y + half];
      if (!room.free(box)) continue;
      room.take(box);
      chosen.add(index);
    }
    return chosen;
  }

  paint(renderer, place, size) {
    const { scene, state, dark, point, marked } = this.bench;
    const { view } = this;
    if (!view) return;
    const theme = shades(dark);
    const scale = this.bench.pointScale;
    const side = this.thumbnail(size);
    const pictured = side ? this.pictured(view, size, side) : new Set();
    if (state.view === "graph") this.paintEdges(renderer, place, theme, view);
    if (point >= 0) this.paintNeighbors(renderer, place, theme, view, point);
    const radius = side ? 2.2 : Math.max(2.2, Math.min(4.6, Math.sqrt((size[0] * size[1]) / scene.n) / 8));
    for (let index = 0; index < scene.n; index += 1) {
      if (pictured.has(index) || this.bench.hiddenPoint(index)) continue;
      renderer.circle(...place(index), radius, { fill: scale.color(index), alpha: marked && !marked[index] ? 0.14 : 1 });
    }
    for (const index of pictured) this.bench.sprites?.draw(renderer, index, scale.color(index), ...place(index), side, 1);
    if (this.onto?.view?.x.length === view.x.length) this.paintArrows(renderer, place, theme, this.onto.view);
    this.paintPointed(renderer, place, theme, pictured.has(point) ? side * 0.62 : radius + 3.5);
    Object.assign(this.scatter.node.dataset, { marks: side ? "thumbnails" : "dots", pictures: pictured.size });
  }

  /** Arrows from where points lie in the picture that this one is turned onto, to where they lie here. */
  paintArrows(renderer, place, theme, from) {
    for (const point of this.arrows.filter((index) => !this.bench.hiddenPoint(index))) {
      const [start, end] = [place.at(from.x[point], from.y[point]), place(point)];
      const long = Math.hypot(end[0] - start[0], end[1] - start[1]);
      if (long < ARROW_HEAD) continue;
      const [dx, dy] = [(end[0] - start[0]) / long, (end[1] - start[1]) / long];
      const side = (turn) => [end[0] - ARROW_HEAD * dx + turn * ARROW_HEAD * 0.5 * dy, end[1] - ARROW_HEAD * dy - turn * ARROW_HEAD * 0.5 * dx];
      for (const style of [{ stroke: theme.paper, width: 4 }, { stroke: theme.fresh, width: 1.5 }]) {
        renderer.line([start, end], style);
        renderer.line([side(1), end, side(-1)], style);
      }
      renderer.circle(...start, 2.4, { fill: theme.paper, stroke: theme.fresh, width: 1.4 });
    }
    this.scatter.node.dataset.arrows = String(this.arrows.length);
  }

  paintPointed(renderer, place, theme, reach) {
    const { scene, point } = this.bench;
    if (point < 0 || point >= scene.n) return;
    const [x, y] = place(point);
    renderer.circle(x, y, reach + 2, { stroke: theme.paper, width: 4 });
    renderer.circle(x, y, reach + 2, { stroke: theme.ink, width: this.bench.store.pointHeld ? 2.4 : 1.6 });
  }

  paintEdges(renderer, place, theme, view) {
    const { scene } = this.bench;
    for (let i = 0; i < scene.n; i += 1) {
      for (let at = 0; at < Math.min(EDGES, scene.k); at += 1) {
        renderer.line([place(i), place(view.near[i * scene.k + at])], { stroke: theme.muted, width: 0.8, alpha: 0.32 });
      }
    }
  }

  /** Lines to the nearest neighbors; new neighbors stand out. */
  paintNeighbors(renderer, place, theme, view, point) {
    const { scene } = this.bench;
    const fresh = this.bench.newNeighbors(this.row, point, this.before(this.row));
    for (const other of view.near.subarray(point * scene.k, (point + 1) * scene.k)) {
      const isNew = fresh.has(other);
      renderer.line([place(point), place(other)], { stroke: isNew ? theme.fresh : theme.muted, width: isNew ? 1.8 : 1.2, alpha: 0.85 });
    }
  }
}
