// Which points of an atlas are chosen: by search, legend, lasso and the ranges of the table.

import { insidePolygon } from "../shared/polygon.js";
import { holds, readRange } from "../table/filter.js";
import { cell } from "./data.js";

/**
 * @typedef {import("../types.js").Atlas} AtlasData
 * @typedef {import("../types.js").AtlasColumn} AtlasColumn
 * @typedef {import("../types.js").AtlasState} AtlasState
 * @typedef {(index: number) => boolean} Test whether a point passes
 */

/**
 * A mask of the points that are chosen; null if nothing is filtered, so that all points are.
 * @param {AtlasData} atlas
 * @param {AtlasState} state
 * @param {number[][]} polygon
 * @returns {Uint8Array | null}
 */
export function chosenPoints(atlas, state, polygon) {
  /** @type {Test[]} */
  const tests = [
    ...searched(atlas, state.q.trim().toLowerCase()),
    ...ofLegend(atlas, state),
    ...(polygon.length > 2 ? [(/** @type {number} */ index) => insidePolygon(polygon, atlas.x[index], atlas.y[index])] : []),
    ...ranged(atlas, state.ranges),
  ];
  if (tests.length === 0) return null;
  const mask = new Uint8Array(atlas.count);
  for (let index = 0; index < atlas.count; index += 1) mask[index] = Number(tests.every((passes) => passes(index)));
  return mask;
}

/**
 * @param {AtlasData} atlas
 * @param {string} words
 * @returns {Test[]}
 */
function searched(atlas, words) {
  if (words === "") return [];
  const found = atlas.columns
    .filter(({ kind, name }) => kind !== "number" && name !== atlas.roles.image)
    .map(({ kind, texts, codes }) => ({ kind, codes, hits: (texts ?? []).map((text) => text.toLowerCase().includes(words)) }));
  return [(index) => found.some(({ kind, codes, hits }) => (kind === "category" ? hits[Number(codes?.[index]) - 1] : hits[codes ? codes[index] : index]))];
}

/**
 * @param {AtlasData} atlas
 * @param {AtlasState} state
 * @returns {Test[]}
 */
function ofLegend({ columns }, { color, only }) {
  const codes = columns.find(({ name }) => name === color)?.codes;
  const among = new Set(only.map(Number));
  return codes && among.size > 0 ? [(index) => among.has(codes[index])] : [];
}

/**
 * @param {AtlasData} atlas
 * @param {string[]} texts
 * @returns {Test[]}
 */
function ranged({ columns }, texts) {
  return texts.flatMap((text) => {
    const range = readRange(text);
    const column = columns.find(({ name }) => name === range?.[0]);
    if (!range || !column) return [];
    return [(index) => holds(range, column.kind === "number" ? column.values?.[index] : cell(column, index))];
  });
}
