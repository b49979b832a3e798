// DOM helpers: elements, and the marks of layers as inline SVG.

const SVG = "http://www.w3.org/2000/svg";

// The marks by plotly's numbers, around the origin, about 5 units in radius.
/** @type {Record<number, string>} */
const PATHS = {
  0: "M4.6,0A4.6,4.6 0 1,1 -4.6,0A4.6,4.6 0 1,1 4.6,0Z",
  1: "M-4,-4H4V4H-4Z",
  2: "M0,-5.4L5.4,0L0,5.4L-5.4,0Z",
  3: "M-1.7,-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
  4: "M-3.6,-5.6L0,-2L3.6,-5.6L5.6,-3.6L2,0L5.6,3.6L3.6,5.6L0,2L-3.6,5.6L-5.6,3.6L-2,0L-5.6,-3.6Z",
  5: "M0,-5.2L5.2,4H-5.2Z",
  6: "M0,5.2L5.2,-4H-5.2Z",
  13: "M0,-5.2L4.9,-1.6L3,4.2H-3L-4.9,-1.6Z",
  14: "M0,-5.2L4.5,-2.6V2.6L0,5.2L-4.5,2.6V-2.6Z",
  17: "M0,-5.8L1.4,-1.9L5.5,-1.8L2.3,0.7L3.4,4.7L0,2.4L-3.4,4.7L-2.3,0.7L-5.5,-1.8L-1.4,-1.9Z",
  25: "M-4.6,-4.6H4.6L-4.6,4.6H4.6Z",
  26: "M-4.6,-4.6V4.6L4.6,-4.6V4.6Z",
};

/**
 * An element with properties and children; text children are text, never markup.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} properties attributes where the name has a hyphen, else properties
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role" || key === "for") node.setAttribute(key, value);
    else Reflect.set(node, key, value);
  }
  for (const child of children) if (child !== null) node.append(child);
  return node;
}

/**
 * The context that draws on a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} [settings]
 */
export function contextOf(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("This browser cannot draw on a canvas.");
  return context;
}

/**
 * The message of whatever was thrown.
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The element of this id, which the page must have.
 * @param {string} id
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`This page has no element "${id}". Create it again with the installed RepWatch.`);
  return node;
}

/**
 * The outline of a layer's mark, around the origin, about 5 units in radius.
 * @param {number} symbol
 */
export function markPath(symbol) {
  return PATHS[symbol] ?? PATHS[0];
}

/**
 * The mark of a layer, in the color of the text around it.
 * @param {number} symbol
 */
export function mark(symbol) {
  return drawing(markPath(symbol), { fill: "currentColor" });
}

/**
 * @param {string} path
 * @param {Record<string, string | number>} attributes
 */
function drawing(path, attributes) {
  const shape = drawn("path", { d: path, ...attributes });
  return drawn("svg", { viewBox: "-7 -7 14 14", class: "mark", "aria-hidden": "true" }, shape);
}

/**
 * An SVG element with attributes and children.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} attributes
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}
