// The gallery: many representations as small pictures, a layer across runs or a run across steps.

import { bestTurn, boundsOf, scaleInto, turnOnto } from "../shared/turn.js";
import { element, messageOf } from "../shared/dom.js";
import { shades } from "../shared/palette.js";
import { CanvasRenderer } from "../shared/renderers.js";
import { buttonRow, choice } from "../shared/widgets.js";

const MOST = 60;
const EDGE = 8;

export class Gallery {
  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.cells = [];
    this.across = buttonRow("What changes from picture to picture", [["runs", "A layer across runs"], ["steps", "A run across steps"]], (across) =>
      bench.store.galleryAcross(across),
    );
    this.layer = choice("Layer", (layer) => bench.store.showLayer(layer));
    this.caption = element("p", { className: "detail" });
    this.grid = element("div", { className: "grid", role: "group", "aria-label": "Representations" });
    this.node = element(
      "section",
      { className: "panel gallery", "aria-label": "Many representations" },
      element("div", { className: "head" }, this.across.node, this.layer.node, this.caption),
      (this.controls = element("div", { className: "controls" })),
      this.grid,
    );
  }

  async refresh() {
    const { scene, state } = this.bench;
    this.across.show(state.across);
    this.layer.show(scene.layers.map((name) => [name, name]), state.layer);
    const rows = this.rows();
    const key = JSON.stringify([rows, state.view, scene.stamp]);
    if (key !== this.key) await this.build(key, rows);
    this.draw();
  }

  rows() {
    const { scene, state } = this.bench;
    if (state.across === "steps") return scene.trajectory(state.follow, state.layer).slice(0, MOST);
    const order = scene.runs.filter((run, index) => this.bench.runShown(index) || run.name === state.follow).sort((a, b) => Number(b.name === state.follow) - Number(a.name === state.follow));
    return order.map((run) => scene.trajectory(run.name, state.layer).at(-1)).filter((row) => row !== undefined).slice(0, MOST);
  }

  async build(key, rows) {
    this.key = key;
    const { scene, state } = this.bench;
    this.caption.textContent = "Reading …";
    let views;
    try {
      views = await Promise.all(rows.map((row) => scene.view(row)));
    } catch (error) {
      this.caption.textContent = messageOf(error);
      return;
    }
    if (key !== this.key) return;
    let reference = null;
    let turn = 0;
    this.cells = rows.map((row, index) => {
      const made = this.bench.layouts.of(row, views[index], state.view, scene.n, scene.k);
      const view = reference ? turnOnto(made, reference) : made;
      if (!reference) turn = bestTurn(view, [1, 1]);
      if (!reference || state.across === "steps") reference = view;
      return this.cell(row, view, turn);
    });
    this.grid.replaceChildren(...this.cells.map(({ node }) => node));
    this.caption.textContent = rows.length ? "Hover over a point to highlight it in all pictures. Click a picture to enlarge it." : "These runs do not have this layer.";
  }

  cell(row, view, turn) {
    const { scene } = this.bench;
    const canvas = element("canvas", { "aria-hidden": "true" });
    const run = scene.runOf(row);
    const outcome = scene.outcomes[scene.snapshots.run[row]];
    const title = this.bench.state.across === "steps" ? `step ${scene.snapshots.step[row].toLocaleString("en")}` : run;
    const node = element(
      "button",
      { type: "button", className: "cell", title: this.bench.nameOf(row) },
      canvas,
      element("span", { className: "name" }, title),
      element("span", { className: "detail" }, this.bench.state.across === "steps" ? "" : outcome),
    );
    node.addEventListener("click", () => this.bench.store.open(row));
    const cell = { row, view, turn, box: boundsOf(view, turn), canvas, node, renderer: new CanvasRenderer(canvas) };
    canvas.addEventListener("pointermove", (event) => this.bench.store.previewPoint(nearest(cell, event)));
    canvas.addEventListener("pointerleave", () => this.bench.store.previewPoint(-1));
    return cell;
  }

  draw() {
    const { scene, dark, point, marked, pointScale } = this.bench;
    const theme = shades(dark);
    for (const cell of this.cells) {
      const { canvas, renderer, row, node } = cell;
      const side = canvas.clientWidth || 120;
      renderer.begin(side, side);
      const place = spot(cell, side);
      for (let index = 0; index < scene.n; index += 1) {
        if (this.bench.hiddenPoint(index)) continue;
        const alpha = marked && !marked[index] ? 0.12 : 1;
        renderer.circle(...place(index), 1.7, { fill: pointScale.color(index), alpha });
      }
      if (point >= 0) renderer.circle(...place(point), 4.5, { fill: theme.paper, stroke: theme.ink, width: 1.6 });
      node.setAttribute("aria-current", String(row === this.bench.selected));
    }
  }
}

function spot({ view, turn, box }, side) {
  const scale = scaleInto(box, [side - 2 * EDGE, side - 2 * EDGE]);
  const [cos, sin] = [Math.cos(turn) * scale, Math.sin(turn) * scale];
  const [left, right, low, high] = box;
  return (index) => [
    side / 2 + cos * view.x[index] - sin * view.y[index] - ((left + right) / 2) * scale,
    side / 2 - sin * view.x[index] - cos * view.y[index] + ((low + high) / 2) * scale,
  ];
}

function nearest(cell, event) {
  const box = cell.canvas.getBoundingClientRect();
  const place = spot(cell, box.width);
  let [best, least] = [-1, 14 ** 2];
  for (let index = 0; index < cell.view.x.length; index += 1) {
    const [x, y] = place(index);
    const far = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
    if (far < least) [best, least] = [index, far];
  }
  return best;
}
