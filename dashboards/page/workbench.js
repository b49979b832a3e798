// The page: strip, three linked boxes, side by side, gallery, table of runs. Its state is in the store; the page
// redraws what an action of the store has changed. Both shells (the TensorBoard tab and the report) use this module,
// which knows neither.

import { currentLink, readAddress, writeAddress } from "../shared/address.js";
import { element } from "../shared/dom.js";
import { brief } from "../shared/widgets.js";
import { Pair } from "../pair/pair.js";
import { PointBox } from "../point/point-box.js";
import { searchPoints } from "../point/search.js";
import { Gallery } from "../representation/gallery.js";
import { Layouts } from "../representation/layouts.js";
import { columnScale, Middle } from "../representation/middle.js";
import { Sprites } from "../representation/sprites.js";
import { Space } from "../space/space.js";
import { Strip } from "../strip/strip.js";
import { RunTable } from "../table/run-table.js";
import { StepBar } from "./step-bar.js";
import { Store } from "./store.js";
import { closeMenus, Toolbar } from "./toolbar.js";

const SENTENCES = {
  space:
    "Each point on the map is one layer of one run at one step: nearby points find the same probe points similar; " +
    "distant points disagree on which are similar. Axes have no meaning.",
  pair: "Each point is one probe point, as two representations see it: nearby points are similar in that representation. Axes have no meaning.",
  gallery: "Each picture is one representation of the same probe points: nearby points are similar in that representation. Axes have no meaning.",
};

/**
 * @typedef {import("../document/scene.js").Scene} Scene
 * @typedef {import("../types.js").Scale} Scale
 */

export class Workbench {
  /** @type {Sprites | null} the thumbnails of the probe points, once they are read */
  sprites = null;
  /** @type {boolean[] | null} the probe points that are found or chosen; null for all */
  marked = null;
  /** The filter of the table as a key; "" if it shows all runs. */
  filterKey = "";
  /** @type {number | undefined} */
  #remembering;

  /**
   * @param {HTMLElement} root
   * @param {Scene} scene
   */
  constructor(root, scene) {
    this.dark = false;
    this.layouts = new Layouts();
    this.store = new Store(scene, readAddress, (change) => this.show(change));
    /** @type {Scale} */
    this.pointScale = columnScale(scene, this.state.by, this.dark);
    this.runTable = new RunTable(this);
    this.toolbar = new Toolbar(this);
    this.space = new Space(this);
    this.middle = new Middle(this, this.toolbar.pin);
    this.pointBox = new PointBox(this);
    this.pair = new Pair(this);
    this.gallery = new Gallery(this);
    this.steps = new StepBar(this);
    this.strip = new Strip(this);
    this.main = element("main", {}, this.space.node, this.pair.node, this.gallery.node, this.middle.node, this.pointBox.node);
    this.sentence = element("section", { className: "sentence", "aria-label": "How to read this view" });
    root.replaceChildren(this.toolbar.node, this.runTable.node, this.strip.node, this.sentence, this.main, this.steps.node);
    this.listening = new AbortController();
    const { signal } = this.listening;
    window.addEventListener("hashchange", () => this.restore(), { signal });
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    document.addEventListener("click", (event) => closeMenus(event.target), { signal });
    Object.assign(window, { repwatch: this.asked() });
    this.ready = this.start();
  }

  // What the parts of the page read.

  get scene() {
    return this.store.scene;
  }

  get state() {
    return this.store.state;
  }

  get pins() {
    return this.store.pins;
  }

  get current() {
    return this.store.current;
  }

  get selected() {
    return this.store.selected;
  }

  get point() {
    return this.store.point;
  }

