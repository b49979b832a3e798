// The atlas: one map of very many points. State is in the address; everything else follows from it.

import { element } from "./marks.js";
import { cell, readAtlas, safeLink, toCsv } from "./atlas_data.js";
import { css, paint } from "./atlas_colors.js";
import { Grid, View, within } from "./atlas_space.js";
import { chooseLabels, makePoints, pointSize, SHOWN } from "./atlas_draw.js";
import { describe, legendOf } from "./atlas_panel.js";

const REACH = 12; // pixels
const LABEL_FONT = "500 12px system-ui, sans-serif";

class Atlas {
  constructor(root, atlas) {
    this.atlas = atlas;
    this.byName = new Map(atlas.columns.map((column) => [column.name, column]));
    this.label = this.byName.get(atlas.roles.label);
    this.view = new View();
    this.grid = new Grid(atlas.x, atlas.y);
    this.theme = window.matchMedia("(prefers-color-scheme: dark)");
    this.state = { color: "", q: "", only: new Set(), polygon: [], point: -1, lasso: false };
    this.hovered = -1;
    this.build(root);
    const made = makePoints(this.canvas, atlas.x, atlas.y);
    this.points = made.points;
    this.note.textContent = made.fallback ? "Without WebGL: drawn on a plain canvas, more slowly." : "";
    this.readAddress();
    this.listen();
    this.resize();
  }

  build(root) {
    const { atlas } = this;
    const colorable = atlas.columns.filter((column) => column.kind !== "text");
    this.search = element("input", { type: "search", placeholder: "Search", "aria-label": "Search the points" });
    this.select = element("select", {}, element("option", { value: "" }, "one colour"),
      ...colorable.map((column) => element("option", { value: column.name }, column.name)));
    this.lassoButton = element("button", { type: "button", "aria-pressed": "false", title: "Draw around points (L)" }, "Lasso");
    this.csv = element("button", { type: "button", title: "What is chosen, as CSV" }, "CSV");
    this.clear = element("button", { type: "button", title: "Choose nothing (Escape)" }, "Clear");
    const home = element("button", { type: "button", title: "See everything (0)", onclick: () => this.act(() => this.view.home()) }, "Whole");
    this.status = element("p", { className: "status", role: "status" });
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.over = element("canvas", { "aria-hidden": "true" });
    this.top = element("canvas", { "aria-hidden": "true" });
    this.note = element("p", { className: "note" });
    this.plot = element("div", { className: "plot", tabIndex: 0, role: "application",
      "aria-label": "Map of the points. Arrows move, plus and minus zoom, 0 shows everything, N and P walk through the points, Enter opens the link, L draws a lasso, slash searches." },
      this.canvas, this.over, this.top, this.note);
    this.point = element("section", { className: "point", "aria-live": "polite" });
    this.legend = element("section", { className: "legend", "aria-label": "Legend" });
    root.replaceChildren(
      element("header", {}, element("h1", {}, atlas.title), this.search,
        element("label", {}, "Colour", this.select), this.lassoButton, this.clear, this.csv, home, this.status),
      element("main", {}, this.plot, element("aside", {}, this.point, this.legend)));
  }

