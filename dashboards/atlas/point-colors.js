// Colors of points: one for each of the most frequent categories, a ramp for numbers.

import { categoryShades, channels, rampShade, rampStops, shades } from "../shared/palette.js";

// Without a column, dense places look darker, and single points stay visible.
const PLAIN = 200;
const CALM = 130;

export function css(rgb) {
  return `rgb(${rgb[0]},${rgb[1]},${rgb[2]})`;
}

/** The colors of all points by a column (or none), and their legend. */
export function paint(column, count, dark) {
  const rest = channels(shades(dark).calm);
  const colors = new Uint8Array(count * 4);
  const fill = (index, rgb, alpha) => colors.set([...rgb, alpha], index * 4);
  if (!column) {
    const plain = channels(shades(dark).values[0]);
    for (let i = 0; i < count; i += 1) fill(i, plain, PLAIN);
    return { colors, legend: null };
  }
  if (column.kind === "number") return paintNumbers(column, colors, fill, rest, dark);
  const known = categoryShades(dark).map(channels);
  const colorOf = (code) => known[code - 1] ?? rest;
  for (let i = 0; i < count; i += 1) {
    const code = column.codes[i];
    fill(i, colorOf(code), code && code <= known.length ? 255 : CALM);
  }
  const amounts = new Uint32Array(column.texts.length + 1);
  for (const code of column.codes) amounts[code] += 1;
  const entries = column.texts.map((text, i) => ({
    text, code: i + 1, color: css(colorOf(i + 1)), amount: amounts[i + 1],
  }));
  if (amounts[0]) entries.push({ text: "(none)", code: 0, color: css(rest), amount: amounts[0] });
  return { colors, legend: { entries } };
}

function paintNumbers(column, colors, fill, rest, dark) {
  const { values } = column;
  const sorted = Float32Array.from(values).filter((value) => Number.isFinite(value)).sort();
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const [low, high] = [at(0.01), at(0.99)];
  const table = Array.from({ length: 256 }, (_, i) => channels(rampShade(i / 255, dark)));
  const place = (value) => (high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0.5);
  for (let i = 0; i < values.length; i += 1) {
    if (Number.isFinite(values[i])) fill(i, table[Math.round(255 * place(values[i]))], 255);
    else fill(i, rest, CALM);
  }
  return { colors, legend: { stops: rampStops(dark), low, high } };
}
