import assert from "node:assert/strict";
import { test } from "node:test";

import { columnsOf } from "../table/columns.js";
import { binsOf, holds, listedRows, orderedRows, rangeOf, readRange, selectedRuns } from "../table/filter.js";
import { makeScene } from "./scene.js";

const columns = columnsOf(makeScene());
const rows = (mask) => [...mask.keys()].filter((run) => mask[run]);

test("the columns are what runs are compared by, without what all have in common", () => {
  assert.deepEqual(columns.map(({ name }) => name), ["run", "outcome", "status", "loss", "flags", "deviation", "lr"]);
  assert.deepEqual(columns.find(({ key }) => key === "deviation")?.values, [1, 1, 3.5]);
});

test("each word must be found; NAME:VALUE means one column", () => {
  assert.equal(listedRows(columns, { find: "", ranges: [] }), null);
  assert.deepEqual(rows(listedRows(columns, { find: "good 2", ranges: [] })), [1]);
  assert.deepEqual(rows(listedRows(columns, { find: "outcome:good", ranges: [] })), [0, 1]);
});

test("the ends of a range belong to it, and a broken one filters nothing", () => {
  assert.deepEqual(rows(listedRows(columns, { find: "", ranges: ['["deviation",1,1]'] })), [0, 1]);
  assert.equal(listedRows(columns, { find: "", ranges: ["{", '["none",1,2]'] }), null);
  assert.equal(readRange("7"), null);
  assert.equal(holds(["x", 0, 1], null), false);
  assert.equal(holds(["x", ["a", "b"]], "b"), true);
});

test("only listed runs can be selected", () => {
  const listed = listedRows(columns, { find: "good", ranges: [] });
  assert.deepEqual(rows(selectedRuns(columns, listed, ["good-2", "odd"])), [1]);
});

test("rows are sorted either way, and those without a value are last", () => {
  const table = [{ key: "v", name: "v", words: "v", numeric: true, values: [2, null, 1, 3] }];
  assert.deepEqual(orderedRows(table, null, "v"), [2, 0, 3, 1]);
  assert.deepEqual(orderedRows(table, null, "-v"), [3, 0, 2, 1]);
  assert.deepEqual(orderedRows(table, null, ""), [3, 2, 1, 0]);
});

test("every value is in one bin, and the range of all bins holds all", () => {
  for (const values of [Array.from({ length: 400 }, (_, at) => at * 0.37), Array.from({ length: 400 }, (_, at) => 10 ** (at / 50)), [5, 5, 7]]) {
    const bins = binsOf({ values, numeric: true });
    assert.equal(bins.reduce((sum, { runs }) => sum + runs, 0), values.length);
    const range = rangeOf({ key: "v", numeric: true }, bins);
    assert.ok(values.every((value) => holds(range, value)));
  }
});
