// The state of the atlas: what is selected and filtered, and the visible part. Only the actions of the store write it.

import { readRange } from "../table/filter.js";

/**
 * @typedef {import("../types.js").Atlas} AtlasData
 * @typedef {import("../types.js").AtlasState} AtlasState
 * @typedef {"color" | "choice" | "point" | "table" | "view"} Change what an action has changed
 */

export class AtlasStore {
  /** The point that is pointed at; -1 for none. */
  hovered = -1;
  /** Whether dragging draws a lasso. */
  lassoing = false;
  #changed;

  /**
   * @param {AtlasData} atlas
   * @param {(change: Change) => void} changed is called after each action
   */
  constructor(atlas, changed) {
    this.atlas = atlas;
    this.#changed = changed;
    /** @type {Readonly<AtlasState>} */
    this.defaults = Object.freeze({
      view: "", color: atlas.roles.color ?? "", q: "", only: [], lasso: [], point: -1, table: "", sort: "", ranges: [],
    });
    /** @type {Readonly<AtlasState>} */
    this.state = this.defaults;
  }

  /** The point that the panel describes, or -1. */
  get described() {
    return this.hovered >= 0 ? this.hovered : this.state.point;
  }

  /** The shape around the chosen points, [[x, y], …]. */
  get polygon() {
    const flat = this.state.lasso.map(Number);
    return Array.from({ length: Math.floor(flat.length / 2) }, (_, at) => [flat[2 * at], flat[2 * at + 1]]);
  }

  /** Codes of the color's column that are chosen in the legend. */
  get only() {
    return new Set(this.state.only.map(Number));
  }

  /**
   * Takes the state from the address; invalid values become the defaults.
   * @param {(defaults: Readonly<AtlasState>) => AtlasState} read
   */
  restore(read) {
    const state = read(this.defaults);
    const column = this.atlas.columns.find(({ name }) => name === state.color);
    if (!column || column.kind === "text") state.color = "";
    if (!Number.isInteger(state.point) || state.point >= this.atlas.count) state.point = -1;
    this.state = Object.freeze(state);
  }

  /** @param {string} color */
  colorBy(color) {
    this.#set({ color, only: [] }, "color");
  }

  /** @param {string} q */
  search(q) {
    this.#set({ q }, "choice");
  }

  /**
   * Adds this code of the color's column to the chosen ones, or removes it.
   * @param {number} code
   */
  toggleCode(code) {
    const name = String(code);
    const { only } = this.state;
    this.#set({ only: only.includes(name) ? only.filter((other) => other !== name) : [...only, name] }, "choice");
  }

  /** @param {number[][]} polygon */
  chooseInside(polygon) {
    this.lassoing = false;
    this.#set({ lasso: polygon.flat().map((side) => String(Math.round(side))) }, "choice");
  }

  /**
   * Chooses points within a range of a column; null for all.
   * @param {string} key
   * @param {unknown[] | null} range
   */
  chooseRange(key, range) {
    const others = this.state.ranges.filter((text) => readRange(text)?.[0] !== key);
    this.#set({ ranges: range ? [...others, JSON.stringify(range)] : others }, "choice");
  }

  clear() {
    this.lassoing = false;
    this.#set({ q: "", lasso: [], only: [], ranges: [], point: -1 }, "choice");
  }

  /** @param {number} point */
  pin(point) {
    this.hovered = -1;
    this.#set({ point }, "point");
  }

  /** @param {number} point */
  hover(point) {
    if (point === this.hovered) return;
    this.hovered = point;
    this.#changed("point");
  }

  toggleLasso() {
    this.lassoing = !this.lassoing;
    this.#changed("choice");
  }

  toggleTable() {
    this.#set({ table: this.state.table ? "" : "open" }, "table");
  }

  /** @param {string} sort */
  sortBy(sort) {
    this.#set({ sort }, "table");
  }

  /**
   * Stores the visible part for the address; the page has already drawn it.
   * @param {string} view
   */
  keepView(view) {
    this.#set({ view }, "view");
  }

  /**
   * @param {Partial<AtlasState>} changes
   * @param {Change} change
   */
  #set(changes, change) {
    this.state = Object.freeze({ ...this.state, ...changes });
    this.#changed(change);
  }
}
