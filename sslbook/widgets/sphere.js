// EmbeddingSphere: where the embeddings of two runs lie on the sphere, epoch by epoch. Follows page.js and ball.js.

const SIDES = ["left", "right"];
const PAUSE = 500; // ms that an epoch is shown while the widget plays

/** (run, epoch) of the points as floats: coordinates were stored as bytes in -127..127. */
export function pointsAt(bytes, [, epochs, n], run, epoch) {
  const start = 3 * n * (run * epochs + epoch);
  return Float32Array.from(bytes.subarray(start, start + 3 * n), (x) => x / 127);
}

/** The range of values over all curves, and their heights in a box of 100 x 40; with a chance level from 0 on. */
export function scaled(curves, chance = null) {
  const values = curves.flat().filter(Number.isFinite);
  if (chance !== null) values.push(0, chance);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (high - low < 1e-6) [low, high] = [low - 0.5, high + 0.5];
  const y = (v) => 38 - (36 * (v - low)) / (high - low);
  return { low, high, y };
}

const number = (v) => (Number.isFinite(v) ? rounded(v, Math.abs(v) >= 10 ? 1 : 2) : "\u2013");

/** {left: make("left"), right: make("right")}. */
const bothSides = (part) => Object.fromEntries(SIDES.map((side) => [side, part(side)]));

// -- state

function stateOf(model) {
  return {
    shape: model.get("shape"), // runs, epochs, points
    bytes: array(model, "points", Int8Array),
    runs: model.get("runs"),
    epochs: model.get("epochs"),
    labels: model.get("labels"),
    classes: model.get("classes"),
    measures: model.get("measures"), // [[name, [[value of each epoch] of each run], chance or null]]
    dimensions: model.get("dimensions"),
    yaw: 0.6,
    pitch: -0.35,
    playing: 0, // the timer
  };
}

const play = (widget) => playThrough(widget, { last: widget.epochs.length - 1, pause: PAUSE, stop: stopPlaying });

/** What stands in the page's address; the angles in degrees. */
function fieldsOf(widget) {
  const { model, runs, epochs } = widget;
  const run = (side) => traitField(model, side, placeIn(runs), (r) => runs[Math.min(r, runs.length - 1)]);
  const angle = (name, most) => ({
    get: () => String(Math.round((widget[name] * 180) / Math.PI) % 360),
    parse: numberIn(-most, most),
    set: (degrees) => (widget[name] = (degrees * Math.PI) / 180),
  });
  return {
    epoch: traitField(model, "epoch", placeIn(epochs), (e) => epochs[Math.min(e, epochs.length - 1)]),
    left: run("left"),
    right: run("right"),
    yaw: angle("yaw", 360),
    pitch: angle("pitch", (STEEPEST * 180) / Math.PI),
  };
}

// -- parts

function partsOf(widget) {
  const { epochs, measures } = widget;
  const id = unique();
  return {
    choices: bothSides((side) => choicePart(widget, side, `${id}-${side}`)),
    epoch: epochSlider(widget, () => stopPlaying(widget)),
    play: primaryButton("Play", () => play(widget)),
    spheres: bothSides((side) => spherePart(widget, side, `${id}-${side}-said`)),
    charts: measures.map((measure) => chartPart(measure, epochs)),
  };
}

/** Which run is shown on this side. */
function choicePart({ model, runs }, side, id) {
  const options = runs.map((name, i) => make("option", { value: i }, name));
  const select = make("select", { id, onchange: () => put(model, side, +select.value) }, options);
  const label = make("label", { for: id }, side === "left" ? "Left" : "Right");
  return { select, row: make("div", { class: "sslw-choice" }, label, select) };
}

function spherePart(widget, side, saidId) {
  const canvas = ballCanvas(widget, { "aria-describedby": saidId });
  const title = make("h4", { class: `sslw-run sslw-run-${side}` });
  const said = make("p", { id: saidId, class: "sslw-note" });
  return { canvas, title, said, item: make("figure", {}, title, canvas, make("figcaption", {}, said)) };
}

