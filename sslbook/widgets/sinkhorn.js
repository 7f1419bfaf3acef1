// SinkhornBalance: epsilon and half-iterations on a table of scores, with the sums of rows and columns. Follows page.js.

const [LEAST, MOST] = [0.005, 2]; // epsilon, on a logarithmic slider of so many stops
const STOPS = 100;
const MOST_STEPS = 20;
const PAUSE = 700; // milliseconds that playing stays on a step

const toStop = (epsilon) => (STOPS * Math.log(epsilon / LEAST)) / Math.log(MOST / LEAST);
const toEpsilon = (stop) => LEAST * (MOST / LEAST) ** (stop / STOPS);
const inWords = (epsilon) => String(+epsilon.toPrecision(2));

/** log of the sum of exp of some numbers. */
function logSum(numbers) {
  const most = Math.max(...numbers);
  return most + Math.log(numbers.reduce((sum, x) => sum + Math.exp(x - most), 0));
}

/** Codes (rows of `scores`) after so many half-iterations; in logarithms, so that no epsilon is too small. */
export function balanced(scores, epsilon, steps) {
  const [rows, columns] = [scores.length, scores[0].length];
  let log = scores.map((row) => row.map((x) => x / epsilon));
  const all = logSum(log.flat()) - Math.log(rows);
  log = log.map((row) => row.map((x) => x - all));
  for (let step = 1; step <= steps; step++) {
    if (step % 2) {
      const sums = log[0].map((_, k) => logSum(log.map((row) => row[k])) - Math.log(rows / columns));
      log = log.map((row) => row.map((x, k) => x - sums[k]));
    } else {
      log = log.map((row) => row.map((x) => x - logSum(row)));
    }
  }
  return log.map((row) => row.map(Math.exp));
}

const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);
const entropy = (p) => -sum(p.map((x) => (x > 0 ? x * Math.log(x) : 0)));

/** What the read-outs say of codes: sums, prototypes used, sharpness, and the score that the codes collect. */
export function measures(codes, scores) {
  const rows = codes.map(sum);
  const columns = codes[0].map((_, k) => sum(codes.map((row) => row[k])));
  const total = sum(rows);
  const shares = codes.map((row, b) => row.map((x) => x / rows[b])); // as if each image gave 1
  return {
    rows,
    columns,
    used: Math.exp(entropy(columns.map((x) => x / total))),
    sharpness: sum(shares.map((row) => Math.exp(entropy(row)))) / rows.length,
    kept: sum(codes.map((row, b) => sum(row.map((x, k) => x * scores[b][k])))) / total,
  };
}

/** What was done last, in words. */
function stepWords(step) {
  if (step === 0) return "0: exp(score / \u03b5)";
  return `${step}: ${step % 2 ? "columns" : "rows"}`;
}

// -- state

function stateOf(model) {
  const [count, rows, columns] = model.get("shape");
  const flat = array(model, "scores", Float32Array);
  const table = (e) =>
    Array.from({ length: rows }, (_, b) => Array.from(flat.subarray((e * rows + b) * columns, (e * rows + b + 1) * columns)));
  return {
    count,
    rows,
    columns,
    tables: Array.from({ length: count }, (_, e) => table(e)),
    epochs: model.get("epochs"),
    names: model.get("names"),
    sheet: model.get("sheet").byteLength ? loadSheet(model) : null,
    playing: 0,
    start: { epsilon: model.get("epsilon"), steps: model.get("steps") },
  };
}

const nameOf = ({ names }, b) => names[b] ?? `image ${b + 1}`;

/** Half-iteration after half-iteration. */
function play(widget) {
  playThrough(widget, { trait: "steps", last: MOST_STEPS, pause: PAUSE, stop });
}

function stop(widget) {
  stopPlaying(widget);
  draw(widget);
}

function reset(widget) {
  if (widget.playing) stop(widget);
  for (const [trait, value] of Object.entries(widget.start)) put(widget.model, trait, value);
}

/** What stands in the page's address. */
function fieldsOf({ model, epochs }) {
  return {
    epsilon: traitField(model, "epsilon", numberIn(LEAST, MOST), inWords),
    step: traitField(model, "steps", wholeIn(0, MOST_STEPS)),
    epoch: traitField(model, "epoch", placeIn(epochs), (e) => epochs[Math.min(e, epochs.length - 1)]),
  };
}

// -- parts

function partsOf(widget) {
  const { model, rows, columns, epochs } = widget;
  const set = (trait) => (value) => {
    if (widget.playing) stop(widget);
    put(model, trait, value);
  };
  const setEpsilon = set("epsilon");
  return {
    epsilon: slider({
      label: "\u03b5", hint: "Small: sharp codes. Large: every image belongs to all prototypes alike.",
      min: 0, max: STOPS, step: 1, format: (stop) => inWords(toEpsilon(stop)), oninput: (stop) => setEpsilon(toEpsilon(stop)),
    }),
    steps: slider({
      label: "Step", hint: "Two steps are an iteration: first the columns, then the rows",
      min: 0, max: MOST_STEPS, step: 1, format: stepWords, oninput: set("steps"),
    }),
    epoch: epochs.length > 1 ? epochSlider({ model, epochs }, () => widget.playing && stop(widget)) : null,
    play: primaryButton("Play", () => play(widget)),
    reset: button("Reset", () => reset(widget)),
    heads: Array.from({ length: columns }, (_, k) => make("th", { scope: "col" }, `${k + 1}`)),
    lines: Array.from({ length: rows }, (_, b) => linePart(widget, b)),
    feet: Array.from({ length: columns }, sumPart),
    used: readout("Prototypes used", `of ${columns}; all in balance: ${columns}`),
    sharpness: readout("Assignment sharpness", "prototypes that share an image; 1 is sharp"),
    kept: readout("Score collected", "the mean of Q \u00d7 score: what balance costs"),
    off: readout("Farthest from balance", "of a column, in parts of what it should have"),
    live: liveText(),
  };
}

