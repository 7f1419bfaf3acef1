// The decoder of sslbook.decoders, forward only, in plain JavaScript; and ways between its codes. Follows page.js and
// weights.js.

const KERNEL = 4; // 4 x 4, stride 2, padding 1

// -- the network

/** What `decode` takes, from the weights in the order of _decoder.py. */
export const decoderOf = (numbers, about) => ({ about, w: readWeights(numbers, about.parts) });

/** The picture of a code: {data, height, width}, values in [0, 1]. */
export function decode({ about, w }, code) {
  const { channels, size } = about;
  let side = size / 2 ** (channels.length - 1);
  let x = firstGrid(code, w["0.weight"], w["0.bias"]);
  for (let layer = 1; layer < channels.length; layer++) {
    x = twiceAsLarge(rectified(x), side, w[`${layer}.weight`], w[`${layer}.bias`]);
    side *= 2;
  }
  return { data: x.map((v) => 1 / (1 + Math.exp(-v))), height: size, width: size };
}

const rectified = (x) => x.map((v) => (v > 0 ? v : 0));

/** The features that a picture begins as: a linear layer, with one bias for each channel. */
function firstGrid(code, weight, bias) {
  const outputs = weight.length / code.length;
  const cells = outputs / bias.length;
  return Float32Array.from({ length: outputs }, (_, o) => {
    let sum = bias[Math.floor(o / cells)];
    for (let k = 0; k < code.length; k++) sum += weight[o * code.length + k] * code[k];
    return sum;
  });
}

/** A transposed convolution: (inputs, side, side) to (outputs, 2 side, 2 side). Weights are (inputs, outputs, 4, 4). */
function twiceAsLarge(x, side, weight, bias) {
  const [outputs, wide] = [bias.length, 2 * side + 2]; // the sums have a margin of 1, the padding, which is cut off
  const sums = new Float32Array(outputs * wide * wide);
  const inputs = x.length / side ** 2;
  for (let i = 0; i < inputs; i++) {
    for (let o = 0; o < outputs; o++) {
      for (let row = 0; row < KERNEL; row++) {
        const from = ((i * outputs + o) * KERNEL + row) * KERNEL;
        addRows(sums, (o * wide + row) * wide, x, i * side * side, side, weight, from);
      }
    }
  }
  return inside(sums, wide, bias);
}

/** What one row of a kernel adds: every value of the grid of one input, times its four weights, to the sums of one output. */
function addRows(sums, to, x, at, side, weight, from) {
  const a = weight[from];
  const b = weight[from + 1];
  const c = weight[from + 2];
  const d = weight[from + 3];
  const wide = 2 * side + 2;
  for (let line = 0; line < side; line++) {
    let place = to + 2 * line * wide;
    for (let column = 0; column < side; column++) {
      const value = x[at + line * side + column];
      sums[place] += value * a;
      sums[place + 1] += value * b;
      sums[place + 2] += value * c;
      sums[place + 3] += value * d;
      place += 2;
    }
  }
}

/** Without the margin, and with the bias. */
function inside(sums, wide, bias) {
  const side = wide - 2;
  const y = new Float32Array(bias.length * side ** 2);
  for (let i = 0; i < y.length; i++) {
    const line = Math.floor(i / side); // of all grids
    const o = Math.floor(line / side);
    y[i] = sums[(o * wide + (line % side) + 1) * wide + (i % side) + 1] + bias[o];
  }
  return y;
}

/** The pictures of some codes, painted anew only if the codes have changed; `widget.painted` keeps them by kind. */
function paintedOnce(widget, kind, codes) {
  const key = String(codes);
  if (widget.painted[kind]?.key !== key) {
    widget.painted[kind] = { key, pictures: codes.map((code) => decode(widget.network, code)) };
  }
  return widget.painted[kind].pictures;
}

// -- codes

const lengthOf = (code) => Math.sqrt(code.reduce((sum, v) => sum + v * v, 0));

/** On the straight line from one code to another; t from 0 to 1. */
export const onLine = (one, other, t) => Array.from(one, (v, k) => v + t * (other[k] - v));

/** On the arc: the angle grows evenly, and so does the length, which a line would shorten in between. */
export function onArc(one, other, t) {
  const lengths = [one, other].map(lengthOf);
  const dot = Array.from(one).reduce((sum, v, k) => sum + v * other[k], 0);
  const angle = Math.acos(within(dot / (lengths[0] * lengths[1]), -1, 1));
  if (Math.sin(angle) < 1e-4) return onLine(one, other, t);
  const length = lengths[0] + t * (lengths[1] - lengths[0]);
  const [a, b] = [Math.sin((1 - t) * angle), Math.sin(t * angle)].map((share) => (length * share) / Math.sin(angle));
  return Array.from(one, (v, k) => (a * v) / lengths[0] + (b * other[k]) / lengths[1]);
}