/** A measure's curves of both runs over the epochs; losses of two methods have nothing to share, not even a scale. */
function chartPart([name, values, chance], epochs) {
  const stroke = { fill: "none", "vector-effect": "non-scaling-stroke" };
  const lines = bothSides((side) => make("polyline", { class: `sslw-line sslw-run-${side}`, ...stroke }));
  const now = make("line", { class: "sslw-now", y1: 0, y2: 40, "vector-effect": "non-scaling-stroke" });
  const level = make("line", { class: "sslw-chance", x1: 0, x2: 100, "vector-effect": "non-scaling-stroke" });
  const box = { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" };
  const plot = make("svg", box, now, chance === null ? "" : level, lines.left, lines.right);
  const [high, low] = [make("span"), make("span")];
  const framed = make("div", { class: "sslw-plot" }, plot, make("div", { class: "sslw-range" }, high, low));
  const axis = make("div", { class: "sslw-epochs" }, [epochs[0], "epoch", epochs.at(-1)].map((e) => make("span", {}, e)));
  const apart = name === "loss";
  const remark = apart ? "each on its own scale" : chance === null ? "" : "dotted: chance";
  const title = make("h4", {}, `${name} `, make("small", {}, remark));
  const item = make("div", {}, title, framed, axis);
  return { name, values, chance, apart, lines, level, now, high, low, plot, item };
}

/** What the balls show of the embeddings, and what they leave out. */
function explanation({ shape, classes, dimensions }) {
  const of = dimensions > 3 ? `the three of ${dimensions} directions` : "the directions";
  const shown = `A ball shows the embeddings in ${of} that carry most of them, pushed out to length one again. `;
  const axes = "Runs that begin with the same network have the same directions. ";
  const colours = `A colour is one of ${classes.length} classes, which no run was told: that they mix is no fault.`;
  return shown + (shape[0] > 1 ? axes : "") + (classes.length > 1 ? colours : "");
}

function layout(widget) {
  const { classes, parts } = widget;
  const { choices, epoch, play, spheres, charts } = parts;
  const buttons = make("div", { class: "sslw-buttons" }, play);
  const legend = classes.map((name, c) => make("span", { style: `--class: ${classColor(c)}` }, name));
  return [
    make("div", { class: "sslw-controls" }, choices.left.row, choices.right.row, epoch.row, buttons),
    make("div", { class: "sslw-balls" }, SIDES.map((side) => spheres[side].item)),
    make("p", { class: "sslw-legend-classes" }, legend),
    make("p", { class: "sslw-note" }, explanation(widget)),
    make("div", { class: "sslw-charts" }, charts.map(({ item }) => item)),
  ];
}

// -- draw

function draw(widget) {
  const { model, runs, epochs, parts } = widget;
  const e = Math.min(model.get("epoch"), epochs.length - 1);
  const shown = bothSides((side) => Math.min(model.get(side), runs.length - 1)); // the run on each side
  parts.epoch.set(e);
  for (const side of SIDES) drawSide(widget, side, shown[side], e);
  for (const chart of parts.charts) drawChart(widget, chart, shown, e);
  widget.address.changed();
}

function drawSide(widget, side, run, e) {
  const { shape, bytes, runs, epochs, measures, parts } = widget;
  const { canvas, title, said } = parts.spheres[side];
  const untrained = epochs[e] === "0";
  const when = untrained ? "before the training" : `after epoch ${epochs[e]}`;
  const what = `${shape[2]} embeddings of ${runs[run]} on a sphere, ${when}`;
  parts.choices[side].select.value = run;
  title.textContent = runs[run];
  canvas.setAttribute("aria-label", `${what}. Arrow keys turn it.`);
  const numbers = measures.map(([name, values]) => `${name} ${number(values[run][e])}`);
  said.textContent = [...(untrained ? ["untrained"] : []), ...numbers].join(" \u00b7 ");
  drawSphere(widget, canvas, pointsAt(bytes, shape, run, e));
}

function drawChart({ runs, epochs }, chart, shown, e) {
  const { name, values, chance, apart, lines, level, now, plot } = chart;
  const curves = bothSides((side) => values[shown[side]]);
  const scales = bothSides((side) => scaled(apart ? [curves[side]] : Object.values(curves), chance));
  for (const end of ["y1", "y2"]) level.setAttribute(end, chance === null ? 0 : scales.left.y(chance));
  const x = (i) => (epochs.length > 1 ? (100 * i) / (epochs.length - 1) : 50);
  for (const side of SIDES) {
    const points = curves[side].map((v, i) => (Number.isFinite(v) ? `${x(i)},${scales[side].y(v)}` : ""));
    lines[side].setAttribute("points", points.filter(Boolean).join(" "));
  }
  now.setAttribute("x1", x(e));
  now.setAttribute("x2", x(e));
  for (const end of ["high", "low"]) {
    const words = (side) => make("span", { class: apart ? `sslw-run-${side}` : "" }, number(scales[side][end]));
    chart[end].replaceChildren(...(apart ? SIDES : ["left"]).map(words));
  }
  const said = SIDES.map((side) => `${runs[shown[side]]} ${number(curves[side][e])}`).join(", ");
  plot.setAttribute("aria-label", `${name} over the epochs: ${said}`);
}

/** Points in front are large and solid, those behind small and pale. */
function drawSphere({ labels, yaw, pitch }, canvas, points) {
  const side = canvas.clientWidth;
  if (!side) return; // not on the page yet
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(side * ratio)) canvas.width = canvas.height = Math.round(side * ratio);
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, side, side);
  const [middle, radius] = [side / 2, side / 2 - 10];
  const dot = within(radius / 130, 0.6, 1.2);
  g.strokeStyle = getComputedStyle(canvas).color; // a canvas cannot read light-dark()
  drawGrid(g, middle, radius, yaw, pitch);
  const placed = labels.map((label, i) => [...turned(points.subarray(3 * i, 3 * i + 3), yaw, pitch), label]);
  placed.sort((a, b) => a[2] - b[2]);
  for (const [x, y, z, label] of placed) {
    g.globalAlpha = 0.35 + 0.3 * (z + 1);
    g.fillStyle = classColor(label);
    g.beginPath();
    g.arc(middle + radius * x, middle + radius * y, dot * (2.2 + 1.2 * (z + 1)), 0, 2 * Math.PI);
    g.fill();
  }
  g.globalAlpha = 1;
}

