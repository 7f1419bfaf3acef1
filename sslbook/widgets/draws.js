// Numbers that a page draws: the same for the same seed, on every page.

const STEP = 0x6d2b79f5; // of mulberry32, from one state to the next
const APART = 0x9e3779b1; // so that seeds beside each other begin far apart

/** The state of mulberry32 as a number in [0, 1), of 24 bits. */
function mixed(state) {
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 8) / 2 ** 24;
}

/** n uniform float32 numbers from an integer seed. */
export function uniforms(n, seed) {
  const numbers = new Float32Array(n);
  let state = seed >>> 0;
  for (let i = 0; i < n; i++) {
    state = (state + STEP) >>> 0;
    numbers[i] = mixed(state);
  }
  return numbers;
}

/** The numbers after the `times`-th press of a button that draws anew; what Python drew from `seed` comes before. */
export const drawnAgain = (n, seed, times) => uniforms(n, Math.imul(seed + 1, APART) + times);

/** A number of a standard normal from two uniform ones (Box and Muller). */
const normal = (u, v) => Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v);

/** n numbers of a standard normal from an integer seed. */
export function normals(n, seed) {
  const u = uniforms(2 * n, seed);
  const numbers = new Float32Array(n);
  for (let i = 0; i < n; i++) numbers[i] = normal(u[2 * i], u[2 * i + 1]);
  return numbers;
}
