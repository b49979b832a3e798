// Which rows are shown, and in which order: text, brushed histograms, selected runs.

/**
 * @typedef {import("../types.js").Column} Column
 * @typedef {import("../types.js").Bin} Bin
 * @typedef {[string, unknown, ...unknown[]]} Range [key, low, high] or [key, [values]]
 */

/**
 * Bins of a column {low, high, value, runs}: numbers by size, other values by how frequent they are.
 * @param {Pick<Column, "values" | "numeric">} column
 * @returns {Bin[]}
 */
export function binsOf({ values, numeric }, most = 12) {
  return numeric ? numberBins(values, most) : valueBins(values, most);
}

/**
 * @param {(number | null)[]} values
 * @param {number} most
 * @returns {Bin[]}
 */
function numberBins(values, most) {
  const known = values.flatMap((value) => (value === null || Number.isNaN(value) ? [] : [value]));
  const [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const distinct = [...new Set(known)].sort((a, b) => a - b);
  if (distinct.length <= most) return distinct.map((value) => ({ low: value, high: value, runs: known.filter((other) => other === value).length }));
  const logarithmic = low > 0 && high / low > 50;
  const [from, to] = logarithmic ? [Math.log(low), Math.log(high)] : [low, high];
  /** @param {number} at */
  const edge = (at) => {
    const value = from + ((to - from) * at) / most;
    return logarithmic ? Math.exp(value) : value;
  };
  const bins = Array.from({ length: most }, (_, at) => ({ low: at ? edge(at) : low, high: at === most - 1 ? high : edge(at + 1), runs: 0 }));
  for (const value of known) bins[Math.max(bins.findLastIndex((bin) => value >= bin.low), 0)].runs += 1;
  return bins;
}

/**
 * @param {(string | number | boolean | null)[]} values
 * @param {number} most
 * @returns {Bin[]}
 */
function valueBins(values, most) {
  const counts = new Map();
  for (const value of values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || compareValues(a[0], b[0])).slice(0, most).map(([value, runs]) => ({ value, runs, low: 0, high: 0 }));
}

/**
 * The range of some neighboring bins of a column.
 * @param {Pick<Column, "key" | "numeric">} column
 * @param {Bin[]} bins
 * @returns {Range}
 */
export function rangeOf({ key, numeric }, bins) {
  return numeric ? [key, bins[0].low, bins[bins.length - 1].high] : [key, bins.map(({ value }) => value)];
}

/**
 * Whether a range holds a value; the upper end belongs to it.
 * @param {Range | unknown[]} range
 * @param {unknown} value
 */
export function holds([, low, high], value) {
  if (Array.isArray(low)) return low.includes(value);
  return typeof value === "number" && value >= Number(low) && value <= Number(high);
}

/**
 * A mask of rows, or null for all: those with each word of `find` in one of their values (NAME:VALUE for the
 * value of one column) and within each range.
 * @param {Column[]} columns
 * @param {{ find: string, ranges: string[] }} filter
 */
export function listedRows(columns, { find, ranges }) {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const byKey = new Map(columns.map((column) => [column.key, column]));
  const within = ranges.flatMap((text) => {
    const range = readRange(text);
    const column = range && byKey.get(range[0]);
    return range && column ? [{ range, column }] : [];
  });
  if (words.length === 0 && within.length === 0) return null;
  return Uint8Array.from(columns[0].values, (_, run) => {
    const inside = within.every(({ range, column }) => holds(range, column.values[run]));
    return Number(inside && words.every((word) => hasWord(columns, run, word)));
  });
}

/**
 * The mask of the listed rows that are selected by name; of all listed rows if none is.
 * @param {Column[]} columns
 * @param {Uint8Array | null} listed
 * @param {string[]} picked
 */
export function selectedRuns(columns, listed, picked) {
  if (picked.length === 0) return listed;
  const among = new Set(picked);
  return Uint8Array.from(columns[0].values, (name, run) => Number(among.has(name) && (!listed || listed[run])));
}

/**
 * @param {Column[]} columns
 * @param {number} run
 * @param {string} word
 */
function hasWord(columns, run, word) {
  /** @param {Column} column */
  const text = (column) => String(column.values[run] ?? "").toLowerCase();
  const at = word.lastIndexOf(":");
  const column = at > 0 ? columns.find(({ name }) => name.toLowerCase() === word.slice(0, at)) : null;
  return column ? text(column) === word.slice(at + 1) : columns.some((each) => text(each).includes(word));
}

/**
 * A range from the address, or null.
 * @param {string} text
 * @returns {Range | null}
 */
export function readRange(text) {
  try {
    const range = JSON.parse(text);
    return Array.isArray(range) && range.length > 1 ? [String(range[0]), range[1], ...range.slice(2)] : null;
  } catch {
    return null;
  }
}

/**
 * The shown rows in the order of `sort`, KEY or -KEY; without one, the newest come first.
 * @param {Column[]} columns
 * @param {Uint8Array | null} mask
 * @param {string} sort
 * @returns {number[]}
 */
export function orderedRows(columns, mask, sort) {
  const rows = Array.from(columns[0].values, (_, run) => run).filter((run) => !mask || mask[run]);
  const down = sort.startsWith("-");
  const column = columns.find(({ key }) => key === (down ? sort.slice(1) : sort));
  if (!column) return rows.reverse();
  const { values } = column;
  const way = down ? -1 : 1;
  return rows.sort((a, b) => {
    // Rows without a value are last, in either direction.
    if (values[a] === null || values[b] === null) return Number(values[a] === null) - Number(values[b] === null) || a - b;
    return way * compareValues(values[a], values[b]) || a - b;
  });
}

/**
 * @param {string | number | boolean | null} a
 * @param {string | number | boolean | null} b
 */
function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
}
