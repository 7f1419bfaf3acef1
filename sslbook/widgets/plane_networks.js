// Small networks between planes, and how they learn: layers, backpropagation and Adam in plain JavaScript. Follows
// page.js.
//
// A network is a list of layers {inputs, outputs, weight, bias}, as torch's Linear, with a leaky ReLU after each but the
// last. Many points are one Float64Array, row by row.

const LEAK = 0.2;
const [KEEP, KEEP_SQUARES, TINY] = [0.5, 0.9, 1e-8]; // Adam's

/** A network of these sizes from a seed, its weights drawn after He. */
export function networkOf(sizes, seed) {
  return sizes.slice(1).map((outputs, k) => {
    const inputs = sizes[k];
    const weight = Float64Array.from(normals(inputs * outputs, seed + k), (v) => v * Math.sqrt(2 / inputs));
    return { inputs, outputs, weight, bias: new Float64Array(outputs) };
  });
}

/** What each layer is given, and what the last one says. */
export function forward(network, x) {
  const all = [x];
  network.forEach((layer, k) => {
    const y = affine(layer, all[k]);
    if (k < network.length - 1) y.forEach((v, i) => (y[i] = v > 0 ? v : LEAK * v));
    all.push(y);
  });
  return all;
}

/** x W^T + b. */
function affine({ inputs, outputs, weight, bias }, x) {
  const rows = x.length / inputs;
  const y = new Float64Array(rows * outputs);
  for (let i = 0; i < rows; i++) {
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let c = 0; c < inputs; c++) sum += x[i * inputs + c] * weight[o * inputs + c];
      y[i * outputs + o] = sum;
    }
  }
  return y;
}

/** From the loss's slope at the last layer: its gradient at each layer's weight and bias, and its slope at the points. */
export function backward(network, all, slope) {
  const gradients = [];
  for (let k = network.length - 1; k >= 0; k--) {
    gradients.unshift(layerGradient(network[k], all[k], slope));
    slope = slopeBefore(network[k], slope);
    if (k > 0) slope.forEach((v, i) => (slope[i] = all[k][i] > 0 ? v : LEAK * v));
  }
  return { gradients, slope };
}

function layerGradient({ inputs, outputs }, x, slope) {
  const [weight, bias] = [new Float64Array(inputs * outputs), new Float64Array(outputs)];
  for (let i = 0; i < x.length / inputs; i++) {
    for (let o = 0; o < outputs; o++) {
      const s = slope[i * outputs + o];
      bias[o] += s;
      for (let c = 0; c < inputs; c++) weight[o * inputs + c] += s * x[i * inputs + c];
    }
  }
  return { weight, bias };
}

function slopeBefore({ inputs, outputs, weight }, slope) {
  const rows = slope.length / outputs;
  const before = new Float64Array(rows * inputs);
  for (let i = 0; i < rows; i++) {
    for (let o = 0; o < outputs; o++) {
      const s = slope[i * outputs + o];
      for (let c = 0; c < inputs; c++) before[i * inputs + c] += s * weight[o * inputs + c];
    }
  }
  return before;
}

/** The sum of two lists of gradients. */
function sumOf(some, others) {
  const added = (a, b) => a.map((v, i) => v + b[i]);
  return some.map(({ weight, bias }, k) => ({ weight: added(weight, others[k].weight), bias: added(bias, others[k].bias) }));
}

/** A step of Adam; `memory` is kept between the steps of one network, {} at first. */
export function adam(network, gradients, memory, rate) {
  memory.steps = (memory.steps ?? 0) + 1;
  memory.means ??= gradients.map(({ weight, bias }) => ({ weight: weight.map(() => 0), bias: bias.map(() => 0) }));
  memory.squares ??= gradients.map(({ weight, bias }) => ({ weight: weight.map(() => 0), bias: bias.map(() => 0) }));
  const [one, two] = [1 - KEEP ** memory.steps, 1 - KEEP_SQUARES ** memory.steps];
  gradients.forEach((gradient, k) => {
    for (const part of ["weight", "bias"]) {
      const [mean, square, values] = [memory.means[k][part], memory.squares[k][part], network[k][part]];
      gradient[part].forEach((g, i) => {
        mean[i] = KEEP * mean[i] + (1 - KEEP) * g;
        square[i] = KEEP_SQUARES * square[i] + (1 - KEEP_SQUARES) * g * g;
        values[i] -= (rate * mean[i]) / one / (Math.sqrt(square[i] / two) + TINY);
      });
    }
  });
}
