// The page: three linked boxes, side by side, gallery; and the selection that links them.
// Both shells (the TensorBoard tab and the report) use it; neither is known here.

import { currentLink, readAddress, writeAddress } from "../core/address.js";
import { searchPoints } from "./search.js";
import { Gallery } from "./gallery.js";
import { element } from "../core/dom.js";
import { Pair } from "../pair/pair.js";
import { firstPair, pinName } from "../pair/pairs.js";
import { columnScale, Layouts, Middle } from "./picture.js";
import { PointBox } from "./point-box.js";
import { Sprites } from "./sprites.js";
import { Space } from "../space/space.js";
import { RunTable } from "../table/table.js";
import { Strip } from "../strip/strip.js";
import { startingState } from "./state.js";
import { StepBar } from "./step-bar.js";
import { closeMenus, Toolbar } from "./toolbar.js";
import { brief } from "./widgets.js";

const SENTENCES = {
  space:
    "Each point on the map is one layer of one run at one step: near points find the same probe points similar, " +
    "far points disagree on which are similar. Axes have no meaning.",
  pair: "Each point is one probe point, as two representations see it: near points are similar to that layer. Axes have no meaning.",
  gallery: "Each picture is one representation of the same probe points: near points are similar to that layer. Axes have no meaning.",
};

export class Workbench {
  constructor(root, scene) {
    this.scene = scene;
    this.dark = false;
    this.layouts = new Layouts();
    // The angle at which pictures are seen, and the picture that others are turned onto.
    this.turn = null;
    this.reference = null;
    this.sprites = null;
    this.hovered = -1;
    this.hoveredPoint = -1;
    this.pointedRun = -1;
    this.defaults = startingState(this.scene);
    this.state = this.readState();
    this.build(root);
    this.settle();
    this.listening = new AbortController();
    const { signal } = this.listening;
    window.addEventListener("hashchange", () => this.restore(), { signal });
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    document.addEventListener("click", (event) => closeMenus(event.target), { signal });
    window.repwatch = this.asked();
    this.ready = this.start();
  }

