// The middle box: one representation, as a picture of its probe points.

import { inks, scaleOf } from "./colours.js";
import { layoutNeighbours, turnOnto } from "./layout.js";
import { element } from "./marks.js";
import { Scatter } from "./scatter.js";
import { legend, saver } from "./widgets.js";

const BOX = [-1, 1, -1, 1];
const KEPT = 60;
const EDGES = 3;
const SMALLEST_THUMBNAIL = 11;
const LARGEST_THUMBNAIL = 30;
// Thumbnails may overlap: so many times the usual distance of a point to its nearest one.
const OVERLAP = 4.5;

/** Pictures by layout: PCA is in the document, the others are made of the neighbours. */
export class Layouts {
  constructor() {
    this.made = new Map();
  }

  of(row, view, kind, n, k) {
    if (kind === "pca") return view;
    const key = `${row} ${kind}`;
    if (!this.made.has(key)) {
      if (this.made.size >= KEPT) this.made.delete(this.made.keys().next().value);
      this.made.set(key, layoutNeighbours(view, n, k, kind));
    }
    return { ...this.made.get(key), near: view.near };
  }
}

export class Picture {
  constructor(bench, name) {
    this.bench = bench;
    this.row = -1;
    this.view = null;
    this.asked = 0;
    this.scatter = new Scatter({
      label: `${name}. Arrow keys go from probe point to probe point, Enter holds one; drag with Shift to choose many.`,
      margin: 24,
      paint: (pen, place, size) => this.paint(pen, place, size),
      start: () => bench.point,
      onPoint: (point) => bench.previewPoint(point),
      onPick: (point) => bench.holdPoint(point),
      onLasso: (points) => bench.choose(points),
    });
    this.title = element("h2", { className: "title" });
    this.state = element("p", { className: "nothing", role: "status" });
    this.stage = element("div", { className: "stage" }, this.scatter.node, this.state);
    this.save = saver(() => `repwatch-${this.bench.nameOf(this.row)}`, this.scatter, () => inks(bench.dark).paper);
  }

  /** Shows the picture of a snapshot, gliding there from the one before. */
  async show(row) {
    const turn = ++this.asked;
    const { scene, state } = this.bench;
    this.title.textContent = row < 0 ? "" : this.bench.nameOf(row);
    this.title.title = this.title.textContent;
    const key = `${row} ${state.view} ${scene.stamp}`;
    if (key === this.key) return this.scatter.draw();
    if (row < 0) return undefined;
    try {
      const view = scene.viewNow(row) ?? (await scene.view(row));
      if (turn !== this.asked) return undefined;
      const made = this.bench.layouts.of(row, view, state.view, scene.n, scene.k);
      const known = this.view && this.view.x.length === made.x.length;
      this.view = known ? turnOnto(made, this.view) : made;
      this.spacing = usualSpacing(this.view);
      this.row = row;
      this.key = key;
      this.state.textContent = "";
      this.scatter.setPositions(this.view, BOX, known);
      this.scatter.node.dataset.shown = this.bench.nameOf(row);
    } catch (error) {
      if (turn === this.asked) this.state.textContent = error.message;
    }
    return undefined;
  }

  /** How large thumbnails can be: a whole number of times their size where that fits, or 0. */
  thumbnail([width, height]) {
    const { scene, state } = this.bench;
    const { sprite } = scene.points;
    if (!sprite || !this.bench.sheets || state.marks === "dots") return 0;
    const { zoom, options } = this.scatter;
    const apart = this.spacing * (Math.min(width, height) / 2 - options.margin) * zoom.scale;
    const even = Math.sqrt((0.5 * width * height) / scene.n) * Math.sqrt(zoom.scale);
    const room = Math.min(even, OVERLAP * apart, LARGEST_THUMBNAIL * Math.sqrt(zoom.scale));
    const side = sprite.width <= room ? Math.floor(room / sprite.width) * sprite.width : room;
    return side < SMALLEST_THUMBNAIL ? 0 : side;
  }

