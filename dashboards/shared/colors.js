// Colors: one for each outcome or value, distinct for color-blind people too (Okabe-Ito), a
// ramp from dark to light for numbers, and one of blues for the steps of the run that is followed.

import { categoryShades, channels, mixed, outcomeShades, rampShade, rampStops, shades } from "./palette.js";

/**
 * @typedef {import("../types.js").Scale} Scale
 * @typedef {import("../types.js").CategoryScale} CategoryScale
 * @typedef {import("../types.js").Value} Value
 */

const FEW = 12;
const TEXT_CONTRAST = 4.5;

/**
 * A color for text: the same hue, with enough contrast with the page (4.5 to 1).
 * @param {string} color
 * @param {boolean} dark
 */
export function readable(color, dark) {
  const { ink, paper } = shades(dark);
  const away = luminance(paper);
  for (let share = 0; share < 1; share += 0.08) {
    const tried = mixed(color, ink, share);
    const light = luminance(tried);
    if ((Math.max(light, away) + 0.05) / (Math.min(light, away) + 0.05) >= TEXT_CONTRAST) return tried;
  }
  return ink;
}

/**
 * Relative luminance, as WCAG defines it.
 * @param {string} color
 */
export function luminance(color) {
  const [red, green, blue] = channels(color).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * The color of the followed run at a share of its steps, in [0, 1].
 * @param {number} share
 * @param {boolean} dark
 */
export function stepColor(share, dark) {
  return mixed(shades(dark).steps[0][0], shades(dark).steps[0][1], share);
}

const OTHER = "other causes";
const RARE = "other values";

/**
 * A scale for outcomes: "good" is green, unlabeled gray, each of the eight most frequent causes has a color
 * of its own; the rest are one item, "other causes".
 * @param {string[]} values
 * @param {boolean} dark
 */
export function outcomeScale(values, dark) {
  const theme = outcomeShades(dark);
  const told = frequentCauses(values, theme.causes.length);
  const grouped = values.map((name) => (told.has(name) ? name : OTHER));
  /** @type {Record<string, number>} */
  const ranks = { good: 0, [OTHER]: 2, unlabeled: 3 };
  /** @param {string} name */
  const rank = (name) => ranks[name] ?? 1;
  const names = [...new Set(grouped)].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  let causes = 0;
  /** @param {string} name */
  const hue = (name) => {
    if (name === "good" || name === "unlabeled") return theme[name];
    return name === OTHER ? theme.other : theme.causes[causes++];
  };
  return categories(grouped, names, names.map(hue), dark);
}

/**
 * The outcomes that have a color of their own: good, unlabeled, and the most frequent causes.
 * @param {string[]} values
 * @param {number} most
 */
function frequentCauses(values, most) {
  const counts = new Map();
  for (const name of values) counts.set(name, (counts.get(name) ?? 0) + 1);
  const plain = ["good", "unlabeled"];
  const causes = [...counts].filter(([name]) => !plain.includes(name)).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return new Set([...plain, ...causes.slice(0, most).map(([name]) => name)]);
}

/**
 * A scale for many names, which have no order: the most frequent have colors, the rest are one item.
 * @param {Value[]} values
 * @param {Value[]} known
 * @param {boolean} dark
 * @returns {CategoryScale}
 */
function frequentScale(values, known, dark) {
  const counts = new Map();
  for (const name of known) counts.set(name, (counts.get(name) ?? 0) + 1);
  const colors = categoryShades(dark).slice(0, shades(dark).values.length - 1);
  const names = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, colors.length).map(([name]) => name);
  const shown = new Set(names);
  const grouped = values.map((name) => (name === null || name === undefined || shown.has(name) ? name : RARE));
  return categories(grouped, [...names, RARE], [...colors, shades(dark).ink], dark);
}

/**
 * A scale for any column: a color for each of a few values; for more, a ramp where they have an order, else
 * colors for the most frequent; null has no color.
 * @param {ArrayLike<Value> & Iterable<Value>} values
 * @param {boolean} dark
 * @param {{ numbers?: boolean, order?: Value[] | null }} options
 * @returns {Scale}
 */
export function scaleOf(values, dark, { numbers = false, order = null } = {}) {
  const known = Array.from(values).filter((value) => value !== null && value !== undefined);
  const distinct = order ?? [...new Set(known)];
  const numeric = known.filter((value) => typeof value === "number");
  const isNumeric = known.length > 0 && numeric.length === known.length;
  const few = isNumeric && numeric.every(Number.isInteger) && distinct.length <= FEW;
  if (isNumeric && (numbers || !few)) return ramp(values, numeric, dark);
  if (!order) distinct.sort((a, b) => (isNumeric ? Number(a) - Number(b) : String(a) < String(b) ? -1 : 1));
  const palette = shades(dark).values;
  if (!order && !isNumeric && distinct.length > palette.length) return frequentScale(Array.from(values), known, dark);
  /** @param {number} index */
  const color = (index) =>
    distinct.length <= palette.length ? palette[index] : rampShade(index / Math.max(distinct.length - 1, 1), dark);
  return categories(values, distinct, distinct.map((_, index) => color(index)), dark);
}

/**
 * @param {ArrayLike<Value> & Iterable<Value>} values
 * @param {Value[]} names
 * @param {string[]} colors
 * @param {boolean} dark
 * @returns {CategoryScale}
 */
function categories(values, names, colors, dark) {
  const places = new Map(names.map((name, index) => [name, index]));
  const counts = names.map(() => 0);
  const codes = Array.from(values, (value) => {
    const code = places.get(value) ?? -1;
    if (code >= 0) counts[code] += 1;
    return code;
  });
  const nothing = outcomeShades(dark).unlabeled;
  return {
    kind: "category",
    items: names.map((name, index) => ({ name: String(name), color: colors[index], count: counts[index] })),
    codes,
    color: (index) => (codes[index] < 0 ? nothing : colors[codes[index]]),
  };
}

/**
 * @param {ArrayLike<Value>} values
 * @param {number[]} known
 * @param {boolean} dark
 * @returns {Scale}
 */
function ramp(values, known, dark) {
  const [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  // Values that span orders of magnitude, such as learning rates, are spread by logarithm.
  const logarithmic = low > 0 && high / low > 50;
  /** @param {number} value */
  const place = (value) => {
    if (high === low) return 0.5;
    return logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  };
  const nothing = outcomeShades(dark).unlabeled;
  return {
    kind: "number",
    low,
    high,
    logarithmic,
    codes: null,
    stops: rampStops(dark),
    color: (index) => {
      const value = values[index];
      return typeof value === "number" ? rampShade(place(value), dark) : nothing;
    },
  };
}
