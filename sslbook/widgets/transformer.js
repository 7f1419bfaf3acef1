// A small Transformer, forward only, in plain JavaScript: the arithmetic of sslbook.text and sslbook.vit. Follows page.js.
//
// A table is {rows, columns, data}, data a Float64Array, row by row.

const table = (rows, columns) => ({ rows, columns, data: new Float64Array(rows * columns) });

function tableOf(rows, columns) {
  const x = table(rows.length, columns);
  rows.forEach((row, i) => x.data.set(row, i * columns));
  return x;
}

/** The rows from `first` on. */
const rowsFrom = ({ rows, columns, data }, first) => ({ rows: rows - first, columns, data: data.subarray(first * columns) });

// -- the network

/** A patch's pixels as a ViT wants them, colour after colour. */
function pixelsOf({ data }, place, { size, patch, grid, mean, std }) {
  const [top, left] = [patch * Math.floor(place / grid), patch * (place % grid)];
  return Float64Array.from({ length: 3 * patch ** 2 }, (_, i) => {
    const [c, row, column] = [Math.floor(i / patch ** 2), Math.floor(i / patch) % patch, i % patch];
    return (data[c * size ** 2 + (top + row) * size + left + column] - mean[c]) / std[c];
  });
}

/** x W^T + b, as torch's Linear. */
function linearLayer(x, weight, bias, outputs) {
  const y = table(x.rows, outputs);
  for (let i = 0; i < x.rows; i++) {
    for (let o = 0; o < outputs; o++) {
      let sum = bias ? bias[o] : 0;
      for (let c = 0; c < x.columns; c++) sum += x.data[i * x.columns + c] * weight[o * x.columns + c];
      y.data[i * outputs + o] = sum;
    }
  }
  return y;
}

/** Each row with mean 0 and deviation 1, then scaled and shifted. */
function layerNorm(x, weight, bias) {
  const y = table(x.rows, x.columns);
  const n = x.columns;
  for (let i = 0; i < x.rows; i++) {
    const row = x.data.subarray(i * n, (i + 1) * n);
    const mean = row.reduce((sum, v) => sum + v, 0) / n;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n;
    const scale = 1 / Math.sqrt(variance + 1e-6);
    for (let c = 0; c < n; c++) y.data[i * n + c] = (row[c] - mean) * scale * weight[c] + bias[c];
  }
  return y;
}

/** The error function, within 2e-7 (Abramowitz and Stegun, 7.1.26). */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

function gelu(x) {
  return { ...x, data: x.data.map((v) => (v * (1 + erf(v / Math.SQRT2))) / 2) };
}

function added(x, y) {
  return { ...x, data: x.data.map((v, i) => v + y.data[i]) };
}

export function softmax(numbers) {
  const most = Math.max(...numbers);
  const weights = Array.from(numbers, (v) => Math.exp(v - most));
  const total = weights.reduce((sum, v) => sum + v, 0);
  return weights.map((v) => v / total);
}

/** Attention of all heads: the mixed values, and each head's weights [head][from][to]. */
function attend(qkv, heads) {
  const [n, dim] = [qkv.rows, qkv.columns / 3];
  const each = dim / heads;
  const mixed = table(n, dim);
  const at = (i, kind, head, c) => qkv.data[i * 3 * dim + kind * dim + head * each + c];
  const weights = [];
  for (let head = 0; head < heads; head++) {
    weights.push([]);
    for (let i = 0; i < n; i++) {
      const scores = [];
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let c = 0; c < each; c++) sum += at(i, 0, head, c) * at(j, 1, head, c);
        scores.push(sum / Math.sqrt(each));
      }
      const shares = softmax(scores);
      weights[head].push(shares);
      for (let c = 0; c < each; c++) {
        mixed.data[i * dim + head * each + c] = shares.reduce((sum, share, j) => sum + share * at(j, 2, head, c), 0);
      }
    }
  }
  return { mixed, weights };
}

function blockOf(x, w, name, heads) {
  const part = (layer) => [w[`${name}.${layer}.weight`], w[`${name}.${layer}.bias`]];
  const dim = x.columns;
  const qkv = linearLayer(layerNorm(x, ...part("norm1")), ...part("attn.qkv"), 3 * dim);
  const { mixed, weights } = attend(qkv, heads);
  const half = added(x, linearLayer(mixed, ...part("attn.proj"), dim));
  const hidden = gelu(linearLayer(layerNorm(half, ...part("norm2")), ...part("mlp.fc1"), 4 * dim));
  return { x: added(half, linearLayer(hidden, ...part("mlp.fc2"), dim)), weights };
}

/** All blocks of a network, and the norm after them. */
function throughBlocks(x, w, name, depth, heads) {
  for (let b = 0; b < depth; b++) x = blockOf(x, w, `${name}.blocks.${b}`, heads).x;
  return layerNorm(x, w[`${name}.norm.weight`], w[`${name}.norm.bias`]);
}

/**
 * What the network makes of words (their numbers): {probabilities[place][word], attention[block][head][from][to]}.
 * `shape` is [length, dim, blocks, heads, words].
 */
export function forward(words, w, [length, dim, blocks, heads, count]) {
  let x = table(length, dim);
  words.forEach((word, i) => {
    for (let c = 0; c < dim; c++) {
      x.data[i * dim + c] = w["encoder.embed.weight"][word * dim + c] + w["encoder.pos_embed"][i * dim + c];
    }
  });
  const attention = [];
  for (let b = 0; b < blocks; b++) {
    const made = blockOf(x, w, `encoder.blocks.${b}`, heads);
    x = made.x;
    attention.push(made.weights);
  }
  x = layerNorm(x, w["encoder.norm.weight"], w["encoder.norm.bias"]);
  x = gelu(linearLayer(x, w["transform.weight"], w["transform.bias"], dim));
  x = layerNorm(x, w["norm.weight"], w["norm.bias"]);
  const scores = linearLayer(x, w["encoder.embed.weight"], w["bias"], count);
  const row = (i) => softmax(scores.data.subarray(i * count, (i + 1) * count));
  return { probabilities: words.map((_, i) => row(i)), attention };
}
