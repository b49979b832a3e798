// The table of runs: sorted, filtered by text and by histograms, and the filter of all that is shown.
// Only the rows that are seen are in the document.

import { outcomeScale } from "../core/colors.js";
import { element } from "../core/dom.js";
import { brief, pressable } from "../page/widgets.js";
import { columnsOf } from "./columns.js";
import { listedRuns, orderedRuns, readRange, selectedRuns } from "./filter.js";
import { Histogram } from "./histogram.js";

const ROW_HEIGHT = 26;
const SPARE_ROWS = 6;

export class RunTable {
  constructor(bench) {
    this.bench = bench;
    this.cursor = -1;
    this.opener = pressable("", () => bench.set({ table: bench.state.table ? "" : "open" }), {
      className: "opener", title: "Show or hide the table of runs (R)", "aria-controls": "run-table",
    });
    this.find = element("input", { type: "search", placeholder: "Filter runs: text, cause:overfitting", "aria-label": "Filter runs by text or column" });
    this.find.addEventListener("input", () => bench.set({ find: this.find.value }));
    this.found = element("output", { className: "detail" });
    this.clear = pressable("Show all", () => bench.set({ find: "", ranges: [], picked: [] }), { title: "Clear the filter and the selection of runs" });
    this.close = pressable("Close", () => this.leave(), { className: "table-close" });
    this.head = element("div", { className: "run-row run-head", role: "row" });
    this.rows = element("div", { className: "run-rows", role: "rowgroup" });
    this.scroller = element("div", { className: "run-scroller", role: "grid", tabIndex: 0, "aria-label": "Runs", "aria-multiselectable": "true" },
      element("div", { role: "rowgroup", className: "run-heads" }, this.head), this.rows);
    this.node = element(
      "section",
      { className: "run-table", id: "run-table", "aria-label": "Table of runs" },
      element("div", { className: "tools" }, this.find, this.found, this.clear,
        element("span", { className: "detail" }, "Click a run to follow it; check some to see only these everywhere else."), this.close),
      this.scroller,
    );
    this.listen();
  }

  listen() {
    this.scroller.addEventListener("scroll", () => this.drawRows());
    this.scroller.addEventListener("keydown", (event) => event.target === this.scroller && this.key(event));
    this.rows.addEventListener("click", (event) => this.click(event));
    this.rows.addEventListener("pointerover", (event) => this.bench.pointRun(runAt(event)));
    this.rows.addEventListener("pointerleave", () => this.bench.pointRun(-1));
    new ResizeObserver(() => this.drawRows()).observe(this.scroller);
  }

  /** Computes which runs are shown; everything else reads it from the bench. */
  filter() {
    const { scene, state } = this.bench;
    if (this.scene !== scene) this.readScene(scene);
    const key = JSON.stringify([state.find, state.ranges, state.picked]);
    if (key === this.filtered) return this.mask;
    this.filtered = key;
    this.listed = listedRuns(this.columns, state);
    this.mask = selectedRuns(this.columns, this.listed, state.picked);
    return this.mask;
  }

  readScene(scene) {
    this.scene = scene;
    this.filtered = null;
    this.columns = columnsOf(scene);
    this.built = null;
  }

  refresh() {
    const { state, scene, dark } = this.bench;
    const count = scene.runs.length;
    const size = (mask) => (mask ? mask.reduce((sum, one) => sum + one, 0) : count);
    const shown = size(this.mask);
    this.opener.replaceChildren(
      element("span", { className: "name" }, state.follow), element("span", { className: "detail" }, this.mask ? `${shown} of ${count} runs` : `${count} runs`),
    );
    this.opener.setAttribute("aria-expanded", String(Boolean(state.table)));
    this.node.hidden = !state.table;
    if (!state.table) return;
    if (this.built !== scene || this.dark !== dark) this.build();
    if (this.find.value !== state.find) this.find.value = state.find;
    this.found.textContent = `${size(this.listed)} of ${count}${state.picked.length ? `, ${shown} selected` : ""}`;
    this.clear.disabled = !this.mask;
    this.order = orderedRuns(this.columns, this.listed, state.sort);
    this.scroller.setAttribute("aria-rowcount", String(this.order.length + 1));
    this.rows.style.height = `${this.order.length * ROW_HEIGHT}px`;
    this.showHeads();
    this.rows.replaceChildren();
    this.drawn = new Map();
    this.drawRows();
  }

  build() {
    const { scene, dark } = this.bench;
    Object.assign(this, { built: scene, dark, colors: outcomeScale(scene.outcomes, dark) });
    const width = ({ key, numeric, values }) => {
      if (key === "name") return "minmax(170px, 2fr)";
      const longest = values.reduce((most, value) => Math.max(most, numeric ? 6 : String(value ?? "").length), 0);
      return `minmax(${Math.min(Math.max(longest * 7 + 24, 92), 210)}px, 1fr)`;
    };
    this.node.style.setProperty("--columns", `34px ${this.columns.map(width).join(" ")}`);
    this.heads = this.columns.map((column) => this.headOf(column));
    const all = element("span", { role: "columnheader", className: "run-cell" }, element("span", { className: "hidden-words" }, "selected"));
    this.head.replaceChildren(all, ...this.heads.map(({ node }) => node));
  }

