// A ball that the reader turns, by pointer and by arrow keys: for widgets with `yaw`, `pitch` and `soon`. Follows page.js.

// apart for colour-blind eyes, on light and dark; more classes than colours repeat them
const CLASS_COLORS = [
  "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#8a7fe0", "#b0a000", "#7f8c8d", "#e0507a", "#3d78c9",
];
const classColor = (c) => CLASS_COLORS[c % CLASS_COLORS.length];
const TURN = 0.12; // radians for one press of an arrow key
const STEEPEST = 1.5; // radians of pitch, up and down

/** Turn a point by yaw about the vertical axis, then by pitch about the horizontal one. */
export function turned([x, y, z], yaw, pitch) {
  const [x1, z1] = [x * Math.cos(yaw) + z * Math.sin(yaw), z * Math.cos(yaw) - x * Math.sin(yaw)];
  return [x1, y * Math.cos(pitch) - z1 * Math.sin(pitch), y * Math.sin(pitch) + z1 * Math.cos(pitch)];
}

function turnBall(widget, by, up) {
  widget.yaw += by;
  widget.pitch = within(widget.pitch + up, -STEEPEST, STEEPEST);
  widget.soon();
}

/** The canvas to draw the ball on. */
function ballCanvas(widget, attributes) {
  const canvas = make("canvas", {
    class: "sslw-ball", tabindex: 0, role: "img", ...attributes,
    onkeydown: (event) => {
      const steps = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, -TURN], ArrowDown: [0, TURN] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      turnBall(widget, ...steps[event.key]);
    },
    onpointerdown: (event) => canvas.setPointerCapture(event.pointerId),
    onpointermove: (event) => event.buttons && turnBall(widget, event.movementX / 90, event.movementY / 90),
  });
  return canvas;
}
