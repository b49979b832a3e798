// Every color that has a meaning, on a light and on a dark page; figures read palette.json too.
// "values" are Okabe-Ito's hues in shades with a contrast of 3 to 1 or more to the page, chosen so
// that color-blind people can distinguish any two: blue, vermillion, green, purple, orange, sky blue,
// yellow, and a brown, a gray and a violet. "more" is for people with full color vision. "steps" are
// the ends of the current runs' shades, "span" the part of the ramp that is drawn.

import PALETTE from "./palette.json" with { type: "json" };

const [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW, BROWN, GRAY, VIOLET] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/**
 * The palette of a light or a dark page: values, and ink, muted ink, paper, hairlines, flags, new neighbors.
 * @param {boolean} dark
 */
export function shades(dark) {
  return PALETTE[dark ? "dark" : "light"];
}

/**
 * Green for good runs, gray for runs without a label, the warm and the other hues for eight causes, ink for the others.
 * @param {boolean} dark
 */
export function outcomeShades(dark) {
  const { values, ink } = shades(dark);
  const causes = [VERMILLION, ORANGE, PURPLE, SKY, YELLOW, BROWN, VIOLET, BLUE].map((at) => values[at]);
  return { good: values[GREEN], unlabeled: values[GRAY], causes, other: ink };
}

/**
 * The colors of categories, "#rrggbb": all but the gray, which is for points without one.
 * @param {boolean} dark
 */
export function categoryShades(dark) {
  const { values, more } = shades(dark);
  return [...values.filter((_, at) => at !== GRAY), ...more];
}

/**
 * A color of the ramp at a share in [0, 1] of the part that stands out from the page.
 * @param {number} share
 * @param {boolean} dark
 */
export function rampShade(share, dark) {
  const [from, to] = shades(dark).span;
  const at = (from + (to - from) * Math.min(Math.max(share, 0), 1)) * (PALETTE.ramp.length - 1);
  const below = Math.min(Math.floor(at), PALETTE.ramp.length - 2);
  return mixed(PALETTE.ramp[below], PALETTE.ramp[below + 1], at - below);
}

/**
 * Nine colors along the drawn part of the ramp, for the bar of a legend.
 * @param {boolean} dark
 */
export function rampStops(dark) {
  return Array.from({ length: 9 }, (_, at) => rampShade(at / 8, dark));
}

/**
 * The color at a share of the way between two, "#rrggbb".
 * @param {string} start
 * @param {string} end
 * @param {number} share
 */
export function mixed(start, end, share) {
  const [a, b] = [channels(start), channels(end)];
  return `#${a.map((value, i) => Math.round(value + (b[i] - value) * share).toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Red, green and blue, 0 to 255, of "#rrggbb".
 * @param {string} color
 */
export function channels(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}
