// The left box: the map of snapshots.

import { readable, stepColor } from "../shared/colors.js";
import { element, messageOf } from "../shared/dom.js";
import { shades } from "../shared/palette.js";
import { LabelGrid } from "../shared/label-grid.js";
import { bestTurn } from "../shared/turn.js";
import { Scatter } from "../shared/scatter.js";
import { html, nothing, render } from "../shared/lists.js";
import { choice, layerLegend, legend, pressable, saver } from "../shared/widgets.js";
import { filterName, mapColors, mapScale, readFilters } from "./colors.js";
import { piecesOf } from "./paths.js";

// The marks of layers by their place in the order; there are twelve, which then repeat.
const SYMBOLS = [0, 1, 2, 5, 3, 4, 17, 14, 13, 6, 25, 26];
const METHOD_NAMES = { tsne: "t-SNE", pca: "PCA", mds: "MDS" };
const FOLDED = 0.16;
const PATIENCE = 350;
const ALL = "all layers";
const SEVERAL = "some layers";
// Maps are turned once, for a frame of this shape: a window of another size does not turn them.
/** @type {[number, number]} */
const FRAME = [1.25, 1];
// From a newest point to its name, outside the ring of a selection.
const GAP = 14;

/**
 * @typedef {import("../types.js").Scale} Scale
 * @typedef {import("../types.js").SnapshotMap} SnapshotMap
 */

