// Gestures of mice and fingers on a plot: hover, drag, tap, and pinch with two fingers.

const TAP_RADIUS = 4; // pixels; a press that moves farther is a drag

/**
 * Calls the handlers `acts`, with places [x, y] in pixels of the node: hover(place), leave(), press(place, event),
 * drag(place, [dx, dy]), drop(place), tap(place, event), pinch(factor, place, [dx, dy]), cancel().
 * A press that dragged or pinched does not end as a tap.
 */
export class PointerGestures {
  constructor(node, acts) {
    this.node = node;
    this.acts = acts;
    this.down = new Map();
    this.still = false;
    this.start = [0, 0];
    const methods = { pointerdown: "press", pointermove: "move", pointerup: "release", pointercancel: "cancel" };
    for (const [type, method] of Object.entries(methods)) node.addEventListener(type, (event) => this[method](event));
    node.addEventListener("pointerleave", () => this.down.size === 0 && acts.leave());
  }

  /**
   * Where an event is, in pixels of the node.
   * @returns {[number, number]}
   */
  at(event) {
    const box = this.node.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button !== 0) return;
    const here = this.at(event);
    this.node.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, here);
    this.still = this.down.size === 1;
    if (this.still) {
      this.start = here;
      this.acts.press(here, event);
    } else this.acts.cancel();
  }

  move(event) {
    const here = this.at(event);
    const last = this.down.get(event.pointerId);
    if (!last) {
      if (this.down.size === 0) this.acts.hover(here);
      return;
    }
    if (this.still && Math.hypot(here[0] - this.start[0], here[1] - this.start[1]) < TAP_RADIUS) return;
    this.still = false;
    const before = this.spread();
    this.down.set(event.pointerId, here);
    const after = this.spread();
    const moved = [after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]];
    if (this.down.size === 1) this.acts.drag(here, moved);
    else this.acts.pinch(after.wide / before.wide, after.middle, moved);
  }

  /** The middle of the first two fingers, and how far apart they are. */
  spread() {
    const [first, second = first] = this.down.values();
    return {
      middle: [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2],
      wide: Math.max(Math.hypot(first[0] - second[0], first[1] - second[1]), 1),
    };
  }

  release(event) {
    if (!this.down.delete(event.pointerId) || this.down.size > 0) return;
    const here = this.at(event);
    if (this.still) this.acts.tap(here, event);
    else this.acts.drop(here);
  }

  cancel(event) {
    if (this.down.delete(event.pointerId) && this.down.size === 0) this.acts.cancel();
  }
}
