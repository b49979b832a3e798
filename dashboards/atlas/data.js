// Reads what repwatch.atlas packed: a gzip stream of a JSON header and arrays.

import { csvLine } from "../shared/csv.js";

/** @typedef {import("../types.js").AtlasColumn} AtlasColumn */

const ATLAS_VERSION = 2;
/** @type {Record<string, any>} */
const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

/**
 * The atlas ({title, count, x, y, order, shade, near, neighbors, clusters, columns, roles}) from base64 text.
 * @param {string} base64
 * @returns {Promise<import("../types.js").Atlas>}
 */
export async function readAtlas(base64) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser is too old to open the page. Use a version from 2023 or later.");
  }
  const packed = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (header.version !== ATLAS_VERSION) {
    throw new Error(`This atlas has version ${header.version}, but the page reads ${ATLAS_VERSION}.`);
  }
  /** @param {{ type: string, at: number, length: number }} place */
  const array = ({ type, at, length: size }) => new ARRAYS[type](buffer, 4 + length + at, size);
  const columns = header.columns.map((/** @type {any} */ column) => ({
    ...column,
    codes: column.codes ? array(column.codes) : null,
    values: column.values ? array(column.values) : null,
  }));
  const arrays = ["x", "y", "order", "shade", "neighbors"].map((name) => [name, array(header[name])]);
  return { ...header, ...Object.fromEntries(arrays), columns };
}

/**
 * The text of one point in one column; empty if it is missing.
 * @param {AtlasColumn | undefined} column
 * @param {number} index
 */
export function cell(column, index) {
  if (!column) return "";
  if (column.kind === "number") {
    const value = column.values?.[index] ?? NaN;
    return Number.isNaN(value) ? "" : String(Number(value.toPrecision(6)));
  }
  if (column.kind === "category") {
    const code = column.codes?.[index] ?? 0;
    return column.texts?.[code - 1] ?? "";
  }
  return column.texts?.[column.codes ? column.codes[index] : index] ?? "";
}

/**
 * The points as CSV, for a spreadsheet.
 * @param {AtlasColumn[]} columns
 * @param {number[]} indices
 */
export function toCsv(columns, indices) {
  const rows = [["row", ...columns.map((column) => column.name)]];
  for (const index of indices) rows.push([String(index), ...columns.map((column) => cell(column, index))]);
  return rows.map(csvLine).join("");
}
