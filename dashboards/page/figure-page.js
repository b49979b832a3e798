// The page around the figure: pickers, filters, slider of steps, and messages when there is
// nothing to draw. Both shells (the TensorBoard tab and the report) use it; neither is known here.

import { element, mark, trajectorySign } from "../core/dom.js";
import { canDrawWebGL, countPoints, prepare } from "./map.js";

const CONFIG = { displayModeBar: false, displaylogo: false, responsive: false, doubleClick: "reset" };
const NARROW = 760;
const count = new Intl.NumberFormat("en");

/** The page in `root`. `loadPlotly` gives a promise of plotly. */
export class Page {
  constructor(root, loadPlotly) {
    this.loadPlotly = loadPlotly;
    this.figure = null;
    this.drawing = 0;
    this.view = { dark: false, step: null, outcomes: new Set(), layers: new Set(), runs: new Set() };
    this.steps = { values: [], at: 0, timer: null, onChange: () => {} };
    this.build(root);
    new ResizeObserver(() => this.resize()).observe(this.plot);
    document.addEventListener("keydown", (event) => this.key(event));
  }

  build(root) {
    this.pickers = element("div", { className: "pickers" });
    this.status = element("p", { className: "status", role: "status" });
    this.plot = element("div", { className: "plot", role: "img" });
    this.state = element("div", { className: "state", role: "status" });
    this.sentence = element("p", { className: "sentence" });
    this.key_ = element("aside", { className: "key", "aria-label": "Key and filters" });
    this.notes = element("ul", { className: "notes" });
    this.advice = element("p", { className: "notes advice" });
    root.replaceChildren(
      element("header", {}, element("h1", {}, "RepWatch"), this.pickers, this.status),
      element(
        "main",
        {},
        element(
          "section",
          { className: "box", "aria-label": "The space of representations" },
          this.sentence,
          element("div", { className: "stage" }, this.plot, this.state),
          this.notes,
          this.advice,
        ),
        this.key_,
      ),
      this.buildSteps(),
    );
    document.body.dataset.state = "loading";
  }

