// Every color that has a meaning, on a light and on a dark page; figures read it too, as JSON.
// "values" are Okabe-Ito's hues in shades with a contrast of 3 to 1 or more to the page, chosen so
// that color-blind people can distinguish any two: blue, vermillion, green, purple, orange, sky blue,
// yellow, and a brown, a gray and a violet. "more" is for people with full color vision. "steps" are
// the ends of the current runs' shades, "span" the part of the ramp that is drawn.

export const PALETTE = {
  "light": {
    "ink": "#1b1f24", "muted": "#5c646e", "paper": "#ffffff", "line": "#d5d9de",
    "flag": "#c43c00", "fresh": "#d55e00", "calm": "#aab2bc",
    "values": ["#0270b0", "#ad3d02", "#169f73", "#c375a9", "#ad6a00", "#379bce", "#a39200", "#5f4125", "#717780", "#5f3e9c"],
    "more": ["#3f7f3f", "#c2559f", "#1f8a8a", "#b03a5b", "#6c8f2e", "#5f6fd0", "#8c564b"],
    "steps": [["#5b93cf", "#00347a"], ["#8f8f8f", "#101010"], ["#b67fbf", "#5b0f6b"]],
    "span": [0, 0.58]
  },
  "dark": {
    "ink": "#e8eaed", "muted": "#a3abb5", "paper": "#16191d", "line": "#3a4048",
    "flag": "#ff9d5c", "fresh": "#f7a873", "calm": "#59616b",
    "values": ["#63b4f1", "#ed873e", "#56d4ad", "#d28db6", "#f0b83c", "#8ccff2", "#eee549", "#bb9a7d", "#808890", "#9d83d9"],
    "more": ["#7fb47f", "#e592cf", "#4cb1b1", "#d9708f", "#a9c766", "#8f9be6", "#b98a80"],
    "steps": [["#4f7db3", "#b9dcff"], ["#737373", "#f6f6f6"], ["#8a5fa0", "#f0c8fa"]],
    "span": [0.37, 1]
  },
  "ramp": ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"]
};

const [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW, BROWN, GRAY, VIOLET] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** The palette of a light or a dark page: values, and ink, muted ink, paper, hairlines, flags, new neighbors. */
export function shades(dark) {
  return PALETTE[dark ? "dark" : "light"];
}

/** Green for what is good, gray for runs without a label, the warm and the other hues for eight causes, ink for the others. */
export function outcomeShades(dark) {
  const { values, ink } = shades(dark);
  const causes = [VERMILLION, ORANGE, PURPLE, SKY, YELLOW, BROWN, VIOLET, BLUE].map((at) => values[at]);
  return { good: values[GREEN], unlabeled: values[GRAY], causes, other: ink };
}

/** The colors of categories, "#rrggbb": all but the gray, which is for what has none. */
export function categoryShades(dark) {
  const { values, more } = shades(dark);
  return [...values.filter((_, at) => at !== GRAY), ...more];
}

/** A color of the ramp at a share in [0, 1], of that part of it which stands out from the page. */
export function rampShade(share, dark) {
  const [from, to] = shades(dark).span;
  const at = (from + (to - from) * Math.min(Math.max(share, 0), 1)) * (PALETTE.ramp.length - 1);
  const below = Math.min(Math.floor(at), PALETTE.ramp.length - 2);
  return mixed(PALETTE.ramp[below], PALETTE.ramp[below + 1], at - below);
}

/** Nine colors along the drawn part of the ramp, for the bar of a legend. */
export function rampStops(dark) {
  return Array.from({ length: 9 }, (_, at) => rampShade(at / 8, dark));
}

/** The color at a share of the way between two, "#rrggbb". */
export function mixed(start, end, share) {
  const [a, b] = [channels(start), channels(end)];
  return `#${a.map((value, i) => Math.round(value + (b[i] - value) * share).toString(16).padStart(2, "0")).join("")}`;
}

/** Red, green and blue, 0 to 255, of "#rrggbb". */
export function channels(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}
