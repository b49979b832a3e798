// The bar at the bottom: the steps of the followed run, playback, and its flags.

import { element } from "../shared/dom.js";
import { html, listOf, render } from "../shared/lists.js";
import { brief, pressable } from "../shared/widgets.js";

const SLOWEST = 900;
const FASTEST = 260;
const WHOLE = 9000;

export class StepBar {
  /** @type {number | undefined} */
  timer;

  /** @param {import("./workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.play = pressable("", () => this.togglePlay(), { className: "play", "aria-label": "Play the steps" });
    this.play.append(element("span", { className: "sign", "aria-hidden": "true" }));
    this.slider = element("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": "Step" });
    this.slider.addEventListener("input", () => {
      this.stop();
      this.moveTo(Number(this.slider.value));
    });
    this.output = element("output", { className: "step" });
    this.flags = element("div", { className: "flags", role: "group", "aria-label": "Flags" });
    this.notes = element("p", { className: "detail notes" });
    this.row = element("div", { className: "steps" }, this.play, this.slider, this.output);
    this.node = element("footer", {}, this.row, this.flags, this.notes);
  }

  values() {
    return this.bench.scene.stepsOf(this.bench.state.follow);
  }

  at() {
    const values = this.values();
    const { state } = this.bench;
    if (state.run !== state.follow) return values.length - 1;
    return Math.max(values.findLastIndex((step) => step <= state.step), 0);
  }

  refresh() {
    const values = this.values();
    const at = this.at();
    this.row.hidden = values.length === 0;
    this.slider.max = String(Math.max(values.length - 1, 0));
    this.slider.value = String(at);
    this.slider.style.setProperty("--share", String(values.length > 1 ? at / (values.length - 1) : 1));
    this.output.textContent = values.length ? `step ${values[at].toLocaleString("en")} · ${at + 1} of ${values.length}` : "";
    this.slider.setAttribute("aria-valuetext", `step ${values[at]}`);
    this.showFlags();
  }

  showFlags() {
    const { scene, state } = this.bench;
    const flags = scene.page.flags.filter((flag) => flag.run === state.follow);
    const others = scene.page.flags.length - flags.length;
    const none = html`<span class="detail">${noFlags(scene, state.follow, others)}</span>`;
    this.flags.classList.toggle("none", flags.length === 0);
    render(flags.length ? listOf(flags, (_flag, index) => index, (flag) => this.flag(flag)) : none, this.flags);
    this.notes.textContent = scene.page.notes.join(" ");
  }

  /** Whether the snapshot of a flag is shown. */
  isHere(flag) {
    const { state } = this.bench;
    return state.run === flag.run && state.step === flag.step && (flag.layer === null || state.layer === flag.layer);
  }

  flag(flag) {
    const where = [flag.step === null ? "" : `step ${brief(flag.step)}`, flag.layer === null ? "" : `layer ${flag.layer}`];
    const sure = flag.probability === null ? "" : ` (${Math.round(100 * flag.probability)}%)`;
    const show = () => this.bench.store.goTo(flag.run, flag.layer, flag.step ?? 0);
    return html`<button type="button" class="flag" aria-current=${String(this.isHere(flag))} @click=${show}><span class="ring" aria-hidden="true"></span><span
      class="where">${where.filter(Boolean).join(" · ")}</span><span class="flag-text">${flag.message}${sure}</span></button>`;
  }

  moveTo(at) {
    const values = this.values();
    const bounded = Math.min(Math.max(at, 0), values.length - 1);
    if (values.length) this.bench.store.showStep(values[bounded]);
  }

  move(by) {
    this.stop();
    this.moveTo(this.at() + by);
  }

  togglePlay() {
    if (this.timer !== undefined) return this.stop();
    const values = this.values();
    if (this.at() >= values.length - 1) this.moveTo(0);
    this.timer = window.setInterval(() => {
      if (this.at() >= this.values().length - 1) this.stop();
      else this.moveTo(this.at() + 1);
    }, Math.min(Math.max(WHOLE / values.length, FASTEST), SLOWEST));
    return this.showPlaying(true);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.showPlaying(false);
  }

  showPlaying(playing) {
    this.play.classList.toggle("playing", playing);
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play the steps");
  }
}

/** Why there is no flag: the run is normal, or was not watched. */
function noFlags({ page }, run, others) {
  const { good, needed } = page.strip;
  const elsewhere = others ? ` ${others} on other runs.` : "";
  if (good < needed) {
    return `Not watched: ${good} of ${needed} good landmarks. Label finished runs: repwatch label RUN good.${elsewhere}`;
  }
  return `No flags on ${run}.${elsewhere}`;
}
