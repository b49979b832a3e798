// A small document, as the page reads it: three runs with two layers, two steps and four probe points.

import { Scene } from "../document/scene.js";

const RUNS = ["good-1", "good-2", "odd"];
const LAYERS = ["net.0", "net.2"];
const STEPS = [10, 20];

function base64(array) {
  return Buffer.from(array.buffer).toString("base64");
}

/** A scene whose snapshots differ by run (the last one most), layer and step. */
export function makeScene() {
  const rows = RUNS.flatMap((_, run) => STEPS.flatMap((step) => LAYERS.map((_, layer) => ({ run, layer, step }))));
  const column = (pick) => rows.map(pick);
  const components = Int16Array.from(rows.flatMap(({ run, layer, step }) => [run === 2 ? 900 : 100 * run, 10 * layer + step]));
  const page = {
    version: 5, kind: "page", registry: "repwatch.db", probe: "p", points: 4, neighbors: 2,
    runs: RUNS.map((name) => ({
      name, label: name === "odd" ? null : "good", cause: null, status: "finished",
      hparams: { lr: name === "odd" ? 1 : 0.01, batch: 32 }, metrics: { loss: name === "odd" ? 2 : 0.5 },
    })),
    current: ["odd"], layers: LAYERS, layer: "net.0", settings: ["lr"], metric: "loss",
    snapshots: {
      id: rows.map((_, at) => at + 1), run: column(({ run }) => run), layer: column(({ layer }) => layer),
      step: column(({ step }) => step), epoch: rows.map(() => null), diverged: rows.map(() => 0),
    },
    values: {},
    trajectories: RUNS.flatMap((run, at) => LAYERS.map((layer, depth) => ({
      run, layer, views: null, excerpts: null,
      snapshots: rows.flatMap((row, place) => (row.run === at && row.layer === depth ? [place] : [])),
    }))),
    flags: [{ run: "odd", kind: "drift", step: 20, epoch: null, layer: "net.2", message: "It drifts.", cause: null, probability: 0.9, evidence: {} }],
    maps: [],
    distances: { name: "cosine", width: 2, scale: 0.001, rows: base64(components) },
    strip: { kind: "good", good: 2, needed: 5, values: rows.map(({ run }) => (run === 2 ? 3.5 : 1)), spreads: rows.map(() => 0.1) },
    notes: [],
  };
  const points = { count: 4, columns: { class: [0, 0, 1, 1] }, texts: ["a cat", "a dog", "=1+1", "a car"], links: null, sprite: null };
  return new Scene({ page, points });
}
