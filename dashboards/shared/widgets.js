// Controls: native ones, with names, so that keys and screen readers find them.

import { element, mark } from "./dom.js";
import { download } from "./links.js";
import { dot, html, listOf, nothing, ramp } from "./lists.js";

const MOST_ITEMS = 14;

/** @typedef {import("../types.js").Scale} Scale */

/**
 * A labeled choice of [value, words] pairs; `name` is its full name if the label is too short.
 * @param {string} label
 * @param {(value: string) => void} onChange
 */
export function choice(label, onChange, name = label) {
  const select = element("select", { "aria-label": name });
  select.addEventListener("change", () => onChange(select.value));
  const node = element("label", { className: "choice" }, element("span", {}, label), select);
  let known = "";
  const show = (pairs, chosen) => {
    const text = JSON.stringify(pairs);
    if (text !== known) {
      known = text;
      select.replaceChildren(...pairs.map(([value, words]) => element("option", { value }, words)));
    }
    select.value = chosen;
    node.hidden = pairs.length < 2;
  };
  return { node, show };
}

/** A row of buttons, one of which is pressed. */
export function buttonRow(label, pairs, onChange) {
  const buttons = pairs.map(([value, words]) => {
    const button = element("button", { type: "button", value, "aria-pressed": "false" }, words);
    button.addEventListener("click", () => onChange(value));
    return button;
  });
  const node = element("div", { className: "row", role: "group", "aria-label": label }, ...buttons);
  const show = (chosen) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.value === chosen)));
  return { node, show };
}

export function pressable(words, onClick, properties = {}) {
  const node = element("button", { type: "button", ...properties }, words);
  node.addEventListener("click", onClick);
  return node;
}

/**
 * What colors mean. `hidden` are the names that are filtered out; a press toggles one, and `only`, if given, filters
 * out all others.
 * @param {Scale} scale
 * @param {Set<string>} hidden
 * @param {(name: string) => void} onToggle
 * @param {((name: string) => void) | null} only
 */
export function legend(scale, hidden, onToggle, only = null) {
  if (scale.kind === "number") {
    return html`<span class="scale">${brief(scale.low)}${ramp("ramp", scale.stops)}${brief(scale.high)}${
      scale.logarithmic ? html`<span class="detail">log</span>` : nothing}</span>`;
  }
  const rest = scale.items.length - MOST_ITEMS;
  return html`${listOf(scale.items.slice(0, MOST_ITEMS), ({ name }) => name, ({ name, color, count }) =>
    chip(dot(color), name, !hidden.has(name), () => onToggle(name), only && (() => only(name)), `${count}`))}${
    rest > 0 ? html`<span class="detail">and ${rest} more</span>` : nothing}`;
}

/**
 * The marks of layers; a press takes a layer off the map.
 * @param {string[]} layers
 * @param {(index: number) => number} symbolOf
 * @param {Set<string>} hidden
 * @param {(name: string) => void} onToggle
 * @param {((name: string) => void) | null} only
 */
export function layerLegend(layers, symbolOf, hidden, onToggle, only = null) {
  return listOf(layers, (layer) => layer, (layer, index) =>
    chip(mark(symbolOf(index)), layer, !hidden.has(layer), () => onToggle(layer), only && (() => only(layer)), ""));
}

function chip(sign, name, shown, onToggle, onOnly, title) {
  const one = html`<button type="button" class="chip" title=${title ? `${name}: ${title}` : name} aria-pressed=${String(shown)}
    @click=${onToggle}>${sign}<span class="name">${name}</span></button>`;
  if (!onOnly) return one;
  return html`<span class="chip-group">${one}<button type="button" class="only" aria-label=${`Only ${name}`}
    title=${`Show only ${name}`} @click=${onOnly}>only</button></span>`;
}

/** A menu that saves what a panel shows. */
export function saver(name, scatter, paper) {
  const menu = element("details", { className: "menu" }, element("summary", {}, "Save"));
  const save = async (kind) => {
    menu.open = false;
    download(`${name()}.${kind}`, kind === "png" ? await scatter.png(paper()) : scatter.svg(paper()));
  };
  menu.append(
    element("div", {}, pressable("PNG", () => save("png")), pressable("SVG", () => save("svg"))),
  );
  return menu;
}

/** A number with few digits. */
export function brief(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e6 ? value.toLocaleString("en") : value.toExponential(2);
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}
