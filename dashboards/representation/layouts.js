// Pictures of representations by layout, and the angle at which all are seen, so that they can be compared.

import { layoutNeighbors } from "./layout.js";

const MAX_CACHED = 60;

/** PCA is in the document; the other layouts are computed from the neighbors. */
export class Layouts {
  /** @type {number | null} the angle at which pictures are seen */
  turn = null;
  /** @type {import("../types.js").View | null} the picture that others are turned onto */
  reference = null;
  /** @type {Map<string, import("../types.js").Places>} */
  #made = new Map();

  of(row, view, kind, n, k) {
    if (kind === "pca") return view;
    const key = `${row} ${kind}`;
    let made = this.#made.get(key);
    if (!made) {
      const oldest = this.#made.keys().next().value;
      if (this.#made.size >= MAX_CACHED && oldest !== undefined) this.#made.delete(oldest);
      made = layoutNeighbors(view, n, k, kind);
      this.#made.set(key, made);
    }
    return { ...made, near: view.near };
  }

  /** From now on, pictures are turned like this one. */
  lead(view, turn) {
    this.reference = view;
    this.turn = turn;
  }

  /** In another document, the same rows are other snapshots. */
  forget() {
    this.#made.clear();
  }
}
