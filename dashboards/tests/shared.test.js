import assert from "node:assert/strict";
import { test } from "node:test";

import { luminance, outcomeScale, readable, scaleOf } from "../shared/colors.js";
import { csvLine } from "../shared/csv.js";
import { LabelGrid } from "../shared/label-grid.js";
import { safeLink } from "../shared/links.js";
import { shades } from "../shared/palette.js";
import { insidePolygon } from "../shared/polygon.js";
import { bestTurn, boundsOf, scaleInto, turnOnto } from "../shared/turn.js";
import { placesAlong } from "../pair/direction.js";
import { pointsCsv, searchPoints } from "../point/search.js";
import { makeScene } from "./scene.js";

test("a spreadsheet reads text as text", () => {
  assert.equal(csvLine(["=1+1", "-2.5", 'say "so"', "a,b", null]), "'=1+1,-2.5,\"say \"\"so\"\"\",\"a,b\",\r\n");
  assert.equal(csvLine(["＝1"]), "'＝1\r\n");
});

test("only http and https are links", () => {
  assert.equal(safeLink("https://a.test/x"), "https://a.test/x");
  for (const text of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "no link", " JaVaScRiPt:alert(1)"]) assert.equal(safeLink(text), null);
});

test("eight causes have colors of their own and the rest are one item", () => {
  const names = Array.from({ length: 11 }, (_, at) => Array(20 - at).fill(`cause ${at}`)).flat();
  const { items, codes } = outcomeScale([...names, "good", "unlabeled"], false);
  assert.equal(items.length, 11);
  assert.equal(new Set(items.map(({ color }) => color)).size, items.length);
  assert.equal(items[codes[names.indexOf("cause 10")]].name, "other causes");
  assert.equal(items.reduce((sum, { count }) => sum + count, 0), names.length + 2);
});

test("numbers have a ramp of increasing lightness, and a few integers a color each", () => {
  const ramp = scaleOf([0.1, 0.2, 0.4, null], true);
  assert.equal(ramp.kind, "number");
  assert.ok(luminance(ramp.color(0)) < luminance(ramp.color(1)) && luminance(ramp.color(1)) < luminance(ramp.color(2)));
  assert.equal(scaleOf([3, 1, 3], false).kind, "category");
  assert.equal(scaleOf([1e-4, 1], false, { numbers: true }).logarithmic, true);
});

test("text in any color of the palette can be read", () => {
  for (const dark of [false, true]) {
    const paper = luminance(shades(dark).paper);
    for (const color of shades(dark).values) {
      const [low, high] = [luminance(readable(color, dark)), paper].sort((a, b) => a - b);
      assert.ok((high + 0.05) / (low + 0.05) >= 4.5);
    }
  }
});

test("no label covers another", () => {
  const room = new LabelGrid([200, 100]);
  assert.ok(room.free([10, 10, 60, 30]));
  room.take([10, 10, 60, 30]);
  assert.ok(!room.free([59, 29, 80, 40]));
  assert.ok(room.free([61, 31, 120, 60]));
  assert.ok(!room.free([150, 50, 220, 70]), "it must lie inside");
  assert.ok(room.near(64, 20, 8));
});

test("a turned and mirrored picture is turned back", () => {
  const reference = { x: Float32Array.from([0, 1, 0.3, -0.8]), y: Float32Array.from([0.2, -0.5, 0.9, -0.6]) };
  const [c, s] = [Math.cos(1.1), Math.sin(1.1)];
  const turned = { x: reference.x.map((x, i) => c * x + s * reference.y[i]), y: reference.x.map((x, i) => s * x - c * reference.y[i]) };
  // Both are centered on their middle.
  for (const places of [reference, turned]) for (const axis of ["x", "y"]) {
    const mean = places[axis].reduce((sum, value) => sum + value, 0) / 4;
    places[axis] = places[axis].map((value) => value - mean);
  }
  const back = turnOnto(turned, reference);
  back.x.forEach((x, i) => assert.ok(Math.hypot(x - reference.x[i], back.y[i] - reference.y[i]) < 1e-5));
});

test("points are turned so as to fill their frame, and are left where they nearly do", () => {
  const line = { x: Float32Array.from([-1, 0, 1]), y: Float32Array.from([-1, 0, 1]) };
  const turn = bestTurn(line, [400, 100]);
  assert.ok(scaleInto(boundsOf(line, turn), [400, 100]) > 1.3 * scaleInto(boundsOf(line, 0), [400, 100]));
  assert.equal(bestTurn(line, [400, 100], turn), turn);
});

test("a point is inside by the even-odd rule", () => {
  const square = [[0, 0], [4, 0], [4, 4], [0, 4]];
  assert.ok(insidePolygon(square, 1, 3));
  assert.ok(!insidePolygon(square, 5, 3));
});

test("probe points are found by text and column, and saved with both", async () => {
  const scene = makeScene();
  assert.equal(searchPoints(scene, " ", []), null);
  assert.deepEqual(searchPoints(scene, "class: 1", []), [false, false, true, true]);
  assert.deepEqual(searchPoints(scene, "A C", ["0", "1"]), [true, false, false, false]);
  const text = await pointsCsv(scene, [false, false, true, false]).text();
  assert.equal(text, "point,class,text\r\n2,1,'=1+1\r\n");
});

test("points along a direction: its ends at -1 and 1, as `rdm.project` has it", () => {
  const picture = { x: Float32Array.from([0, 1, 3, 1]), y: Float32Array.from([0, 0, 0, 5]) };
  assert.deepEqual(placesAlong(picture, [0], [2]).map((place) => Number(place.toFixed(6))), [-1, -0.333333, 1, -0.333333]);
  assert.equal(placesAlong(picture, [1], [1]), null);
});
