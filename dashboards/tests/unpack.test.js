import assert from "node:assert/strict";
import { test } from "node:test";

import { inflate, unpackExcerpts, unpackViews } from "../document/unpack.js";
// What repwatch.page packed, and the result; tests/page compares both with the current package.
import packed from "./packed.json" with { type: "json" };

globalThis.window = globalThis;

test("pictures and neighbors are those that the package packed", async () => {
  const { points, snapshots, coordinates, neighbors } = packed;
  const views = unpackViews(await inflate(packed.views), snapshots, points, 10);
  assert.equal(views.length, snapshots);
  // The last one first: it needs those before it.
  for (const at of [2, 0, 1]) {
    assert.deepEqual([...views[at].near], neighbors[at]);
    const places = Array.from(views[at].x, (x, point) => [x, views[at].y[point]]).flat();
    assert.deepEqual(places.map((place) => Math.round(((place + 1) / 2) * 1023)), coordinates[at]);
  }
});

test("excerpts are those that the package packed", async () => {
  const excerpts = unpackExcerpts(await inflate(packed.excerpts), packed.snapshots);
  excerpts.forEach((distances, at) => distances.forEach((distance, pair) => assert.ok(Math.abs(distance - packed.distances[at][pair]) < 2e-5)));
});
