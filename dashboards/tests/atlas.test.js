import assert from "node:assert/strict";
import { test } from "node:test";

import { chosenPoints } from "../atlas/choice.js";
import { columnsOf } from "../atlas/point-table.js";
import { chooseNames } from "../atlas/clusters.js";
import { AtlasStore } from "../atlas/store.js";
import { Grid, View } from "../atlas/view.js";
import { formatState, parseState } from "../shared/address.js";
import { LabelGrid } from "../shared/label-grid.js";

const atlas = {
  count: 4,
  roles: { label: "word", color: "kind" },
  x: Uint16Array.from([0, 10, 20, 60000]),
  y: Uint16Array.from([0, 10, 20, 60000]),
  columns: [
    { name: "word", kind: "text", texts: ["paris", "rome", "Paris, Texas", "oslo"], codes: null, values: null },
    { name: "kind", kind: "category", texts: ["city", "town"], codes: Uint16Array.from([1, 1, 2, 0]), values: null },
    { name: "amount", kind: "number", codes: null, values: Float32Array.from([1, 2, 3, NaN]) },
  ],
};

function makeStore(text = "") {
  const store = new AtlasStore(atlas, () => {});
  store.restore((defaults) => parseState(text, defaults));
  return store;
}

const chosen = (store) => {
  const mask = chosenPoints(atlas, store.state, store.polygon);
  return mask && [...mask];
};

test("search, legend, lasso and ranges choose together", () => {
  const store = makeStore();
  assert.equal(chosen(store), null);
  store.search("PARIS");
  assert.deepEqual(chosen(store), [1, 0, 1, 0]);
  store.toggleCode(2);
  assert.deepEqual(chosen(store), [0, 0, 1, 0]);
  store.chooseRange("amount", ["amount", 1, 2]);
  assert.deepEqual(chosen(store), [0, 0, 0, 0]);
  store.clear();
  store.chooseInside([[5, 5], [5, 25], [25, 25], [25, 5]]);
  assert.deepEqual(chosen(store), [0, 1, 1, 0]);
});

test("the address brings back what is chosen", () => {
  const store = makeStore();
  store.search("o");
  store.chooseRange("kind", ["kind", ["city"]]);
  store.pin(3);
  const again = makeStore(formatState(store.state, store.defaults));
  assert.deepEqual({ ...again.state }, { ...store.state });
  assert.deepEqual(makeStore("color=word&point=9").state.point, -1);
  assert.equal(makeStore("color=word").state.color, "", "texts have no colors");
});

test("a table has the label first, and missing numbers have no value", () => {
  const columns = columnsOf(atlas);
  assert.deepEqual(columns.map(({ name }) => name), ["word", "kind", "amount"]);
  assert.deepEqual(columns[2].values, [1, 2, 3, null]);
  assert.equal(columns[1].values[3], null);
});

test("a name stands beside a small cluster, in the middle of a large one, and once", () => {
  const view = Object.assign(new View(), { width: 800, height: 800 });
  const spread = (x, y, reach) => Array.from({ length: 400 }, (_, at) => [x + reach * Math.cos(at), y + (reach * (at % 20)) / 20 - reach / 2]);
  const points = [...spread(15000, 40000, 400), ...spread(45000, 40000, 12000)];
  const axis = (side) => Uint16Array.from(points, (point) => Math.round(point[side]));
  const [x, y] = [axis(0), axis(1)];
  const clusters = [[45000, 40000, "large", 0], [15000, 40000, "small", 0], [45000, 20000, "large", 1]];
  const context = { measureText: (text) => ({ width: 8 * text.length }) };
  const names = chooseNames({ clusters }, view, context, new LabelGrid([800, 800]), new Grid(x, y));
  const away = Object.fromEntries(names.map(([, at, name]) => [name, Math.abs(at - view.toScreen(0, 40000)[1])]));
  assert.equal(names.length, 2);
  assert.ok(away.small >= 16, "its points can be seen");
  assert.equal(away.large, 0);
});
