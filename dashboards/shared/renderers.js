// Two renderers with the same methods: one draws on a canvas, the other writes an SVG, so that a saved
// picture equals the screen. A style has fill, stroke, width, the alpha of both, and `faint`, the alpha of the fill.

import { contextOf, markPath } from "./dom.js";

const FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const outlines = new Map();

/** @typedef {import("../types.js").Style} Style */

/** Draws on a canvas at the resolution of the screen. */
export class CanvasRenderer {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = contextOf(canvas);
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {string | null} paper
   */
  begin(width, height, paper = null, density = window.devicePixelRatio || 1) {
    if (this.canvas.width !== Math.round(width * density) || this.canvas.height !== Math.round(height * density)) {
      this.canvas.width = Math.round(width * density);
      this.canvas.height = Math.round(height * density);
    }
    this.context.setTransform(density, 0, 0, density, 0, 0);
    this.context.clearRect(0, 0, width, height);
    if (paper) {
      this.context.fillStyle = paper;
      this.context.fillRect(0, 0, width, height);
    }
  }

  circle(x, y, radius, style) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.paint(style);
  }

  mark(symbol, x, y, size, style) {
    if (!outlines.has(symbol)) outlines.set(symbol, new Path2D(markPath(symbol)));
    const scale = size / 5;
    this.context.save();
    this.context.translate(x, y);
    this.context.scale(scale, scale);
    this.paint({ ...style, width: (style.width ?? 1) / scale }, outlines.get(symbol));
    this.context.restore();
  }

  /**
   * @param {number[][]} points
   * @param {Style} style
   */
  line(points, { stroke, width = 1, alpha = 1, dash = null }) {
    this.context.globalAlpha = alpha;
    this.context.strokeStyle = stroke ?? "";
    this.context.lineWidth = width;
    this.context.lineJoin = "round";
    this.context.setLineDash(dash ?? []);
    this.context.beginPath();
    points.forEach(([x, y], index) => (index ? this.context.lineTo(x, y) : this.context.moveTo(x, y)));
    this.context.stroke();
    this.context.setLineDash([]);
    this.context.globalAlpha = 1;
  }

  /**
   * @param {string} words
   * @param {number} x
   * @param {number} y
   * @param {Style} style
   */
  text(words, x, y, { fill, size = 11, weight = 400, align = "left", halo = null }) {
    this.context.font = `${weight} ${size}px ${FAMILY}`;
    this.context.textAlign = align;
    this.context.textBaseline = "middle";
    if (halo) {
      this.context.strokeStyle = halo;
      this.context.lineWidth = 3.5;
      this.context.lineJoin = "round";
      this.context.strokeText(words, x, y);
    }
    this.context.fillStyle = fill ?? "";
    this.context.fillText(words, x, y);
  }

  measure(words, size, weight = 400) {
    this.context.font = `${weight} ${size}px ${FAMILY}`;
    return this.context.measureText(words).width;
  }

  image(sheet, [left, top, width, height], x, y, wide, high, alpha = 1) {
    this.context.globalAlpha = alpha;
    // Pixels stay sharp if they are enlarged by a whole number.
    this.context.imageSmoothingEnabled = wide < width || wide % width !== 0;
    this.context.drawImage(sheet, left, top, width, height, x, y, wide, high);
    this.context.globalAlpha = 1;
  }

  /**
   * @param {Style} style
   * @param {Path2D | null} path
   */
  paint({ fill = null, stroke = null, width = 1, alpha = 1, faint = 1 }, path = null) {
    this.context.globalAlpha = alpha * faint;
    if (fill) {
      this.context.fillStyle = fill;
      if (path) this.context.fill(path);
      else this.context.fill();
    }
    this.context.globalAlpha = alpha;
    if (stroke) {
      this.context.strokeStyle = stroke;
      this.context.lineWidth = width;
      if (path) this.context.stroke(path);
      else this.context.stroke();
    }
    this.context.globalAlpha = 1;
  }
}

