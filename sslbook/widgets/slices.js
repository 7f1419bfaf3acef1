// GaussianSlices: projections of an embedding on random directions against the Gaussian, by epoch. Follows page.js.

const REACH = 4; // the histogram goes from -REACH to REACH standard deviations of the Gaussian
const BINS = 32;
const [WIDTH, HEIGHT] = [320, 180]; // of a plot, in its own units
const AVERAGED = 64; // directions that the mean is taken over
const TRIED = 100; // directions among which the worst is looked for
const MOST = 1e6; // the largest number of a direction
const PAUSE = 700; // milliseconds that playing stays on an epoch

// -- computing

/** Random numbers in (0, 1) that follow from a seed (mulberry32). */
function uniforms(seed) {
  let state = (seed + 1) * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return (((x ^ (x >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
}

/** The unit vector with this number: normal numbers (Box and Muller) divided by their length. */
export function directionOf(number, size) {
  const next = uniforms(number);
  const normal = () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
  const numbers = Float64Array.from({ length: size }, normal);
  const length = Math.hypot(...numbers);
  return numbers.map((x) => x / length);
}

/** Each picture's embedding along a direction. */
export function projected(z, direction) {
  const size = direction.length;
  return Float64Array.from({ length: z.length / size }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < size; i++) sum += z[k * size + i] * direction[i];
    return sum;
  });
}

/** The mean of exp(i t x) over a sample: [real part, imaginary part]. */
export function characteristic(sample, t) {
  let [real, imaginary] = [0, 0];
  for (const x of sample) {
    real += Math.cos(t * x);
    imaginary += Math.sin(t * x);
  }
  return [real / sample.length, imaginary / sample.length];
}

const gaussianAt = (t) => Math.exp((-t * t) / 2);

/** The statistic of Epps and Pulley by the trapezoid rule; only t >= 0 is computed, and counts twice. */
export function eppsPulley(sample, tMax, knots) {
  const half = (knots - 1) / 2;
  let sum = 0;
  for (let k = 0; k <= half; k++) {
    const t = (tMax * k) / half;
    const [real, imaginary] = characteristic(sample, t);
    const height = ((real - gaussianAt(t)) ** 2 + imaginary ** 2) * gaussianAt(t);
    sum += k === 0 || k === half ? height / 2 : height;
  }
  return 2 * sample.length * (tMax / half) * sum;
}

/** The share of a sample in each bin; what lies beyond the ends counts in the last bins. */
export function histogram(sample) {
  const shares = new Float64Array(BINS);
  for (const x of sample) {
    shares[within(Math.floor(((x + REACH) / (2 * REACH)) * BINS), 0, BINS - 1)] += 1 / sample.length;
  }
  return shares;
}

function momentsOf(sample) {
  const mean = sample.reduce((sum, x) => sum + x, 0) / sample.length;
  const variance = sample.reduce((sum, x) => sum + (x - mean) ** 2, 0) / sample.length;
  return { mean, deviation: Math.sqrt(variance) };
}

// -- state

function stateOf(model) {
  const [count, n, size] = model.get("shape");
  return {
    count, n, size,
    epochs: model.get("epochs"),
    test: [model.get("t_max"), model.get("knots")],
    at: loadEpochs(model),
    means: [], // of each epoch, when first asked for
    playing: 0,
  };
}

/** epoch => (N x D) numbers, row by row. */
function loadEpochs(model) {
  const [, n, size] = model.get("shape");
  const bytes = array(model, "features", Int8Array);
  const scales = model.get("scales");
  const known = [];
  const read = (e) => {
    const steps = bytes.subarray(e * n * size, (e + 1) * n * size);
    return Float64Array.from(steps, (step, k) => step * scales[e][k % size]);
  };
  return (e) => (known[e] ??= read(e));
}

const epochOf = ({ model, count }) => within(model.get("epoch"), 0, count - 1);
const numberOf = ({ model }) => within(model.get("direction"), 0, MOST);

/** The statistic of an epoch along the direction with this number. */
const statisticOf = ({ at, size, test }, e, number) => eppsPulley(projected(at(e), directionOf(number, size)), ...test);

function meanOf(widget, e) {
  widget.means[e] ??=
    Array.from({ length: AVERAGED }, (_, k) => statisticOf(widget, e, k)).reduce((sum, x) => sum + x, 0) / AVERAGED;
  return widget.means[e];
}

function another(widget) {
  const next = numberOf(widget) + 1;
  put(widget.model, "direction", next > MOST ? 0 : next);
}

/** The direction among the first ones in which this epoch is least Gaussian. */
function worst(widget) {
  const e = epochOf(widget);
  const found = Array.from({ length: TRIED }, (_, k) => statisticOf(widget, e, k));
  put(widget.model, "direction", found.indexOf(Math.max(...found)));
}

function stop(widget) {
  stopPlaying(widget);
  draw(widget);
}

/** What stands in the page's address. */
function fieldsOf({ model, epochs }) {
  return {
    epoch: traitField(model, "epoch", placeIn(epochs), (e) => epochs[Math.min(e, epochs.length - 1)]),
    direction: traitField(model, "direction", wholeIn(0, MOST)),
  };
}

// -- parts

function partsOf(widget) {
  const { n, count } = widget;
  const play = () => playThrough(widget, { last: count - 1, pause: PAUSE, stop });
  return {
    statistic: readout("Statistic, this direction", `Gaussian 1.06, all at one point ${rounded(0.4089 * n, 0)} or more`),
    mean: readout(`Mean of ${AVERAGED} directions`, "SIGReg takes such a mean"),
    centre: readout("Mean of the projections", "Gaussian: 0"),
    deviation: readout("Standard deviation", "Gaussian: 1"),
    epoch: epochSlider(widget, () => stopPlaying(widget)),
    play: primaryButton("Play", play),
    another: button("Another direction", () => another(widget)),
    worst: button(`The worst of ${TRIED}`, () => worst(widget)),
    title: make("h4", { class: "sslw-value" }),
    bars: barsPart(),
    waves: wavesPart(),
    live: liveText(),
  };
}

/** A plot of WIDTH x HEIGHT with names of three places below it. */
function plotPart(children, ticks) {
  const plot = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none" }, children);
  const axis = make("div", { class: "sslw-ticks", "aria-hidden": "true" }, ticks.map((tick) => make("span", {}, tick)));
  const caption = make("figcaption");
  return { plot, caption, item: make("figure", { class: "sslw-slice" }, plot, axis, caption) };
}

/** A curve; its words are in the caption. */
const curvePart = (kind) =>
  make("polyline", { class: `sslw-curve sslw-curve-${kind}`, fill: "none", "vector-effect": "non-scaling-stroke" });

/** The histogram, with the Gaussian's density over it. */
function barsPart() {
  const bars = Array.from({ length: BINS }, () => make("rect", { class: "sslw-column", width: WIDTH / BINS - 1 }));
  const curve = curvePart("gaussian");
  const ticks = [`\u2264 \u2212${REACH}`, "0", `\u2265 ${REACH}`];
  return { bars, curve, ...plotPart([...bars, curve], ticks) };
}

/** Both parts of the characteristic function, and the Gaussian's. */
function wavesPart() {
  const zero = make("line", { class: "sslw-axis-line", x1: 0, x2: WIDTH, y1: waveY(0), y2: waveY(0) });
  const curves = ["gaussian", "real", "imaginary"].map(curvePart);
  return { curves, ...plotPart([zero, ...curves], ["t = 0", "", ""]) };
}

const waveY = (value) => HEIGHT * (0.55 - 0.5 * value); // 1 near the top, -1 just below the plot's end

function layout({ count, parts }) {
  const key = (kind, words) => make("span", { class: `sslw-key-line sslw-curve-${kind}` }, words);
  const time = count > 1 ? [parts.epoch.row] : [];
  const buttons = [...(count > 1 ? [parts.play] : []), parts.another, parts.worst];
  return [
    readoutList([parts.statistic, parts.mean, parts.centre, parts.deviation]),
    make("div", { class: "sslw-controls" }, time, make("div", { class: "sslw-buttons" }, buttons)),
    parts.title,
    make("div", { class: "sslw-slice-pair" }, parts.bars.item, parts.waves.item),
    make(
      "p",
      { class: "sslw-note sslw-keys" },
      key("gaussian", "standard Gaussian"),
      key("real", "these pictures, real part"),
      key("imaginary", "imaginary part"),
    ),
    parts.live,
  ];
}

// -- draw

function draw(widget) {
  const { model, n, size, epochs, at, test, playing, parts } = widget;
  const [e, number] = [epochOf(widget), numberOf(widget)];
  const sample = projected(at(e), directionOf(number, size));
  const statistic = eppsPulley(sample, ...test);
  const { mean, deviation } = momentsOf(sample);
  const digits = (x) => rounded(x, x >= 10 ? 1 : 2);
  parts.statistic.value.textContent = digits(statistic);
  parts.mean.value.textContent = digits(meanOf(widget, e));
  parts.centre.value.textContent = rounded(mean, 2);
  parts.deviation.value.textContent = rounded(deviation, 2);
  parts.epoch.set(within(model.get("epoch"), 0, epochs.length - 1));
  parts.title.textContent = `Direction ${number} of ${size} dimensions, ${n} pictures`;
  drawBars(parts.bars, sample);
  drawWaves(parts.waves, sample, test[0]);
  const news = `Epoch ${epochs[e]}, direction ${number}: statistic ${digits(statistic)}, standard deviation ${rounded(deviation, 2)}.`;
  if (!playing && parts.live.textContent !== news) parts.live.textContent = news;
  widget.address.changed();
}

/** The highest of bars and curve fills the plot. */
function drawBars({ bars, curve, plot, caption }, sample) {
  const shares = histogram(sample);
  const bin = (2 * REACH) / BINS;
  const density = (x) => gaussianAt(x) / Math.sqrt(2 * Math.PI);
  const most = Math.max(...shares);
  const y = (share) => HEIGHT - (0.95 * HEIGHT * share) / Math.max(most, bin * density(0));
  bars.forEach((bar, k) => {
    bar.setAttribute("x", (k * WIDTH) / BINS + 0.5);
    bar.setAttribute("y", y(shares[k]));
    bar.setAttribute("height", HEIGHT - y(shares[k]));
  });
  const points = Array.from({ length: 81 }, (_, k) => {
    const x = REACH * (k / 40 - 1);
    return `${(WIDTH * k) / 80},${y(bin * density(x)).toFixed(2)}`;
  });
  curve.setAttribute("points", points.join(" "));
  const said = `the highest bar holds ${percent(most)} of the pictures, the Gaussian ${percent(bin * density(0))}`;
  plot.setAttribute("aria-label", `Histogram of the projections against a Gaussian: ${said}`);
  caption.textContent = `The projections: ${said}.`;
}

/** The characteristic functions from t = 0 to the end of the integral. */
function drawWaves({ curves, plot, caption, item }, sample, tMax) {
  const steps = 80;
  const values = Array.from({ length: steps + 1 }, (_, k) => {
    const t = (tMax * k) / steps;
    return [gaussianAt(t), ...characteristic(sample, t)];
  });
  curves.forEach((curve, which) => {
    const points = values.map((at, k) => `${(WIDTH * k) / steps},${waveY(at[which]).toFixed(2)}`);
    curve.setAttribute("points", points.join(" "));
  });
  const gap = Math.max(...values.map(([gaussian, real, imaginary]) => Math.hypot(real - gaussian, imaginary)));
  item.querySelector(".sslw-ticks").lastElementChild.textContent = `t = ${tMax}`;
  plot.setAttribute("aria-label", `Characteristic functions: they are at most ${rounded(gap, 2)} apart`);
  caption.textContent = `The characteristic functions: at most ${rounded(gap, 2)} apart.`;
}

function render({ model, el }) {
  const root = makeRoot(el, "slices", "Projections against the Gaussian");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const stopDrawing = keepDrawn(widget, root, { kind: "slices", fields: fieldsOf(widget), traits: ["epoch", "direction"], draw });
  return () => {
    clearInterval(widget.playing);
    stopDrawing();
  };
}

export default { render };
