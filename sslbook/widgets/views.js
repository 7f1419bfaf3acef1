// Random views, as in sslbook/views.py: the same names, the same arithmetic, one image instead of a batch.
// A view is 36 uniform numbers; `parameters` says what happens to the image, `steps` and `apply` render it.
// An image is {data, height, width}: float32 values in [0, 1], channel after channel.

export const CROP_TRIES = 10;
export const DRAWS = 2 * CROP_TRIES + 16;
const GREY_WEIGHTS = [0.2989, 0.587, 0.114];
export const [BRIGHTNESS, CONTRAST, SATURATION, HUE] = [0, 1, 2, 3];
const NEUTRAL = [1, 1, 1, 0];

// The parameters are rounded to float32 after every operation, as torch does: a box must not differ by a pixel.
const f32 = Math.fround;
const between = (low, high, u) => f32(f32(low) + f32(f32(high - low) * u));
const clamp = (x) => Math.min(1, Math.max(0, x));

function roundHalfEven(x) {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 ? r - 1 : r;
}

/** The augmentation's fields with its colour changes times `strength`; the hue stops at half a turn. */
export function withStrength(family, strength) {
  const colors = ["brightness", "contrast", "saturation", "hue"].map((c) => [c, strength * family[c]]);
  const changed = Object.fromEntries(colors);
  return { ...family, ...changed, hue: Math.min(0.5, changed.hue) };
}

/** What happens to an image of height x width: uniforms `u` (36 float32) and an augmentation's fields `a`. */
export function parameters(u, a, height, width) {
  const v = u.subarray(2 * CROP_TRIES);
  const jittered = v[3] < f32(a.jitter);
  const strength = [a.brightness, a.contrast, a.saturation, a.hue].map(f32);
  const factors = strength.map((s, c) => {
    const low = Math.max(f32(NEUTRAL[c] - s), c === HUE ? -0.5 : 0);
    return jittered ? f32(low + f32(f32(f32(NEUTRAL[c] + s) - low) * v[4 + c])) : NEUTRAL[c];
  });
  return {
    box: cropBox(u, a, height, width),
    flip: v[2] < f32(a.flip),
    jittered,
    factors,
    order: [0, 1, 2, 3].sort((i, j) => v[8 + i] - v[8 + j]),
    grey: v[12] < f32(a.grey),
    sigma: v[13] < f32(a.blur) ? between(a.sigma[0], a.sigma[1], v[14]) : 0,
    solarize: v[15] < f32(a.solarize),
  };
}

/** [top, left, height, width]: the first tried box that fits, else the largest central one of an allowed ratio. */
function cropBox(u, a, height, width) {
  const [uTop, uLeft] = u.subarray(2 * CROP_TRIES);
  const [low, high] = a.ratio.map(Math.log);
  for (let i = 0; i < CROP_TRIES; i++) {
    const area = f32(height * width * between(a.scale[0], a.scale[1], u[i]));
    const ratio = f32(Math.exp(between(low, high, u[CROP_TRIES + i])));
    const w = roundHalfEven(f32(Math.sqrt(f32(area * ratio))));
    const h = roundHalfEven(f32(Math.sqrt(f32(area / ratio))));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      return [Math.floor(f32(uTop * (height - h + 1))), Math.floor(f32(uLeft * (width - w + 1))), h, w];
    }
  }
  const w = Math.min(width, roundHalfEven(height * a.ratio[1]));
  const h = Math.min(height, roundHalfEven(width / a.ratio[0]));
  return [Math.floor((height - h) / 2), Math.floor((width - w) / 2), h, w];
}

/** The view after each of its nine steps, in their order: [{name, on, value, image}]. */
export function steps(image, p, a) {
  const done = [];
  const step = (name, on, value, change) => {
    if (on) image = change(image);
    done.push({ name, on, value, image });
  };
  step("crop", true, p.box, (x) => resizedCrop(x, p.box, false, a.size));
  step("flip", p.flip, null, mirror);
  for (const c of p.order) {
    const name = ["brightness", "contrast", "saturation", "hue"][c];
    step(name, p.jittered, p.factors[c], (x) => (c === HUE ? adjustHue(x, p.factors[c]) : blend(x, c, p.factors[c])));
  }
  step("grey", p.grey, null, (x) => each(x, grey(x)));
  step("blur", p.sigma > 0, p.sigma, (x) => gaussianBlur(x, p.sigma, blurKernelSize(a.size)));
  step("solarize", p.solarize, null, solarize);
  return done;
}

/** The finished view, a.size x a.size. */
export function apply(image, p, a) {
  let x = resizedCrop(image, p.box, p.flip, a.size);
  if (p.jittered) x = colorJitter(x, p.factors, p.order);
  if (p.grey) x = each(x, grey(x));
  if (p.sigma > 0) x = gaussianBlur(x, p.sigma, blurKernelSize(a.size));
  if (p.solarize) x = solarize(x);
  x.data.forEach((value, i) => (x.data[i] = clamp(value))); // rounding may leave a pixel at 1.0000001
  return x;
}

/** The same size, every channel one plane: one third of the data. */
function each(image, plane) {
  const data = new Float32Array(3 * plane.length);
  for (let c = 0; c < 3; c++) data.set(plane, c * plane.length);
  return { ...image, data };
}

function mirror({ data, height, width }) {
  const out = new Float32Array(data.length);
  for (let i = 0; i < data.length; i += width) out.set(data.slice(i, i + width).reverse(), i);
  return { data: out, height, width };
}

const solarize = (image) => ({ ...image, data: image.data.map((x) => (x >= 0.5 ? 1 - x : x)) });