/** Writes the same as SVG. */
export class SvgRenderer {
  constructor(ruler) {
    this.ruler = ruler;
    /** @type {string[]} */
    this.parts = [];
    this.size = [0, 0];
    this.sheets = new Map();
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {string | null} paper
   */
  begin(width, height, paper = null) {
    this.size = [width, height];
    this.parts = paper ? [`<rect width="${width}" height="${height}" fill="${paper}"/>`] : [];
  }

  circle(x, y, radius, style) {
    this.parts.push(`<circle cx="${fixed(x)}" cy="${fixed(y)}" r="${fixed(radius)}"${attributes(style)}/>`);
  }

  mark(symbol, x, y, size, style) {
    const scale = size / 5;
    const place = `translate(${fixed(x)} ${fixed(y)}) scale(${fixed(scale)})`;
    const painted = attributes({ ...style, width: (style.width ?? 1) / scale });
    this.parts.push(`<path d="${markPath(symbol)}" transform="${place}"${painted}/>`);
  }

  /**
   * @param {number[][]} points
   * @param {Style} style
   */
  line(points, { stroke, width = 1, alpha = 1, dash = null }) {
    const path = points.map(([x, y]) => `${fixed(x)},${fixed(y)}`).join(" ");
    const dashes = dash ? ` stroke-dasharray="${dash.join(" ")}"` : "";
    this.parts.push(`<polyline points="${path}" fill="none"${attributes({ stroke, width, alpha, fill: "none" })}${dashes}/>`);
  }

  /**
   * @param {string} words
   * @param {number} x
   * @param {number} y
   * @param {Style} style
   */
  text(words, x, y, { fill, size = 11, weight = 400, align = "left", halo = null }) {
    const anchor = { left: "start", center: "middle", right: "end" }[align];
    const around = halo ? ` stroke="${halo}" stroke-width="3.5" stroke-linejoin="round" paint-order="stroke"` : "";
    this.parts.push(
      `<text x="${fixed(x)}" y="${fixed(y)}" fill="${fill}" font-size="${size}" font-weight="${weight}" ` +
        `text-anchor="${anchor}" dominant-baseline="central"${around}>${escaped(words)}</text>`,
    );
  }

  measure(words, size, weight = 400) {
    return this.ruler.measure(words, size, weight);
  }

  image(sheet, [left, top, width, height], x, y, wide, high, alpha = 1) {
    if (!this.sheets.has(sheet)) this.sheets.set(sheet, `sheet-${this.sheets.size}`);
    const crisp = wide % width === 0 ? ' style="image-rendering:pixelated"' : "";
    this.parts.push(
      `<svg x="${fixed(x)}" y="${fixed(y)}" width="${fixed(wide)}" height="${fixed(high)}" ` +
        `viewBox="${left} ${top} ${width} ${height}" opacity="${alpha}"${crisp}><use href="#${this.sheets.get(sheet)}"/></svg>`,
    );
  }

  /** The whole picture. */
  finish() {
    const [width, height] = this.size;
    const sheets = [...this.sheets].map(([sheet, id]) => {
      const source = sheet instanceof HTMLCanvasElement ? sheet.toDataURL() : sheet.src;
      return `<image id="${id}" width="${sheet.width}" height="${sheet.height}" href="${source}"/>`;
    });
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
      `viewBox="0 0 ${width} ${height}" font-family='${FAMILY}'><defs>${sheets.join("")}</defs>${this.parts.join("")}</svg>`
    );
  }
}

function fixed(value) {
  return Number(value.toFixed(2));
}

/** @param {Style} style */
function attributes({ fill = null, stroke = null, width = 1, alpha = 1, faint = 1 }) {
  const edge = stroke ? ` stroke="${stroke}" stroke-width="${fixed(width)}"` : "";
  return ` fill="${fill ?? "none"}"${faint < 1 ? ` fill-opacity="${faint}"` : ""}${edge}${alpha < 1 ? ` opacity="${alpha}"` : ""}`;
}

function escaped(words) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return String(words).replace(/[&<>"]/g, (letter) => names[letter]);
}
