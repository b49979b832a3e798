// The state of the page: what is selected, filtered and shown. Only the actions of the store write it; each tells
// the page what has changed.

import { firstPair, pinName, readPin } from "../pair/pairs.js";
import { readRange } from "../table/filter.js";
import { startingState } from "./state.js";

/**
 * @typedef {import("../types.js").State} State
 * @typedef {import("../document/scene.js").Scene} Scene
 * @typedef {"all" | "snapshot" | "point" | "run" | "zoom" | "lasso"} Change what an action has changed
 */

export class Store {
  /** The probe point and the snapshot that are pointed at, and the run that is pointed at in the table; -1 for none. */
  hoveredPoint = -1;
  hovered = -1;
  pointedRun = -1;
  /** The snapshot that is selected; -1 for none. */
  current = -1;
  /** @type {{ a: number, b: number }} the snapshots that are compared; -1 for none */
  pins = { a: -1, b: -1 };
  /** Whether dragging draws a lasso. */
  lassoing = false;
  /** @type {"a" | "b" | null} */
  #pinnedLast = null;
  /** @type {(change: Change) => Promise<void>} */
  #changed;

  /**
   * @param {Scene} scene
   * @param {(defaults: State) => State} read reads the state from the address
   * @param {(change: Change) => Promise<void>} changed is called after each action
   */
  constructor(scene, read, changed) {
    this.scene = scene;
    this.defaults = startingState(scene);
    this.#changed = changed;
    /** @type {Readonly<State>} */
    this.state = this.defaults;
    this.restore(read);
  }

  /**
   * Takes the state from the address; if it shows a map of one layer, that layer is selected.
   * @param {(defaults: State) => State} read
   */
  restore(read) {
    const state = read(this.defaults);
    const shown = this.scene.layers.filter((name) => !state.layers.includes(name));
    if (shown.length === 1 && state.layer === this.defaults.layer) [state.layer] = shown;
    this.#settle(state);
  }

  /**
   * Takes a newer document. Choices are kept; a view of the newest step moves to the new newest step.
   * @param {Scene} scene
   */
  replaceScene(scene) {
    const { state, defaults } = this;
    const following = state.step === defaults.step && state.run === state.follow;
    scene.inherit(this.scene);
    this.scene = scene;
    this.defaults = startingState(scene);
    this.#settle({ ...state, ...(following ? { step: scene.stepsOf(state.follow).at(-1) ?? 0 } : {}) });
  }

  // What is shown.

  /** @param {string} mode */
  showMode(mode) {
    return this.#reselect({ mode });
  }

  /** @param {string} view */
  showPicture(view) {
    return this.#set({ view });
  }

  /** @param {string} marks */
  showMarks(marks) {
    return this.#set({ marks });
  }

  /** @param {string} method */
  showMap(method) {
    return this.#set({ method });
  }

  /** @param {string} distance */
  measureBy(distance) {
    return this.#set({ distance });
  }

  /** @param {string} color */
  colorMap(color) {
    return this.#set({ color });
  }

  /**
   * Colors the probe points by a column.
   * @param {string} by
   */
  colorPoints(by) {
    return this.#set({ by, values: [], from: "", towards: "" });
  }

  /** @param {string} across */
  galleryAcross(across) {
    return this.#set({ across });
  }

  /** @param {string} layer */
  showLayer(layer) {
    return this.#reselect({ layer });
  }

  /**
   * Shows these layers on the map, and the selected run's snapshot of one of them.
   * @param {string[]} names
   */
  showLayers(names) {
    const layer = names.includes(this.state.layer) ? this.state.layer : names[0];
    return this.#reselect({ layers: this.scene.layers.filter((name) => !names.includes(name)), layer });
  }

  /** @param {string} name */
  toggleLayer(name) {
    return this.#toggle("layers", name);
  }

  toggleLastOnly() {
    return this.#set({ last: this.state.last ? "" : "yes" });
  }

  /**
   * Hides the snapshots with this value of a color on the map, or shows them again.
   * @param {string} name
   */
  toggleFilter(name) {
    return this.#toggle("off", name);
  }