  headOf(column) {
    const { bench } = this;
    const sorter = pressable("", () => {
      const { sort } = bench.state;
      // The first press shows what is large where it is a number, then the other way, then the usual order.
      const ways = column.numeric ? [`-${column.key}`, column.key, ""] : [column.key, `-${column.key}`, ""];
      bench.set({ sort: ways[(ways.indexOf(sort) + 1) % ways.length] });
    }, { className: "sorter", title: column.words });
    const histogram = column.key === "name" ? null : new Histogram(column, (range) => {
      const others = bench.state.ranges.filter((text) => readRange(text)?.[0] !== column.key);
      bench.set({ ranges: range ? [...others, JSON.stringify(range)] : others });
    });
    const node = element("div", { className: "run-cell", role: "columnheader" }, sorter, histogram?.node ?? null);
    return { node, sorter, histogram, column };
  }

  showHeads() {
    const { sort, ranges } = this.bench.state;
    const known = ranges.map(readRange);
    for (const { node, sorter, histogram, column } of this.heads) {
      const way = sort === column.key ? "ascending" : sort === `-${column.key}` ? "descending" : "none";
      node.setAttribute("aria-sort", way);
      sorter.replaceChildren(element("span", { className: "name" }, column.name), element("span", { "aria-hidden": "true" }, { ascending: " ↑", descending: " ↓", none: "" }[way]));
      histogram?.showRange(known.find((range) => range?.[0] === column.key) ?? null, this.listed);
    }
  }

  /** Draws the rows that are seen, and some more on either side. */
  drawRows() {
    if (!this.order || this.node.hidden) return;
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(Math.floor(scrollTop / ROW_HEIGHT) - SPARE_ROWS, 0);
    const last = Math.min(Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + SPARE_ROWS, this.order.length);
    for (const [place, node] of this.drawn) {
      if (place >= first && place < last) continue;
      node.remove();
      this.drawn.delete(place);
    }
    for (let place = first; place < last; place += 1) {
      if (this.drawn.has(place)) continue;
      this.drawn.set(place, this.row(place));
      this.rows.append(this.drawn.get(place));
    }
    this.showCursor();
  }

  row(place) {
    const { state } = this.bench;
    const run = this.order[place];
    const name = this.columns[0].values[run];
    const picked = state.picked.includes(name);
    const check = element("input", { type: "checkbox", checked: picked, tabIndex: -1, "aria-label": `Select ${name}` });
    const cells = this.columns.map((column) => {
      const value = column.values[run];
      const words = value === null ? "" : brief(column.numeric ? Number(value.toPrecision(4)) : value);
      const cell = element("span", { className: column.numeric ? "run-cell number" : "run-cell", role: "gridcell", title: words }, words);
      if (column.key !== "outcome") return cell;
      const sign = element("span", { className: "dot" });
      sign.style.background = this.colors.color(run);
      cell.prepend(sign);
      return cell;
    });
    const node = element(
      "div",
      { className: "run-row", role: "row", id: `run-${run}`, "aria-rowindex": String(place + 2), "aria-selected": String(picked), "data-run": String(run) },
      element("span", { className: "run-cell", role: "gridcell" }, check), ...cells,
    );
    if (name === state.follow) node.setAttribute("aria-current", "true");
    node.style.top = `${place * ROW_HEIGHT}px`;
    return node;
  }

  click(event) {
    const run = runAt(event);
    if (run < 0) return;
    const place = this.order.indexOf(run);
    if (event.shiftKey && this.cursor >= 0) this.pickBetween(this.cursor, place);
    else if (event.ctrlKey || event.metaKey || event.target.closest(".run-cell:first-child")) this.pick(run);
    else this.bench.followRun(this.columns[0].values[run]);
    this.cursor = place;
    this.scroller.focus({ preventScroll: true });
    this.showCursor();
  }

  pick(run) {
    return this.bench.toggle("picked", this.columns[0].values[run]);
  }

  pickBetween(a, b) {
    const names = this.order.slice(Math.min(a, b), Math.max(a, b) + 1).map((run) => this.columns[0].values[run]);
    this.bench.set({ picked: [...new Set([...this.bench.state.picked, ...names])] });
  }

  /** Arrows move through the rows, Enter follows one, Space selects it. */
  key(event) {
    const page = Math.max(Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 2, 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const run = this.order[this.cursor];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) this.moveTo(this.cursor + moves[event.key]);
    else if (event.key === "Enter" && run !== undefined) this.bench.followRun(this.columns[0].values[run]);
    else if (event.key === " " && run !== undefined) this.pick(run);
    else if (event.key === "Escape") this.leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveTo(place) {
    this.cursor = Math.min(Math.max(place, 0), this.order.length - 1);
    const top = this.cursor * ROW_HEIGHT;
    const heads = this.head.offsetHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight - heads) this.scroller.scrollTop = top + ROW_HEIGHT - clientHeight + heads;
    this.drawRows();
    this.showCursor();
    this.bench.pointRun(this.order[this.cursor] ?? -1);
  }

  showCursor() {
    const run = this.order[this.cursor];
    for (const node of this.rows.children) node.classList.toggle("cursor", node.id === `run-${run}`);
    if (run !== undefined && this.rows.querySelector(".cursor")) this.scroller.setAttribute("aria-activedescendant", `run-${run}`);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  leave() {
    this.bench.pointRun(-1);
    this.bench.set({ table: "" });
    this.opener.focus();
  }
}

function runAt(event) {
  const row = event.target.closest?.("[data-run]");
  return row ? Number(row.dataset.run) : -1;
}