/** Cut the box, resize it to size x size with antialiasing, flip. */
export function resizedCrop(image, [top, left, height, width], flip, size) {
  const rows = resizeMatrix(top, height, size);
  const columns = resizeMatrix(left, width, size);
  return twoProducts(rows, image, flip ? columns.reverse() : columns);
}

/** rows @ image @ columns^T; a matrix is a list of rows, each a list of [index, weight]: most weights are zero. */
function twoProducts(rows, image, columns) {
  const [height, width] = [rows.length, columns.length];
  const half = new Float64Array(3 * image.height * width);
  const data = new Float32Array(3 * height * width);
  const [across, down] = [packed(columns), packed(rows)];
  for (let y = 0; y < 3 * image.height; y++) product(across, image.data, y * image.width, 1, half, y * width, 1);
  for (let c = 0; c < 3; c++) {
    for (let x = 0; x < width; x++) product(down, half, c * image.height * width + x, width, data, c * height * width + x, width);
  }
  return { data, height, width };
}

/** A matrix as typed arrays: row t has the places from[t] to from[t + 1]. */
function packed(rows) {
  const entries = rows.flat();
  const from = new Int32Array(rows.length + 1);
  rows.forEach((row, t) => (from[t + 1] = from[t] + row.length));
  return { from, index: Int32Array.from(entries, ([i]) => i), weight: Float64Array.from(entries, ([, w]) => w) };
}

/** A matrix times a vector of every `step`th number of `source` from `start` on, put into `target` in the same way. */
function product({ from, index, weight }, source, start, step, target, place, stride) {
  for (let t = 0; t < from.length - 1; t++) {
    let sum = 0;
    for (let k = from[t]; k < from[t + 1]; k++) sum += weight[k] * source[start + step * index[k]];
    target[place + stride * t] = sum;
  }
}

/** Triangle-filter weights that read `length` pixels from `start` into `target` pixels. */
function resizeMatrix(start, length, target) {
  const step = length / target;
  return Array.from({ length: target }, (_, t) => {
    const row = [];
    let sum = 0;
    for (let i = 0; i < length; i++) {
      const weight = 1 - Math.abs(i + 0.5 - (t + 0.5) * step) / Math.max(step, 1);
      if (weight > 0) {
        row.push([start + i, weight]);
        sum += weight;
      }
    }
    return row.map(([i, w]) => [i, w / sum]);
  });
}

/** Brightness, contrast, saturation and hue, in this order of theirs. */
export function colorJitter(image, factors, order) {
  for (const c of order) image = c === HUE ? adjustHue(image, factors[c]) : blend(image, c, factors[c]);
  return image;
}

/** f * image + (1 - f) * other: black (brightness), the mean grey (contrast) or the grey image (saturation). */
function blend(image, which, f) {
  const n = image.height * image.width;
  const data = new Float32Array(3 * n);
  const g = which === BRIGHTNESS ? new Float32Array(n) : grey(image);
  if (which === CONTRAST) g.fill(g.reduce((a, b) => a + b, 0) / n);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < n; i++) data[c * n + i] = clamp(f * image.data[c * n + i] + (1 - f) * g[i]);
  }
  return { ...image, data };
}

/** One plane of luma. */
export function grey({ data, height, width }) {
  const n = height * width;
  const [r, g, b] = GREY_WEIGHTS;
  const luma = new Float32Array(n);
  for (let i = 0; i < n; i++) luma[i] = r * data[i] + g * data[n + i] + b * data[2 * n + i];
  return luma;
}

/** Turn the hue by `turns`, keeping value and saturation of HSV. */
export function adjustHue(image, turns) {
  const n = image.height * image.width;
  const data = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) {
    const [r, g, b] = [image.data[i], image.data[n + i], image.data[2 * n + i]];
    const [high, low] = [Math.max(r, g, b), Math.min(r, g, b)];
    const chroma = high - low;
    const c = chroma > 0 ? chroma : 1;
    let hue = high === r ? (g - b) / c : high === g ? 2 + (b - r) / c : 4 + (r - g) / c; // in sixths
    hue = (((hue + 6 * turns) % 6) + 6) % 6;
    // red is full up to one sixth away from 0, green around 2, blue around 4, each falling over one more sixth
    data[i] = low + chroma * clamp(Math.abs(hue - 3) - 1);
    data[n + i] = low + chroma * clamp(2 - Math.abs(hue - 2));
    data[2 * n + i] = low + chroma * clamp(2 - Math.abs(hue - 4));
  }
  return { ...image, data };
}

/** A tenth of the image's side, made odd. */
export const blurKernelSize = (size) => 2 * Math.floor(Math.floor(size / 10) / 2) + 1;

export function gaussianBlur(image, sigma, kernelSize) {
  const { height, width } = image;
  return twoProducts(blurMatrix(sigma, kernelSize, height), image, blurMatrix(sigma, kernelSize, width));
}

/** Gaussian weights, what falls outside reflected back in. */
function blurMatrix(sigma, kernelSize, length) {
  const offsets = Array.from({ length: kernelSize }, (_, i) => i - (kernelSize >> 1));
  const g = offsets.map((o) => Math.exp(-0.5 * (o / Math.max(sigma, 1e-3)) ** 2));
  const sum = g.reduce((a, b) => a + b, 0);
  return Array.from({ length }, (_, t) =>
    offsets.map((o, k) => {
      const i = Math.abs(t + o);
      return [i > length - 1 ? 2 * (length - 1) - i : i, g[k] / sum];
    }),
  );
}
