// The state of the atlas in its address, so that a link shows the same view.

/** Writes the selection and the visible part. `usual` is the column of the initial colors. */
export function writeView(state, view, usual) {
  const parts = new URLSearchParams();
  if (view.zoom !== 1 || view.x !== 32768 || view.y !== 32768) {
    parts.set("view", [Math.round(view.x), Math.round(view.y), view.zoom.toPrecision(4)].join(","));
  }
  if (state.color !== usual) parts.set("color", state.color);
  if (state.q) parts.set("q", state.q);
  if (state.only.size) parts.set("only", [...state.only].join(","));
  if (state.polygon.length) parts.set("lasso", state.polygon.flat().join(","));
  if (state.point >= 0) parts.set("point", state.point);
  history.replaceState(null, "", `#${parts}`);
}

/** Reads it into `state` and `view`; what cannot be is as at first. */
export function readView(state, view, byName, { count, roles }) {
  const parts = new URLSearchParams(location.hash.slice(1));
  const list = (name) => (parts.get(name) ?? "").split(",").map(Number).filter(Number.isFinite);
  const color = parts.get("color") ?? roles.color ?? "";
  const colorable = byName.has(color) && byName.get(color).kind !== "text";
  state.color = colorable ? color : "";
  state.q = parts.get("q") ?? "";
  state.only = new Set(parts.has("only") ? list("only") : []);
  const flat = parts.has("lasso") ? list("lasso") : [];
  state.polygon = Array.from({ length: Math.floor(flat.length / 2) }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
  const point = parts.has("point") ? Number(parts.get("point")) : -1;
  state.point = Number.isInteger(point) && point >= 0 && point < count ? point : -1;
  const [x, y, zoom] = parts.has("view") ? list("view") : [];
  if (zoom > 0) Object.assign(view, { x, y, zoom: Math.min(Math.max(zoom, 0.5), 400) });
  else view.home();
}
