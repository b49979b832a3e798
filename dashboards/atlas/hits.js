// What a search has found, as a list: the best matches first, each of them a step away.

import { element } from "../shared/dom.js";
import { cell } from "./data.js";

const MOST_HITS = 8;

/**
 * The chosen points that match a search best: those whose label is the words, then those whose label begins with
 * them, then those whose label has them; in each of these by interest.
 */
export function rankHits({ order }, label, chosen, words) {
  const rank = (index) => {
    const text = cell(label, index).toLowerCase();
    return text === words ? 0 : text.startsWith(words) ? 1 : text.includes(words) ? 2 : 3;
  };
  const among = new Set(chosen);
  /** @type {number[][]} */
  const groups = [[], [], [], []];
  for (const index of order) if (among.has(index)) groups[rank(index)].push(index);
  return groups.flat();
}

/** The elements of the list. */
export function hitList(hits, label, current, goTo) {
  if (!hits.length) return [];
  const rows = hits.slice(0, MOST_HITS).map((index) => element("li", {}, pointButton(index, label, current, goTo)));
  const left = hits.length - MOST_HITS;
  return [
    element("h3", {}, "Found"),
    element("ol", {}, ...rows),
    ...(left > 0 ? [element("p", { className: "hint" }, `and ${left.toLocaleString("en")} more; Enter goes to the first`)] : []),
  ];
}

/** The points that are nearest by their vectors, as the data has them. */
export function nearList(atlas, label, index, goTo) {
  const { neighbors, near } = atlas;
  if (index < 0) return [];
  const rows = Array.from(neighbors.subarray(index * near, (index + 1) * near), (other) =>
    element("li", {}, pointButton(other, label, -1, goTo)));
  return [element("h3", {}, `Nearest by vector (${atlas.metric})`), element("ol", {}, ...rows)];
}

function pointButton(index, label, current, goTo) {
  const words = cell(label, index) || `row ${index}`;
  return element("button", {
    type: "button", className: "entry", "aria-current": String(index === current), title: words, onclick: () => goTo(index),
  }, element("span", {}, words));
}
