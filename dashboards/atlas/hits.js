// The results of a search as a list, best matches first; a click goes to the point.

import { html, listOf, nothing } from "../shared/lists.js";
import { cell } from "./data.js";

const MOST_HITS = 8;

/**
 * The chosen points, best matches first: those whose label equals the words, then those whose label begins with them,
 * then those whose label contains them, then the others; each group in order of interest.
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

/** The list of results. */
export function hitList(hits, label, current, goTo) {
  if (!hits.length) return nothing;
  const left = hits.length - MOST_HITS;
  return html`<h3>Found</h3><ol>${pointItems(hits.slice(0, MOST_HITS), label, current, goTo)}</ol>${
    left > 0 ? html`<p class="hint">and ${left.toLocaleString("en")} more; Enter goes to the first</p>` : nothing}`;
}

/** The points with the nearest vectors, as the data lists them. */
export function nearList(atlas, label, index, goTo) {
  const { neighbors, near } = atlas;
  if (index < 0) return nothing;
  const others = neighbors.subarray(index * near, (index + 1) * near);
  return html`<h3>Nearest by vector (${atlas.metric})</h3><ol>${pointItems(others, label, -1, goTo)}</ol>`;
}

function pointItems(points, label, current, goTo) {
  return listOf(points, (index) => index, (index) => {
    const words = cell(label, index) || `row ${index}`;
    return html`<li><button type="button" class="entry" aria-current=${String(index === current)} title=${words}
      @click=${() => goTo(index)}><span>${words}</span></button></li>`;
  });
}
