// Decodes the text of a document: numbers in base64, and zlib streams of pictures and excerpts in base85.

const LEVELS = 1024;
const EXCERPT_LEVELS = 63;
const FEW = 40;

/**
 * @typedef {import("../types.js").Places} Places
 * @typedef {import("../types.js").View} View
 */

/** @param {string} text */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** @param {string} text */
export function shorts(text) {
  return new Uint16Array(bytesOf(text).buffer);
}

// Python's base85, with "," in place of "<".
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const VALUES = new Uint8Array(128);
for (let digit = 0; digit < DIGITS.length; digit += 1) VALUES[DIGITS.charCodeAt(digit)] = digit;

/**
 * The bytes of a base85 text: four for every five characters; a shorter last group has one byte less than characters.
 * @param {string} text
 */
export function bytesOf85(text) {
  const groups = Math.ceil(text.length / 5);
  const bytes = new DataView(new ArrayBuffer(4 * groups));
  for (let group = 0; group < groups; group += 1) {
    let word = 0;
    for (let at = 5 * group; at < 5 * group + 5; at += 1) word = word * 85 + (at < text.length ? VALUES[text.charCodeAt(at)] : 84);
    bytes.setUint32(4 * group, word);
  }
  return new Uint8Array(bytes.buffer, 0, 4 * groups - (5 * groups - text.length));
}

/** @param {string} text */
export async function inflate(text) {
  if (!("DecompressionStream" in window)) {
    throw new Error("This browser is too old to unpack the pictures. Use a version from 2023 or later.");
  }
  const stream = new Blob([bytesOf85(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * See repwatch/page/excerpts.py for how they are packed.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {number} snapshots
 */
export function unpackExcerpts(bytes, snapshots) {
  const largest = new Float32Array(bytes.slice(0, 4 * snapshots).buffer);
  const size = (bytes.length - 4 * snapshots) / snapshots;
  const levels = new Int16Array(size);
  return Array.from(largest, (unit, snapshot) => {
    const from = 4 * snapshots + snapshot * size;
    for (let at = 0; at < size; at += 1) levels[at] += unfolded(bytes[from + at]);
    return Float64Array.from(levels, (level) => (level / EXCERPT_LEVELS) * unit);
  });
}

/**
 * See repwatch/page/views.py for how they are packed.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {number} snapshots
 * @param {number} n
 * @param {number} k
 * @returns {View[]}
 */
export function unpackViews(bytes, snapshots, n, k) {
  const size = snapshots * n * 2;
  const wide = n > 256;
  const lists = 2 * size;
  const total = snapshots * n * k;
  /** @type {View[]} */
  const views = [];
  const place = new Uint16Array(n * 2);
  for (let snapshot = 0; snapshot < snapshots; snapshot += 1) {
    for (let at = 0; at < n * 2; at += 1) {
      const from = snapshot * n * 2 + at;
      place[at] += unfolded(bytes[from] + 256 * bytes[size + from]);
    }
    const first = lists + snapshot * n * k;
    const codes = Uint16Array.from({ length: n * k }, (_, at) => bytes[first + at] + (wide ? 256 * bytes[first + at + total] : 0));
    /** @param {number} first */
    const axis = (first) =>
      Float32Array.from({ length: n }, (_, point) => (place[2 * point + first] / (LEVELS - 1)) * 2 - 1);
    const before = snapshot > 0 ? views[snapshot - 1] : null;
    views.push(lazily({ x: axis(0), y: axis(1) }, place.slice(), codes, before, n, k));
  }
  return views;
}

/**
 * Decodes a difference: the codes 0, 1, 2, 3, ... mean 0, -1, 1, -2, ...
 * @param {number} code
 */
function unfolded(code) {
  return code % 2 ? -(code + 1) / 2 : code / 2;
}

/**
 * The view with `near`, which is computed on first access, since it takes a few milliseconds.
 * @param {Places} view
 * @param {Uint16Array} place
 * @param {Uint16Array} codes
 * @param {View | null} before the view of the snapshot before
 * @param {number} n
 * @param {number} k
 */
function lazily(view, place, codes, before, n, k) {
  /** @type {Uint16Array | null} */
  let near = null;
  Object.defineProperty(view, "near", { get: () => (near ??= neighborsOf(place, codes, before?.near ?? null, n, k)), enumerable: true });
  return /** @type {View} */ (view);
}

/**
 * The k nearest neighbors of each point, decoded from their places among the remaining candidates.
 * @param {Uint16Array} place
 * @param {Uint16Array} codes
 * @param {Uint16Array | null} known the neighbors in the snapshot before
 * @param {number} n
 * @param {number} k
 */
function neighborsOf(place, codes, known, n, k) {
  const near = new Uint16Array(n * k);
  const keys = new Float64Array(n);
  for (let point = 0; point < n; point += 1) {
    const from = point * k;
    const left = known ? Array.from(known.subarray(from, from + k)) : [];
    let furthest = 0;
    for (let at = 0; at < k; at += 1) furthest = Math.max(furthest, codes[from + at]);
    // The other points are needed only if a code may exceed the known neighbors that remain.
    if (furthest + k > left.length) left.push(...othersOf(point, place, keys, left, furthest + k, n));
    for (let at = 0; at < k; at += 1) [near[from + at]] = left.splice(codes[from + at], 1);
  }
  return near;
}

/**
 * Points by distance in the picture, without the point itself and the known ones: as many as may be needed.
 * @param {number} point
 * @param {Uint16Array} place
 * @param {Float64Array} keys room for one number for each point
 * @param {number[]} known
 * @param {number} count
 * @param {number} n
 */
function othersOf(point, place, keys, known, count, n) {
  for (let other = 0; other < n; other += 1) {
    const dx = place[2 * other] - place[2 * point];
    const dy = place[2 * other + 1] - place[2 * point + 1];
    // One whole number for each, so that a tie goes to the lower index.
    keys[other] = (dx * dx + dy * dy) * n + other;
  }
  for (const other of [point, ...known]) keys[other] = Infinity;
  return smallest(keys, Math.min(count, n)).map((key) => key % n);
}

/**
 * The `count` smallest numbers, ascending, without infinite ones. If `count` is small, sorting all of them would take
 * several times as long.
 * @param {Float64Array} values
 * @param {number} count
 */
function smallest(values, count) {
  if (count > FEW) return Array.from(values.sort().subarray(0, count)).filter((value) => value !== Infinity);
  const found = new Float64Array(count).fill(Infinity);
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index];
    if (value >= found[count - 1]) continue;
    let at = count - 1;
    for (; at > 0 && found[at - 1] > value; at -= 1) found[at] = found[at - 1];
    found[at] = value;
  }
  return Array.from(found).filter((value) => value !== Infinity);
}
