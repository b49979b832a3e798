// Colours of points: Okabe-Ito for categories and an extension of it, a viridis-like scale for numbers.

const CATEGORY_COLORS = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a800",
  "#7a5195", "#8c564b", "#3f7f3f", "#e377c2", "#1f9e9e", "#a05c00", "#5f6fd0",
  "#b03a5b", "#84a83c",
];
const SCALE = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#e8d91f"];
const REST = { light: "#aab2bc", dark: "#59616b" };

function channels(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

function scaleColor(share, dark) {
  // The darkest end would vanish on dark paper, the brightest on light.
  const from = dark ? 0.14 + 0.86 * share : 0.93 * share;
  const at = Math.min(Math.max(from, 0), 1) * (SCALE.length - 1);
  const low = Math.min(Math.floor(at), SCALE.length - 2);
  const [a, b] = [channels(SCALE[low]), channels(SCALE[low + 1])];
  return a.map((value, i) => Math.round(value + (b[i] - value) * (at - low)));
}

/** A little lighter on dark paper. */
function onPaper(rgb, dark) {
  return dark ? rgb.map((value) => Math.round(value + (255 - value) * 0.2)) : rgb;
}

export function css(rgb) {
  return `rgb(${rgb[0]},${rgb[1]},${rgb[2]})`;
}

/** The colours of all points by a column (or none), and the legend that tells them. */
export function paint(column, count, dark) {
  const rest = channels(dark ? REST.dark : REST.light);
  const colors = new Uint8Array(count * 4);
  const fill = (index, rgb, alpha) => colors.set([...rgb, alpha], index * 4);
  if (!column) {
    const plain = channels(dark ? "#56b4e9" : "#0072b2");
    for (let i = 0; i < count; i += 1) fill(i, plain, 150);
    return { colors, legend: null };
  }
  if (column.kind === "number") return paintNumbers(column, colors, fill, rest, dark);
  const shades = column.texts.map((_, i) =>
    i < CATEGORY_COLORS.length ? onPaper(channels(CATEGORY_COLORS[i]), dark) : rest);
  for (let i = 0; i < count; i += 1) {
    const code = column.codes[i];
    if (code && code <= CATEGORY_COLORS.length) fill(i, shades[code - 1], 225);
    else fill(i, rest, 105);
  }
  const amounts = new Uint32Array(column.texts.length + 1);
  for (const code of column.codes) amounts[code] += 1;
  const entries = column.texts.map((text, i) => ({
    text, code: i + 1, color: css(shades[i]), amount: amounts[i + 1],
  }));
  if (amounts[0]) entries.push({ text: "(none)", code: 0, color: css(rest), amount: amounts[0] });
  return { colors, legend: { entries } };
}

function paintNumbers(column, colors, fill, rest, dark) {
  const { values } = column;
  const sorted = Float32Array.from(values).filter((value) => Number.isFinite(value)).sort();
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const [low, high] = [at(0.01), at(0.99)];
  for (let i = 0; i < values.length; i += 1) {
    if (!Number.isFinite(values[i])) fill(i, rest, 105);
    else fill(i, scaleColor(high > low ? (values[i] - low) / (high - low) : 0.5, dark), 215);
  }
  const stops = Array.from({ length: 9 }, (_, i) => css(scaleColor(i / 8, dark)));
  return { colors, legend: { stops, low, high } };
}