  paint(pen, place, size) {
    const { scene, state, dark, point, marked } = this.bench;
    if (!this.view) return;
    const theme = inks(dark);
    const scale = this.bench.pointScale;
    const side = this.thumbnail(size);
    if (state.view === "graph") this.paintEdges(pen, place, theme);
    if (point >= 0) this.paintNeighbours(pen, place, theme, point);
    const radius = Math.max(2.2, Math.min(4.6, Math.sqrt((size[0] * size[1]) / scene.n) / 8));
    for (let index = 0; index < scene.n; index += 1) {
      const alpha = marked && !marked[index] ? 0.12 : this.bench.hiddenPoint(index) ? 0 : 0.92;
      if (alpha === 0) continue;
      const [x, y] = place(index);
      if (side) this.bench.sheets.draw(pen, index, scale.colour(index), x, y, side, alpha);
      else pen.circle(x, y, radius, { fill: scale.colour(index), alpha });
    }
    const reach = side ? side * 0.62 : radius + 3.5;
    if (point >= 0 && point < scene.n) {
      const [x, y] = place(point);
      pen.circle(x, y, reach + 2, { stroke: theme.paper, width: 4 });
      pen.circle(x, y, reach + 2, { stroke: theme.ink, width: this.bench.pointHeld ? 2.4 : 1.6 });
    }
    this.scatter.node.dataset.marks = side ? "thumbnails" : "dots";
  }

  paintEdges(pen, place, theme) {
    const { scene } = this.bench;
    for (let i = 0; i < scene.n; i += 1) {
      for (let at = 0; at < Math.min(EDGES, scene.k); at += 1) {
        pen.line([place(i), place(this.view.near[i * scene.k + at])], { stroke: theme.muted, width: 0.8, alpha: 0.32 });
      }
    }
  }

  /** Lines to the nearest neighbours; those that were none in the representation before stand out. */
  paintNeighbours(pen, place, theme, point) {
    const { scene } = this.bench;
    const fresh = this.bench.newNeighbours(this.row, point);
    for (const other of this.view.near.subarray(point * scene.k, (point + 1) * scene.k)) {
      const isNew = fresh.has(other);
      pen.line([place(point), place(other)], { stroke: isNew ? theme.fresh : theme.muted, width: isNew ? 1.8 : 1.2, alpha: 0.85 });
    }
  }
}

/** The middle panel of the three: a picture, its controls and its legend. */
export class Middle {
  constructor(bench, pin) {
    this.bench = bench;
    this.picture = new Picture(bench, "The representation that is pointed at");
    this.detail = element("p", { className: "detail" });
    this.legend = element("div", { className: "legend", role: "group", "aria-label": "Values of probe points" });
    this.node = element(
      "section",
      { className: "panel middle", "aria-label": "One representation" },
      element("div", { className: "head" }, this.picture.title, pin, this.picture.save),
      (this.controls = element("div", { className: "controls" })),
      this.picture.stage,
      element("div", { className: "foot" }, this.detail, this.legend),
    );
  }

  refresh() {
    const { state, selected } = this.bench;
    this.legend.replaceChildren(
      ...legend(this.bench.pointScale, new Set(state.values), (name) => this.bench.toggle("values", name)),
    );
    this.detail.textContent = selected < 0 ? "" : this.bench.describe(selected);
    return this.picture.show(selected);
  }
}

/** The scale of a column of the probe set. */
export function columnScale(scene, column, dark) {
  const values = scene.points.columns[column] ?? new Array(scene.n).fill(null);
  return scaleOf(values, dark);
}

/** The median distance of a point to its nearest one in the picture. */
function usualSpacing({ x, y }) {
  const nearest = Array.from(x, (_, i) => {
    let least = Infinity;
    for (let j = 0; j < x.length; j += 1) {
      if (j !== i) least = Math.min(least, (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2);
    }
    return least;
  });
  return Math.sqrt(nearest.sort((a, b) => a - b)[Math.floor(x.length / 2)]);
}
