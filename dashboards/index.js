// The shell inside TensorBoard: which figures there are, which one is shown, and staying live.
// TensorBoard loads this module in a frame of its own origin and calls render().

import { Page } from "./page.js";
import { unpack } from "./payload.js";

const HERE = new URL(".", import.meta.url);
const PAUSE = 15000;
const LONGEST_PAUSE = 120000;
const KEPT = 40;

export function render() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("style.css", HERE).href;
  document.head.append(style);
  const root = document.createElement("div");
  root.id = "app";
  document.body.append(root);
  const tab = new Tab(root);
  style.addEventListener("load", () => tab.page.resize());
  followTheme((dark) => tab.page.setTheme(dark));
  listenToParent("experimental.DataReloaded", () => tab.refresh());
  tab.start();
}

class Tab {
  constructor(root) {
    this.page = new Page(root, loadPlotly);
    this.index = {};
    this.run = null;
    this.tag = null;
    this.step = null;
    this.following = true;
    this.figures = new Map();
    this.asked = 0;
    this.failures = 0;
  }

  async start() {
    this.page.say("loading", "Reading the figures …");
    await this.refresh();
    this.schedule();
  }

  schedule() {
    const pause = Math.min(PAUSE * 2 ** this.failures, LONGEST_PAUSE);
    setTimeout(async () => {
      // A hidden tab asks nothing; it catches up when it is looked at.
      if (document.visibilityState === "visible" && window.innerHeight > 0) await this.refresh();
      this.schedule();
    }, pause);
  }

  async refresh() {
    try {
      const { runs } = await fetchJson("figures");
      this.index = Object.fromEntries(runs.map(({ run, tags }) => [run, tags]));
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      // What is drawn stays; only the status line tells that it may be old.
      if (this.page.figure) this.page.setStatus("TensorBoard does not answer");
      else this.page.say("error", "TensorBoard does not answer.", `${error.message}\nIs it still running? This page tries again by itself.`);
      return;
    }
    await this.choose();
  }

  /** Keeps what the reader chose where it still exists, else takes the newest. */
  async choose() {
    const runs = Object.keys(this.index);
    if (runs.length === 0) {
      this.page.setPickers([]);
      this.page.say(
        "empty",
        "No map yet.",
        "Add RepWatch() to the callbacks of a Trainer that has a TensorBoardLogger, and train.\n" +
          "The first map appears with the first snapshot; this page looks again by itself.",
      );
      return;
    }
    if (!(this.run in this.index)) this.run = newest(this.index);
    const tags = this.index[this.run];
    if (!tags.some(({ tag }) => tag === this.tag)) this.tag = tags[0].tag;
    this.page.setPickers([
      { label: "Run", names: runs, chosen: this.run, onChange: (run) => this.pick({ run }) },
      { label: "Figure", names: tags.map(({ tag }) => tag), chosen: this.tag, onChange: (tag) => this.pick({ tag }) },
    ]);
    const steps = this.chosenSteps();
    if (this.following || !steps.includes(this.step)) this.step = steps.at(-1);
    this.page.setSteps(steps, steps.indexOf(this.step), (at, step) => {
      this.step = step;
      this.following = at === this.chosenSteps().length - 1;
      this.show();
    });
    await this.show();
  }

  chosenSteps() {
    return this.index[this.run].find(({ tag }) => tag === this.tag).steps;
  }

  pick({ run = this.run, tag = this.tag }) {
    this.run = run;
    this.tag = tag;
    this.following = true;
    return this.choose();
  }

  async show() {
    const turn = ++this.asked;
    const key = new URLSearchParams({ run: this.run, tag: this.tag, step: this.step }).toString();
    this.page.setStatus(this.following ? "following the newest step" : "");
    if (key === this.shown) return;
    try {
      const figure = await this.fetchFigure(key);
      // The reader may have moved on while this one was on its way.
      if (turn !== this.asked) return;
      this.shown = key;
      await this.page.show(figure);
    } catch (error) {
      if (turn !== this.asked) return;
      this.shown = null;
      this.page.say("error", `Step ${this.step} cannot be shown.`, `${error.message}\nChoose another step or run, or reload.`);
    }
  }

  async fetchFigure(key) {
    if (!this.figures.has(key)) {
      const figure = unpack(await fetchJson(`figure?${key}`));
      this.figures.set(key, figure);
      if (this.figures.size > KEPT) this.figures.delete(this.figures.keys().next().value);
    }
    return this.figures.get(key);
  }
}

function newest(index) {
  const time = (run) => Math.max(...index[run].map(({ time }) => time));
  return Object.keys(index).reduce((best, run) => (time(run) > time(best) ? run : best));
}

async function fetchJson(address) {
  // "no-cache" asks every time, and costs a short 304 when nothing changed.
  const reply = await fetch(new URL(address, HERE), { cache: "no-cache", credentials: "same-origin" });
  if (!reply.ok) throw new Error(`The answer was ${reply.status}: ${(await reply.text()).slice(0, 200)}`);
  return reply.json();
}

let plotly = null;

/** plotly.js, once, from the plugin's own route. */
function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", HERE).href;
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      plotly = null;
      reject(new Error("plotly.min.js did not load. Reinstall it: pip install 'plotly>=6.0'"));
    });
    document.head.append(script);
  });
  return plotly;
}

/** TensorBoard tells plugins nothing of its theme: the parent's body has the class. */
function followTheme(apply) {
  let body = null;
  try {
    body = window.parent === window ? null : window.parent.document.body;
  } catch {
    body = null;
  }
  if (body === null) {
    const theme = window.matchMedia("(prefers-color-scheme: dark)");
    theme.addEventListener("change", () => apply(theme.matches));
    apply(theme.matches);
    return;
  }
  const read = () => apply(body.classList.contains("dark-mode"));
  new window.parent.MutationObserver(read).observe(body, { attributes: true, attributeFilter: ["class"] });
  read();
}

/** TensorBoard's channel to plugins: JSON messages, each to be answered. */
function listenToParent(type, act) {
  if (window.parent === window) return;
  const channel = new MessageChannel();
  channel.port1.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.isReply) return;
    if (message.type === type) act();
    const reply = { type: message.type, id: message.id, payload: null, error: null, isReply: true };
    channel.port1.postMessage(JSON.stringify(reply));
  });
  channel.port1.start();
  window.parent.postMessage("experimental.bootstrap", window.location.origin, [channel.port2]);
}
