// The left box: the map of snapshots.

import { outcomeScale, readable, scaleOf, stepColor } from "../core/colors.js";
import { element, replaceKeepingFocus } from "../core/dom.js";
import { shades } from "../core/palette.js";
import { LabelGrid } from "../core/label-grid.js";
import { bestTurn } from "./layout.js";
import { Scatter } from "./scatter.js";
import { choice, layerLegend, legend, saver } from "./widgets.js";

// The marks of layers by their place in the order; twelve of them, then again.
const SYMBOLS = [0, 1, 2, 5, 3, 4, 17, 14, 13, 6, 25, 26];
const METHOD_NAMES = { tsne: "t-SNE", pca: "PCA", mds: "MDS" };
const FOLDED = 0.16;
const PATIENCE = 350;
// A step that goes further than this share of the map is a jump between islands, not a way.
const JUMP = 0.2;
// Maps are turned once, for a frame of this shape: a window of another size does not turn them.
const FRAME = [1.25, 1];
// From a newest point to its name, outside of the ring of a selection.
const GAP = 14;

export class Space {
  constructor(bench) {
    this.bench = bench;
    this.scatter = new Scatter({
      label: "The space of representations. Arrow keys go from snapshot to snapshot, Enter holds one.",
      paint: (renderer, place, size) => this.paint(renderer, place, size),
      skip: (row) => this.hidden(row),
      start: () => this.bench.selected,
      onPoint: (row) => bench.preview(row),
      onPick: (row) => bench.hold(row),
    });
    this.method = choice("Map", (method) => bench.set({ method }));
    this.distance = choice("Distance", (distance) => bench.set({ distance }));
    this.color = choice("Color", (color) => bench.set({ color, off: [] }));
    this.legend = element("div", { className: "legend", role: "group", "aria-label": "Outcomes and other colors of the map" });
    this.marks = element("div", { className: "legend", role: "group", "aria-label": "Layers" });
    this.state = element("p", { className: "nothing", role: "status" });
    this.caption = element("p", { className: "detail made" });
    this.node = element(
      "section",
      { className: "panel space", "aria-label": "The space of representations" },
      element(
        "div",
        { className: "head" },
        element("h2", {}, "Space of representations"),
        saver(() => "repwatch-map", this.scatter, () => shades(bench.dark).paper),
      ),
      element("div", { className: "controls" }, this.method.node, this.distance.node, this.color.node),
      element("div", { className: "stage" }, this.scatter.node, this.state),
      element("div", { className: "foot" }, this.legend, this.marks, this.caption),
    );
  }

  async refresh() {
    const { scene, state, dark } = this.bench;
    const methods = [...new Set([...scene.maps.values()].map((map) => map.method))];
    const live = scene.source !== null;
    this.method.show((live ? ["tsne", "pca", "mds"] : methods).map((name) => [name, METHOD_NAMES[name] ?? name]), state.method);
    const distances = live ? scene.source.distances : [...new Set([...scene.maps.values()].map((map) => map.distance))];
    this.distance.show(distances.map((name) => [name, name]), state.distance);
    this.color.show(this.colors(), state.color);
    this.scale = this.makeScale(state.color, dark);
    const off = new Set(state.off);
    replaceKeepingFocus(this.legend, legend(this.scale, off, (name) => this.bench.toggle("off", name)));
    replaceKeepingFocus(
      this.marks,
      layerLegend(scene.layers, (index) => SYMBOLS[index % SYMBOLS.length], new Set(state.layers), (name) =>
        this.bench.toggle("layers", name),
      ),
    );
    await this.place();
  }

  async place() {
    const { scene, state } = this.bench;
    const layers = scene.chosenLayers(state.layers);
    const key = JSON.stringify([state.method, state.distance, layers, scene.stamp]);
    this.wanted = key;
    if (this.placed === key) {
      this.state.textContent = this.empty();
      return this.scatter.draw();
    }
    const at = [state.method, state.distance, layers];
    if (!scene.hasMap(...at)) {
      this.state.textContent = "Computing the map …";
      this.scatter.draw();
      // Wait until the choice is final: switching three layers off should request one map, not three.
      if (layers) await new Promise((go) => setTimeout(go, PATIENCE));
      if (this.wanted !== key) return undefined;
    }
    try {
      const map = await scene.map(...at);
      if (this.wanted !== key) return undefined;
      this.map = map;
      this.placed = key;
      this.caption.textContent = madeOf(map, layers);
      this.state.textContent = this.empty();
      map.turn ??= bestTurn(map, FRAME);
      this.scatter.setPositions(map, { glide: this.scatter.x.length > 0, turn: map.turn });
    } catch (error) {
      if (this.wanted === key) this.state.textContent = error.message;
    }
    return undefined;
  }