  buildSteps() {
    this.play = element("button", { type: "button", className: "play", "aria-label": "Play the steps" });
    this.play.append(element("span", { className: "sign", "aria-hidden": "true" }));
    this.play.addEventListener("click", () => this.togglePlay());
    this.slider = element("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": "Step" });
    this.slider.addEventListener("input", () => {
      this.stop();
      this.moveTo(Number(this.slider.value));
    });
    this.stepText = element("output", { className: "step" });
    this.footer = element("footer", { hidden: true }, this.play, this.slider, this.stepText);
    return this.footer;
  }

  /** Pickers as [{label, names, chosen, onChange}]; one with a single name is plain text. */
  setPickers(pickers) {
    const nodes = pickers.flatMap(({ label, names, chosen, onChange }) => {
      if (names.length < 2) return names.length && label === "Run" ? [element("span", { className: "only" }, names[0])] : [];
      const options = names.map((name) =>
        element("option", { value: name, selected: name === chosen }, name),
      );
      const select = element("select", {}, ...options);
      select.addEventListener("change", () => onChange(select.value));
      return [element("label", {}, element("span", {}, label), select)];
    });
    // A picker that the reader has open, or focused, is only replaced when its choices changed.
    const signature = JSON.stringify(pickers.map(({ label, names, chosen }) => [label, names, chosen]));
    if (signature === this.signature) return;
    this.signature = signature;
    this.pickers.replaceChildren(...nodes);
  }

  /** A sentence shown under the figure, whatever it is. */
  advise(text) {
    this.advice.textContent = text;
  }

  setStatus(text) {
    this.status.textContent = text;
  }

  /** The steps of the slider, and which one is shown. `onChange` gets (index, step). */
  setSteps(values, at, onChange) {
    this.steps.values = values;
    this.steps.onChange = onChange;
    this.steps.at = at;
    this.slider.max = String(Math.max(values.length - 1, 0));
    this.footer.hidden = values.length < 2;
    this.showStep();
  }

  showStep() {
    const { values, at } = this.steps;
    this.slider.value = String(at);
    this.slider.style.setProperty("--share", values.length > 1 ? at / (values.length - 1) : 0);
    if (values.length === 0) return;
    this.stepText.textContent = `step ${count.format(values[at])} · ${at + 1} of ${values.length}`;
    this.slider.setAttribute("aria-valuetext", `step ${values[at]}`);
  }

  moveTo(at) {
    const { values, onChange } = this.steps;
    const bounded = Math.min(Math.max(at, 0), values.length - 1);
    if (bounded === this.steps.at || values.length === 0) return;
    this.steps.at = bounded;
    this.showStep();
    onChange(bounded, values[bounded]);
  }

  togglePlay() {
    if (this.steps.timer !== null) {
      this.stop();
      return;
    }
    const { values } = this.steps;
    if (this.steps.at >= values.length - 1) this.moveTo(0);
    const pause = Math.min(Math.max(5000 / values.length, 120), 700);
    this.steps.timer = setInterval(() => {
      if (this.steps.at >= this.steps.values.length - 1) this.stop();
      else this.moveTo(this.steps.at + 1);
    }, pause);
    this.showPlaying(true);
  }

  stop() {
    clearInterval(this.steps.timer);
    this.steps.timer = null;
    this.showPlaying(false);
  }

  showPlaying(playing) {
    this.play.classList.toggle("playing", playing);
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play the steps");
  }

  key(event) {
    const busy = event.target instanceof HTMLElement && event.target.matches("select, input, button");
    if (busy || event.ctrlKey || event.metaKey || event.altKey || this.footer.hidden) return;
    const moves = { ArrowLeft: this.steps.at - 1, ArrowRight: this.steps.at + 1, Home: 0, End: Infinity };
    if (event.key === " ") this.togglePlay();
    else if (event.key in moves) {
      this.stop();
      this.moveTo(moves[event.key]);
    } else return;
    event.preventDefault();
  }

  /** Nothing to draw: says why, and what to do. `kind` is loading, empty or error. */
  say(kind, title, advice = "") {
    document.body.dataset.state = kind;
    this.state.replaceChildren(element("h2", {}, title), ...advice.split("\n").map(line));
    if (kind !== "loading") {
      this.stop();
      this.figure = null;
      this.footer.hidden = true;
      this.key_.replaceChildren();
      this.notes.replaceChildren();
      this.sentence.textContent = "";
    }
  }

  setTheme(dark) {
    if (this.view.dark === dark && document.documentElement.dataset.theme) return;
    this.view.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    if (this.figure) this.describe();
    return this.draw();
  }

  /** Shows a figure ({data, layout}); `step` cuts the current runs' trajectories. */
  show(figure, step = null) {
    const known = this.figure?.layout.meta;
    this.figure = figure;
    this.view.step = step;
    if (JSON.stringify(known) !== JSON.stringify(figure.layout.meta)) this.describe();
    return this.draw();
  }

  describe() {
    const { meta } = this.figure.layout;
    this.sentence.textContent = meta.sentence;
    // Event files of earlier versions have the British spelling.
    const color = (item) => {
      const light = item.color ?? item.colour;
      return this.view.dark ? (meta.dark[light] ?? light) : light;
    };
    const parts = [
      this.toggles(meta.current.length > 1 ? "Current runs" : "Current run", meta.current, this.view.runs, (run) => ({
        key: run.name, sign: trajectorySign(), color: color(run), text: run.name, detail: run.status ?? "",
      })),
      this.toggles("Landmarks", meta.outcomes, this.view.outcomes, (outcome) => ({
        key: outcome.name, sign: mark(0), color: color(outcome), text: outcome.name,
        detail: `${outcome.runs} ${outcome.runs === 1 ? "run" : "runs"}`,
      })),
      this.toggles("Layers", meta.layers, this.view.layers, (layer, index) => ({
        key: index, sign: mark(layer.symbol), color: "", text: layer.name, detail: "",
      })),
      flagList(meta.flags),
      about(meta),
    ];
    this.key_.replaceChildren(...parts.filter((part) => part !== null));
    this.slow = element("li", { hidden: true }, "WebGL is off here: the map is drawn as SVG, which is slower.");
    this.notes.replaceChildren(this.slow, ...meta.notes.map((note) => element("li", {}, note)));
  }

  toggles(title, items, hidden, describe) {
    if (items.length === 0) return null;
    const buttons = items.map((item, index) => {
      const { key, sign, color, text, detail } = describe(item, index);
      const button = element(
        "button",
        { type: "button", className: "toggle", title: text, "aria-pressed": String(!hidden.has(key)) },
        sign,
        element("span", { className: "name" }, text),
        element("span", { className: "detail" }, detail),
      );
      sign.style.color = color;
      button.addEventListener("click", () => {
        if (!hidden.delete(key)) hidden.add(key);
        button.setAttribute("aria-pressed", String(!hidden.has(key)));
        this.draw();
      });
      return element("li", {}, button);
    });
    return element("section", {}, element("h2", {}, title), element("ul", {}, ...buttons));
  }

  async draw() {
    if (!this.figure) return;
    const turn = ++this.drawing;
    const plotly = await this.loadPlotly();
    // A hidden tab has no height: plotly would draw into nothing. resize() draws it later.
    if (turn !== this.drawing || !this.figure || this.plot.clientHeight < 20) return;
    // Probing takes a WebGL context, so it is only done for figures that would use one.
    const wanted = this.figure.data.some((trace) => trace.type === "scattergl");
    if (wanted) this.webgl ??= canDrawWebGL();
    const size = [this.plot.clientWidth, this.plot.clientHeight];
    const { data, layout } = prepare(this.figure, this.view, wanted && this.webgl, size);
    const shown = countPoints(data);
    const config = { ...CONFIG, scrollZoom: window.innerWidth >= NARROW };
    document.body.dataset.state = "drawn";
    await plotly.react(this.plot, data, layout, config);
    if (turn !== this.drawing) return;
    this.size = size;
    this.plot.dataset.points = String(shown);
    const slow = wanted && !this.webgl;
    this.plot.setAttribute("aria-label", `Map of ${shown} snapshots. ${this.sentence.textContent}`);
    this.plot.dataset.renderer = slow ? "svg" : "";
    this.slow.hidden = !slow;
  }

  /** Draws again if the size changed: texts are placed in pixels. */
  resize() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    if (!this.figure || height < 20) return;
    if (width !== this.size?.[0] || height !== this.size?.[1]) this.draw();
  }
}

function line(text) {
  return element("p", {}, text);
}

function flagList(flags) {
  if (flags.length === 0) return null;
  const items = flags.map((flag) => {
    const where = [flag.layer, flag.step === null ? null : `step ${count.format(flag.step)}`];
    return element(
      "li",
      { className: "flag" },
      element("span", { className: "detail" }, where.filter((part) => part !== null).join(" · ")),
      element("span", {}, flag.message),
    );
  });
  return element("section", {}, element("h2", {}, "Flags"), element("ul", {}, ...items));
}

const METHODS = { tsne: "t-SNE", pca: "PCA", mds: "MDS" };

function about(meta) {
  const rows = [
    ["Method", METHODS[meta.method] ?? meta.method],
    ["Distance", meta.distance],
    ["Perplexity", meta.perplexity === null ? null : String(Number(meta.perplexity.toPrecision(3)))],
    ["Seed", meta.seed],
  ].filter(([, value]) => value !== null && value !== undefined);
  if (rows.length === 0) return null;
  const cells = rows.flatMap(([term, value]) => [
    element("dt", {}, term),
    element("dd", {}, String(value)),
  ]);
  return element("section", { className: "about" }, element("h2", {}, "This map"), element("dl", {}, ...cells));
}
