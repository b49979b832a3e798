// The initial state of a page; the address holds what differs from it.

/**
 * What is shown at first: the watched run, the layer that its flag names, all runs.
 * @param {import("../document/scene.js").Scene} scene
 */
export function startingState(scene) {
  const follow = scene.page.current[0] ?? scene.runs.at(-1)?.name ?? "";
  const layer = scene.page.layer;
  const columns = Object.keys(scene.points.columns);
  const method = scene.usualMethod();
  return {
    mode: "space",
    follow,
    run: follow,
    layer,
    step: scene.stepsOf(follow).at(-1) ?? 0,
    method,
    distance: scene.page.maps.find((map) => map.method === method)?.distance ?? "euclidean",
    color: "outcome",
    view: "pca",
    by: columns.find((name) => name === "class") ?? columns.find((name) => name === "label") ?? columns[0] ?? "",
    marks: "thumbnails",
    point: -1,
    held: "",
    a: "",
    b: "",
    from: "",
    towards: "",
    across: "runs",
    query: "",
    off: [],
    layers: scene.layers.filter((name) => name !== layer),
    last: "",
    mapZoom: "",
    pictureZoom: "",
    table: "",
    find: "",
    sort: "",
    ranges: [],
    picked: [],
    values: [],
    chosen: [],
  };
}
