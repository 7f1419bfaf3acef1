// CentringPad: what centring and sharpening each prevent, by logged runs. Follows page.js.

const KINDS = [["mean", "centre"], ["none", "no centre"]];
const [WIDTH, HEIGHT, LEFT, BELOW] = [460, 230, 34, 20]; // of the plot, in its own units; room for the axes' words
const PAUSE = 600; // milliseconds that playing stays on an epoch

/** The collapse that entropy and prototypes in use show; as `collapse_of` in centring.py. */
function collapseOf(entropy, used, K) {
  if (used < 2) return "constant";
  if (entropy > 0.95 * Math.log(K)) return "uniform";
  return Math.log(used) - entropy < 0.1 ? "alike" : "";
}

// -- state

function stateOf(model) {
  const [runs, temperatures, seeds] = ["runs", "temperatures", "seeds"].map((trait) => model.get(trait));
  const K = model.get("K");
  const top = Math.max(Math.log(K), ...runs.flatMap((run) => [...run.entropy, ...run.KL]));
  return { runs, temperatures, seeds, K, top, epochs: runs[0].entropy.length, untrained: model.get("untrained"), playing: 0 };
}

const seedOf = ({ model, seeds }) => within(model.get("seed"), 0, seeds.length - 1);
const temperatureOf = ({ model, temperatures }) => within(model.get("temperature"), 0, temperatures.length - 1);
const epochOf = ({ model, epochs }) => within(model.get("epoch"), 0, epochs - 1);

/** The run of a centring and the place of a temperature, with the chosen seed. */
function runOf(widget, centring, temperature) {
  const { runs, temperatures, seeds } = widget;
  const [T, seed] = [temperatures[temperature], seeds[seedOf(widget)]];
  return runs.find((run) => run.centring === centring && run.T === T && run.seed === seed);
}

const chosen = (widget) => runOf(widget, widget.model.get("centring"), temperatureOf(widget));

/** What stands in the page's address. */
function fieldsOf({ model, temperatures, seeds, epochs }) {
  const names = temperatures.map(String);
  return {
    centre: traitField(model, "centring", oneOf(KINDS.map(([kind]) => kind))),
    T: traitField(model, "temperature", placeIn(names), (k) => names[Math.min(k, names.length - 1)]),
    seed: traitField(model, "seed", placeIn(seeds), (k) => seeds[Math.min(k, seeds.length - 1)]),
    epoch: traitField(model, "epoch", wholeIn(0, epochs - 1)),
  };
}

// -- parts

function partsOf(widget) {
  const { model, temperatures, seeds, epochs } = widget;
  const stop = () => stopPlaying(widget);
  const seedNames = seeds.map((seed, k) => [String(k), `seed ${seed}`]);
  return {
    centring: choiceSwitch("Centring", KINDS, (kind) => put(model, "centring", kind)),
    seed: choiceSwitch("Seed", seedNames, (k) => put(model, "seed", +k)),
    temperature: slider({
      label: "Teacher\u2019s temperature T\u209c", min: 0, max: temperatures.length - 1, step: 1,
      format: (k) => String(temperatures[k]), oninput: (k) => put(model, "temperature", k),
    }),
    epoch: slider({
      label: "Epoch", min: 0, max: epochs - 1, step: 1, format: (e) => String(e + 1),
      oninput: (e) => {
        stop();
        put(model, "epoch", e);
      },
    }),
    play: primaryButton("Play", () => playThrough(widget, { last: epochs - 1, pause: PAUSE, stop })),
    cells: cellsPart(widget),
    entropy: readout("Teacher\u2019s entropy", `of at most ln K = ${rounded(Math.log(widget.K), 2)}`),
    KL: readout("KL to the student", "what is left to learn"),
    used: readout("Prototypes used", `of ${widget.K}`),
    knn: readout("kNN after the last epoch"),
    plot: plotPart(widget),
    verdict: make("p", { class: "sslw-verdict", "aria-live": "polite" }),
  };
}

/** A button for each run of the chosen seed: {row, column, button}. */
function cellsPart({ model, temperatures }) {
  return KINDS.flatMap(([kind]) =>
    temperatures.map((_, temperature) => {
      const choose = () => {
        put(model, "centring", kind);
        put(model, "temperature", temperature);
      };
      return { kind, temperature, button: make("button", { type: "button", onclick: choose }) };
    }),
  );
}

