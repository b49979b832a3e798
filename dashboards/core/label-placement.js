// Placement of texts on the map, in pixels: inside the frame, none over another.

const LINE = 17;
const SIDES = ["middle right", "middle left", "top center", "bottom center"];

/**
 * `points` are newest points with their `labels`, `titles` are [x, y, text] of outcomes.
 * Returns the side of each label (null where there is no room) and the center of each title.
 */
export function placeLabels({ size, family, points, labels, titles }) {
  const context = document.createElement("canvas").getContext("2d");
  const measure = (text, font) => {
    context.font = `${font} ${family}`;
    return Math.min(context.measureText(text).width, size[0] * 0.9);
  };
  const taken = points.map(([x, y]) => box(x, y, 16, 16));
  const fits = (candidate) => inside(candidate, size) && !taken.some((other) => overlap(candidate, other));
  const centers = titles.map(([x, y, text]) => {
    const width = measure(text, "bold 13px") + 6;
    const inner = Math.min(Math.max(x, width / 2 + 4), size[0] - width / 2 - 4);
    const tries = [0, -1, 1, -2, 2, -3, 3, -4, 4].map((shift) => box(inner, y + shift * LINE, width, LINE));
    const chosen = tries.find(fits) ?? tries[0];
    taken.push(chosen);
    return [inner, (chosen.top + chosen.bottom) / 2];
  });
  const sides = points.map((point, index) => {
    const width = measure(labels[index], "11px") + 6;
    const chosen = SIDES.map((side) => [side, beside(point, side, width)]).find(([, area]) => fits(area));
    if (chosen === undefined) return null;
    taken.push(chosen[1]);
    return chosen[0];
  });
  return { sides, centers };
}

function beside([x, y], side, width) {
  const gap = 8;
  if (side === "middle right") return box(x + gap + width / 2, y, width, 13);
  if (side === "middle left") return box(x - gap - width / 2, y, width, 13);
  if (side === "top center") return box(x, y - gap - 7, width, 13);
  return box(x, y + gap + 7, width, 13);
}

function box(x, y, width, height) {
  return { left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 };
}

function inside(area, [width, height]) {
  return area.left >= 0 && area.right <= width && area.top >= 0 && area.bottom <= height;
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