/** One image: its picture and name, its cells, the sum of its row. */
function linePart(widget, b) {
  const { sheet, columns } = widget;
  const canvas = sheet ? make("canvas", { "aria-hidden": "true", width: sheet.width, height: sheet.height }) : "";
  const cells = Array.from({ length: columns }, () => make("td"));
  const total = sumPart();
  const head = make("th", { scope: "row" }, canvas, make("span", {}, nameOf(widget, b)));
  return { canvas, cells, total, row: make("tr", {}, head, cells, total.cell) };
}

/** A sum as a bar and a number; its mark is where it should end. */
function sumPart() {
  const [bar, value] = [make("i"), make("span")];
  return { bar, value, cell: make("td", { class: "sslw-sum" }, make("div", { class: "sslw-bar" }, bar), value) };
}

function layout({ parts }) {
  const { epsilon, steps, epoch, heads, lines, feet, used, sharpness, kept, off, live } = parts;
  const sliders = [epsilon.row, steps.row, epoch ? epoch.row : []].flat();
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, make("td"), heads, make("th", { scope: "col" }, "sum"))),
    make("tbody", {}, lines.map(({ row }) => row)),
    make("tfoot", {}, make("tr", {}, make("th", { scope: "row" }, "sum"), feet.map(({ cell }) => cell), make("td"))),
  );
  return [
    make("div", { class: "sslw-controls" }, sliders),
    make("div", { class: "sslw-buttons" }, parts.play, parts.reset),
    make("div", { class: "sslw-balance", tabindex: 0, role: "region", "aria-label": "Codes and their sums" }, table),
    readoutList([used, sharpness, kept, off]),
    live,
  ];
}

// -- draw

function draw(widget) {
  const { model, count, columns, rows, tables, parts } = widget;
  const [epsilon, steps] = [model.get("epsilon"), model.get("steps")];
  const scores = tables[within(model.get("epoch"), 0, count - 1)];
  const codes = balanced(scores, epsilon, steps);
  const said = measures(codes, scores);
  parts.epsilon.set(toStop(epsilon));
  parts.steps.set(steps);
  if (parts.epoch) parts.epoch.set(within(model.get("epoch"), 0, count - 1));
  parts.lines.forEach((line, b) => drawLine(widget, b, line, codes[b], said.rows[b]));
  parts.feet.forEach((foot, k) => drawSum(foot, said.columns[k], rows / columns));
  const off = Math.max(...said.columns.map((x) => Math.abs((x * columns) / rows - 1)));
  parts.used.value.textContent = rounded(said.used, 1);
  parts.sharpness.value.textContent = rounded(said.sharpness, 1);
  parts.kept.value.textContent = rounded(said.kept, 2);
  parts.off.value.textContent = percent(off);
  widget.address.changed();
  if (widget.playing) return;
  const numbers = `prototypes used ${rounded(said.used, 1)}, sharpness ${rounded(said.sharpness, 1)}`;
  parts.live.textContent = `\u03b5 ${inWords(epsilon)}, step ${stepWords(steps)}: ${numbers}, off balance ${percent(off)}`;
}

function drawLine({ sheet }, b, { canvas, cells, total }, codes, sumOfRow) {
  if (sheet) sheet.paste(canvas.getContext("2d"), b, 0, 0, sheet.width, sheet.height);
  codes.forEach((x, k) => {
    cells[k].style.setProperty("--code", within(x, 0, 1));
    cells[k].textContent = x < 0.005 ? "\u00b7" : rounded(x, 2).replace(/^0/, "");
  });
  drawSum(total, sumOfRow, 1);
}

/** A bar of twice the goal fills its room. */
function drawSum({ bar, value, cell }, x, goal) {
  bar.style.width = `${within((50 * x) / goal, 0, 100)}%`;
  cell.classList.toggle("sslw-met", Math.abs(x / goal - 1) < 0.02);
  value.textContent = rounded(x, 2);
}

function render({ model, el }) {
  const root = makeRoot(el, "sinkhorn", "Sinkhorn balance");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  if (widget.sheet) widget.sheet.image.onload = () => draw(widget);
  const leave = keepDrawn(widget, root, { kind: "sinkhorn", fields: fieldsOf(widget), traits: ["epoch", "epsilon", "steps"], draw });
  return () => {
    clearInterval(widget.playing);
    if (widget.sheet) widget.sheet.free();
    leave();
  };
}

export default { render };
