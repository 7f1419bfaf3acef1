// The embedded pictures of shapes, as in sslbook/shapes.py: the same names, the same arithmetic, one picture at a time.

export const SIDE = 32;
export const UNIFORMS = 10; // numbers that decide a picture, beside its shape and the noise
const TURN = 0.6;
const FIFTH = (2 * Math.PI) / 5;

/** Signed distances, negative inside, in the order of the classes. */
const DISTANCES = [
  (x, y) => Math.hypot(x, y) - 0.8, // disc
  (x, y) => Math.abs(Math.hypot(x, y) - 0.65) - 0.2, // ring
  (x, y) => Math.max(0.866 * Math.abs(x) + 0.5 * y, -y) - 0.45, // triangle
  (x, y) => Math.max(Math.max(Math.abs(x), Math.abs(y)) - 0.85, Math.min(Math.abs(x), Math.abs(y)) - 0.26), // plus
  (x, y) => { // star, every arm folded onto the upward one
    const turned = Math.atan2(x, y) + FIFTH / 2;
    const angle = turned - FIFTH * Math.floor(turned / FIFTH) - FIFTH / 2;
    const radius = Math.hypot(x, y);
    return 0.905 * Math.abs(radius * Math.sin(angle)) + 0.426 * radius * Math.cos(angle) - 0.426 * 0.95;
  },
  (x, y) => Math.max(Math.hypot(x, y) - 0.85, 0.68 - Math.hypot(x - 0.4, y)), // moon
  (x, y) => { // heart
    const side = Math.abs(x);
    const lobe = Math.hypot(side - 0.4, y - 0.3) - 0.45;
    const point = Math.max(0.7071 * (side - y - 0.736), y - 0.3);
    return Math.min(lobe, Math.max(point, side + y - 1));
  },
  (x, y) => Math.max(Math.abs(x) - 0.8, 0.7071 * (Math.abs(y) - Math.abs(x)) - 0.06), // bowtie
];
export const SHAPES = DISTANCES.length;

/** A picture of shape `label` from `u` (UNIFORMS in [0, 1)) and `noise` (3 x 32 x 32 standard normal): uint8. */
export function painted(label, u, noise) {
  const [scale, turn, x, y] = [0.34 + 0.38 * u[1], TURN * (2 * u[2] - 1), 0.55 * (2 * u[3] - 1), 0.55 * (2 * u[4] - 1)];
  const background = 0.62 + 0.33 * u[5];
  const ink = rgb(u[0], 0.65 + 0.35 * u[6], 0.25 + 0.3 * u[7]);
  const [across, along] = [2 * u[8] - 1, 2 * u[9] - 1]; // the light falls off to one side
  const [cos, sin, area] = [Math.cos(turn), Math.sin(turn), SIDE * SIDE];
  const pixels = new Uint8ClampedArray(3 * area); // rounds half to even, as torch
  for (let i = 0; i < area; i++) {
    const right = (((i % SIDE) + 0.5) / SIDE) * 2 - 1;
    const down = 1 - ((Math.floor(i / SIDE) + 0.5) / SIDE) * 2;
    const [dx, dy] = [(right - x) / scale, (down - y) / scale];
    const distance = DISTANCES[label](cos * dx + sin * dy, cos * dy - sin * dx); // in the shape's own frame
    const inside = Math.min(1, Math.max(0, 0.5 - (distance * scale * SIDE) / 2));
    const paper = background + 0.18 * (across * right + along * down);
    for (let c = 0; c < 3; c++) {
      const color = paper + inside * (ink[c] - paper) + 0.02 * noise[c * area + i];
      pixels[c * area + i] = 255 * color;
    }
  }
  return pixels;
}

/** HSV, each in [0, 1], to [red, green, blue]. */
function rgb(hue, saturation, value) {
  return [5, 3, 1].map((start) => {
    const k = (start + 6 * hue) % 6;
    return value * (1 - saturation * Math.min(1, Math.max(0, Math.min(k, 4 - k))));
  });
}