  async start() {
    const { sprite } = this.scene.points;
    if (sprite && !this.sprites) {
      try {
        this.sprites = await Sprites.read(sprite);
      } catch {
        this.status.textContent = "The thumbnails cannot be read; points are drawn as dots.";
      }
    }
    await this.refresh();
    document.body.dataset.state = "drawn";
    // The frame after next is one that the reader has seen.
    requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("repwatch-drawn")));
  }

  build(root) {
    this.runTable = new RunTable(this);
    this.toolbar = new Toolbar(this);
    this.status = this.toolbar.status;
    this.space = new Space(this);
    this.middle = new Middle(this, this.toolbar.pin);
    this.point_ = new PointBox(this);
    this.pair = new Pair(this);
    this.gallery = new Gallery(this);
    this.steps = new StepBar(this);
    this.strip = new Strip(this);
    this.main = element("main", {}, this.space.node, this.pair.node, this.gallery.node, this.middle.node, this.point_.node);
    this.sentence = element("section", { className: "sentence", "aria-label": "How to read this view" });
    root.replaceChildren(this.toolbar.node, this.runTable.node, this.strip.node, this.sentence, this.main, this.steps.node);
  }

  /** Stops timers and listeners before another page replaces this one. */
  leave() {
    this.steps.stop();
    this.listening.abort();
  }

  /** Takes a newer document. Choices stay; a view of the newest step moves on to the newest. */
  replace(scene) {
    const following = this.state.step === this.defaults.step && this.state.run === this.state.follow;
    scene.inherit(this.scene);
    this.scene = scene;
    this.defaults = startingState(this.scene);
    if (following) this.state.step = scene.stepsOf(this.state.follow).at(-1) ?? 0;
    this.layouts = new Layouts();
    this.settle();
    return this.refresh();
  }

  /** The state of the address; a map of one layer that it names selects that layer. */
  readState() {
    const state = readAddress(this.defaults);
    const shown = this.scene.layers.filter((name) => !state.layers.includes(name));
    if (shown.length === 1 && state.layer === this.defaults.layer) [state.layer] = shown;
    return state;
  }

  restore() {
    this.state = this.readState();
    this.settle();
    this.refresh();
  }

  setTheme(dark) {
    this.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    return this.ready.then(() => this.refresh());
  }

  /** Finds the state's run, layer and step in the document, with defaults for what is missing. */
  settle() {
    const { scene, state, defaults } = this;
    if (!scene.runs.some((run) => run.name === state.follow)) state.follow = defaults.follow;
    let row = scene.find(state.run, state.layer, state.step);
    if (row < 0) row = scene.find(state.follow, state.layer, state.step);
    if (row < 0) row = scene.find(defaults.run, defaults.layer, defaults.step);
    this.current = row;
    this.hovered = -1;
    if (row >= 0) this.showLayerOf(row);
    if (state.mode === "pair") this.offerPair();
    this.pins = { a: this.readPin(state.a), b: this.readPin(state.b) };
    if (!Object.hasOwn(scene.points.columns, state.by)) state.by = defaults.by;
  }

  /** Where nothing is chosen yet, a comparison is of what is shown and its nearest good landmark. */
  offerPair() {
    const { scene, state, selected } = this;
    if (state.a || state.b || !(selected >= 0)) return;
    const [a, b] = firstPair(this, selected) ?? [];
    if (a !== undefined) Object.assign(state, { a: pinName(scene, a), b: pinName(scene, b) });
  }

  comparePins(chosen) {
    const known = Object.entries(chosen).filter(([, row]) => row >= 0);
    return this.set({ mode: "pair", ...Object.fromEntries(known.map(([letter, row]) => [letter, pinName(this.scene, row)])) });
  }

  compareRows(pair) {
    return pair && this.comparePins({ a: pair[0], b: pair[1] });
  }

  readPin(text) {
    try {
      const [run, layer, step] = JSON.parse(text || "[]");
      return run === undefined ? -1 : this.scene.find(run, layer, step);
    } catch {
      return -1;
    }
  }

  get selected() {
    return this.hovered >= 0 ? this.hovered : this.current;
  }

  get held() {
    return this.state.held === "yes";
  }

  get point() {
    return this.hoveredPoint >= 0 ? this.hoveredPoint : this.state.point;
  }

  get pointHeld() {
    return this.state.point >= 0 && this.hoveredPoint < 0;
  }

  /** The step up to which the followed run is drawn. */
  step() {
    return this.state.run === this.state.follow ? this.state.step : (this.scene.stepsOf(this.state.follow).at(-1) ?? 0);
  }

  set(changes) {
    Object.assign(this.state, changes);
    if (["layer", "run", "step", "mode"].some((name) => changes[name] !== undefined)) this.settle();
    return this.refresh();
  }

  toggle(list, name) {
    const known = this.state[list];
    return this.set({ [list]: known.includes(name) ? known.filter((other) => other !== name) : [...known, name] });
  }

  /** Adds all of `names` but one to a list; where they are in it already, takes them away. */
  solo(list, name, names) {
    const known = new Set(this.state[list]);
    const others = names.filter((other) => other !== name);
    const alone = !known.has(name) && others.every((other) => known.has(other));
    const beside = this.state[list].filter((other) => !names.includes(other));
    return this.set({ [list]: alone ? beside : [...beside, ...others] });
  }

  /** Pointing at a snapshot shows it; unless one is held, it stays when the pointer leaves. */
  preview(row) {
    if (row >= 0 && !this.held) this.keep(row);
    this.hovered = row;
    this.showRepresentation();
  }

  hold(row) {
    if (row >= 0) this.keep(row);
    this.state.held = row >= 0 ? "yes" : "";
    this.hovered = -1;
    this.refresh();
  }

  keep(row) {
    this.current = row;
    this.showLayerOf(row);
    Object.assign(this.state, { run: this.scene.runOf(row), layer: this.scene.layerOf(row), step: this.scene.snapshots.step[row] });
  }

  /** A map of one layer goes along to the layer that is selected. */
  showLayerOf(row) {
    const { scene, state } = this;
    const layer = scene.layerOf(row);
    const shown = scene.layers.filter((name) => !state.layers.includes(name));
    if (shown.length === 1 && shown[0] !== layer) state.layers = scene.layers.filter((name) => name !== layer);
  }

  /** Shows these layers on the map, and the selected run's snapshot of one of them. */
  showLayers(names) {
    const layer = names.includes(this.state.layer) ? this.state.layer : names[0];
    return this.set({ layers: this.scene.layers.filter((name) => !names.includes(name)), layer });
  }

  /** Whether the filter of the table shows a run. */
  runShown(run) {
    const { mask } = this.runTable;
    return !mask || Boolean(mask[run]);
  }

  pointRun(run) {
    if (run === this.pointedRun) return;
    this.pointedRun = run;
    this.space.scatter.draw();
  }

  keepZoom(name, text) {
    this.state[name] = text;
    if (name === "pictureZoom") for (const { scatter } of Object.values(this.pair.pictures)) scatter.showZoom(text);
    this.remember();
  }

  /** The address of what is shown now. */
  link() {
    clearTimeout(this.remembering);
    writeAddress(this.state, this.defaults);
    return currentLink();
  }

  /** The quick part of refresh, for pointing. */
  showRepresentation() {
    if (this.state.color === "distance") this.space.refresh();
    else this.space.scatter.draw();
    this.strip.refresh();
    this.steps.refresh();
    Promise.resolve(this.middle.refresh()).then(() => this.point_.refresh());
    this.remember();
  }

  previewPoint(point) {
    this.hoveredPoint = point;
    this.showPoint();
  }

  holdPoint(point) {
    this.hoveredPoint = -1;
    this.state.point = point;
    this.showPoint();
    this.remember();
  }

  showPoint() {
    this.point_.refresh();
    if (this.state.mode === "space") this.middle.picture.scatter.draw();
    else if (this.state.mode === "pair") Object.values(this.pair.pictures).forEach(({ scatter }) => scatter.draw());
    else this.gallery.draw();
  }

  choose(points) {
    this.set({ chosen: points.map(String) });
    if (this.lassoing) this.toggleLasso();
  }

  open(row) {
    this.keep(row);
    this.set({ mode: "space", held: "yes" });
  }

  goTo(run, layer, step) {
    const wanted = layer ?? this.state.layer;
    const found = this.scene.find(run, wanted, step) >= 0 ? wanted : this.scene.layers.find((name) => this.scene.find(run, name, step) >= 0);
    this.set({ mode: this.state.mode === "pair" ? "space" : this.state.mode, follow: run, run, layer: found ?? wanted, step });
  }

  followRun(follow) {
    this.set({ follow, run: follow, step: this.scene.stepsOf(follow).at(-1) ?? 0 });
  }

  pinNow() {
    const letter = this.pins.a < 0 || (this.pins.b >= 0 && this.lastPin === "b") ? "a" : "b";
    if (this.selected < 0) return;
    this.lastPin = letter;
    this.pins[letter] = this.selected;
    this.set({ [letter]: pinName(this.scene, this.selected) });
  }

  toggleLasso() {
    this.lassoing = !this.lassoing;
    this.toolbar.lasso.setAttribute("aria-pressed", String(this.lassoing));
    for (const { scatter } of [this.middle.picture, ...Object.values(this.pair.pictures)]) scatter.lassoing = this.lassoing;
  }

  hiddenPoint(index) {
    const { pointScale, state } = this;
    return state.values.length > 0 && pointScale.codes !== null && pointScale.codes[index] >= 0 &&
      state.values.includes(pointScale.items[pointScale.codes[index]].name);
  }

  async refresh() {
    const { scene, state } = this;
    this.runTable.filter();
    this.filterKey = this.runTable.mask ? this.runTable.filtered : "";
    this.runTable.refresh();
    this.marked = searchPoints(scene, state.query, state.chosen);
    this.pointScale = columnScale(scene, state.by, this.dark);
    this.main.dataset.mode = state.mode;
    this.sentence.textContent = SENTENCES[state.mode] ?? SENTENCES.space;
    this.toolbar.refresh({ pair: this.pair, gallery: this.gallery }[state.mode] ?? this.middle);
    this.space.node.hidden = this.middle.node.hidden = state.mode !== "space";
    this.pair.node.hidden = state.mode !== "pair";
    this.gallery.node.hidden = state.mode !== "gallery";
    this.strip.node.hidden = state.mode !== "space";
    // Each half has a step of its own.
    this.steps.node.hidden = state.mode === "pair";
    this.strip.refresh();
    this.steps.refresh();
    this.remember();
    if (state.mode === "pair") await this.pair.refresh();
    else if (state.mode === "gallery") await this.gallery.refresh();
    else await Promise.all([this.space.refresh(), this.middle.refresh()]);
    this.point_.refresh();
  }

  remember() {
    // A pointer that moves changes the state often; browsers limit the writes per second.
    clearTimeout(this.remembering);
    this.remembering = setTimeout(() => writeAddress(this.state, this.defaults), 120);
  }

  /** What a script may ask: the state, the name of a snapshot, and where a plot draws a point. */
  asked() {
    const scatters = [this.space.scatter, ...[this.middle.picture, this.pair.pictures.a, this.pair.pictures.b].map(({ scatter }) => scatter)];
    return {
      state: () => structuredClone(this.state),
      nameOf: (row) => this.nameOf(row),
      whereIs: (selector, index) => {
        const canvas = document.querySelector(selector);
        const scatter = scatters.find((candidate) => candidate.canvas === canvas);
        return scatter.placer(scatter)(index);
      },
    };
  }

  /** Neighbors of a point in a snapshot that are none in the one before, or in another. */
  newNeighbors(row, point, before) {
    const { scene } = this;
    const [now, then] = [scene.viewNow(row), before < 0 ? null : scene.viewNow(before)];
    if (!now || !then) return new Set();
    const known = new Set(then.near.subarray(point * scene.k, (point + 1) * scene.k));
    return new Set([...now.near.subarray(point * scene.k, (point + 1) * scene.k)].filter((other) => !known.has(other)));
  }

  nameOf(row) {
    const { scene } = this;
    return row < 0 ? "" : `${scene.runOf(row)} · ${scene.layerOf(row)} · step ${scene.snapshots.step[row].toLocaleString("en")}`;
  }

  pointName(point) {
    const { texts, columns } = this.scene.points;
    const name = texts?.[point] ?? columns[this.state.by]?.[point] ?? point;
    return brief(name);
  }

  /** A snapshot in one line: outcome, epoch, and how the run stood. */
  describe(row) {
    const { scene } = this;
    const run = scene.runs[scene.snapshots.run[row]];
    const { metric, settings, values } = scene.page;
    const outcome = run.label === "bad" && run.cause ? `bad: ${run.cause}` : (run.label ?? run.status ?? "");
    const epoch = scene.snapshots.epoch[row];
    const value = metric ? (values[metric]?.[row] ?? null) : null;
    return [
      outcome,
      epoch === null ? "" : `epoch ${epoch}`,
      value === null ? "" : `${metric} ${brief(value)}`,
      ...settings.filter((name) => name in run.hparams).slice(0, 3).map((name) => `${name} ${brief(run.hparams[name])}`),
    ].filter((part) => part !== "").join(" · ");
  }

  key(event) {
    const { state } = this;
    const typing = event.target instanceof HTMLElement && event.target.matches("select, input, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing) {
      if (event.key === "Escape" && event.target === this.toolbar.search) this.set({ query: "" });
      return;
    }
    const pressed = event.target instanceof HTMLElement && event.target.matches("button, summary, a");
    const acts = {
      "[": () => this.steps.move(-1),
      "]": () => this.steps.move(1),
      p: () => this.pinNow(),
      r: () => this.set({ table: state.table ? "" : "open" }),
      "/": () => this.toolbar.search.focus(),
      Escape: () => {
        if (!closeMenus(null)) this.set({ held: "", point: -1, chosen: [] });
      },
      ...(pressed ? {} : { " ": () => this.steps.togglePlay() }),
    };
    if (!(event.key in acts)) return;
    acts[event.key]();
    event.preventDefault();
  }
}
