// Small curves above the strip, on its axis: the key metric and the probability of a bad end with the
// range of the good runs, and how well neighbors predict labels in the selected layer.

import { drawn, element } from "../shared/dom.js";
import { brief } from "../shared/widgets.js";

const HIGH = 100;
const VOTERS = 5;
const P_BAD = "repwatch/p_bad";

export class Curves {
  /** @type {Map<number, number>} how well neighbors predict labels, by step, for the current key */
  accuracies = new Map();
  accuracyKey = "";
  wanted = "";

  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.lines = ["metric", "p_bad", "accuracy"].map((name) => {
      const label = element("span", { className: "strip-name" });
      const picture = drawn("svg", { class: "curve", preserveAspectRatio: "none", role: "img", "data-curve": name });
      return { name, label, picture };
    });
    this.nodes = this.lines.flatMap(({ label, picture }) => [label, picture]);
  }

  refresh(steps) {
    const { scene, state } = this.bench;
    const { metric } = scene.page;
    this.draw(this.lines[0], metric ?? "", steps, metric ? this.column(metric, steps) : null);
    const known = P_BAD in scene.page.values ? this.column(P_BAD, steps) : null;
    this.draw(this.lines[1], "p(bad)", steps, known && { ...known, range: [0, 1] });
    this.drawAccuracy(steps, state.layer);
  }

  /** A metric of the run by step, with the lowest and the highest value of the good runs. */
  column(name, steps) {
    const { scene, state } = this.bench;
    const column = scene.page.values[name] ?? [];
    const at = (run, step) => {
      const row = scene.rowAt(run, step);
      return row >= 0 && typeof column[row] === "number" ? column[row] : null;
    };
    const good = scene.runs.filter((run) => run.label === "good" && run.name !== state.follow);
    const band = steps.map((step) => {
      const values = good.map((run) => at(run.name, step)).filter((value) => value !== null);
      return values.length > 1 ? [Math.min(...values), Math.max(...values)] : null;
    });
    return { values: steps.map((step) => at(state.follow, step)), band };
  }

  async drawAccuracy(steps, layer) {
    const { scene, state, pointScale } = this.bench;
    const key = JSON.stringify([state.follow, layer, state.by, scene.stamp]);
    const line = this.lines[2];
    const rows = scene.trajectory(state.follow, layer);
    if (pointScale.codes === null || rows.length === 0) {
      this.draw(line, "", steps, null);
      return;
    }
    this.wanted = key;
    if (this.accuracyKey !== key) {
      let views;
      try {
        views = await Promise.all(rows.map((row) => scene.view(row)));
      } catch {
        // The picture of the layer reports what is wrong.
        return;
      }
      if (this.wanted !== key) return;
      this.accuracies = new Map(rows.map((row, at) => [scene.snapshots.step[row], voteAccuracy(views[at].near, pointScale.codes, scene.k)]));
      this.accuracyKey = key;
    }
    const values = steps.map((step) => this.accuracies.get(step) ?? null);
    this.draw(line, "5-NN accuracy", steps, { values, band: [], range: [0, 1] },
      `accuracy of ${state.by} from the 5 nearest neighbors in ${layer}`);
  }

  draw({ label, picture, name }, words, steps, curve, long = words) {
    const known = curve?.values.filter((value) => value !== null) ?? [];
    const shown = known.length > 1;
    label.hidden = picture.style.display = shown ? "" : "none";
    label.hidden = !shown;
    picture.dataset.points = String(known.length);
    if (!shown) return;
    const every = [...known, ...curve.band.flatMap((pair) => pair ?? [])];
    const [low, high] = curve.range ?? [Math.min(...every), Math.max(...every)];
    const y = (value) => HIGH - 6 - ((value - low) / (high - low || 1)) * (HIGH - 12);
    const last = known[known.length - 1];
    label.replaceChildren(element("span", { className: "name" }, words), element("span", { className: "detail" }, brief(Number(last.toPrecision(2)))));
    label.title = long;
    picture.setAttribute("viewBox", `0 0 ${steps.length} ${HIGH}`);
    picture.setAttribute("aria-label", `${long}: from ${brief(Number(known[0].toPrecision(3)))} to ${brief(Number(last.toPrecision(3)))}`);
    const line = steps.flatMap((_, at) => (curve.values[at] === null ? [] : [[at + 0.5, y(curve.values[at])]]));
    picture.replaceChildren(...bandOf(curve.band, y), pathOf(line, "line", name));
  }
}

function bandOf(band, y) {
  const places = band.flatMap((pair, at) => (pair ? [[at + 0.5, pair]] : []));
  if (places.length < 2) return [];
  const around = [...places.map(([x, pair]) => [x, y(pair[1])]), ...places.reverse().map(([x, pair]) => [x, y(pair[0])])];
  return [pathOf(around, "band", "band")];
}

function pathOf(points, kind, name) {
  return drawn("path", { class: `${kind} ${name}`, d: `M${points.map(([x, y]) => `${x},${y.toFixed(2)}`).join("L")}` });
}

/** Share of points whose code wins the vote of their 5 nearest neighbors; ties go to the smallest code. */
export function voteAccuracy(near, codes, k) {
  const voters = Math.min(VOTERS, k);
  let right = 0;
  for (let point = 0; point < codes.length; point += 1) {
    const votes = new Map();
    for (let at = point * k; at < point * k + voters; at += 1) votes.set(codes[near[at]], (votes.get(codes[near[at]]) ?? 0) + 1);
    const [winner] = [...votes].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0];
    right += Number(winner === codes[point]);
  }
  return right / codes.length;
}
