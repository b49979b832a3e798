// A table of many rows: sorted, filtered by text and by a histogram in the head of each column. Only the visible
// rows are in the document. What is filtered, sorted and selected is decided elsewhere; the table shows it.

import { element } from "../shared/dom.js";
import { dot, fromTop, html, listOf, nothing, render } from "../shared/lists.js";
import { brief, pressable } from "../shared/widgets.js";
import { Histogram } from "./histogram.js";

const ROW_HEIGHT = 26;
const SPARE_ROWS = 6;

/**
 * @typedef {import("../types.js").Column} Column
 * @typedef {object} TableOptions
 * @property {string} id of the table's node; its rows are `${row}-${index}`
 * @property {string} label
 * @property {string} row what one row is
 * @property {string} hint
 * @property {string} [find] the placeholder of the text filter; without it there is no filter
 * @property {boolean} [picks] whether rows can be selected
 * @property {TableActions} act
 *
 * @typedef {object} TableActions
 * @property {(text: string) => void} [find]
 * @property {(key: string, range: unknown[] | null) => void} range
 * @property {(sort: string) => void} sort
 * @property {(row: number) => void} choose
 * @property {(row: number) => void} point
 * @property {() => void} close
 * @property {() => void} showAll
 * @property {(row: number) => void} [pick]
 * @property {(rows: number[]) => void} [pickMany]
 *
 * @typedef {object} Shown
 * @property {Uint8Array | null} listed the rows that pass the filter, as a mask; null for all
 * @property {number[]} order those rows, in the order in which they are shown
 * @property {(unknown[] | null)[]} ranges
 * @property {string} sort KEY, -KEY or ""
 * @property {string} find
 * @property {string} found how many there are, in words
 * @property {boolean} filtered
 * @property {Set<number>} picked
 * @property {number} current
 */

export class Table {
  /** @type {Column[]} */
  columns = [];
  /** @type {{ node: HTMLElement, sorter: HTMLElement, histogram: Histogram | null, column: Column }[]} */
  heads = [];
  /** @type {Shown | null} */
  shown = null;
  /** @type {(row: number) => string} */
  colorOf = () => "";
  /** The place in the order that keys move from. */
  cursor = -1;

  /** @param {TableOptions} options */
  constructor(options) {
    this.options = options;
    const { act } = options;
    this.find = element("input", { type: "search", placeholder: options.find ?? "", "aria-label": "Filter by text or column", hidden: !options.find });
    this.find.addEventListener("input", () => act.find?.(this.find.value));
    this.found = element("output", { className: "detail" });
    this.clear = pressable("Show all", () => act.showAll(), { title: "Clear the filter and the selection" });
    const close = pressable("Close", () => act.close(), { className: "table-close" });
    this.head = element("div", { className: "run-row run-head", role: "row" });
    this.rows = element("div", { className: "run-rows", role: "rowgroup" });
    this.scroller = element("div", { className: "run-scroller", role: "grid", tabIndex: 0, "aria-label": options.label, "aria-multiselectable": String(Boolean(options.picks)) },
      element("div", { role: "rowgroup", className: "run-heads" }, this.head), this.rows);
    this.node = element(
      "section",
      { className: "run-table", id: options.id, "aria-label": `Table of ${options.label.toLowerCase()}` },
      element("div", { className: "tools" }, this.find, this.found, this.clear, element("span", { className: "detail" }, options.hint), close),
      this.scroller,
    );
    this.listen();
  }

  listen() {
    this.scroller.addEventListener("scroll", () => this.drawRows());
    this.scroller.addEventListener("keydown", (event) => event.target === this.scroller && this.key(event));
    this.rows.addEventListener("click", (event) => this.click(event));
    this.rows.addEventListener("pointerover", (event) => this.options.act.point(rowAt(event)));
    this.rows.addEventListener("pointerleave", () => this.options.act.point(-1));
    new ResizeObserver(() => this.drawRows()).observe(this.scroller);
  }

  /**
   * Builds the heads. The first column names its row, and has no histogram.
   * @param {Column[]} columns
   * @param {(row: number) => string} colorOf the color of a row's dot, in the column with dots
   */
  setColumns(columns, colorOf) {
    this.columns = columns;
    this.colorOf = colorOf;
    const width = ({ numeric, values }, at) => {
      if (at === 0) return "minmax(170px, 2fr)";
      let longest = 0;
      for (const value of values) longest = Math.max(longest, numeric ? 6 : String(value ?? "").length);
      return `minmax(${Math.min(Math.max(longest * 7 + 24, 92), 210)}px, 1fr)`;
    };
    this.node.style.setProperty("--columns", `${this.options.picks ? "34px " : ""}${columns.map(width).join(" ")}`);
    this.heads = columns.map((column, at) => this.headOf(column, at));
    const check = element("span", { role: "columnheader", className: "run-cell" }, element("span", { className: "hidden-words" }, "selected"));
    this.head.replaceChildren(...(this.options.picks ? [check] : []), ...this.heads.map(({ node }) => node));
  }