  listen() {
    this.search.oninput = () => { this.state.q = this.search.value; this.choose(); };
    this.select.onchange = () => { this.state.color = this.select.value; this.state.only.clear(); this.recolor(); };
    this.lassoButton.onclick = () => this.setLasso(!this.state.lasso);
    this.clear.onclick = () => this.clearAll();
    this.csv.onclick = () => this.download();
    this.theme.onchange = () => this.recolor();
    window.onhashchange = () => { this.readAddress(); this.recolor(); };
    new ResizeObserver(() => this.resize()).observe(this.plot);
    this.plot.onwheel = (event) => {
      event.preventDefault();
      const [px, py] = this.at(event);
      this.act(() => this.view.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), px, py));
    };
    this.plot.onpointerdown = (event) => this.press(event);
    this.plot.onpointermove = (event) => this.move(event);
    this.plot.onpointerup = (event) => this.release(event);
    this.plot.onpointercancel = () => { this.drag = null; };
    this.plot.onpointerleave = () => this.hover(-1);
    document.onkeydown = (event) => this.key(event);
  }

  at(event) {
    const box = this.plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    this.plot.setPointerCapture(event.pointerId);
    const [px, py] = this.at(event);
    this.drag = { px, py, moved: 0, path: this.state.lasso ? [this.view.toPlane(px, py)] : null };
  }

  move(event) {
    const [px, py] = this.at(event);
    if (!this.drag) {
      const [x, y] = this.view.toPlane(px, py);
      this.hover(this.grid.nearest(x, y, REACH / this.view.scale, (i) => this.shown[i] !== SHOWN.dim));
      return;
    }
    const { drag } = this;
    drag.moved += Math.abs(px - drag.px) + Math.abs(py - drag.py);
    if (drag.path) drag.path.push(this.view.toPlane(px, py));
    else this.view.pan(px - drag.px, py - drag.py);
    [drag.px, drag.py] = [px, py];
    this.draw();
  }

  release() {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.path && drag.path.length > 2) {
      const step = Math.max(1, Math.ceil(drag.path.length / 60));
      this.state.polygon = drag.path.filter((_, i) => i % step === 0).map((p) => p.map(Math.round));
      this.setLasso(false);
      this.choose();
    } else if (drag.moved < 4) this.click();
    else this.saveSoon();
    this.draw();
  }

  click() {
    const again = this.hovered;
    this.pin(again);
    if (again >= 0) this.openLink(again);
  }

  openLink(index) {
    const address = safeLink(cell(this.byName.get(this.atlas.roles.link), index));
    if (!address) return;
    element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }).click();
  }

  pin(index) {
    this.state.point = index;
    this.tell();
    this.saveSoon();
    this.draw();
  }

  hover(index) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.plot.classList.toggle("over", index >= 0);
    this.tell();
    this.drawMarked();
  }

  tell() {
    const index = this.hovered >= 0 ? this.hovered : this.state.point;
    this.point.dataset.index = index;
    this.point.replaceChildren(...describe(this.atlas, this.byName, index));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { this.clearAll(); return; }
    if (event.target.matches("input, select")) return;
    if (event.key === "/") { event.preventDefault(); this.search.focus(); return; }
    if (event.target !== this.plot && event.target !== document.body) return;
    const { view } = this;
    const actions = {
      ArrowLeft: () => view.pan(60, 0), ArrowRight: () => view.pan(-60, 0),
      ArrowUp: () => view.pan(0, 60), ArrowDown: () => view.pan(0, -60),
      "+": () => view.zoomAt(1.4), "=": () => view.zoomAt(1.4), "-": () => view.zoomAt(1 / 1.4),
      0: () => view.home(), l: () => this.setLasso(!this.state.lasso),
      n: () => this.walk(1), p: () => this.walk(-1),
      Enter: () => this.state.point >= 0 && this.openLink(this.state.point),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    this.act(action);
  }

  /** To the next or last of the points that are not dimmed, in order of interest. */
  walk(step) {
    const all = Array.from(this.atlas.order).filter((i) => this.shown[i] !== SHOWN.dim);
    if (!all.length) return;
    const at = all.indexOf(this.state.point);
    this.hovered = -1;
    this.pin(all[at < 0 ? 0 : (at + step + all.length) % all.length]);
  }

  act(action) {
    action();
    this.saveSoon();
    this.draw();
  }

  setLasso(on) {
    this.state.lasso = on;
    this.lassoButton.setAttribute("aria-pressed", String(on));
    this.plot.classList.toggle("lasso", on);
  }

  clearAll() {
    Object.assign(this.state, { q: "", polygon: [], point: -1 });
    this.state.only.clear();
    this.search.value = "";
    this.setLasso(false);
    this.recolor();
    this.tell();
  }

  recolor() {
    const dark = this.theme.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const painted = paint(this.byName.get(this.state.color), this.atlas.count, dark);
    this.colors = painted.colors;
    this.legendNow = painted.legend;
    this.choose();
  }

  /** Which points are chosen by search, legend and lasso; the others are dimmed. */
  choose() {
    const { atlas, state } = this;
    const passes = new Uint8Array(atlas.count).fill(1);
    const words = state.q.trim().toLowerCase();
    if (words) {
      const found = atlas.columns.filter((column) => column.kind !== "number" && column.name !== atlas.roles.image)
        .map((column) => [column, column.texts.map((text) => text.toLowerCase().includes(words))]);
      for (let i = 0; i < atlas.count; i += 1) {
        passes[i] = Number(found.some(([column, hits]) => (column.kind === "category"
          ? hits[column.codes[i] - 1] : hits[column.codes ? column.codes[i] : i])));
      }
    }
    const column = this.byName.get(state.color);
    if (state.only.size && column?.codes) {
      for (let i = 0; i < atlas.count; i += 1) if (!state.only.has(column.codes[i])) passes[i] = 0;
    }
    if (state.polygon.length > 2) {
      const inside = new Uint8Array(atlas.count);
      for (const i of within(state.polygon, atlas.x, atlas.y)) inside[i] = 1;
      for (let i = 0; i < atlas.count; i += 1) passes[i] &= inside[i];
    }
    const filtered = Boolean(words || state.only.size || state.polygon.length);
    this.chosen = [];
    this.shown = passes.map((one, i) => {
      if (one && filtered) this.chosen.push(i);
      if (!filtered) return SHOWN.usual;
      return one ? SHOWN.usual : SHOWN.dim;
    });
    if (filtered && this.chosen.length < 2000) for (const i of this.chosen) this.shown[i] = SHOWN.chosen;
    this.filtered = filtered;
    this.csv.disabled = !this.chosen.length;
    this.clear.disabled = !filtered && state.point < 0;
    const amount = (value) => value.toLocaleString("en");
    this.status.textContent = !filtered ? `${amount(atlas.count)} points`
      : this.chosen.length ? `${amount(this.chosen.length)} of ${amount(atlas.count)} points`
        : "No point matches: change the search, or press Escape";
    this.legend.replaceChildren(...legendOf(this.legendNow, state.only, (code) => {
      if (!state.only.delete(code)) state.only.add(code);
      this.choose();
    }));
    this.points.set(this.colors, this.shown);
    this.saveSoon();
    this.draw();
  }

  download() {
    const address = URL.createObjectURL(new Blob(["\ufeff", toCsv(this.atlas.columns, this.chosen)], { type: "text/csv" }));
    element("a", { href: address, download: "selection.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    Object.assign(this.view, { width: Math.max(width, 1), height: Math.max(height, 1) });
    for (const canvas of [this.canvas, this.over, this.top]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    if (this.shown) this.draw();
    else { this.recolor(); this.tell(); }
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.points.draw(this.view, this.ratio);
      this.drawLabels();
      this.drawMarked();
      document.body.dataset.state = "drawn";
      document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
    });
  }

  /** An empty layer, ready to write on. */
  pen(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.view.width, this.view.height);
    Object.assign(pen, { font: LABEL_FONT, textAlign: "center", textBaseline: "middle", lineJoin: "round" });
    [this.ink, this.paper] = this.theme.matches ? ["#f0f2f4", "#16191d"] : ["#15191d", "#ffffff"];
    return pen;
  }

  drawLabels() {
    const pen = this.pen(this.over);
    const labels = this.label ? chooseLabels({
      atlas: this.atlas, view: this.view, pen, passes: (i) => this.shown[i] !== SHOWN.dim,
      text: (i) => shorten(cell(this.label, i)),
    }) : [];
    this.plot.dataset.labels = labels.length;
    pen.lineWidth = 3.5;
    pen.strokeStyle = this.paper;
    pen.fillStyle = this.ink;
    for (const [px, py, words] of labels) {
      pen.globalAlpha = 0.85;
      pen.strokeText(words, px, py);
      pen.globalAlpha = 1;
      pen.fillText(words, px, py);
    }
    this.drawPolygon(pen, this.drag?.path ?? this.state.polygon, this.ink);
  }

  /** The points under the pointer and chosen, on a layer of their own: nothing else is drawn again. */
  drawMarked() {
    const { view, atlas } = this;
    const pen = this.pen(this.top);
    for (const i of new Set([this.state.point, this.hovered])) {
      if (i < 0) continue;
      const [px, py] = view.toScreen(atlas.x[i], atlas.y[i]);
      const radius = pointSize(view, atlas.count) / 2 + 3.5;
      pen.beginPath();
      pen.arc(px, py, radius, 0, 2 * Math.PI);
      pen.fillStyle = css(this.colors.subarray(4 * i, 4 * i + 3));
      pen.fill();
      pen.lineWidth = 2;
      pen.strokeStyle = this.ink;
      pen.stroke();
      const words = this.label ? shorten(cell(this.label, i)) : "";
      if (!words) continue;
      const half = pen.measureText(words).width / 2 + 6;
      const middle = Math.min(Math.max(px, half), Math.max(view.width - half, half));
      const height = py > 40 ? py - radius - 13 : py + radius + 13;
      pen.fillStyle = this.ink;
      pen.fillRect(middle - half, height - 10, 2 * half, 20);
      pen.fillStyle = this.paper;
      pen.fillText(words, middle, height);
    }
  }

  drawPolygon(pen, polygon, ink) {
    if (polygon.length < 2) return;
    pen.beginPath();
    for (const [x, y] of polygon) pen.lineTo(...this.view.toScreen(x, y));
    pen.closePath();
    pen.strokeStyle = ink;
    pen.lineWidth = 1.2;
    pen.setLineDash([4, 3]);
    pen.stroke();
    pen.setLineDash([]);
  }

  saveSoon() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => {
      const { state, view } = this;
      const parts = new URLSearchParams();
      if (view.zoom !== 1 || view.x !== 32768 || view.y !== 32768) {
        parts.set("view", [Math.round(view.x), Math.round(view.y), view.zoom.toPrecision(4)].join(","));
      }
      if (state.color !== (this.atlas.roles.color ?? "")) parts.set("color", state.color);
      if (state.q) parts.set("q", state.q);
      if (state.only.size) parts.set("only", [...state.only].join(","));
      if (state.polygon.length) parts.set("lasso", state.polygon.flat().join(","));
      if (state.point >= 0) parts.set("point", state.point);
      history.replaceState(null, "", `#${parts}`);
    }, 150);
  }

  readAddress() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const { state, view, atlas } = this;
    const list = (name) => (parts.get(name) ?? "").split(",").map(Number).filter(Number.isFinite);
    const color = parts.get("color") ?? atlas.roles.color ?? "";
    const colorable = this.byName.has(color) && this.byName.get(color).kind !== "text";
    state.color = colorable ? color : "";
    state.q = parts.get("q") ?? "";
    state.only = new Set(parts.has("only") ? list("only") : []);
    const flat = parts.has("lasso") ? list("lasso") : [];
    state.polygon = Array.from({ length: Math.floor(flat.length / 2) }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
    const point = parts.has("point") ? Number(parts.get("point")) : -1;
    state.point = Number.isInteger(point) && point >= 0 && point < atlas.count ? point : -1;
    const [x, y, zoom] = parts.has("view") ? list("view") : [];
    if (zoom > 0) Object.assign(view, { x, y, zoom: Math.min(Math.max(zoom, 0.5), 400) });
    else view.home();
    this.search.value = state.q;
    this.select.value = state.color;
    this.tell();
  }
}

function shorten(text) {
  return text.length > 28 ? `${text.slice(0, 27)}…` : text;
}

async function openAtlas() {
  const root = document.getElementById("app");
  try {
    const atlas = await readAtlas(document.getElementById("atlas").textContent);
    window.repwatchAtlas = new Atlas(root, atlas);
  } catch (error) {
    document.body.dataset.state = "error";
    root.replaceChildren(element("p", { className: "message", role: "alert" }, `The atlas cannot be shown. ${error.message}`));
  }
}

openAtlas();
