// The atlas: one map of very many points. State is in the address; everything else follows from it.

import { element } from "../core/dom.js";
import { PointerGestures } from "../core/pointer-gestures.js";
import { download, safeLink } from "../core/links.js";
import { readView, writeView } from "./view-address.js";
import { cell, readAtlas, toCsv } from "./data.js";
import { paint } from "./point-colors.js";
import { Grid, pointsInside, View } from "./view.js";
import { makeShade } from "./clusters.js";
import { makePoints, SHOWN } from "./points.js";
import { drawLabels, drawMarked, drawGround } from "./overlay.js";
import { hitList, nearList, rankHits } from "./hits.js";
import { describe, legendOf } from "./panel.js";
import { shades } from "../core/palette.js";

const REACH = 12; // pixels
const TOUCH_REACH = 24;

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
    this.path = null; // of a lasso that is being drawn
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
    const colorable = atlas.columns.filter((column) => column.kind !== "text" && column.name !== atlas.roles.partner);
    this.search = element("input", { type: "search", placeholder: "Search", "aria-label": "Search the points" });
    this.select = element("select", {}, element("option", { value: "" }, "one color"),
      ...colorable.map((column) => element("option", { value: column.name }, column.name)));
    this.lassoButton = element("button", { type: "button", "aria-pressed": "false", title: "Draw around points (L)" }, "Lasso");
    this.csv = element("button", { type: "button", title: "Save the selected points as CSV" }, "CSV");
    this.clear = element("button", { type: "button", title: "Clear the selection (Escape)" }, "Clear");
    const home = element("button", { type: "button", title: "Show all points (0)", onclick: () => this.act(() => this.view.home()) }, "Show all");
    this.status = element("p", { className: "status", role: "status" });
    this.ground = element("canvas", { "aria-hidden": "true" });
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.over = element("canvas", { "aria-hidden": "true" });
    this.top = element("canvas", { "aria-hidden": "true" });
    this.note = element("p", { className: "note" });
    this.plot = element("div", { className: "plot", tabIndex: 0, role: "application",
      "aria-label": "Map of the points. Arrows move, plus and minus zoom, 0 shows everything, N and P walk through the points, O goes to the other end of a point's line, Enter opens the link, L draws a lasso, slash searches." },
      this.ground, this.canvas, this.over, this.top, this.note);
    this.point = element("section", { className: "point", "aria-live": "polite" });
    this.hits = element("section", { className: "hits", "aria-label": "Search results" });
    this.near = element("section", { className: "hits", "aria-label": "Nearest by vector" });
    this.legend = element("section", { className: "legend", "aria-label": "Legend" });
    root.replaceChildren(
      element("header", {}, element("h1", {}, atlas.title), this.search,
        element("label", {}, "Color", this.select), this.lassoButton, this.clear, this.csv, home, this.status),
      element("main", {}, this.plot, element("aside", {}, this.hits, this.point, this.near, this.legend)));
  }

  listen() {
    this.search.oninput = () => { this.state.q = this.search.value; this.choose(); };
    this.search.onkeydown = (event) => { if (event.key === "Enter" && this.found.length) this.goTo(this.found[0]); };
    this.select.onchange = () => { this.state.color = this.select.value; this.state.only.clear(); this.recolor(); };
    this.lassoButton.onclick = () => this.setLasso(!this.state.lasso);
    this.clear.onclick = () => this.clearAll();
    this.csv.onclick = () => this.saveCsv();
    this.theme.onchange = () => this.recolor();
    window.onhashchange = () => { this.readAddress(); this.recolor(); };
    new ResizeObserver(() => this.resize()).observe(this.plot);
    this.plot.onwheel = (event) => {
      event.preventDefault();
      const box = this.plot.getBoundingClientRect();
      const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016));
      this.act(() => this.view.zoomAt(factor, event.clientX - box.left, event.clientY - box.top));
    };
    new PointerGestures(this.plot, this.acts());
    document.onkeydown = (event) => this.key(event);
  }

  acts() {
    return {
      hover: (place) => this.hover(this.under(place, REACH)),
      leave: () => this.hover(-1),
      press: (place) => { if (this.state.lasso) this.path = [this.view.toPlane(...place)]; },
      drag: (place, moved) => {
        if (this.path) this.path.push(this.view.toPlane(...place));
        else this.view.pan(...moved);
        this.draw();
      },
      drop: () => this.drop(),
      tap: (place, event) => this.tap(place, event.pointerType !== "mouse"),
      pinch: (factor, place, moved) => this.act(() => {
        this.view.pan(...moved);
        this.view.zoomAt(factor, ...place);
      }),
      cancel: () => { this.path = null; this.draw(); },
    };
  }

  /** The point at a place of the plot that is not dimmed, or -1. */
  under(place, reach) {
    const [x, y] = this.view.toPlane(...place);
    return this.grid.nearest(x, y, reach / this.view.scale, (i) => this.shown[i] !== SHOWN.dim);
  }

  drop() {
    const { path } = this;
    this.path = null;
    if (path?.length > 2) {
      const step = Math.max(1, Math.ceil(path.length / 60));
      this.state.polygon = path.filter((_, i) => i % step === 0).map((p) => p.map(Math.round));
      this.setLasso(false);
      this.choose();
    } else this.saveSoon();
    this.draw();
  }

  /** A click opens the link of a point. A finger cannot hover: its first tap shows the point. */
  tap(place, touched) {
    this.path = null;
    const index = this.under(place, touched ? TOUCH_REACH : REACH);
    const shown = touched ? this.state.point : index;
    this.pin(index);
    if (index >= 0 && index === shown) this.openLink(index);
  }

  linkOf(index) {
    return safeLink(cell(this.byName.get(this.atlas.roles.link), index));
  }

  /** The row that a point belongs to, or -1. */
  partnerOf(index) {
    const row = this.byName.get(this.atlas.roles.partner)?.values[index];
    return row >= 0 ? row : -1;
  }

  openLink(index) {
    const address = this.linkOf(index);
    if (address) element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }).click();
  }

  pin(index) {
    this.state.point = index;
    this.showPoint();
    this.saveSoon();
    this.draw();
  }

  hover(index) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.plot.classList.toggle("over", index >= 0);
    this.plot.classList.toggle("link", index >= 0 && this.linkOf(index) !== null);
    this.showPoint();
    this.drawMarked();
  }

  /** The point that the panel describes, or -1. */
  get described() {
    return this.hovered >= 0 ? this.hovered : this.state.point;
  }

  showPoint() {
    const index = this.described;
    this.point.dataset.index = index;
    this.point.replaceChildren(...describe(this.atlas, this.byName, index));
    this.near.replaceChildren(...nearList(this.atlas, this.label, this.state.point, (other) => this.goTo(other)));
    this.showHits();
  }

  showHits() {
    this.hits.replaceChildren(...hitList(this.found ?? [], this.label, this.state.point, (index) => this.goTo(index)));
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
      o: () => this.described >= 0 && this.goTo(this.partnerOf(this.described)),
      Enter: () => this.described >= 0 && this.openLink(this.described),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    this.act(action);
  }

  /** To a point, which is brought into sight. */
  goTo(index) {
    if (index < 0) return;
    this.hovered = -1;
    this.view.reveal(this.atlas.x[index], this.atlas.y[index]);
    this.pin(index);
  }

  /** To the next or last of the points that are not dimmed, in order of interest. */
  walk(step) {
    const all = Array.from(this.atlas.order).filter((i) => this.shown[i] !== SHOWN.dim);
    if (!all.length) return;
    const at = all.indexOf(this.state.point);
    this.goTo(all[at < 0 ? 0 : (at + step + all.length) % all.length]);
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
    this.showPoint();
  }

  recolor() {
    const dark = this.theme.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const painted = paint(this.byName.get(this.state.color), this.atlas.count, dark);
    this.colors = painted.colors;
    this.legendNow = painted.legend;
    this.shade = makeShade(this.atlas, shades(dark).ink);
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
      for (const i of pointsInside(state.polygon, atlas.x, atlas.y)) inside[i] = 1;
      for (let i = 0; i < atlas.count; i += 1) passes[i] &= inside[i];
    }
    const filtered = Boolean(words || state.only.size || state.polygon.length);
    this.chosen = [];
    this.shown = passes.map((pass, i) => {
      if (pass && filtered) this.chosen.push(i);
      if (!filtered) return SHOWN.usual;
      return pass ? SHOWN.usual : SHOWN.dim;
    });
    if (filtered && this.chosen.length < 2000) for (const i of this.chosen) this.shown[i] = SHOWN.chosen;
    this.filtered = filtered;
    this.csv.disabled = !this.chosen.length;
    this.clear.disabled = !filtered && state.point < 0;
    this.found = words ? rankHits(atlas, this.label, this.chosen, words) : [];
    this.showHits();
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

  saveCsv() {
    // The mark in front makes spreadsheets read UTF-8.
    download("selection.csv", new Blob(["\ufeff", toCsv(this.atlas.columns, this.chosen)], { type: "text/csv" }));
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    Object.assign(this.view, { width: Math.max(width, 1), height: Math.max(height, 1) });
    for (const canvas of [this.ground, this.canvas, this.over, this.top]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    if (this.shown) this.draw();
    else { this.recolor(); this.showPoint(); }
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      drawGround(this);
      this.points.draw(this.view, this.ratio);
      Object.assign(this.plot.dataset, drawLabels(this, this.path ?? this.state.polygon));
      this.drawMarked();
      document.body.dataset.state = "drawn";
      document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
    });
  }

  drawMarked() {
    this.plot.dataset.lines = drawMarked(this, [...new Set([this.state.point, this.hovered])].filter((i) => i >= 0));
  }

  saveSoon() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => writeView(this.state, this.view, this.atlas.roles.color ?? ""), 150);
  }

  readAddress() {
    readView(this.state, this.view, this.byName, this.atlas);
    this.search.value = this.state.q;
    this.select.value = this.state.color;
    this.showPoint();
  }
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
