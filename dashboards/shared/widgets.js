// Controls: native ones, with names, so that keys and screen readers find them.

import { element, mark } from "./dom.js";
import { download } from "./links.js";

/** @typedef {import("../types.js").Scale} Scale */

/**
 * A labeled choice of [value, words] pairs; `name` is its whole name, where the label does not say all.
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

/** A row of buttons of which one is pressed. */
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
 * What colors mean. `hidden` are names that are filtered away; a press changes that, and `only`, where there
 * is such an act, filters all others away.
 * @param {Scale} scale
 * @param {Set<string>} hidden
 * @param {(name: string) => void} onToggle
 * @param {((name: string) => void) | null} only
 */
export function legend(scale, hidden, onToggle, only = null) {
  if (scale.kind === "number") {
    const bar = element("span", { className: "ramp" });
    bar.style.background = `linear-gradient(to right, ${scale.stops.join(", ")})`;
    const middle = scale.logarithmic ? [element("span", { className: "detail" }, "log")] : [];
    return [element("span", { className: "scale" }, brief(scale.low), bar, brief(scale.high), ...middle)];
  }
  const most = 14;
  const items = scale.items.slice(0, most).map(({ name, color, count }) => {
    const sign = element("span", { className: "dot" });
    sign.style.background = color;
    return chip(sign, name, !hidden.has(name), () => onToggle(name), only && (() => only(name)), `${count}`);
  });
  const rest = scale.items.length - most;
  return rest > 0 ? [...items, element("span", { className: "detail" }, `and ${rest} more`)] : items;
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
  return layers.map((layer, index) => chip(mark(symbolOf(index)), layer, !hidden.has(layer), () => onToggle(layer), only && (() => only(layer)), ""));
}

function chip(sign, name, shown, onToggle, onOnly, title) {
  const node = pressable("", onToggle, { className: "chip", title: title ? `${name}: ${title}` : name, "aria-pressed": String(shown) });
  node.append(sign, element("span", { className: "name" }, name));
  if (!onOnly) return node;
  const only = pressable("only", onOnly, { className: "only", "aria-label": `Only ${name}`, title: `Show only ${name}` });
  return element("span", { className: "chip-group" }, node, only);
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

/** A number in few digits. */
export function brief(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e6 ? value.toLocaleString("en") : value.toExponential(2);
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}
