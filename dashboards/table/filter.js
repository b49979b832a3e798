// Which runs are shown, and in which order: text, brushed histograms, selected runs.

/** Bins of a column {low, high, value, label, runs}: numbers by size, other values by how frequent they are. */
export function binsOf({ values, numeric }, most = 12) {
  return numeric ? numberBins(values, most) : valueBins(values, most);
}

function numberBins(values, most) {
  const known = values.filter((value) => value !== null);
  const [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const distinct = [...new Set(known)].sort((a, b) => a - b);
  if (distinct.length <= most) return distinct.map((value) => ({ low: value, high: value, runs: known.filter((other) => other === value).length }));
  const logarithmic = low > 0 && high / low > 50;
  const [from, to] = logarithmic ? [Math.log(low), Math.log(high)] : [low, high];
  const edge = (at) => {
    const value = from + ((to - from) * at) / most;
    return logarithmic ? Math.exp(value) : value;
  };
  const bins = Array.from({ length: most }, (_, at) => ({ low: at ? edge(at) : low, high: at === most - 1 ? high : edge(at + 1), runs: 0 }));
  for (const value of known) bins[Math.max(bins.findLastIndex((bin) => value >= bin.low), 0)].runs += 1;
  return bins;
}

function valueBins(values, most) {
  const counts = new Map();
  for (const value of values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || compareValues(a[0], b[0])).slice(0, most).map(([value, runs]) => ({ value, runs }));
}

/** The range [key, low, high] or [key, [values]] of some neighboring bins of a column. */
export function rangeOf({ key, numeric }, bins) {
  return numeric ? [key, bins[0].low, bins.at(-1).high] : [key, bins.map(({ value }) => value)];
}

/** Whether a range holds a value; the upper end belongs to it. */
export function holds([, low, high], value) {
  return Array.isArray(low) ? low.includes(value) : value !== null && value >= low && value <= high;
}

/**
 * A mask of runs, or null for all: those with each word of `find` in one of their values (NAME:VALUE for the
 * value of one column) and inside of each range.
 */
export function listedRuns(columns, { find, ranges }) {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const within = ranges.map(readRange).filter((range) => range && columns.some(({ key }) => key === range[0]));
  if (words.length === 0 && within.length === 0) return null;
  const byKey = new Map(columns.map((column) => [column.key, column]));
  return Uint8Array.from(columns[0].values, (_, run) => {
    const inside = within.every((range) => holds(range, byKey.get(range[0]).values[run]));
    return Number(inside && words.every((word) => hasWord(columns, run, word)));
  });
}

/** The mask of those listed runs that are selected; of all where none is. */
export function selectedRuns(columns, listed, picked) {
  if (picked.length === 0) return listed;
  const among = new Set(picked);
  return Uint8Array.from(columns[0].values, (name, run) => Number(among.has(name) && (!listed || listed[run])));
}

function hasWord(columns, run, word) {
  const text = (column) => String(column.values[run] ?? "").toLowerCase();
  const at = word.lastIndexOf(":");
  const column = at > 0 ? columns.find(({ name }) => name.toLowerCase() === word.slice(0, at)) : null;
  return column ? text(column) === word.slice(at + 1) : columns.some((each) => text(each).includes(word));
}

/** A range out of the address, or null. */
export function readRange(text) {
  try {
    const range = JSON.parse(text);
    return Array.isArray(range) && range.length > 1 ? range : null;
  } catch {
    return null;
  }
}

/** Places of the shown runs in the order of `sort`, KEY or -KEY; without one the newest come first. */
export function orderedRuns(columns, mask, sort) {
  const names = columns[0].values;
  const rows = names.map((_, run) => run).filter((run) => !mask || mask[run]);
  const down = sort.startsWith("-");
  const column = columns.find(({ key }) => key === (down ? sort.slice(1) : sort));
  if (!column) return rows.reverse();
  const { values } = column;
  const way = down ? -1 : 1;
  return rows.sort((a, b) => {
    // Runs without a value are last, in either direction.
    if (values[a] === null || values[b] === null) return Number(values[a] === null) - Number(values[b] === null) || a - b;
    return way * compareValues(values[a], values[b]) || a - b;
  });
}

function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
}