/** Entropy and KL over the epochs; the other runs stand faintly behind. */
function plotPart({ top, K, epochs }) {
  const y = (value) => yOf(value, top);
  const line = (name, x1, y1, x2, y2) => make("line", { class: name, x1, y1, x2, y2 });
  const text = (x, at, words, anchor) => make("text", { x, y: at, "text-anchor": anchor }, words);
  const limits = [Math.log(K), 0].map((value) => line("sslw-limit", LEFT, y(value), WIDTH, y(value)));
  const words = [
    text(LEFT - 4, y(Math.log(K)) + 4, "ln K", "end"),
    text(LEFT - 4, y(0) + 4, "0", "end"),
    text(LEFT, HEIGHT - 4, "epoch 1", "start"),
    text(WIDTH, HEIGHT - 4, String(epochs), "end"),
  ];
  const others = make("g");
  const [entropy, KL] = ["entropy", "KL"].map((name) => make("polyline", { class: `sslw-${name}` }));
  const now = line("sslw-now", 0, y(top), 0, y(0));
  const plot = make("svg", { class: "sslw-plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  plot.append(...limits, ...words, others, entropy, KL, now);
  return { plot, others, entropy, KL, now };
}

function layout({ temperatures, seeds, parts }) {
  const heads = temperatures.map((T) => make("span", { class: "sslw-pad-head" }, `T\u209c = ${T}`));
  const rows = KINDS.flatMap(([kind, words]) => [
    make("span", {}, words),
    ...parts.cells.filter((cell) => cell.kind === kind).map(({ button: cell }) => cell),
  ]);
  const pad = { class: "sslw-pad", role: "group", "aria-label": "All runs", style: `--columns: ${temperatures.length}` };
  const key = "Solid: the teacher\u2019s entropy. Dashed: the KL. Thin: entropies of the other runs of this seed.";
  return [
    make("div", pad, make("span"), heads, rows),
    readoutList([parts.entropy, parts.KL, parts.used, parts.knn]),
    make("figure", {}, parts.plot.plot, make("figcaption", {}, key)),
    parts.verdict,
    make(
      "div",
      { class: "sslw-controls" },
      parts.centring.row,
      parts.temperature.row,
      seeds.length > 1 ? parts.seed.row : [],
      parts.epoch.row,
      make("div", { class: "sslw-buttons" }, parts.play),
    ),
  ];
}

// -- draw

const xOf = (epoch, epochs) => LEFT + ((WIDTH - LEFT) * epoch) / Math.max(1, epochs - 1);
const yOf = (value, top) => 8 + (HEIGHT - BELOW - 16) * (1 - within(value / top, 0, 1));
const pointsOf = (values, { epochs, top }) =>
  values.map((value, e) => `${xOf(e, epochs).toFixed(1)},${yOf(value, top).toFixed(1)}`).join(" ");

function draw(widget) {
  const { model, K, untrained, parts, address } = widget;
  const [run, e] = [chosen(widget), epochOf(widget)];
  parts.centring.set(run.centring);
  parts.seed.set(String(seedOf(widget)));
  parts.temperature.set(temperatureOf(widget));
  parts.epoch.set(e);
  parts.entropy.value.textContent = rounded(run.entropy[e], 2);
  parts.KL.value.textContent = rounded(run.KL[e], 2);
  parts.used.value.textContent = rounded(run.used[e], 0);
  parts.knn.value.textContent = rounded(run.knn, 2);
  parts.knn.detail.textContent = `untrained ${rounded(untrained[seedOf(widget)], 2)}`;
  for (const cell of parts.cells) drawCell(widget, cell, model.get("centring"));
  drawPlot(widget, run, e);
  const news = wordsOf(run, e, K);
  if (!widget.playing && parts.verdict.textContent !== news) parts.verdict.textContent = news;
  address.changed();
}

function drawCell(widget, { kind, temperature, button: cell }, centring) {
  const run = runOf(widget, kind, temperature);
  const fallen = collapseOf(run.entropy.at(-1), run.used.at(-1), widget.K);
  cell.className = fallen ? `sslw-${fallen}` : "";
  cell.setAttribute("aria-pressed", String(kind === centring && temperature === temperatureOf(widget)));
  cell.replaceChildren(make("b", {}, rounded(run.knn, 2)), fallen || "no collapse");
}

function drawPlot(widget, run, e) {
  const { parts, epochs, seeds } = widget;
  const { plot, others, entropy, KL, now } = parts.plot;
  entropy.setAttribute("points", pointsOf(run.entropy, widget));
  KL.setAttribute("points", pointsOf(run.KL, widget));
  const beside = widget.runs.filter((other) => other.seed === seeds[seedOf(widget)] && other !== run);
  others.replaceChildren(...beside.map((other) => make("polyline", { points: pointsOf(other.entropy, widget) })));
  for (const end of ["x1", "x2"]) now.setAttribute(end, xOf(e, epochs));
  const ends = `entropy from ${rounded(run.entropy[0], 2)} to ${rounded(run.entropy.at(-1), 2)}`;
  plot.setAttribute("aria-label", `${ends}, KL from ${rounded(run.KL[0], 2)} to ${rounded(run.KL.at(-1), 2)}`);
}

/** What the numbers of an epoch mean. */
function wordsOf(run, e, K) {
  const place = `Epoch ${e + 1}. `;
  const fallen = collapseOf(run.entropy[e], run.used[e], K);
  if (fallen === "constant") return `${place}One prototype takes all images: the constant collapse.`;
  if (fallen === "uniform") return `${place}Every image is shared among all prototypes alike: the uniform collapse.`;
  if (fallen === "alike") return `${place}All images are shared among the same ${rounded(run.used[e], 0)} prototypes: they are alike.`;
  const share = rounded(Math.exp(run.entropy[e]), 0);
  return `${place}No collapse: ${rounded(run.used[e], 0)} of ${K} prototypes are in use, and an image is shared among about ${share}.`;
}

function render({ model, el }) {
  const root = makeRoot(el, "centring", "Centring and sharpening");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const traits = ["centring", "temperature", "seed", "epoch"];
  const stop = keepDrawn(widget, root, { kind: "centring", fields: fieldsOf(widget), traits, draw });
  return () => {
    clearInterval(widget.playing);
    stop();
  };
}

export default { render };
