// Lists by lit-html: an item keeps its element, and with it the focus, as long as its key is in the list. What is
// put into a template becomes text or an element, never markup.

import { html, nothing, render, repeat, styleMap } from "../vendor/lit-html.js";

export { html, nothing, render };

/** @typedef {import("../vendor/lit-html.js").TemplateResult} Template */

/**
 * Items as templates, by key.
 * @template T
 * @param {Iterable<T>} items
 * @param {(item: T, index: number) => unknown} keyOf
 * @param {(item: T, index: number) => unknown} template
 */
export function listOf(items, keyOf, template) {
  return repeat(items, keyOf, template);
}

/**
 * A dot in a color.
 * @param {string} color
 */
export function dot(color) {
  return html`<span class="dot" style=${styleMap({ background: color })}></span>`;
}

/**
 * A ramp of colors, with a CSS class of its own.
 * @param {string} name
 * @param {string[]} stops
 */
export function ramp(name, stops) {
  return html`<span class=${name} style=${styleMap({ background: `linear-gradient(to right, ${stops.join(", ")})` })}></span>`;
}

/** @param {number} pixels */
export function fromTop(pixels) {
  return styleMap({ top: `${pixels}px` });
}