  headOf(column, at) {
    const sorter = pressable("", () => {
      // Presses sort in turn: numbers descending and texts ascending; the reverse; the usual order.
      const ways = column.numeric ? [`-${column.key}`, column.key, ""] : [column.key, `-${column.key}`, ""];
      this.options.act.sort(ways[(ways.indexOf(this.shown?.sort ?? "") + 1) % ways.length]);
    }, { className: "sorter", title: column.words });
    const histogram = at === 0 || column.plain ? null : new Histogram(column, (range) => this.options.act.range(column.key, range));
    const node = element("div", { className: "run-cell", role: "columnheader" }, sorter, histogram?.node ?? null);
    return { node, sorter, histogram, column };
  }

  /** @param {Shown} shown */
  show(shown) {
    this.shown = shown;
    if (this.find.value !== shown.find) this.find.value = shown.find;
    this.found.textContent = shown.found;
    this.clear.disabled = !shown.filtered;
    this.scroller.setAttribute("aria-rowcount", String(shown.order.length + 1));
    this.rows.style.height = `${shown.order.length * ROW_HEIGHT}px`;
    this.showHeads(shown);
    this.drawRows();
  }

  /** @param {Shown} shown */
  showHeads({ sort, ranges, listed }) {
    for (const { node, sorter, histogram, column } of this.heads) {
      const way = sort === column.key ? "ascending" : sort === `-${column.key}` ? "descending" : "none";
      node.setAttribute("aria-sort", way);
      sorter.replaceChildren(element("span", { className: "name" }, column.name), element("span", { "aria-hidden": "true" }, { ascending: " ↑", descending: " ↓", none: "" }[way]));
      histogram?.showRange(ranges.find((range) => range?.[0] === column.key) ?? null, listed);
    }
  }

  /** Draws the visible rows, and some more on either side. */
  drawRows() {
    if (!this.shown || this.node.hidden) return;
    const { order } = this.shown;
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(Math.floor(scrollTop / ROW_HEIGHT) - SPARE_ROWS, 0);
    const last = Math.min(Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + SPARE_ROWS, order.length);
    render(listOf(order.slice(first, last), (row) => row, (row, at) => this.row(first + at, row)), this.rows);
    this.showCursor();
  }

  /**
   * @param {number} place
   * @param {number} row
   */
  row(place, row) {
    const { picked, current } = /** @type {Shown} */ (this.shown);
    const check = html`<span class="run-cell" role="gridcell"><input type="checkbox" tabindex="-1"
      aria-label=${`Select ${this.columns[0].values[row]}`} .checked=${picked.has(row)}></span>`;
    return html`<div class="run-row" role="row" id=${`${this.options.row}-${row}`} aria-rowindex=${place + 2}
      aria-selected=${String(picked.has(row))} aria-current=${row === current ? "true" : nothing} data-row=${row}
      style=${fromTop(place * ROW_HEIGHT)}>${this.options.picks ? check : nothing}${this.columns.map((column) => this.cell(column, row))}</div>`;
  }

  /**
   * @param {Column} column
   * @param {number} row
   */
  cell(column, row) {
    const value = column.values[row] ?? null;
    const words = value === null ? "" : brief(column.numeric ? Number(value.toPrecision(4)) : value);
    return html`<span class=${column.numeric ? "run-cell number" : "run-cell"} role="gridcell" title=${words}>${
      column.dots ? dot(this.colorOf(row)) : nothing}${words}</span>`;
  }

  click(event) {
    const row = rowAt(event);
    if (row < 0 || !this.shown) return;
    const { order } = this.shown;
    const { act, picks } = this.options;
    const place = order.indexOf(row);
    if (picks && event.shiftKey && this.cursor >= 0) act.pickMany?.(order.slice(Math.min(this.cursor, place), Math.max(this.cursor, place) + 1));
    else if (picks && (event.ctrlKey || event.metaKey || event.target.closest(".run-cell:first-child"))) act.pick?.(row);
    else act.choose(row);
    this.cursor = place;
    this.scroller.focus({ preventScroll: true });
    this.showCursor();
  }

  /** Arrows move through the rows, Enter chooses one, Space selects it. */
  key(event) {
    const page = Math.max(Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 2, 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const row = this.shown?.order[this.cursor];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) this.moveTo(this.cursor + moves[event.key]);
    else if (event.key === "Enter" && row !== undefined) this.options.act.choose(row);
    else if (event.key === " " && row !== undefined && this.options.picks) this.options.act.pick?.(row);
    else if (event.key === "Escape") this.options.act.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveTo(place) {
    const order = this.shown?.order ?? [];
    this.cursor = Math.min(Math.max(place, 0), order.length - 1);
    const top = this.cursor * ROW_HEIGHT;
    const heads = this.head.offsetHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight - heads) this.scroller.scrollTop = top + ROW_HEIGHT - clientHeight + heads;
    this.drawRows();
    this.options.act.point(order[this.cursor] ?? -1);
  }

  showCursor() {
    const id = `${this.options.row}-${this.shown?.order[this.cursor]}`;
    for (const node of this.rows.children) node.classList.toggle("cursor", node.id === id);
    if (this.rows.querySelector(".cursor")) this.scroller.setAttribute("aria-activedescendant", id);
    else this.scroller.removeAttribute("aria-activedescendant");
  }
}

function rowAt(event) {
  const row = event.target.closest?.("[data-row]");
  return row ? Number(row.dataset.row) : -1;
}
