// Colours: one for each outcome or value that colour-blind people can tell apart (Okabe-Ito), a
// ramp from dark to light for numbers, and one of blues for the steps of the run that is followed.

const INKS = {
  light: { ink: "#1b1f24", muted: "#5c646e", paper: "#ffffff", line: "#d5d9de", flag: "#c43c00", fresh: "#d55e00" },
  dark: { ink: "#e8eaed", muted: "#a3abb5", paper: "#16191d", line: "#3a4048", flag: "#ff9d5c", fresh: "#f7a873" },
};
const OUTCOMES = {
  light: { good: "#009e73", unlabelled: "#8a929b", causes: ["#d55e00", "#e69f00", "#cc79a7", "#56b4e9", "#b8ab00", "#8c6d4f"] },
  dark: { good: "#3fbf9a", unlabelled: "#7c858f", causes: ["#f08a45", "#f0b83d", "#dd97bf", "#7cc7f0", "#f0e442", "#b8977a"] },
};
const VALUES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8ab00", "#8c6d4f", "#6b7480", "#5b3f9e"],
  dark: ["#4aa3dd", "#f08a45", "#3fbf9a", "#dd97bf", "#f0b83d", "#8fd3f5", "#f0e442", "#b8977a", "#9aa3ad", "#a48be0"],
};
const RAMP = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
const STEPS = { light: ["#9fc3ea", "#00347a"], dark: ["#34587f", "#b9dcff"] };
const NOTHING = { light: "#c9ced4", dark: "#454c55" };
const FEW = 12;
const TEXT_CONTRAST = 4.5;

/** Ink, muted ink, paper, hairlines, flags and new neighbours, for a light or dark page. */
export function inks(dark) {
  return INKS[dark ? "dark" : "light"];
}

/** A colour that text can have: of the same hue, and with enough contrast to the page (4.5 to 1). */
export function readable(colour, dark) {
  const { ink, paper } = inks(dark);
  const away = luminance(paper);
  for (let share = 0; share < 1; share += 0.08) {
    const tried = mixed(colour, ink, share);
    const light = luminance(tried);
    if ((Math.max(light, away) + 0.05) / (Math.min(light, away) + 0.05) >= TEXT_CONTRAST) return tried;
  }
  return ink;
}

/** Relative luminance, as WCAG defines it. */
function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** The colour of the followed run at a share of its steps, in [0, 1]. */
export function stepColour(share, dark) {
  const [start, end] = STEPS[dark ? "dark" : "light"];
  return mixed(start, end, share);
}

/** A colour of the ramp of numbers. The yellow end is left out on white, the dark end on black. */
export function rampColour(share, dark) {
  const bounded = Math.min(Math.max(share, 0), 1);
  const at = (dark ? 0.22 + 0.78 * bounded : 0.9 * bounded) * (RAMP.length - 1);
  const below = Math.min(Math.floor(at), RAMP.length - 2);
  return mixed(RAMP[below], RAMP[below + 1], at - below);
}

/** A scale for outcomes: "good" is green, unlabelled grey, each cause has a colour of its own. */
export function outcomeScale(values, dark) {
  const theme = OUTCOMES[dark ? "dark" : "light"];
  const rank = (name) => (name === "good" ? 0 : name === "unlabelled" ? 2 : 1);
  const names = [...new Set(values)].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  let causes = 0;
  const hue = (name) => {
    if (name === "good" || name === "unlabelled") return theme[name];
    return theme.causes[causes++ % theme.causes.length];
  };
  return categories(values, names, names.map(hue), dark);
}

/** A scale for any column: a colour for each of a few values, else a ramp; null has no colour. */
export function scaleOf(values, dark, { numbers = false, order = null } = {}) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const distinct = order ?? [...new Set(known)];
  const numeric = known.length > 0 && known.every((value) => typeof value === "number");
  const whole = numeric && known.every(Number.isInteger);
  if (numeric && (numbers || !(whole && distinct.length <= FEW))) return ramp(values, known, dark);
  if (!order) distinct.sort((a, b) => (numeric ? a - b : String(a) < String(b) ? -1 : 1));
  const palette = VALUES[dark ? "dark" : "light"];
  const colour = (index) =>
    distinct.length <= palette.length ? palette[index] : rampColour(index / Math.max(distinct.length - 1, 1), dark);
  return categories(values, distinct, distinct.map((_, index) => colour(index)), dark);
}

function categories(values, names, colours, dark = false) {
  const places = new Map(names.map((name, index) => [name, index]));
  const counts = names.map(() => 0);
  const codes = values.map((value) => {
    const code = places.get(value) ?? -1;
    if (code >= 0) counts[code] += 1;
    return code;
  });
  const nothing = NOTHING[dark ? "dark" : "light"];
  return {
    kind: "category",
    items: names.map((name, index) => ({ name: String(name), colour: colours[index], count: counts[index] })),
    codes,
    colour: (index) => (codes[index] < 0 ? nothing : colours[codes[index]]),
  };
}

function ramp(values, known, dark) {
  const [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  // What spans orders of magnitude, as learning rates do, is told apart by its logarithm.
  const logarithmic = low > 0 && high / low > 50;
  const place = (value) => {
    if (high === low) return 0.5;
    return logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  };
  const nothing = NOTHING[dark ? "dark" : "light"];
  return {
    kind: "number",
    low,
    high,
    logarithmic,
    codes: null,
    stops: Array.from({ length: 9 }, (_, index) => rampColour(index / 8, dark)),
    colour: (index) => (typeof values[index] === "number" ? rampColour(place(values[index]), dark) : nothing),
  };
}

function mixed(start, end, share) {
  const read = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
  const parts = [1, 3, 5].map((at) => Math.round(read(start, at) + (read(end, at) - read(start, at)) * share));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}
