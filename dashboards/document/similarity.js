// Similarity of two RDMs, as repwatch.similarity measures it: condensed RDMs in, numbers out, null
// where a measure is undefined because nothing varies.

const ROUNDING = 1e-12;
/** @type {Record<string, (D: Float64Array) => Float64Array | null>} */
const MEASURES = { cosine: (D) => unit(D, D), pearson, spearman, cka, cka_unbiased: unbiased };

/**
 * Every similarity of two condensed RDMs of the same points.
 * @param {ArrayLike<number> & Float64Array} first
 * @param {Float64Array} second
 */
export function measuresOf(first, second) {
  return Object.fromEntries(
    Object.entries(MEASURES).map(([name, map]) => {
      const [a, b] = [map(first), map(second)];
      return [name, a && b ? Math.min(Math.max(inner(a, b), -1), 1) : null];
    }),
  );
}

/**
 * The euclidean distance between two RDMs.
 * @param {ArrayLike<number> & Float64Array} first
 * @param {Float64Array} second
 */
export function euclidean(first, second) {
  return Math.sqrt(first.reduce((sum, value, at) => sum + (value - second[at]) ** 2, 0));
}

/**
 * The Mantel test, two-sided: {r, p} with relabelings drawn from the seed, or null.
 * @param {ArrayLike<number> & Float64Array} first
 * @param {Float64Array} second
 * @param {number} permutations
 * @param {number} seed
 */
export function mantelTest(first, second, permutations, seed = 0) {
  const [a, b] = [pearson(first), pearson(second)];
  if (!a || !b) return null;
  const r = Math.min(Math.max(inner(a, b), -1), 1);
  const n = pointsOf(b);
  const square = squared(b, n);
  const random = generator(seed);
  const order = Array.from({ length: n }, (_, at) => at);
  let extreme = 0;
  for (let round = 0; round < permutations; round += 1) {
    shuffle(order, random);
    let sum = 0;
    for (let i = 0, at = 0; i < n; i += 1) {
      for (let j = i + 1; j < n; j += 1, at += 1) sum += a[at] * square[order[i] * n + order[j]];
    }
    // A relabeling that changes nothing counts, whatever its rounding errors are.
    if (Math.abs(sum) >= Math.abs(r) - ROUNDING) extreme += 1;
  }
  return { r, p: (1 + extreme) / (1 + permutations) };
}

/**
 * @param {Float64Array} a
 * @param {Float64Array} b
 */
function inner(a, b) {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += a[at] * b[at];
  return sum;
}

/**
 * The values scaled to unit length; null if they are within the rounding error of `size`.
 * @param {Float64Array} values
 * @param {Float64Array} size
 */
function unit(values, size) {
  const norm = Math.sqrt(inner(values, values));
  return norm > ROUNDING * Math.sqrt(inner(size, size)) ? values.map((value) => value / norm) : null;
}

/** @param {Float64Array} D */
function pearson(D) {
  const mean = D.reduce((sum, value) => sum + value, 0) / D.length;
  return unit(D.map((value) => value - mean), D);
}

/** @param {Float64Array} D */
function spearman(D) {
  const order = [...D.keys()].sort((a, b) => D[a] - D[b]);
  const ranks = new Float64Array(D.length);
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && D[order[end]] === D[order[start]]) end += 1;
    for (let at = start; at < end; at += 1) ranks[order[at]] = (start + end + 1) / 2;
  }
  return pearson(ranks);
}

/**
 * The full double-centered kernel, with its diagonal, since an inner product needs all of it.
 * @param {Float64Array} D
 */
function cka(D) {
  const n = pointsOf(D);
  const { K, sums, total } = kernel(D, n);
  const centered = K.map((value, at) => value - (sums[Math.floor(at / n)] + sums[at % n]) / n + total / (n * n));
  return unit(centered, K);
}

/**
 * The U-centered kernel (Song et al. 2012), with a zero diagonal.
 * @param {Float64Array} D
 */
function unbiased(D) {
  const n = pointsOf(D);
  if (n < 4) return null;
  const { K, sums, total } = kernel(D, n);
  const centered = K.map((value, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return i === j ? 0 : value - (sums[i] + sums[j]) / (n - 2) + total / ((n - 1) * (n - 2));
  });
  return unit(centered, K);
}

/**
 * @param {Float64Array} D
 * @param {number} n
 */
function kernel(D, n) {
  const K = squared(D.map((value) => -0.5 * value * value), n);
  const sums = Float64Array.from({ length: n }, (_, i) => K.subarray(i * n, (i + 1) * n).reduce((sum, value) => sum + value, 0));
  return { K, sums, total: sums.reduce((sum, value) => sum + value, 0) };
}

/** @param {Float64Array} D */
function pointsOf(D) {
  return (1 + Math.sqrt(1 + 8 * D.length)) / 2;
}

/**
 * @param {Float64Array} D
 * @param {number} n
 */
function squared(D, n) {
  const square = new Float64Array(n * n);
  for (let i = 0, at = 0; i < n; i += 1) {
    for (let j = i + 1; j < n; j += 1, at += 1) square[i * n + j] = square[j * n + i] = D[at];
  }
  return square;
}

/**
 * Mulberry32: numbers in [0, 1), the same for the same seed.
 * @param {number} seed
 */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * @param {number[]} order
 * @param {() => number} random
 */
function shuffle(order, random) {
  for (let at = order.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [order[at], order[other]] = [order[other], order[at]];
  }
}