  async start() {
    const { sprite } = this.scene.points;
    if (sprite && !this.sprites) {
      try {
        this.sprites = await Sprites.read(sprite);
      } catch {
        this.say("The thumbnails cannot be read; points are drawn as dots.");
      }
    }
    await this.refresh();
    document.body.dataset.state = "drawn";
    // By the frame after next, the reader has seen this one.
    requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("repwatch-drawn")));
  }

  /** Stops timers and listeners before another page replaces this one. */
  leave() {
    this.steps.stop();
    this.listening.abort();
  }

  /** Takes a newer document of the same probe set. */
  replace(scene) {
    this.store.replaceScene(scene);
    this.layouts.forget();
    return this.refresh();
  }

  restore() {
    this.store.restore(readAddress);
    return this.refresh();
  }

  setTheme(dark) {
    this.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    return this.ready.then(() => this.refresh());
  }

  /** Shows a message at the top of the page. */
  say(...words) {
    this.toolbar.say(...words);
  }

  // What is redrawn.

  /**
   * Redraws after an action of the store.
   * @param {import("./store.js").Change} change
   */
  show(change) {
    if (change === "all") return this.refresh();
    if (change === "snapshot") this.showRepresentation();
    else if (change === "point") this.showPoint();
    else if (change === "run") this.space.scatter.draw();
    else if (change === "lasso") this.showLasso();
    else for (const { scatter } of this.pair.allPictures()) scatter.showZoom(this.state.pictureZoom);
    this.remember();
    return Promise.resolve();
  }

  async refresh() {
    const { scene, state } = this;
    this.filterKey = this.runTable.filter();
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
    this.pointBox.refresh();
  }

  /** The quick part of refresh, for pointing. */
  showRepresentation() {
    if (this.state.color === "distance") this.space.refresh();
    else this.space.scatter.draw();
    this.strip.refresh();
    this.steps.refresh();
    Promise.resolve(this.middle.refresh()).then(() => this.pointBox.refresh());
  }

  showPoint() {
    this.pointBox.refresh();
    if (this.state.mode === "space") this.middle.picture.scatter.draw();
    else if (this.state.mode === "pair") this.pair.drawPoint();
    else this.gallery.draw();
  }

  showLasso() {
    const { lassoing } = this.store;
    this.toolbar.showLasso(lassoing);
    for (const { scatter } of [this.middle.picture, ...this.pair.allPictures()]) scatter.setLasso(lassoing);
  }

  remember() {
    // A pointer that moves changes the state often; browsers limit the writes per second.
    clearTimeout(this.#remembering);
    this.#remembering = window.setTimeout(() => writeAddress(this.state, this.store.defaults), 120);
  }

  /** The address of the current view. */
  link() {
    clearTimeout(this.#remembering);
    writeAddress(this.state, this.store.defaults);
    return currentLink();
  }

  // What is known about runs, snapshots and points.

  /** Whether the filter of the table shows a run. */
  runShown(run) {
    const { mask } = this.runTable;
    return !mask || Boolean(mask[run]);
  }

  hiddenPoint(index) {
    const { state } = this;
    const { codes, items } = this.pointScale;
    return state.values.length > 0 && codes !== null && codes[index] >= 0 && state.values.includes(items[codes[index]].name);
  }

  /** What a script may ask for: the state, the name of a snapshot, and where a plot draws a point. */
  asked() {
    const scatters = [this.space.scatter, ...[this.middle.picture, ...this.pair.allPictures()].map(({ scatter }) => scatter)];
    return {
      state: () => structuredClone(this.state),
      nameOf: (row) => this.nameOf(row),
      whereIs: (selector, index) => {
        const canvas = document.querySelector(selector);
        const scatter = scatters.find((candidate) => candidate.canvas === canvas);
        return scatter?.placer(scatter)(index);
      },
    };
  }

  /** Neighbors of a point in one snapshot that are not its neighbors in the snapshot `before`. */
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

  /** A snapshot in one line: outcome, epoch, key metric and hyperparameters. */
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
    const typing = event.target instanceof HTMLElement && event.target.matches("select, input, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing) {
      if (event.key === "Escape" && event.target === this.toolbar.search) this.store.search("");
      return;
    }
    const pressed = event.target instanceof HTMLElement && event.target.matches("button, summary, a");
    const acts = {
      "[": () => this.steps.move(-1),
      "]": () => this.steps.move(1),
      p: () => this.store.pinSelected(),
      r: () => this.store.toggleTable(),
      "/": () => this.toolbar.search.focus(),
      Escape: () => {
        if (!closeMenus(null)) this.store.release();
      },
      ...(pressed ? {} : { " ": () => this.steps.togglePlay() }),
    };
    if (!(event.key in acts)) return;
    acts[event.key]();
    event.preventDefault();
  }
}
