// What a person needs to judge a flag: its message, the points that differ most, the hyperparameters
// outside the good runs' range, and the landmarks that were nearest when it was raised.

import { drawn, element } from "../shared/dom.js";
import { outcomeScale } from "../shared/colors.js";
import { brief, pressable } from "../shared/widgets.js";

const THUMB = 36;
const WIDE = 200;

/** The flag of the followed run at the snapshot that is shown, or undefined. */
export function flagHere({ scene, state }) {
  if (state.run !== state.follow) return undefined;
  return scene.page.flags.find(
    (flag) => flag.run === state.follow && flag.step === state.step && (flag.layer === null || flag.layer === state.layer),
  );
}

/** The nodes of the card of a flag. */
export function flagCard(bench, flag) {
  const { evidence } = flag;
  const place = [flag.layer === null ? "" : flag.layer, flag.step === null ? "" : `step ${brief(flag.step)}`].filter(Boolean).join(", ");
  const sure = flag.probability === null ? [] : [
    element("p", { className: "detail" }, `${Math.round(100 * flag.probability)}%: the share of runs like this one that ended badly, as the detector estimates it from the landmarks.`),
  ];
  const guarantee = typeof evidence.guarantee === "string" ? [element("p", { className: "detail" }, evidence.guarantee)] : [];
  return [
    element("h2", { className: "flag-title" }, element("span", { className: "ring", "aria-hidden": "true" }), `Flag: ${place}`),
    element("p", { className: "flag-words" }, flag.message),
    ...sure,
    ...oddPoints(bench, evidence.points),
    ...outsideSettings(bench),
    ...nearestThen(bench, evidence.nearest),
    ...guarantee,
  ];
}

function oddPoints(bench, points) {
  const known = (Array.isArray(points) ? points : []).filter(({ point }) => Number.isInteger(point) && point < bench.scene.n);
  if (known.length === 0) return [];
  const items = known.map(({ point }) => {
    const name = `Probe point ${point}: ${bench.pointName(point)}`;
    const button = pressable("", () => bench.store.holdPoint(point), { className: "near", title: name, "aria-label": name });
    if (bench.sprites) button.append(bench.sprites.canvas(point, THUMB));
    button.append(element("span", {}, bench.pointName(point)));
    return button;
  });
  return [
    element("h3", {}, "Points that differ most from good runs"),
    element("div", { className: "nears", role: "group", "aria-label": "Points that differ most" }, ...items),
  ];
}

/** Each numeric hyperparameter outside the range of the good runs. */
function outsideSettings({ scene, state }) {
  const run = scene.runs.find((candidate) => candidate.name === state.follow);
  const good = scene.runs.filter((other) => other.label === "good" && other !== run);
  const rows = scene.page.settings.flatMap((name) => {
    const values = good.map((other) => other.hparams[name]).filter((value) => typeof value === "number");
    const own = run.hparams[name];
    if (typeof own !== "number" || values.length === 0) return [];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return own < low || own > high ? [{ name, own, low, high }] : [];
  });
  if (rows.length === 0) return [];
  return [element("h3", {}, "Outside of the good runs' range"), ...rows.flatMap(settingStrip)];
}

function settingStrip({ name, own, low, high }) {
  const [least, most] = [Math.min(own, low), Math.max(own, high)];
  const scale = least > 0 && most / least > 10 ? Math.log : (value) => value;
  const place = (value) => 6 + ((scale(value) - scale(least)) / (scale(most) - scale(least) || 1)) * (WIDE - 12);
  const range = low === high ? brief(low) : `${brief(Number(low.toPrecision(3)))} to ${brief(Number(high.toPrecision(3)))}`;
  const words = `${name} ${brief(Number(own.toPrecision(3)))}; good runs ${range}`;
  return [
    element("p", {}, words),
    drawn(
      "svg",
      { class: "setting", viewBox: `0 0 ${WIDE} 14`, role: "img", "aria-label": words },
      drawn("path", { class: "track", d: `M2,7H${WIDE - 2}` }),
      drawn("path", { class: "range", d: `M${place(low) - 2},7H${place(high) + 2}` }),
      drawn("circle", { class: "own", cx: place(own), cy: 7, r: 5 }),
    ),
  ];
}

function nearestThen(bench, nearest) {
  const { scene, state, dark } = bench;
  const known = (Array.isArray(nearest) ? nearest : []).filter((landmark) => scene.runs.some(({ name }) => name === landmark?.run));
  if (known.length === 0) return [];
  const colors = outcomeScale(scene.outcomes, dark);
  const items = known.map((landmark) => {
    const run = scene.runs.findIndex(({ name }) => name === landmark.run);
    const sign = element("span", { className: "dot" });
    sign.style.background = colors.color(run);
    const far = typeof landmark.distance === "number" ? landmark.distance.toFixed(2) : "";
    const row = scene.rowAt(landmark.run, landmark.step ?? state.step, state.layer);
    const button = pressable("", () => row >= 0 && bench.store.hold(row), { className: "landmark", title: `${landmark.run}: ${scene.outcomes[run]}` });
    button.append(sign, element("span", { className: "name" }, `${landmark.run} · ${scene.outcomes[run]}`), element("span", { className: "detail" }, far));
    return element("li", {}, button);
  });
  return [element("h3", {}, "Nearest landmarks when the flag was raised"), element("ol", { className: "plain-list" }, ...items)];
}