  /**
   * Hides every value in `all` except this one; if they are hidden already, shows them.
   * @param {string} name
   * @param {string[]} all
   */
  soloFilter(name, all) {
    const known = new Set(this.state.off);
    const others = all.filter((other) => other !== name);
    const alone = !known.has(name) && others.every((other) => known.has(other));
    const beside = this.state.off.filter((other) => !all.includes(other));
    return this.#set({ off: alone ? beside : [...beside, ...others] });
  }

  /**
   * Keeps only these filters.
   * @param {string[]} names
   */
  keepFilters(names) {
    return this.#set({ off: this.state.off.filter((name) => names.includes(name)) });
  }

  /** @param {string} name */
  toggleValue(name) {
    return this.#toggle("values", name);
  }

  /**
   * Stores a zoom for the address; the page has already drawn it.
   * @param {string} name
   * @param {string} text
   */
  keepZoom(name, text) {
    this.#write({ [name]: text });
    return this.#changed("zoom");
  }

  // Snapshots.

  /**
   * Shows a snapshot that is pointed at. It stays when the pointer leaves, unless another one is held.
   * @param {number} row
   */
  preview(row) {
    if (row >= 0 && !this.held) this.#keep(row);
    this.hovered = row;
    return this.#changed("snapshot");
  }

  /** @param {number} row */
  hold(row) {
    if (row >= 0) this.#keep(row);
    this.hovered = -1;
    return this.#set({ held: row >= 0 ? "yes" : "" });
  }

  /**
   * Shows a snapshot in the three boxes.
   * @param {number} row
   */
  open(row) {
    this.#keep(row);
    return this.#reselect({ mode: "space", held: "yes" });
  }

  /**
   * @param {string} run
   * @param {string | null} layer
   * @param {number} step
   */
  goTo(run, layer, step) {
    const { scene, state } = this;
    const wanted = layer ?? state.layer;
    const found = scene.find(run, wanted, step) >= 0 ? wanted : scene.layers.find((name) => scene.find(run, name, step) >= 0);
    return this.#reselect({ mode: state.mode === "pair" ? "space" : state.mode, follow: run, run, layer: found ?? wanted, step });
  }

  /** @param {string} follow */
  followRun(follow) {
    return this.#reselect({ follow, run: follow, step: this.scene.stepsOf(follow).at(-1) ?? 0 });
  }

  /**
   * Shows the followed run at a step.
   * @param {number} step
   */
  showStep(step) {
    return this.#reselect({ run: this.state.follow, step });
  }

  // Comparisons.

  /** Pins the selected snapshot as A, then as B, and so on. */
  pinSelected() {
    const { pins, selected } = this;
    if (selected < 0) return Promise.resolve();
    const letter = pins.a < 0 || (pins.b >= 0 && this.#pinnedLast === "b") ? "a" : "b";
    this.#pinnedLast = letter;
    this.pins = { ...pins, [letter]: selected };
    return this.#set({ [letter]: pinName(this.scene, selected) });
  }

  /**
   * Compares snapshots side by side; one that is not given stays as it is.
   * @param {{ a?: number, b?: number }} chosen
   */
  compare(chosen) {
    const known = Object.entries(chosen).filter(([, row]) => row >= 0);
    return this.#reselect({ mode: "pair", ...Object.fromEntries(known.map(([letter, row]) => [letter, pinName(this.scene, row)])) });
  }

  /**
   * The direction along which probe points are compared: from one value of their color towards another.
   * @param {string} from
   * @param {string} towards
   */
  showDirection(from, towards) {
    return this.#set({ from, towards });
  }

  // Probe points.

  /** @param {number} point */
  previewPoint(point) {
    this.hoveredPoint = point;
    return this.#changed("point");
  }

  /** @param {number} point */
  holdPoint(point) {
    this.hoveredPoint = -1;
    this.#write({ point });
    return this.#changed("point");
  }

  /** @param {string} query */
  search(query) {
    return this.#set({ query });
  }

  /** @param {number[]} points */
  choosePoints(points) {
    if (this.lassoing) this.toggleLasso();
    return this.#set({ chosen: points.map(String) });
  }

  clearPoints() {
    return this.#set({ query: "", chosen: [] });
  }

  /** Releases what is held and chosen. */
  release() {
    return this.#set({ held: "", point: -1, chosen: [] });
  }

  toggleLasso() {
    this.lassoing = !this.lassoing;
    return this.#changed("lasso");
  }

  // The table of runs.

  toggleTable() {
    return this.#set({ table: this.state.table ? "" : "open" });
  }

  /** @param {string} find */
  findRuns(find) {
    return this.#set({ find });
  }

  /** @param {string} sort */
  sortRuns(sort) {
    return this.#set({ sort });
  }

  /**
   * Shows only runs within a range of a column; null for all.
   * @param {string} key
   * @param {unknown[] | null} range
   */
  rangeRuns(key, range) {
    const others = this.state.ranges.filter((text) => readRange(text)?.[0] !== key);
    return this.#set({ ranges: range ? [...others, JSON.stringify(range)] : others });
  }

  /** @param {string} name */
  pickRun(name) {
    return this.#toggle("picked", name);
  }

  /** @param {string[]} names */
  pickRuns(names) {
    return this.#set({ picked: [...new Set([...this.state.picked, ...names])] });
  }

  showAllRuns() {
    return this.#set({ find: "", ranges: [], picked: [] });
  }

  /** @param {number} run */
  pointRun(run) {
    if (run === this.pointedRun) return Promise.resolve();
    this.pointedRun = run;
    return this.#changed("run");
  }

  // What is derived from the state.

  /** The snapshot that is shown: the one that is pointed at, else the selected one. */
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
  get shownStep() {
    const { state, scene } = this;
    return state.run === state.follow ? state.step : (scene.stepsOf(state.follow).at(-1) ?? 0);
  }

  // How the state is written.

  /** @param {Partial<State>} changes */
  #write(changes) {
    this.state = Object.freeze({ ...this.state, ...changes });
  }

