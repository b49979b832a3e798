import assert from "node:assert/strict";
import { test } from "node:test";

import { formatState, parseState, readAddress, writeAddress } from "../shared/address.js";
import { Store } from "../page/store.js";
import { makeScene } from "./scene.js";

function makeStore(text = "") {
  const changes = [];
  const read = (defaults) => parseState(text, defaults);
  const store = new Store(makeScene(), read, (change) => (changes.push(change), Promise.resolve()));
  return { store, changes };
}

test("a page begins with the watched run, its layer and its last step", () => {
  const { store } = makeStore();
  assert.deepEqual([store.state.run, store.state.layer, store.state.step], ["odd", "net.0", 20]);
  assert.deepEqual(store.state.layers, ["net.2"], "one layer at a time");
  assert.equal(store.scene.runOf(store.current), "odd");
});

test("only actions write the state", () => {
  const { store, changes } = makeStore();
  assert.throws(() => { store.state.mode = "pair"; }, TypeError);
  store.showMode("gallery");
  assert.equal(store.state.mode, "gallery");
  assert.deepEqual(changes, ["all"]);
});

test("the map of one layer follows the snapshot that is held", () => {
  const { store } = makeStore();
  const row = store.scene.find("good-1", "net.2", 10);
  store.hold(row);
  assert.deepEqual([store.state.run, store.state.step, store.state.held], ["good-1", 10, "yes"]);
  assert.deepEqual(store.state.layers, ["net.0"]);
  store.release();
  assert.equal(store.held, false);
});

test("a snapshot that is held stays while another is pointed at", () => {
  const { store, changes } = makeStore();
  store.hold(0);
  store.preview(5);
  assert.equal(store.selected, 5);
  store.preview(-1);
  assert.equal(store.selected, 0);
  assert.deepEqual(changes, ["all", "snapshot", "snapshot"]);
});

test("side by side begins with the nearest good run at the same layer and step", () => {
  const { store } = makeStore();
  store.showMode("pair");
  assert.deepEqual(JSON.parse(store.state.a), ["odd", "net.0", 20]);
  assert.deepEqual(JSON.parse(store.state.b), ["good-2", "net.0", 20]);
  assert.equal(store.pins.b, store.scene.find("good-2", "net.0", 20));
});

test("the same press again gives up the filter", () => {
  const { store } = makeStore();
  store.soloFilter("a", ["a", "b", "c"]);
  assert.deepEqual(store.state.off, ["b", "c"]);
  store.soloFilter("a", ["a", "b", "c"]);
  assert.deepEqual(store.state.off, []);
});

test("a column has one range", () => {
  const { store } = makeStore();
  store.rangeRuns("lr", ["lr", 0, 1]);
  store.rangeRuns("lr", ["lr", 0, 2]);
  assert.deepEqual(store.state.ranges, ['["lr",0,2]']);
  store.rangeRuns("lr", null);
  assert.deepEqual(store.state.ranges, []);
});

test("the address brings back the state, whatever is in its names", () => {
  const { store } = makeStore();
  store.pickRuns(["a~b", "c & d", "é%"]);
  store.search("label:3 #x");
  store.holdPoint(3);
  const text = formatState(store.state, store.defaults);
  assert.deepEqual({ ...makeStore(text).store.state }, { ...store.state });
  assert.equal(formatState(store.defaults, store.defaults), "");
});

test("an address with nonsense gives the defaults", () => {
  const { store } = makeStore("step=x&point=NaN&run=nobody&a=%7B&picked=%E0%A4%A");
  assert.deepEqual([store.state.step, store.state.point, store.pins.a], [20, -1, -1]);
  assert.equal(store.scene.runOf(store.current), "odd");
});

test("an address that the user has just edited is not overwritten", () => {
  const address = { href: "https://page.test/#point=1", get hash() { return new URL(this.href).hash; } };
  Object.assign(globalThis, {
    window: {
      location: address,
      history: { state: null, replaceState: (_state, _title, url) => { address.href = String(url); } },
    },
  });
  const defaults = { point: 0, by: "" };
  assert.equal(readAddress(defaults).point, 1);
  writeAddress({ point: 2, by: "two words" }, defaults);
  assert.equal(address.hash, "#point=2&by=two+words");
  address.href = "https://page.test/#point=7";
  writeAddress({ point: 3, by: "" }, defaults);
  assert.equal(address.hash, "#point=7");
  assert.equal(readAddress(defaults).point, 7);
  writeAddress({ point: 4, by: "" }, defaults);
  assert.equal(address.hash, "#point=4");
});
