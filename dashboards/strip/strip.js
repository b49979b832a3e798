// The strip: rows are layers, columns are steps, and a cell shows how far the run deviates there. It is the
// first thing that a reader sees of a run; a cell selects its snapshot everywhere.

import { element } from "../shared/dom.js";
import { luminance } from "../shared/colors.js";
import { mixed, shades } from "../shared/palette.js";
import { brief } from "../shared/widgets.js";
import { Curves } from "./curves.js";
import { Nearest } from "./nearest.js";

// The deviation from good runs at which a cell has the full color.
const STRONG = 4;
const NARROWEST_NUMBER = 30;
const MOST_TICKS = 12;

export class Strip {
  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.cells = new Map();
    this.title = element("h2", {});
    this.words = element("p", { className: "detail" });
    this.curves = new Curves(bench);
    this.grid = element("div", { className: "strip-grid", role: "group", "aria-label": "Layers and steps" });
    this.grid.addEventListener("keydown", (event) => this.walk(event));
    this.nearest = new Nearest(bench);
    this.node = element(
      "section",
      { className: "strip", "aria-label": "Layers and steps of the run" },
      element("div", { className: "strip-main" }, element("div", { className: "strip-head" }, this.title, this.words), this.grid),
      this.nearest.node,
    );
    new ResizeObserver(() => this.showNumbers()).observe(this.grid);
  }

  refresh() {
    const { scene, state, dark } = this.bench;
    const steps = scene.allStepsOf(state.follow);
    const key = JSON.stringify([state.follow, scene.stamp, steps.length, dark, scene.page.flags.length]);
    if (key !== this.key) this.build(steps);
    this.key = key;
    this.curves.refresh(steps);
    this.markCurrent();
    this.nearest.refresh();
  }

  /** Layers that have a value at some step: those that are equal in all runs carry no information. */
  layers() {
    const { scene, state } = this.bench;
    const told = scene.layers.filter((layer) =>
      scene.everyRow(state.follow, layer).some((row) => scene.page.strip.values[row] !== null || scene.snapshots.diverged[row]),
    );
    return told.length > 0 ? told : scene.layers.filter((layer) => scene.everyRow(state.follow, layer).length > 0);
  }

  build(steps) {
    const { scene, state } = this.bench;
    this.title.textContent = state.follow;
    this.words.replaceChildren(...this.explain());
    this.cells = new Map();
    this.rows = this.layers();
    this.grid.style.setProperty("--steps", String(Math.max(steps.length, 1)));
    const lines = this.rows.flatMap((layer, row) => [
      element("span", { className: "strip-name", title: layer }, layer),
      ...this.buildRow(layer, row, steps),
    ]);
    const every = Math.ceil(steps.length / MOST_TICKS);
    const ticks = steps.map((step, at) => element("span", { className: "tick" }, at % every === 0 ? brief(step) : ""));
    this.grid.replaceChildren(...this.curves.nodes, ...lines, element("span", { className: "strip-name detail" }, "step"), ...ticks);
    this.grid.dataset.kind = scene.page.strip.kind;
    this.showNumbers();
  }

  buildRow(layer, row, steps) {
    const { scene, state } = this.bench;
    const known = new Map(scene.everyRow(state.follow, layer).map((snapshot) => [scene.snapshots.step[snapshot], snapshot]));
    return steps.map((step, column) => {
      const snapshot = known.get(step);
      if (snapshot === undefined) return element("span", {});
      const cell = this.cell(snapshot, layer, step);
      this.cells.set(snapshot, { cell, row, column });
      return cell;
    });
  }

  cell(snapshot, layer, step) {
    const { scene, state, dark } = this.bench;
    const value = scene.page.strip.values[snapshot];
    const diverged = Boolean(scene.snapshots.diverged[snapshot]);
    const flagged = scene.page.flags.some(
      (flag) => flag.run === state.follow && flag.step === step && (flag.layer === null || flag.layer === layer),
    );
    const said = diverged ? "diverged" : value === null ? "no value" : this.say(value);
    const name = `${layer}, step ${brief(step)}: ${said}${flagged ? ", flagged" : ""}`;
    const cell = element("button", { type: "button", className: "cell-of-strip", tabIndex: -1, title: name, "aria-label": name });
    cell.classList.toggle("diverged", diverged);
    cell.classList.toggle("flagged", flagged);
    const color = diverged || value === null ? null : cellColor(value, scene.page.strip.kind, dark);
    if (color) {
      cell.style.background = color;
      cell.style.color = luminance(color) > 0.18 ? "#000" : "#fff";
    }
    cell.append(element("span", { className: "number" }, diverged || value === null ? "" : this.number(value)));
    cell.addEventListener("click", () => this.bench.store.hold(snapshot));
    return cell;
  }

  number(value) {
    return this.bench.scene.page.strip.kind === "good" ? value.toFixed(1) : value.toFixed(2);
  }

  say(value) {
    return this.bench.scene.page.strip.kind === "good" ? `${this.number(value)} times the spread of good runs` : `changed by ${this.number(value)}`;
  }

  /** What the numbers mean, and whether the run is watched at all. */
  explain() {
    const { kind, good, needed } = this.bench.scene.page.strip;
    if (kind === "good") {
      return [`How far each layer is from ${good} good runs at the same step, in units of their own spread: 1 is like a good run.`];
    }
    const missing = element("strong", {}, `Not watched: ${good} of ${needed} good landmarks.`);
    return [
      "How much each layer changed since the previous step (cosine distance). ", missing,
      " Label finished runs: repwatch label RUN good.",
    ];
  }

  /** Numbers are written where cells are wide enough for them. */
  showNumbers() {
    const first = this.cells.values().next().value;
    if (first) this.grid.classList.toggle("tight", first.cell.clientWidth < NARROWEST_NUMBER);
  }

  markCurrent() {
    const { current } = this.bench;
    const target = this.cells.has(current) ? current : [...this.cells.keys()].at(-1);
    for (const [snapshot, { cell }] of this.cells) {
      cell.setAttribute("aria-current", String(snapshot === current));
      cell.tabIndex = snapshot === target ? 0 : -1;
    }
  }

  /** Arrows go from cell to cell and select it. */
  walk(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const here = [...this.cells.values()].find(({ cell }) => cell === document.activeElement);
    if (!here || !(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    const [down, right] = moves[event.key];
    const next = [...this.cells].find(([, { row, column }]) => row === here.row + down && column === here.column + right);
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    next[1].cell.focus();
    this.bench.store.hold(next[0]);
  }
}

/** From the page's ground (like a good run, or no change) to one strong hue. */
function cellColor(value, kind, dark) {
  const { calm, steps } = shades(dark);
  const share = kind === "good" ? Math.log(Math.max(value, 1)) / Math.log(STRONG) : Math.min(value / 0.5, 1);
  return mixed(mixed(calm, shades(dark).paper, 0.72), steps[0][1], Math.min(share, 1));
}
