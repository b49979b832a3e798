import assert from "node:assert/strict";
import { test } from "node:test";

import { chosenPoints } from "../atlas/choice.js";
import { columnsOf } from "../atlas/point-table.js";
import { AtlasStore } from "../atlas/store.js";
import { formatState, parseState } from "../shared/address.js";

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

test("a table has the label first, and numbers that are missing are no values", () => {
  const columns = columnsOf(atlas);
  assert.deepEqual(columns.map(({ name }) => name), ["word", "kind", "amount"]);
  assert.deepEqual(columns[2].values, [1, 2, 3, null]);
  assert.equal(columns[1].values[3], null);
});
