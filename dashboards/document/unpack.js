// What a document holds as base64: numbers, and zlib streams of pictures and excerpts.

const LEVELS = 4096;

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

/** @param {string} text */
export async function inflate(text) {
  if (!("DecompressionStream" in window)) {
    throw new Error("This browser cannot unpack the pictures: open the page with one of 2023 or newer.");
  }
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
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
  const levels = new Uint8Array(size);
  return Array.from(largest, (unit, snapshot) => {
    const from = 4 * snapshots + snapshot * size;
    for (let at = 0; at < size; at += 1) levels[at] += bytes[from + at];
    return Float64Array.from(levels, (level) => (level / 255) * unit);
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
      place[at] = (place[at] + bytes[from] + 256 * bytes[size + from]) % LEVELS;
    }
    const first = lists + snapshot * n * k;
    const ranks = Uint16Array.from({ length: n * k }, (_, at) => bytes[first + at] + (wide ? 256 * bytes[first + at + total] : 0));
    /** @param {number} first */
    const axis = (first) =>
      Float32Array.from({ length: n }, (_, point) => (place[2 * point + first] / (LEVELS - 1)) * 2 - 1);
    views.push(lazily({ x: axis(0), y: axis(1) }, place.slice(), ranks, n, k));
  }
  return views;
}

/**
 * The view with `near`, which is found when it is asked for: it takes some milliseconds.
 * @param {Places} view
 * @param {Uint16Array} place
 * @param {Uint16Array} ranks
 * @param {number} n
 * @param {number} k
 */
function lazily(view, place, ranks, n, k) {
  /** @type {Uint16Array | null} */
  let near = null;
  Object.defineProperty(view, "near", { get: () => (near ??= neighborsOf(place, ranks, n, k)), enumerable: true });
  return /** @type {View} */ (view);
}

/**
 * The k nearest neighbors of each point out of their ranks by distance in the picture.
 * @param {Uint16Array} place
 * @param {Uint16Array} ranks
 * @param {number} n
 * @param {number} k
 */
function neighborsOf(place, ranks, n, k) {
  const near = new Uint16Array(n * k);
  const keys = new Float64Array(n);
  for (let point = 0; point < n; point += 1) {
    for (let other = 0; other < n; other += 1) {
      const [dx, dy] = [place[2 * other] - place[2 * point], place[2 * other + 1] - place[2 * point + 1]];
      keys[other] = (dx * dx + dy * dy) * n + other;
    }
    keys[point] = -n + point;
    keys.sort();
    for (let at = point * k; at < (point + 1) * k; at += 1) {
      const key = keys[ranks[at]];
      near[at] = ((key % n) + n) % n;
    }
  }
  return near;
}
