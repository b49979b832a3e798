// The atlas: one map of a great many points. Its state is in the store and in the address; the page redraws what an
// action of the store has changed.

import { readAddress, writeAddress } from "../shared/address.js";
import { byId, element, messageOf } from "../shared/dom.js";
import { PointerGestures } from "../shared/pointer-gestures.js";
import { download, safeLink } from "../shared/links.js";
import { render } from "../shared/lists.js";
import { shades } from "../shared/palette.js";
import { chosenPoints } from "./choice.js";
import { makeShade } from "./clusters.js";
import { cell, readAtlas, toCsv } from "./data.js";
import { hitList, nearList, rankHits } from "./hits.js";
import { drawGround, drawLabels, drawMarked } from "./overlay.js";
import { describe, legendOf } from "./panel.js";
import { paint } from "./point-colors.js";
import { PointTable } from "./point-table.js";
import { makePoints, SHOWN } from "./points.js";
import { AtlasStore } from "./store.js";
import { Grid, View } from "./view.js";

const REACH = 12; // pixels
const TOUCH_REACH = 24;
const MOST_ENLARGED = 2000;

/** @typedef {import("../types.js").Atlas} AtlasData */

class Atlas {
  search = element("input", { type: "search", placeholder: "Search", "aria-label": "Search the points" });
  select = element("select", {});
  lassoButton = element("button", { type: "button", "aria-pressed": "false", title: "Draw around points (L)" }, "Lasso");
  csv = element("button", { type: "button", title: "Save the selected points as CSV" }, "CSV");
  clear = element("button", { type: "button", title: "Clear the selection (Escape)" }, "Clear");
  opener = element("button", { type: "button", title: "Show or hide the table of points (T)", "aria-expanded": "false", "aria-controls": "point-table" }, "Table");
  home = element("button", { type: "button", title: "Show all points (0)" }, "Show all");
  status = element("p", { className: "status", role: "status" });
  ground = element("canvas", { "aria-hidden": "true" });
  canvas = element("canvas", { "aria-hidden": "true" });
  over = element("canvas", { "aria-hidden": "true" });
  top = element("canvas", { "aria-hidden": "true" });
  note = element("p", { className: "note" });
  plot = element("div", { className: "plot", tabIndex: 0, role: "application",
    "aria-label": "Map of the points. Arrows move, plus and minus zoom, 0 shows everything, N and P walk through the points, O goes to the other end of a point's line, Enter opens the link, L draws a lasso, T opens the table, slash searches." },
    this.ground, this.canvas, this.over, this.top, this.note);
  point = element("section", { className: "point", "aria-live": "polite" });
  hits = element("section", { className: "hits", "aria-label": "Search results" });
  near = element("section", { className: "hits", "aria-label": "Nearest by vector" });
  legend = element("section", { className: "legend", "aria-label": "Legend" });
  /** How each point is emphasized, and the points that are chosen while a filter is active. */
  shown = new Uint8Array(0);
  /** @type {number[]} */
  chosen = [];
  /** @type {number[]} the results of a search, best first */
  found = [];
  /** @type {Uint8Array | null} */
  mask = null;
  colors = new Uint8Array(0);
  /** @type {number[][] | null} the lasso that is being drawn */
  path = null;
  pending = 0;
  /** @type {number | undefined} */
  saving;
  /** @type {number | undefined} the point that the lists beside the map describe */
  pinned;

  /**
   * @param {HTMLElement} root
   * @param {AtlasData} atlas
   */
  constructor(root, atlas) {
    this.atlas = atlas;
    this.byName = new Map(atlas.columns.map((column) => [column.name, column]));
    this.label = this.byName.get(atlas.roles.label ?? "");
    this.view = new View();
    this.grid = new Grid(atlas.x, atlas.y);
    this.theme = window.matchMedia("(prefers-color-scheme: dark)");
    this.store = new AtlasStore(atlas, (change) => this.show(change));
    this.table = new PointTable(atlas, this.store, { goTo: (point) => this.goTo(point), close: () => this.closeTable() });
    this.listenToControls();
    root.replaceChildren(
      element("header", {}, element("h1", {}, atlas.title), this.search,
        element("label", {}, "Color", this.select), this.lassoButton, this.clear, this.csv, this.opener, this.home, this.status),
      this.table.node,
      element("main", {}, this.plot, element("aside", {}, this.hits, this.point, this.near, this.legend)));
    const made = makePoints(this.canvas, atlas.x, atlas.y);
    this.points = made.points;
    this.note.textContent = made.fallback ? "Without WebGL: drawn on a plain canvas, which is slower." : "";
    this.readAddress();
    this.listen();
    this.resize();
  }