  empty() {
    return this.map.x.some(Number.isFinite) ? "" : "No snapshot has a place on this map yet.";
  }

  colors() {
    const { scene } = this.bench;
    const runs = scene.runs;
    const varying = (name) => new Set(runs.map((run) => String(run.hparams[name]))).size > 1;
    const settings = [...new Set(runs.flatMap((run) => Object.keys(run.hparams)))].filter(varying);
    return [
      ["outcome", "cause"],
      ["label", "label"],
      ["run", "run"],
      ["layer", "layer"],
      ["step", "step"],
      ["epoch", "epoch"],
      ["distance", `distance to the selected (${scene.page.distances.name})`],
      ...settings.map((name) => [`setting ${name}`, name]),
      ...Object.keys(scene.page.values).map((name) => [`value ${name}`, name]),
    ];
  }

  makeScale(color, dark) {
    const { scene } = this.bench;
    const { snapshots, runs, layers } = scene;
    const rows = (pick) => Array.from({ length: scene.count }, (_, row) => pick(row));
    const [kind, ...rest] = color.split(" ");
    const name = rest.join(" ");
    if (kind === "label") return outcomeScale(rows((row) => runs[snapshots.run[row]].label ?? "unlabeled"), dark);
    if (kind === "run") return scaleOf(rows((row) => scene.runOf(row)), dark, { order: runs.map((run) => run.name) });
    if (kind === "layer") return scaleOf(rows((row) => scene.layerOf(row)), dark, { order: layers });
    if (kind === "step" || kind === "epoch") return scaleOf(snapshots[kind], dark, { numbers: true });
    if (kind === "distance") return scaleOf(scene.distancesTo(this.bench.selected), dark, { numbers: true });
    if (kind === "setting") return scaleOf(rows((row) => runs[snapshots.run[row]].hparams[name] ?? null), dark);
    if (kind === "value") {
      const numbers = (scene.page.values[name] ?? []).map((value) => (typeof value === "number" ? value : null));
      return scaleOf(numbers, dark, { numbers: true });
    }
    return outcomeScale(rows((row) => scene.outcomes[snapshots.run[row]]), dark);
  }

  hidden(row) {
    const { scene, state } = this.bench;
    if (!this.map || !Number.isFinite(this.map.x[row]) || state.layers.includes(scene.layerOf(row))) return true;
    if (state.off.length === 0 || !this.scale?.codes) return false;
    const code = this.scale.codes[row];
    // The followed run stays: the filter is for the landmarks around it.
    if (state.color === "outcome" && scene.runOf(row) === state.follow) return false;
    return code >= 0 && state.off.includes(this.scale.items[code].name);
  }

  symbol(row) {
    return SYMBOLS[this.bench.scene.snapshots.layer[row] % SYMBOLS.length];
  }

  paint(renderer, place, size) {
    const { scene, state, dark } = this.bench;
    if (!this.map || this.map.x.length !== scene.count) return;
    const theme = shades(dark);
    let drawn = 0;
    const followed = scene.runs.findIndex((run) => run.name === state.follow);
    for (let row = 0; row < scene.count; row += 1) {
      if (scene.snapshots.run[row] === followed || this.hidden(row)) continue;
      drawn += 1;
      const last = scene.page.trajectories[scene.trajectoryOf.get(row)[0]].snapshots.at(-1) === row;
      // Calm by its pale fill, seen by its outline.
      const color = this.scale.color(row);
      renderer.mark(this.symbol(row), ...place(row), last ? 3.1 : 2.1, { fill: color, faint: last ? 0.6 : 0.28, stroke: color, width: 0.9 });
    }
    drawn += this.paintFollowed(renderer, place, theme);
    this.paintFlags(renderer, place, theme);
    this.paintNames(renderer, place, size, theme);
    this.paintChosen(renderer, place, theme);
    this.scatter.node.dataset.points = String(drawn);
    this.scatter.node.dataset.map = `${this.map.method} ${this.map.distance}`;
    this.scatter.node.dataset.layers = (this.map.layers ?? []).join(" ");
  }