/** The sphere's outline and three great circles, which turn with it. */
function drawGrid(g, middle, radius, yaw, pitch) {
  g.lineWidth = 1;
  g.beginPath();
  g.arc(middle, middle, radius, 0, 2 * Math.PI);
  g.stroke();
  const circle = (pointAt) => {
    g.beginPath();
    for (let k = 0; k <= 60; k++) {
      const [x, y] = turned(pointAt((k / 60) * 2 * Math.PI), yaw, pitch);
      g.lineTo(middle + radius * x, middle + radius * y);
    }
    g.globalAlpha = 0.5;
    g.stroke();
    g.globalAlpha = 1;
  };
  circle((t) => [Math.cos(t), 0, Math.sin(t)]);
  circle((t) => [Math.cos(t), Math.sin(t), 0]);
  circle((t) => [0, Math.cos(t), Math.sin(t)]);
}

function render({ model, el }) {
  const root = makeRoot(el, "sphere", "Embeddings on the sphere");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const traits = ["epoch", "left", "right"];
  const stop = keepDrawn(widget, root, { kind: "sphere", fields: fieldsOf(widget), traits, draw });
  const observer = new ResizeObserver(widget.soon);
  observer.observe(root);
  return () => {
    stopPlaying(widget);
    observer.disconnect();
    stop();
  };
}

export default { render };