  get state() {
    return this.store.state;
  }

  listenToControls() {
    const { atlas, store } = this;
    const colorable = atlas.columns.filter((column) => column.kind !== "text" && column.name !== atlas.roles.partner);
    this.select.append(element("option", { value: "" }, "one color"), ...colorable.map(({ name }) => element("option", { value: name }, name)));
    this.search.oninput = () => store.search(this.search.value);
    this.search.onkeydown = (event) => { if (event.key === "Enter" && this.found.length) this.goTo(this.found[0]); };
    this.select.onchange = () => store.colorBy(this.select.value);
    this.lassoButton.onclick = () => store.toggleLasso();
    this.clear.onclick = () => store.clear();
    this.csv.onclick = () => this.saveCsv();
    this.opener.onclick = () => store.toggleTable();
    this.home.onclick = () => this.act(() => this.view.home());
  }

  listen() {
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

  /**
   * Redraws what an action of the store has changed.
   * @param {import("./store.js").Change} change
   */
  show(change) {
    if (change === "color") this.recolor();
    else if (change === "choice") this.choose();
    else if (change === "point") this.showPoint();
    else if (change === "table") this.showTable();
    this.saveSoon();
  }

  acts() {
    return {
      hover: (place) => this.store.hover(this.under(place, REACH)),
      leave: () => this.store.hover(-1),
      press: (place) => { if (this.store.lassoing) this.path = [this.view.toPlane(...place)]; },
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

  /** The undimmed point at a position in the plot, or -1. */
  under(place, reach) {
    const [x, y] = this.view.toPlane(...place);
    return this.grid.nearest(x, y, reach / this.view.scale, (i) => this.shown[i] !== SHOWN.dim);
  }

  drop() {
    const { path } = this;
    this.path = null;
    if (path && path.length > 2) {
      const step = Math.max(1, Math.ceil(path.length / 60));
      this.store.chooseInside(path.filter((_, i) => i % step === 0));
    } else this.moved();
  }

  /** A click opens the link of a point. A finger cannot hover: its first tap shows the point. */
  tap(place, touched) {
    this.path = null;
    const index = this.under(place, touched ? TOUCH_REACH : REACH);
    const shown = touched ? this.state.point : index;
    this.store.pin(index);
    if (index >= 0 && index === shown) this.openLink(index);
  }

  linkOf(index) {
    return safeLink(cell(this.byName.get(this.atlas.roles.link ?? ""), index));
  }

  /** The row that a point belongs to, or -1. */
  partnerOf(index) {
    const row = this.byName.get(this.atlas.roles.partner ?? "")?.values?.[index] ?? -1;
    return row >= 0 ? row : -1;
  }

  openLink(index) {
    const address = this.linkOf(index);
    if (address) element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }).click();
  }

  showPoint() {
    const { described, hovered, state } = this.store;
    this.plot.classList.toggle("over", hovered >= 0);
    this.plot.classList.toggle("link", hovered >= 0 && this.linkOf(hovered) !== null);
    this.point.dataset.index = String(described);
    this.point.replaceChildren(...describe(this.atlas, this.byName, described));
    this.clear.disabled = !this.mask && state.point < 0;
    if (state.point !== this.pinned) {
      this.pinned = state.point;
      render(nearList(this.atlas, this.label, state.point, (other) => this.goTo(other)), this.near);
      this.showHits();
      this.showTable();
    }
    this.drawMarked();
  }

  showHits() {
    render(hitList(this.found, this.label, this.state.point, (index) => this.goTo(index)), this.hits);
  }

  showTable() {
    this.opener.setAttribute("aria-expanded", String(Boolean(this.state.table)));
    this.table.refresh(this.mask, this.colors);
  }

  closeTable() {
    this.store.toggleTable();
    this.opener.focus();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { this.store.clear(); return; }
    if (event.target.matches("input, select")) return;
    if (event.key === "/") { event.preventDefault(); this.search.focus(); return; }
    if (event.target !== this.plot && event.target !== document.body) return;
    const { view } = this;
    const actions = {
      ArrowLeft: () => view.pan(60, 0), ArrowRight: () => view.pan(-60, 0),
      ArrowUp: () => view.pan(0, 60), ArrowDown: () => view.pan(0, -60),
      "+": () => view.zoomAt(1.4), "=": () => view.zoomAt(1.4), "-": () => view.zoomAt(1 / 1.4),
      0: () => view.home(), l: () => this.store.toggleLasso(), t: () => this.store.toggleTable(),
      n: () => this.walk(1), p: () => this.walk(-1),
      o: () => this.store.described >= 0 && this.goTo(this.partnerOf(this.store.described)),
      Enter: () => this.store.described >= 0 && this.openLink(this.store.described),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    this.act(action);
  }

  /** Goes to a point and brings it into view. */
  goTo(index) {
    if (index < 0) return;
    this.view.reveal(this.atlas.x[index], this.atlas.y[index]);
    this.store.pin(index);
    this.moved();
  }

  /** Goes to the next or previous undimmed point, in order of interest. */
  walk(step) {
    const all = Array.from(this.atlas.order).filter((i) => this.shown[i] !== SHOWN.dim);
    if (!all.length) return;
    const at = all.indexOf(this.state.point);
    this.goTo(all[at < 0 ? 0 : (at + step + all.length) % all.length]);
  }

  act(action) {
    action();
    this.moved();
  }

  /** Draws the visible part, and remembers it. */
  moved() {
    this.store.keepView(this.view.text);
    this.draw();
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

  /** Shows which points are chosen by search, legend, lasso and ranges; the others are dimmed. */
  choose() {
    const { atlas, state, store } = this;
    this.mask = chosenPoints(atlas, state, store.polygon);
    const chosen = [];
    this.shown = new Uint8Array(atlas.count).fill(this.mask ? SHOWN.dim : SHOWN.usual);
    this.mask?.forEach((pass, i) => pass && chosen.push(i));
    for (const i of chosen) this.shown[i] = chosen.length < MOST_ENLARGED ? SHOWN.chosen : SHOWN.usual;
    this.chosen = chosen;
    const words = state.q.trim().toLowerCase();
    this.found = words ? rankHits(atlas, this.label, chosen, words) : [];
    this.points.set(this.colors, this.shown);
    this.pinned = undefined;
    this.showChoice();
    this.showPoint();
    this.draw();
  }

  showChoice() {
    const { atlas, state, store, chosen, mask } = this;
    const amount = (value) => value.toLocaleString("en");
    this.status.textContent = !mask ? `${amount(atlas.count)} points`
      : chosen.length ? `${amount(chosen.length)} of ${amount(atlas.count)} points`
        : "No point matches: change the search, or press Escape";
    this.csv.disabled = !chosen.length;
    if (this.search.value !== state.q) this.search.value = state.q;
    this.select.value = state.color;
    this.lassoButton.setAttribute("aria-pressed", String(store.lassoing));
    this.plot.classList.toggle("lasso", store.lassoing);
    render(legendOf(this.legendNow, store.only, (code) => store.toggleCode(code)), this.legend);
  }

  saveCsv() {
    // The byte order mark makes spreadsheets read the file as UTF-8.
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
    if (this.shown.length) this.draw();
    else this.recolor();
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      drawGround(this);
      this.points.draw(this.view, this.ratio);
      Object.assign(this.plot.dataset, drawLabels(this, this.path ?? this.store.polygon));
      this.drawMarked();
      document.body.dataset.state = "drawn";
      document.body.dataset.frames = String(Number(document.body.dataset.frames ?? 0) + 1);
    });
  }

  drawMarked() {
    const marked = [...new Set([this.state.point, this.store.hovered])].filter((i) => i >= 0);
    this.plot.dataset.lines = String(drawMarked(this, marked));
  }

  saveSoon() {
    clearTimeout(this.saving);
    this.saving = window.setTimeout(() => writeAddress(this.state, this.store.defaults), 150);
  }

  readAddress() {
    this.store.restore(readAddress);
    this.view.read(this.state.view);
  }
}

async function openAtlas() {
  const root = byId("app");
  try {
    const atlas = await readAtlas(byId("atlas").textContent ?? "");
    Object.assign(window, { repwatchAtlas: new Atlas(root, atlas) });
  } catch (error) {
    document.body.dataset.state = "error";
    root.replaceChildren(element("p", { className: "message", role: "alert" }, `The atlas cannot be shown. ${messageOf(error)}`));
  }
}

openAtlas();