  /** @param {Partial<State>} changes */
  #set(changes) {
    this.#write(changes);
    return this.#changed("all");
  }

  /**
   * Makes changes that select another snapshot.
   * @param {Partial<State>} changes
   */
  #reselect(changes) {
    this.#settle({ ...this.state, ...changes });
    return this.#changed("all");
  }

  /**
   * @param {"off" | "layers" | "values" | "picked"} list
   * @param {string} name
   */
  #toggle(list, name) {
    const known = this.state[list];
    return this.#set({ [list]: known.includes(name) ? known.filter((other) => other !== name) : [...known, name] });
  }

  /** @param {number} row */
  #keep(row) {
    const { scene } = this;
    this.current = row;
    const layer = scene.layerOf(row);
    this.#write({ run: scene.runOf(row), layer, step: scene.snapshots.step[row], layers: this.#layersFor(this.state.layers, layer) });
  }

  /**
   * Layers that are hidden: a map of one layer switches to the selected layer.
   * @param {string[]} hidden
   * @param {string} layer
   */
  #layersFor(hidden, layer) {
    const { layers } = this.scene;
    const shown = layers.filter((name) => !hidden.includes(name));
    return shown.length === 1 && shown[0] !== layer ? layers.filter((name) => name !== layer) : hidden;
  }

  /**
   * Finds the state's run, layer and step in the document, with defaults for what is missing.
   * @param {State} state
   */
  #settle(state) {
    const { scene, defaults } = this;
    if (!scene.runs.some((run) => run.name === state.follow)) state.follow = defaults.follow;
    let row = scene.find(state.run, state.layer, state.step);
    if (row < 0) row = scene.find(state.follow, state.layer, state.step);
    if (row < 0) row = scene.find(defaults.run, defaults.layer, defaults.step);
    this.current = row;
    this.hovered = -1;
    if (row >= 0) state.layers = this.#layersFor(state.layers, scene.layerOf(row));
    if (state.mode === "pair" && !state.a && !state.b && row >= 0) {
      // If nothing is chosen yet, the snapshot that is shown is compared with its nearest good landmark.
      const pair = firstPair(scene, row);
      if (pair) [state.a, state.b] = pair.map((each) => pinName(scene, each));
    }
    this.pins = { a: readPin(scene, state.a), b: readPin(scene, state.b) };
    if (!Object.hasOwn(scene.points.columns, state.by)) state.by = defaults.by;
    this.state = Object.freeze(state);
  }
}
