// The table of the points of an atlas: the points that are chosen, sorted, with a histogram for each column.

import { orderedRows, readRange } from "../table/filter.js";
import { Table } from "../table/table.js";
import { cell } from "./data.js";
import { css } from "./point-colors.js";

/**
 * @typedef {import("../types.js").Atlas} AtlasData
 * @typedef {import("../types.js").Column} Column
 */

export class PointTable {
  /** @type {Column[]} made when the table is first opened, since they take a few milliseconds */
  columns = [];

  /**
   * @param {AtlasData} atlas
   * @param {import("./store.js").AtlasStore} store
   * @param {{ goTo: (point: number) => void, close: () => void }} act
   */
  constructor(atlas, store, { goTo, close }) {
    this.atlas = atlas;
    this.store = store;
    this.table = new Table({
      id: "point-table",
      label: "Points",
      row: "point",
      hint: "Click a row to go to its point. Drag over a histogram to choose points.",
      act: {
        range: (key, range) => store.chooseRange(key, range),
        sort: (sort) => store.sortBy(sort),
        choose: goTo,
        point: (point) => store.hover(point),
        showAll: () => store.clear(),
        close,
      },
    });
    this.node = this.table.node;
    this.node.hidden = true;
  }

  /**
   * @param {Uint8Array | null} chosen the points that are chosen; null for all
   * @param {Uint8Array} colors
   */
  refresh(chosen, colors) {
    const { state } = this.store;
    this.node.hidden = !state.table;
    if (!state.table) return;
    if (this.columns.length === 0) this.columns = columnsOf(this.atlas);
    if (this.colors !== colors) this.table.setColumns(this.columns, (point) => css(colors.subarray(4 * point, 4 * point + 3)));
    this.colors = colors;
    const { count, order } = this.atlas;
    const sorted = state.sort ? orderedRows(this.columns, chosen, state.sort) : Array.from(order).filter((point) => !chosen || chosen[point]);
    this.table.show({
      listed: chosen,
      order: sorted,
      ranges: state.ranges.map(readRange),
      sort: state.sort,
      find: "",
      found: `${sorted.length.toLocaleString("en")} of ${count.toLocaleString("en")}`,
      filtered: chosen !== null,
      picked: new Set(),
      current: state.point,
    });
  }
}

/**
 * The columns of an atlas for a table: first the label, then the others except images and partners.
 * @param {AtlasData} atlas
 * @returns {Column[]}
 */
export function columnsOf({ columns, roles, count }) {
  const label = columns.find(({ name }) => name === roles.label);
  const others = columns.filter(({ name }) => ![roles.label, roles.image, roles.partner].includes(name));
  const values = (column) =>
    Array.from({ length: count }, (_, at) => {
      if (column.kind !== "number") return cell(column, at) || null;
      return Number.isNaN(column.values[at]) ? null : column.values[at];
    });
  return [
    { key: "label", name: label?.name ?? "row", words: label?.name ?? "row", values: Array.from({ length: count }, (_, at) => cell(label, at) || `row ${at}`), numeric: false, dots: true },
    ...others.map((column) => ({
      key: column.name, name: column.name, words: column.name, values: values(column), numeric: column.kind === "number", plain: column.kind === "text",
    })),
  ];
}
