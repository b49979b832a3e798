// Draws points with WebGL, or on a plain canvas where there is none, and labels over them.

import { contextOf } from "../shared/dom.js";

const VERTEX = `
attribute vec2 place; attribute vec4 color; attribute float shown;
uniform vec2 center; uniform vec2 scale; uniform float size;
varying vec4 shade;
void main() {
  gl_Position = vec4((place - center) * scale, 0.0, 1.0);
  gl_PointSize = shown > 0.5 ? size * (shown > 0.9 ? 1.5 : 1.0) : size * 0.8;
  shade = shown > 0.1 ? color : vec4(color.rgb, color.a * 0.16);
}`;
const FRAGMENT = `
precision mediump float; varying vec4 shade;
void main() {
  float away = length(gl_PointCoord - 0.5) * 2.0;
  float alpha = shade.a * (1.0 - smoothstep(0.72, 1.0, away));
  gl_FragColor = vec4(shade.rgb * alpha, alpha);
}`;

const LABEL_GAP = 8; // pixels from a point's edge to the middle of its label

/** How a point is emphasized: dimmed, as usual, or chosen. */
export const SHOWN = { dim: 0, usual: 180, chosen: 255 };

export function pointSize(view, count) {
  const base = Math.min(Math.max(260 / Math.sqrt(count), 1.9), 9);
  return Math.min(base * view.zoom ** 0.42, 14);
}

class WebGLPoints {
  constructor(canvas, x, y) {
    const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
    if (!gl) throw new Error("no WebGL");
    this.gl = gl;
    this.count = x.length;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      if (!shader) throw new Error("no shader");
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("no shaders");
    gl.useProgram(program);
    const places = new Uint16Array(x.length * 2);
    for (let i = 0; i < x.length; i += 1) places.set([x[i], y[i]], 2 * i);
    this.buffer(program, "place", 2, gl.UNSIGNED_SHORT, false, places);
    this.colors = this.buffer(program, "color", 4, gl.UNSIGNED_BYTE, true, new Uint8Array(x.length * 4));
    this.shown = this.buffer(program, "shown", 1, gl.UNSIGNED_BYTE, true, new Uint8Array(x.length));
    this.at = (name) => gl.getUniformLocation(program, name);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  buffer(program, name, size, type, normalized, content) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
    const place = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalized, 0, 0);
    return buffer;
  }

  set(colors, shown) {
    const { gl } = this;
    for (const [buffer, content] of [[this.colors, colors], [this.shown, shown]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
    }
  }

  draw(view, ratio) {
    const { gl } = this;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.at("center"), view.x, view.y);
    gl.uniform2f(this.at("scale"), (2 * view.scale) / view.width, (2 * view.scale) / view.height);
    gl.uniform1f(this.at("size"), Math.max(pointSize(view, this.count) * ratio, 1.5) + 0.8);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }
}

class CanvasPoints {
  constructor(canvas, x, y) {
    this.context = contextOf(canvas);
    this.x = x;
    this.y = y;
    /** @type {Map<string, number[]>} points by color */
    this.groups = new Map();
  }

  set(colors, shown) {
    this.groups = new Map();
    for (let i = 0; i < this.x.length; i += 1) {
      const alpha = (colors[4 * i + 3] / 255) * (shown[i] === SHOWN.dim ? 0.16 : 1);
      const color = `rgba(${colors[4 * i]},${colors[4 * i + 1]},${colors[4 * i + 2]},${alpha.toFixed(2)})`;
      const group = this.groups.get(color);
      if (group) group.push(i);
      else this.groups.set(color, [i]);
    }
  }

  draw(view, ratio) {
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    const size = Math.max(pointSize(view, this.x.length), 1.2);
    for (const [color, points] of this.groups) {
      context.fillStyle = color;
      for (const i of points) {
        const [px, py] = view.toScreen(this.x[i], this.y[i]);
        if (px > -9 && py > -9 && px < view.width + 9 && py < view.height + 9) {
          context.fillRect(px - size / 2, py - size / 2, size, size);
        }
      }
    }
  }
}

/** The fastest renderer that this browser supports; `fallback` is true for the slower one. */
export function makePoints(canvas, x, y) {
  try {
    return { points: new WebGLPoints(canvas, x, y), fallback: false };
  } catch {
    return { points: new CanvasPoints(canvas, x, y), fallback: true };
  }
}

/** Labels by interest, as many as fit, above their points: [[x, y, text], …]; none covers what was placed before. */
export function chooseLabels({ atlas, view, text, passes, context, room }) {
  const most = Math.round((view.width * view.height) / 5200);
  const chosen = [];
  let tried = 0;
  const above = pointSize(view, atlas.count) / 2 + LABEL_GAP;
  for (const i of atlas.order) {
    if (chosen.length >= most || tried > 9000) break;
    if (!passes(i)) continue;
    const [px, dot] = view.toScreen(atlas.x[i], atlas.y[i]);
    const py = dot - above;
    const inside = px > 4 && py > 10 && px < view.width - 4 && py < view.height - 8;
    if (!inside || room.near(px, py, 8)) continue;
    tried += 1;
    const words = text(i);
    if (!words) continue;
    const half = context.measureText(words).width / 2 + 5;
    const box = [px - half, py - 11, px + half, dot + 3];
    if (!room.free(box)) continue;
    room.take(box);
    chosen.push([px, py, words]);
  }
  return chosen;
}