  /** The followed run: a line that grows darker with the steps, its newest point the largest. */
  paintFollowed(renderer, place, theme) {
    const { scene, state, dark } = this.bench;
    const steps = scene.stepsOf(state.follow);
    const shade = (row) => stepColor(steps.length > 1 ? steps.indexOf(scene.snapshots.step[row]) / (steps.length - 1) : 1, dark);
    const until = this.bench.step();
    let drawn = 0;
    this.newest = [];
    for (const layer of scene.layers) {
      const rows = scene.trajectory(state.follow, layer).filter((row) => !this.hidden(row));
      const passed = rows.filter((row) => scene.snapshots.step[row] <= until);
      rows.slice(1).forEach((row, index) => {
        const ahead = scene.snapshots.step[row] > until;
        const [from, to] = [place(rows[index]), place(row)];
        const jump = Math.hypot(to[0] - from[0], to[1] - from[1]) > JUMP * place.scale;
        const alpha = ahead ? FOLDED : jump ? 0.55 : 0.95;
        renderer.line([from, to], { stroke: shade(row), width: jump ? 1.1 : 1.6, alpha, dash: jump ? [2, 4] : null });
      });
      for (const row of rows) {
        drawn += 1;
        const newest = row === passed.at(-1);
        const ahead = scene.snapshots.step[row] > until;
        const fill = state.color === "outcome" ? shade(row) : this.scale.color(row);
        renderer.mark(this.symbol(row), ...place(row), newest ? 7.4 : 3.6, {
          fill, stroke: newest ? theme.paper : null, width: 1.5, alpha: ahead ? FOLDED : 1,
        });
        if (newest) this.newest.push([place(row), layer]);
      }
    }
    return drawn;
  }

  paintFlags(renderer, place, theme) {
    const { scene, state } = this.bench;
    for (const flag of scene.page.flags.filter(({ run }) => run === state.follow)) {
      const layers = flag.layer === null ? scene.layers : [flag.layer];
      for (const layer of layers) {
        const row = scene.trajectory(flag.run, layer).find((snapshot) => scene.snapshots.step[snapshot] === flag.step);
        if (row !== undefined && !this.hidden(row)) renderer.circle(...place(row), 9.5, { stroke: theme.flag, width: 1.6 });
      }
    }
  }

  /** Each cause once, in the middle of its cluster; each layer beside the newest point. */
  paintNames(renderer, place, size, theme) {
    const { state } = this.bench;
    const room = new LabelGrid(size);
    for (const [[x, y]] of this.newest) room.take([x - 12, y - 12, x + 12, y + 12]);
    if (state.color === "outcome") this.paintCauses(renderer, place, size, theme, room);
    for (const [[x, y], layer] of this.newest) {
      const wide = renderer.measure(layer, 11) + 4;
      const areas = { left: [x + GAP, y - 8, x + GAP + wide, y + 8], right: [x - GAP - wide, y - 8, x - GAP, y + 8] };
      const side = Object.keys(areas).find((name) => room.free(areas[name]));
      if (!side) continue;
      room.take(areas[side]);
      renderer.text(layer, side === "left" ? x + GAP : x - GAP, y, { fill: theme.ink, size: 11, align: side, halo: theme.paper });
    }
  }

  paintCauses(renderer, place, [width], theme, room) {
    for (const cause of this.map.causes) {
      if (this.bench.state.off.includes(cause.name) || cause.name === "unlabeled") continue;
      const wide = renderer.measure(cause.name, 12.5, 650) / 2 + 4;
      const [x, y] = place.at(cause.x, cause.y);
      const inner = Math.min(Math.max(x, wide + 4), width - wide - 4);
      const area = (by) => [inner - wide, y + by - 9, inner + wide, y + by + 9];
      const shift = [0, -17, 17, -34, 34, -51, 51].find((by) => room.free(area(by)));
      if (shift === undefined) continue;
      room.take(area(shift));
      const color = this.scale.items.find((item) => item.name === cause.name)?.color ?? theme.ink;
      renderer.text(cause.name, inner, y + shift, { fill: readable(color, this.bench.dark), size: 12.5, weight: 650, align: "center", halo: theme.paper });
    }
  }

  paintChosen(renderer, place, theme) {
    const { selected, held, pins } = this.bench;
    const shown = (row) => row >= 0 && Number.isFinite(this.map.x[row]);
    for (const [letter, row] of Object.entries(pins)) {
      if (!shown(row)) continue;
      const [x, y] = place(row);
      renderer.circle(x, y, 8, { fill: theme.paper, stroke: theme.ink, width: 1.2 });
      renderer.text(letter.toUpperCase(), x, y + 0.5, { fill: theme.ink, size: 10, weight: 650, align: "center" });
    }
    if (!shown(selected)) return;
    const [x, y] = place(selected);
    renderer.circle(x, y, 11.5, { stroke: theme.paper, width: 4 });
    renderer.circle(x, y, 11.5, { stroke: theme.ink, width: held ? 2.4 : 1.4 });
  }
}

/** What the map was fitted on, where that is not simply all that is seen. */
function madeOf(map, layers) {
  if (map.layers) return `A map of ${map.layers.length === 1 ? "this layer" : "these layers"} alone.`;
  if (layers) return "A map of all layers, some of them hidden: the report has no map of these layers alone.";
  return "";
}