export class Space {
  /** @type {SnapshotMap | null} */
  map = null;
  /** @type {WeakMap<SnapshotMap, number>} the angle at which each map is seen */
  turns = new WeakMap();
  /** @type {Set<string>} values of the color that some shown run has */
  named = new Set();
  /** @type {{ color: string, hidden: Set<string>, ofRuns: boolean, codes: number[] | null, off: Set<number> }[]} */
  filters = [];
  /** @type {[number[], string][]} places and layers of the followed run's newest snapshots */
  newest = [];
  /** Keys of the map that is drawn, and of the one that was requested. */
  placed = "";
  wanted = "";

  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.scale = mapScale(bench.scene, bench.state.color, -1, bench.dark);
    this.scatter = new Scatter({
      label: "The space of representations. Arrow keys go from snapshot to snapshot, Enter holds one.",
      paint: (renderer, place, size) => this.paint(renderer, place, size),
      skip: (row) => this.hidden(row),
      start: () => this.bench.selected,
      onPoint: (row) => bench.store.preview(row),
      onPick: (row) => bench.store.hold(row),
      onZoom: (zoom) => bench.store.keepZoom("mapZoom", zoom),
    });
    this.layer = choice("Layer", (layer) => bench.store.showLayers(layer === ALL ? bench.scene.layers : [layer]));
    this.last = pressable("Last step only", () => bench.store.toggleLastOnly(), { className: "plain", title: "Show only the last snapshot of each run" });
    this.method = choice("Map", (method) => bench.store.showMap(method));
    this.distance = choice("Distance", (distance) => bench.store.measureBy(distance));
    this.color = choice("Color", (color) => bench.store.colorMap(color));
    this.making = element("details", { className: "menu making" }, element("summary", { title: "How the map is made" }, "Map"), element("div", {}, this.method.node, this.distance.node));
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
        this.making,
      ),
      element("div", { className: "controls" }, this.layer.node, this.color.node, this.last),
      element("div", { className: "stage" }, this.scatter.node, this.state),
      element("div", { className: "foot" }, this.legend, this.marks, this.caption),
    );
  }

  async refresh() {
    const { scene, state, dark } = this.bench;
    const methods = [...new Set([...scene.maps.values()].map((map) => map.method))];
        this.method.show((scene.source ? ["tsne", "pca", "mds"] : methods).map((name) => [name, METHOD_NAMES[name] ?? name]), state.method);
    const distances = scene.source ? scene.source.distances : [...new Set([...scene.maps.values()].map((map) => map.distance))];
    this.distance.show(distances.map((name) => [name, name]), state.distance);
    this.making.hidden = this.method.node.hidden && this.distance.node.hidden;
    this.color.show(mapColors(scene), state.color);
    this.scale = mapScale(scene, state.color, this.bench.selected, dark);
    this.filters = readFilters(state.off).map((filter) => {
      const { items, codes } = mapScale(scene, filter.color, this.bench.selected, dark);
      return { ...filter, codes, off: new Set((items ?? []).flatMap(({ name }, code) => (filter.hidden.has(name) ? [code] : []))) };
    });
    this.showLegend();
    this.showLayers();
    this.last.setAttribute("aria-pressed", String(Boolean(state.last)));
    this.scatter.showZoom(state.mapZoom);
    await this.place();
  }

  /** The values of the color that some shown run has, and how many values of other colors are filtered out. */
  showLegend() {
    const { scene, state } = this.bench;
    const shown = new Set();
    this.scale.codes?.forEach((code, row) => this.bench.runShown(scene.snapshots.run[row]) && shown.add(code));
    const { items } = shownItems(this.scale, shown);
    this.named = new Set(items?.map(({ name }) => name));
    const off = new Set(this.filters.find(({ color }) => color === state.color)?.hidden);
    const all = items?.map(({ name }) => filterName(state.color, name)) ?? [];
    const values = legend(shownItems(this.scale, shown), off, (name) => this.bench.store.toggleFilter(filterName(state.color, name)), 
      (name) => this.bench.store.soloFilter(filterName(state.color, name), all));
    const others = state.off.length - all.filter((name) => state.off.includes(name)).length;
    const more = html`<button type="button" class="chip" @click=${() => this.bench.store.keepFilters(all)}>${others} hidden by other colors: show</button>`;
    render(html`${values}${others > 0 ? more : nothing}`, this.legend);
  }

  /** One layer is chosen from a list; several have chips, which say what the marks mean. */
  showLayers() {
    const { scene, state } = this.bench;
    const shown = scene.layers.filter((layer) => !state.layers.includes(layer));
    const several = shown.length > 1 && shown.length < scene.layers.length;
    const chosen = shown.length === 1 ? shown[0] : several ? SEVERAL : ALL;
    const names = [...scene.layers, ALL, ...(several ? [SEVERAL] : [])];
    this.layer.show(names.map((name) => [name, name]), chosen);
    this.marks.hidden = shown.length === 1;
    const chips = layerLegend(scene.layers, (index) => SYMBOLS[index % SYMBOLS.length], new Set(state.layers), (name) => this.bench.store.toggleLayer(name), 
      (name) => this.bench.store.showLayers([name]));
    render(chips, this.marks);
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
    if (!scene.hasMap(state.method, state.distance, layers)) {
      this.state.textContent = "Computing the map …";
      this.scatter.draw();
      // Wait until the choice is final: switching three layers off should request one map, not three.
      if (layers) await new Promise((go) => setTimeout(go, PATIENCE));
      if (this.wanted !== key) return undefined;
    }
    try {
      const map = await scene.map(state.method, state.distance, layers);
      if (this.wanted !== key) return undefined;
      this.map = map;
      this.placed = key;
      this.caption.textContent = madeOf(map, layers);
      this.state.textContent = this.empty();
      const turn = this.turns.get(map) ?? bestTurn(map, FRAME);
      this.turns.set(map, turn);
      this.scatter.setPositions(map, { glide: this.scatter.x.length > 0, turn });
    } catch (error) {
      if (this.wanted === key) this.state.textContent = messageOf(error);
    }
    return undefined;
  }

  empty() {
    return this.map?.x.some(Number.isFinite) ? "" : "No snapshot has a place on this map yet.";
  }

  hidden(row) {
    const { scene, state } = this.bench;
    if (!this.map || !Number.isFinite(this.map.x[row]) || state.layers.includes(scene.layerOf(row))) return true;
    if (scene.isRepeated(row)) return true;
    const followed = scene.runOf(row) === state.follow;
    if (!followed && !this.bench.runShown(scene.snapshots.run[row])) return true;
    if (state.last && !scene.isLast(row)) return true;
    return this.filters.some(({ codes, off, ofRuns }) => codes !== null && off.has(codes[row]) && !(followed && ofRuns));
  }

  symbol(row) {
    return SYMBOLS[this.bench.scene.snapshots.layer[row] % SYMBOLS.length];
  }

  paint(renderer, place, size) {
    const { scene, state, dark } = this.bench;
    if (!this.map || this.map.x.length !== scene.count) return;
    const theme = shades(dark);
    const followed = scene.runs.findIndex((run) => run.name === state.follow);
    this.paintWays(renderer, place, followed);
    let drawn = 0;
    // A map of one layer has room for larger marks.
    const larger = this.map.layers?.length === 1 ? 1.3 : 1;
    for (let row = 0; row < scene.count; row += 1) {
      if (scene.snapshots.run[row] === followed || this.hidden(row)) continue;
      drawn += scene.standsFor(row);
      // The pale fill keeps it calm; the outline keeps it visible.
      const color = this.scale.color(row);
      const last = scene.isLast(row);
      renderer.mark(this.symbol(row), ...place(row), (last ? 3.1 : 2.1) * larger, { fill: color, faint: last ? 0.6 : 0.28, stroke: color, width: 0.9 });
    }
    drawn += this.paintFollowed(renderer, place, theme);
    this.paintFlags(renderer, place, theme);
    this.paintNames(renderer, place, size, theme);
    this.paintChosen(renderer, place, theme);
    const shown = { points: drawn, map: `${this.map.method} ${this.map.distance}`, layers: (this.map.layers ?? []).join(" ") };
    Object.assign(this.scatter.node.dataset, shown);
  }

  /** The paths of all other runs as faint lines; the run that is pointed at in the table stands out. */
  paintWays(renderer, place, followed) {
    const { scene, state } = this.bench;
    const { pointedRun } = this.bench.store;
    for (const { run, snapshots } of scene.page.trajectories) {
      const index = scene.snapshots.run[snapshots[0]];
      if (run === state.follow || index === followed || snapshots.length < 2) continue;
      const rows = snapshots.filter((row) => !this.hidden(row));
      const strong = index === pointedRun;
      if (rows.length === 0) continue;
      const stroke = this.scale.color(rows[rows.length - 1]);
      for (const { points, jump, at } of piecesOf(rows.map(place), place.scale)) {
        const alpha = strong ? 0.95 : (jump ? 0.1 : 0.15 + (0.3 * at) / rows.length);
        renderer.line(points, { stroke, width: strong ? 1.8 : 0.8, alpha, dash: jump ? [1.5, 4] : null });
      }
    }
  }

  /** The followed run: a line that grows stronger with the steps, its newest point the largest. */
  paintFollowed(renderer, place, theme) {
    const { scene, state, dark } = this.bench;
    const steps = scene.stepsOf(state.follow);
    const share = (row) => (steps.length > 1 ? steps.indexOf(scene.snapshots.step[row]) / (steps.length - 1) : 1);
    const shade = (row) => stepColor(share(row), dark);
    const until = this.bench.store.shownStep;
    let drawn = 0;
    this.newest = [];
    for (const layer of scene.layers) {
      const rows = scene.trajectory(state.follow, layer).filter((row) => !this.hidden(row));
      const passed = rows.filter((row) => scene.snapshots.step[row] <= until);
      for (const { points, jump, at } of piecesOf(rows.map(place), place.scale)) {
        const row = rows[at];
        const alpha = scene.snapshots.step[row] > until ? FOLDED : (jump ? 0.5 : 0.95) * (0.35 + 0.65 * share(row));
        renderer.line(points, { stroke: shade(row), width: jump ? 1 : 1.4, alpha, dash: jump ? [1.5, 4] : null });
      }
      for (const row of rows) {
        drawn += scene.standsFor(row);
        const newest = row === passed.at(-1);
        const ahead = scene.snapshots.step[row] > until;
        const fill = state.color === "outcome" ? shade(row) : this.scale.color(row);
        renderer.mark(this.symbol(row), ...place(row), newest ? 7.4 : 3.2, {
          fill, stroke: newest ? theme.paper : null, width: 1.5, alpha: ahead ? FOLDED : 1,
        });
        const count = scene.standsFor(row);
        if (newest) this.newest.push([place(row), count > 1 ? `${layer} × ${count}` : layer]);
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
    const { scene, state } = this.bench;
    const room = new LabelGrid(size);
    for (const [[x, y]] of this.newest) room.take([x - 12, y - 12, x + 12, y + 12]);
    // On a map of all layers, names may be placed at snapshots of hidden layers.
    if (state.color === "outcome" && !(this.map?.layers === null && scene.chosenLayers(state.layers))) this.paintCauses(renderer, place, size, theme, room);
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
    for (const cause of this.map?.causes ?? []) {
      if (cause.name === "unlabeled" || !this.named.has(cause.name) || this.bench.state.off.includes(filterName("outcome", cause.name))) continue;
      const wide = renderer.measure(cause.name, 12.5, 650) / 2 + 4;
      const [x, y] = place.at(cause.x, cause.y);
      const inner = Math.min(Math.max(x, wide + 4), width - wide - 4);
      const area = (by) => [inner - wide, y + by - 9, inner + wide, y + by + 9];
      const shift = [0, -17, 17, -34, 34, -51, 51].find((by) => room.free(area(by)));
      if (shift === undefined) continue;
      room.take(area(shift));
      const color = this.scale.items?.find((item) => item.name === cause.name)?.color ?? theme.ink;
      renderer.text(cause.name, inner, y + shift, { fill: readable(color, this.bench.dark), size: 12.5, weight: 650, align: "center", halo: theme.paper });
    }
  }

  paintChosen(renderer, place, theme) {
    const { selected, held, pins } = this.bench.store;
    const shown = (row) => row >= 0 && Number.isFinite(this.map?.x[row]);
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

/**
 * A scale with only those items that are among the codes.
 * @param {Scale} scale
 * @param {Set<number>} codes
 * @returns {Scale}
 */
function shownItems(scale, codes) {
  return scale.kind === "number" ? scale : { ...scale, items: scale.items.filter((_, code) => codes.has(code)) };
}

/** What the map was fitted on, if that differs from what is shown. */
function madeOf(map, layers) {
  if (map.layers) return `A map of ${map.layers.length === 1 ? "this layer" : "these layers"} alone.`;
  if (layers) return "A map of all layers, some of them hidden: the report has no map of these layers alone.";
  return "";
}
