// Playground: train a small encoder in the page and watch it. Follows page.js, ball.js and runtime.js; trainer.js is the worker that trains.

const SEEDS = 1000;
const RATES = [0.1, 0.3, 1, 3, 10]; // times the method's own learning rate
const CROPS = [0.08, 0.15, 0.25, 0.4, 0.5, 0.6, 0.8, 1];
const COLORS = [0, 0.25, 0.5, 1, 1.5, 2];
const MOST_POINTS = 400; // of a curve
const TILE = 18; // px of a picture on the sphere
const GLIDE = 0.15; // of the way to its new place that a picture goes in a frame

// where onnxruntime-web comes from if no page of the book brings it, as in Jupyter and Colab: package.json's version
const ELSEWHERE = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/";

const PICTURES_SAY = "Each small picture lies where the network puts it. Its frame is its true shape, shown to you and never to the network. Watch: do equal colours gather?";

const nearest = (stops, x) => stops.reduce((best, stop, i) => (Math.abs(stop - x) < Math.abs(stops[best] - x) ? i : best), 0);
const short = (x) => (Number.isFinite(x) ? rounded(x, Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2) : "\u2013");

// -- state

function stateOf(model) {
  return {
    model,
    about: model.get("about"),
    worker: null, // paints the pictures, and trains once Train is pressed
    begun: false, // Train was pressed, and the worker has what it needs or will get it
    running: false,
    failed: "",
    ...nothingYet(),
    pictures: [], // the watched ones, as canvases
    labels: [],
    yaw: 0.5,
    pitch: -0.3,
    tour: -1, // the step of the tour that is shown
    chosen: null, // and the answer that was chosen
  };
}

/** What is known before the first step. */
const nothingYet = () => ({
  step: 0, losses: [], votes: [], terms: {}, speed: null, similarity: null, spread: null,
  points: null, shown: null, // where the pictures lie, and where they are drawn on their way there
});

const methodOf = ({ model, about }) => about.methods[model.get("method")];
const dialOf = (widget) => methodOf(widget).dials[0];

/** The reader's settings as the worker wants them. */
function dialsOf(widget) {
  const { model } = widget;
  const own = methodOf(widget);
  const dial = dialOf(widget);
  const dials = { lr: model.get("lr") || own.lr, crop: model.get("crop") || own.crop, color: model.get("color") };
  if (dial) dials[dial.name] = model.get("dial") < 0 ? dial.value : model.get("dial");
  return dials;
}

function choiceOf({ model }) {
  const [method, part, seed] = ["method", "part", "seed"].map((trait) => model.get(trait));
  return { method, variant: part ? `${method} without ${part}` : method, seed };
}

/** Another method has numbers of its own. */
function chooseMethod({ model }, method) {
  for (const [trait, value] of [["part", ""], ["lr", 0], ["dial", -1], ["crop", 0], ["method", method]]) model.set(trait, value);
  model.save_changes();
}

/** What stands in the page's address. */
function fieldsOf(widget) {
  const { model, about } = widget;
  const parts = () => ["", ...methodOf(widget).parts];
  return {
    method: { ...traitField(model, "method", oneOf(model.get("order"))), set: (name) => chooseMethod(widget, name) },
    without: { ...traitField(model, "part", (text) => text), set: (part) => put(model, "part", parts().includes(part) ? part : "") },
    seed: traitField(model, "seed", wholeIn(0, SEEDS - 1)),
    lr: traitField(model, "lr", numberIn(0, 10)),
    dial: traitField(model, "dial", numberIn(-1, 100)),
    crop: traitField(model, "crop", numberIn(0, 1)),
    color: traitField(model, "color", numberIn(0, 2)),
  };
}

// -- the worker

/** Why nothing can be trained here; "" if it can. */
function obstacle() {
  if (window.location.protocol === "file:") return "A page opened as a file cannot train. Start a server in its folder: python -m http.server";
  if (typeof WebAssembly !== "object" || typeof Worker !== "function") return "Training needs WebAssembly, and this browser has none.";
  if (typeof DecompressionStream !== "function") return "Training needs a newer browser, one that can unpack gzip.";
  return "";
}

/** Where onnxruntime-web is: {folder, bytes, host}; 0 bytes if nobody knows how many they are. */
function runtime() {
  const site = siteRuntime();
  if (site.folder) return { ...site, host: "this site alone" };
  return { folder: ELSEWHERE, bytes: 0, host: new URL(ELSEWHERE).host };
}

/** A thread of its own, which paints the pictures at once. */
function startWorker(widget) {
  if (obstacle()) return;
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  widget.worker = new Worker(url, { type: "module" });
  URL.revokeObjectURL(url);
  widget.worker.onmessage = ({ data }) => hear(widget, data);
  widget.worker.onerror = (event) => {
    if (widget.begun) fail(widget, event.message || "the worker did not start");
    else widget.worker = null; // no pictures yet; Train tries again
  };
  showPictures(widget);
}

/** The watched pictures of the seed, before anything is loaded that could say where they belong. */
function showPictures(widget) {
  widget.seed = widget.model.get("seed");
  tellWorker(widget, { kind: "show", seed: widget.seed, about: widget.about });
}

/** Fetch what trains, and give it to the worker. */
async function begin(widget) {
  const { model } = widget;
  const { folder, bytes } = runtime();
  if (!widget.worker) startWorker(widget);
  Object.assign(widget, { begun: true, failed: "" });
  const link = model.get("graphs").url ? model.get("graphs") : null;
  const came = {};
  const tell = (part) => (got) => {
    came[part] = got;
    const all = bytes ? ` of ${megabytes(bytes + (link?.bytes ?? 0))}` : "";
    widget.status = `Loading: ${megabytes(Object.values(came).reduce((x, y) => x + y, 0))}${all} MB, once.`;
    widget.soon();
  };
  tell("runtime")(0);
  try {
    const [binary, file] = await Promise.all([
      download(fileOf(RUNTIME_BINARY, folder), tell("runtime")),
      link ? download(link.url, tell("graphs")) : array(model, "graphs", Uint8Array),
    ]);
    if (widget.gone) return;
    widget.status = "Starting\u2026";
    widget.soon();
    const address = fileOf(RUNTIME_MODULE, folder);
    const message = { kind: "load", address, binary, file, index: model.get("index"), about: widget.about };
    tellWorker(widget, { ...message, dials: dialsOf(widget), choice: choiceOf(widget) });
    widget.sent = JSON.stringify([choiceOf(widget), dialsOf(widget)]);
    tellWorker(widget, { kind: widget.running ? "run" : "step" });
  } catch (error) {
    if (!widget.gone) fail(widget, String(error.message ?? error));
  }
}

const tellWorker = ({ worker }, message) => worker?.postMessage(message);

function fail(widget, why) {
  console.warn("The playground stopped:", why);
  widget.worker?.terminate();
  Object.assign(widget, { worker: null, begun: false, sent: "", running: false, failed: why, status: "" });
  widget.soon();
}

const ANSWERS = {
  watched(widget, { pixels, labels }) {
    widget.pictures = pixels.map(tileOf);
    widget.labels = labels;
    widget.shown ??= evenly(labels.length);
  },
  loaded(widget) {
    widget.status = "";
  },
  restarted(widget) {
    Object.assign(widget, nothingYet(), { shown: widget.shown });
  },
  step(widget, { step, terms, pictures, ms }) {
    widget.step = step;
    widget.terms = terms;
    widget.losses.push([step, terms.loss]);
    if (widget.losses.length > MOST_POINTS) widget.losses = widget.losses.filter((_, i) => i % 2 === 0 || i === MOST_POINTS);
    const now = (1000 * pictures) / ms;
    widget.speed = widget.speed === null ? now : 0.9 * widget.speed + 0.1 * now;
  },
  look(widget, { points, similarity, spread }) {
    Object.assign(widget, { points, similarity, spread });
    glide(widget);
  },
  vote(widget, { step, knn }) {
    widget.votes.push([step, knn]);
  },
  error(widget, { message }) {
    fail(widget, message);
  },
};

/** Move the pictures to where they lie now: over some frames, or at once if the reader asks for less motion. */
function glide(widget) {
  if (!widget.shown || matchMedia("(prefers-reduced-motion: reduce)").matches) widget.shown = widget.points;
  if (widget.shown === widget.points || widget.gliding) return;
  const frame = () => {
    if (widget.gone || !widget.points) return (widget.gliding = false);
    let far = 0;
    widget.shown = widget.shown.map((x, i) => {
      const way = widget.points[i] - x;
      far = Math.max(far, Math.abs(way));
      return x + GLIDE * way;
    });
    drawBall(widget);
    widget.gliding = far > 0.01 && requestAnimationFrame(frame);
  };
  widget.gliding = requestAnimationFrame(frame);
}

/** n places all over a sphere, 3 numbers each: a spiral from pole to pole. */
export function evenly(n) {
  const golden = Math.PI * (3 - Math.sqrt(5));
  const points = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) {
    const height = 1 - (2 * i + 1) / n;
    const radius = Math.sqrt(1 - height * height);
    points.set([radius * Math.cos(golden * i), height, radius * Math.sin(golden * i)], 3 * i);
  }
  return points;
}

function hear(widget, message) {
  if (widget.gone) return;
  ANSWERS[message.kind](widget, message);
  widget.soon();
}

/** Tell the worker what has changed of the settings. */
function sync(widget) {
  if (!widget.begun && widget.worker && widget.seed !== widget.model.get("seed")) showPictures(widget);
  if (!widget.sent) return;
  const now = [choiceOf(widget), dialsOf(widget)];
  if (JSON.stringify(now) === widget.sent) return;
  const before = JSON.parse(widget.sent)[0];
  widget.sent = JSON.stringify(now);
  const same = JSON.stringify(before) === JSON.stringify(now[0]);
  if (!same) widget.losses = []; // without a part the loss is another, and has another scale
  tellWorker(widget, same ? { kind: "dials", dials: now[1] } : { kind: "choose", choice: now[0], dials: now[1] });
}

// -- what the reader does

function train(widget) {
  if (widget.running) {
    widget.running = false;
    tellWorker(widget, { kind: "pause" });
  } else {
    widget.running = true;
    if (widget.begun) tellWorker(widget, { kind: "run" });
    else begin(widget);
  }
  widget.soon();
}

function oneStep(widget) {
  widget.running = false;
  tellWorker(widget, { kind: "pause" });
  if (widget.begun) tellWorker(widget, { kind: "step" });
  else begin(widget);
}

function restart(widget, seed) {
  if (seed !== widget.model.get("seed")) return put(widget.model, "seed", seed);
  tellWorker(widget, { kind: "restart" });
}

/** A picture of the reader's, as small as those of the training, in the place of the last one that is watched. */
function place(widget, source) {
  const canvas = make("canvas", { width: 32, height: 32 });
  const g = canvas.getContext("2d");
  const side = Math.min(source.width, source.height);
  g.imageSmoothingQuality = "high";
  g.drawImage(source, (source.width - side) / 2, (source.height - side) / 2, side, side, 0, 0, 32, 32);
  const { data } = g.getImageData(0, 0, 32, 32);
  const pixels = Uint8ClampedArray.from({ length: 3072 }, (_, k) => data[4 * (k % 1024) + Math.floor(k / 1024)]);
  widget.guest = canvas;
  tellWorker(widget, { kind: "guest", pixels });
  widget.soon();
}

// -- parts

function partsOf(widget) {
  const { model, about } = widget;
  const names = model.get("order").map((name) => [name, about.methods[name].label]);
  return {
    train: primaryButton("Train", () => train(widget)),
    step: button("One step", () => oneStep(widget)),
    again: button("Start again", () => restart(widget, model.get("seed"))),
    other: button("Other seed", () => restart(widget, (model.get("seed") + 1) % SEEDS)),
    status: make("p", { class: "sslw-note", role: "status" }),
    story: make("p", { class: "sslw-play-story" }),
    method: choiceSwitch("Method", names, (name) => chooseMethod(widget, name)),
    removed: make("div", { class: "sslw-buttons", role: "group", "aria-label": "Parts of the method" }),
    lr: stopSlider("Learning rate", "times the method\u2019s own", RATES, (x) => `\u00d7 ${x}`, (x) => put(model, "lr", x * methodOf(widget).lr)),
    dial: stopSlider("", "a number of the method\u2019s own", [], String, (x) => put(model, "dial", x)),
    crop: stopSlider("Smallest crop", "the share of a picture that a view shows at least", CROPS, percent, (x) => put(model, "crop", x)),
    color: stopSlider("Colour changes", "times those of the book", COLORS, (x) => `\u00d7 ${x}`, (x) => put(model, "color", x)),
    ball: ballPart(widget),
    loss: chartPart("Loss"),
    knn: chartPart("Shapes recognised (kNN)"),
    matrix: matrixPart(),
    known: readout("Recognised by nearest neighbours"),
    spread: readout("Spread", "1: all over the ball; 0: one point, collapsed"),
    count: readout("Steps"),
    speed: readout("Pictures a second", "two views each, on one core"),
    guest: guestPart(widget),
    tour: tourPart(widget),
    live: liveText(),
  };
}

/** A slider over a few numbers: {row, input, set(value), offer(stops, label)}. */
function stopSlider(label, hint, stops, format, choose) {
  const own = { stops };
  const part = slider({
    label, hint, min: 0, max: Math.max(stops.length - 1, 0), step: 1,
    format: () => format(own.value), oninput: (i) => choose(own.stops[i]),
  });
  const set = (value) => {
    own.value = value;
    part.set(nearest(own.stops, value));
  };
  const offer = (next, words) => {
    own.stops = next;
    part.input.max = next.length - 1;
    part.row.querySelector("label").textContent = words;
  };
  return { ...part, set, offer };
}

function ballPart(widget) {
  const said = make("p", { id: unique(), class: "sslw-note" });
  const canvas = ballCanvas(widget, { "aria-describedby": said.id, "aria-label": "Pictures on a sphere. Arrow keys turn it." });
  return { canvas, said, item: make("figure", { class: "sslw-play-ball" }, canvas, make("figcaption", {}, said)) };
}

/** A curve over the steps, with dotted levels. */
function chartPart(name) {
  const stroke = { fill: "none", "vector-effect": "non-scaling-stroke" };
  const line = make("polyline", { class: "sslw-line", ...stroke });
  const level = () => make("line", { class: "sslw-chance", x1: 0, x2: 100, "vector-effect": "non-scaling-stroke" });
  const levels = [level(), level()];
  const plot = make("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" }, levels, line);
  const [high, low] = [make("span"), make("span")];
  const note = make("small");
  const item = make("div", {}, make("h4", {}, `${name} `, note),
    make("div", { class: "sslw-plot" }, plot, make("div", { class: "sslw-range" }, high, low)));
  return { name, line, levels, plot, high, low, note, item };
}

function matrixPart() {
  const canvas = make("canvas", { class: "sslw-play-matrix", role: "img", "aria-label": "Similarity of every two watched pictures, sorted by shape" });
  return { canvas, item: make("div", {}, make("h4", {}, "Similarity ", make("small", {}, "dark is alike; a square on the diagonal is a shape")), canvas) };
}

/** Draw or upload a picture of one\u2019s own. */
function guestPart(widget) {
  const pad = make("canvas", { class: "sslw-play-pad", width: 128, height: 128, "aria-label": "Draw a shape here" });
  const g = pad.getContext("2d");
  const clear = () => {
    g.fillStyle = "#d9d4c8";
    g.fillRect(0, 0, 128, 128);
  };
  clear();
  const draw = (event) => {
    if (!event.buttons) return;
    const box = pad.getBoundingClientRect();
    g.fillStyle = "#35507a";
    g.beginPath();
    g.arc(((event.clientX - box.x) / box.width) * 128, ((event.clientY - box.y) / box.height) * 128, 11, 0, 2 * Math.PI);
    g.fill();
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    draw(event);
  });
  pad.addEventListener("pointermove", draw);
  pad.addEventListener("pointerup", () => place(widget, pad));
  const input = make("input", {
    type: "file", accept: "image/*", id: unique(), class: "sslw-hidden",
    onchange: async () => input.files[0] && place(widget, await createImageBitmap(input.files[0])),
  });
  const upload = button("Upload one", () => input.click());
  const label = make("label", { for: input.id, class: "sslw-hidden" }, "A picture of yours");
  const words = make("p", { class: "sslw-note" }, "Draw a shape, and a thick frame marks where it lands. It stays in this page.");
  const buttons = make("div", { class: "sslw-buttons" }, button("Clear", clear), upload, label, input);
  return { pad, item: make("div", { class: "sslw-play-guest" }, make("h4", {}, "Your own picture"), pad, words, buttons) };
}

/** One step of the tour at a time: predict, then look. */
function tourPart(widget) {
  const { model } = widget;
  const steps = model.get("tour");
  if (!steps.length) return { item: "", draw() {} };
  const box = make("div", { class: "sslw-play-tour", role: "group", "aria-label": "Guided tour" });
  const go = (to) => {
    Object.assign(widget, { tour: to, chosen: null });
    for (const [trait, value] of Object.entries(steps[to]?.set ?? {})) {
      if (trait === "method") chooseMethod(widget, value);
      else model.set(trait, value);
    }
    model.save_changes();
    widget.soon();
  };
  const choose = (i) => {
    widget.chosen = i;
    for (const [trait, value] of Object.entries(steps[widget.tour].after ?? {})) model.set(trait, value);
    model.save_changes();
    if (!widget.running) train(widget);
    widget.soon();
  };
  let shown = "";
  const draw = () => {
    const now = `${widget.tour} ${widget.chosen}`;
    if (now === shown) return;
    shown = now;
    if (widget.tour < 0) return box.replaceChildren(button(`Take the tour: ${steps.length} questions`, () => go(0)));
    const { title, text, ask, answers, right, then } = steps[widget.tour];
    const options = answers.map((words, i) => {
      const made = button(words, () => choose(i));
      made.setAttribute("aria-pressed", widget.chosen === i);
      made.disabled = widget.chosen !== null;
      return made;
    });
    const verdict = widget.chosen === null ? "" : make("p", { role: "status" }, make("b", {}, widget.chosen === right ? "Yes. " : "Look: "), then);
    const last = widget.tour === steps.length - 1;
    box.replaceChildren(
      make("h4", {}, `${widget.tour + 1} of ${steps.length}: ${title}`), make("p", {}, text), make("p", {}, make("b", {}, ask)),
      make("div", { class: "sslw-buttons" }, options), verdict,
      make("div", { class: "sslw-buttons" }, widget.tour ? button("Back", () => go(widget.tour - 1)) : "", last ? "" : button("Next", () => go(widget.tour + 1)), button("End the tour", () => go(-1))),
    );
  };
  return { item: box, draw };
}

/** In a brief figure all that a first look does not need is folded away. */
function layout({ model, about, parts }) {
  const { ball, loss, knn, matrix, known, spread, count, speed, tour, guest } = parts;
  const legend = about.classes.map((name, c) => make("span", { style: `--class: ${classColor(c)}` }, name));
  const choices = make("div", { class: "sslw-play-top" }, parts.method.row, parts.removed);
  const dials = make("div", { class: "sslw-controls" }, parts.dial.row, parts.lr.row, parts.crop.row, parts.color.row);
  const looks = make("div", { class: "sslw-play-stage" }, matrix.item, guest.item);
  const buttons = [parts.train, parts.again];
  const more = [parts.step, parts.other];
  const stage = make("div", { class: "sslw-play-stage" },
    make("div", {}, make("p", { class: "sslw-note" }, PICTURES_SAY), make("p", { class: "sslw-legend-classes" }, legend), ball.item),
    make("div", { class: "sslw-play-side" }, knn.item, loss.item, readoutList([known, spread, count, speed])));
  const head = (own) => [make("div", { class: "sslw-buttons" }, own), make("div", { class: "sslw-play-news" }, parts.status, parts.story)];
  if (!model.get("brief")) return [tour.item, choices, ...head([...buttons, ...more]), stage, dials, looks, parts.live];
  const folded = make("details", {}, make("summary", {}, "Experiment: other methods, parts to remove, dials, your own picture"),
    choices, make("div", { class: "sslw-buttons" }, more), dials, looks);
  return [...head(buttons), stage, folded, parts.live];
}

// -- draw

/** A picture of bytes as a small canvas. */
function tileOf(pixels) {
  const canvas = make("canvas");
  paint(canvas, { data: Float32Array.from(pixels, (x) => x / 255), height: 32, width: 32 });
  return canvas;
}

function draw(widget) {
  sync(widget);
  drawControls(widget);
  drawBall(widget);
  drawCharts(widget);
  drawMatrix(widget);
  drawNumbers(widget);
  widget.parts.tour.draw();
  widget.address.changed();
}

function drawControls(widget) {
  const { model, parts, running, status, failed, begun } = widget;
  const dial = dialOf(widget);
  const dials = dialsOf(widget);
  parts.method.set(model.get("method"));
  drawRemoved(widget);
  parts.dial.row.hidden = !dial;
  if (dial) {
    parts.dial.offer(dial.stops, dial.label);
    parts.dial.set(dials[dial.name]);
  }
  parts.lr.set(Number((dials.lr / methodOf(widget).lr).toPrecision(3)));
  parts.crop.set(dials.crop);
  parts.color.set(dials.color);
  const why = obstacle();
  parts.train.textContent = running ? "Pause" : widget.step ? "Go on" : "Train";
  for (const part of [parts.train, parts.step]) part.disabled = Boolean(why);
  parts.again.disabled = !begun;
  parts.other.disabled = Boolean(why);
  const ready = `Nothing is loaded yet: Train fetches what it needs, from ${runtime().host}.`;
  parts.status.textContent = why || (failed && `It stopped: ${failed} Train tries again.`) || status || (begun ? "" : ready);
}

/** A button for each part; a pressed one is taken away. */
function drawRemoved(widget) {
  const { model, parts } = widget;
  const own = methodOf(widget).parts;
  const now = model.get("part");
  const key = `${own} ${now}`;
  if (parts.removed.dataset.key === key) return;
  const focused = [...parts.removed.children].indexOf(document.activeElement);
  parts.removed.dataset.key = key;
  parts.removed.replaceChildren(...own.map((part) => {
    const gone = part === now;
    const made = button(gone ? `Put back: ${part}` : `Remove: ${part}`, () => put(model, "part", gone ? "" : part));
    made.setAttribute("aria-pressed", gone);
    return made;
  }));
  parts.removed.children[focused]?.focus();
}

/** Pictures in front are large and clear, those behind small and pale. */
function drawBall({ parts, shown, pictures, labels, guest, yaw, pitch }) {
  const { canvas } = parts.ball;
  const side = canvas.clientWidth;
  if (!side) return; // not on the page yet
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(side * ratio)) canvas.width = canvas.height = Math.round(side * ratio);
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, side, side);
  const [middle, radius] = [side / 2, side / 2 - TILE];
  const ink = getComputedStyle(canvas.parentElement).color;
  g.strokeStyle = getComputedStyle(canvas).color; // a canvas cannot read light-dark()
  g.beginPath();
  g.arc(middle, middle, radius, 0, 2 * Math.PI);
  g.stroke();
  if (!shown) return;
  const placed = pictures.map((picture, i) => [...turned(shown.subarray(3 * i, 3 * i + 3), yaw, pitch), i]);
  placed.sort((a, b) => a[2] - b[2]);
  for (const [x, y, z, i] of placed) {
    const own = guest && i === pictures.length - 1;
    const size = TILE * (own ? 1.6 : 0.75 + 0.35 * z);
    const [left, top] = [middle + radius * x - size / 2, middle + radius * y - size / 2];
    g.globalAlpha = own ? 1 : 0.5 + 0.25 * (z + 1);
    const frame = own ? 4 : 2;
    g.fillStyle = own ? ink : classColor(labels[i]);
    g.fillRect(left - frame, top - frame, size + 2 * frame, size + 2 * frame);
    g.drawImage(own ? guest : pictures[i], left, top, size, size);
  }
  g.globalAlpha = 1;
}

/** Values and levels as heights in a box of 100 x 40. */
export function scaled(values, levels) {
  const all = [...values, ...levels].filter(Number.isFinite);
  let [low, high] = [Math.min(...all), Math.max(...all)];
  if (!(high - low > 1e-6)) [low, high] = all.length ? [low - 0.5, high + 0.5] : [0, 1];
  return { low, high, y: (v) => 38 - (36 * (v - low)) / (high - low) };
}

function drawChart({ name, line, levels, plot, high, low, note }, points, lines, remark, range = []) {
  const scale = scaled([...points.map(([, value]) => value), ...range], lines);
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
  const x = (step) => (100 * (step - first)) / Math.max(1, last - first);
  const known = points.filter(([, value]) => Number.isFinite(value));
  line.setAttribute("points", known.map(([step, value]) => `${x(step)},${scale.y(value)}`).join(" "));
  levels.forEach((level, i) => {
    const there = Number.isFinite(lines[i]);
    level.style.visibility = there ? "" : "hidden";
    for (const end of ["y1", "y2"]) level.setAttribute(end, there ? scale.y(lines[i]) : 0);
  });
  [high.textContent, low.textContent, note.textContent] = [short(scale.high), short(scale.low), remark];
  plot.setAttribute("aria-label", `${name} over ${last} steps, now ${short(points.at(-1)?.[1])}. ${remark}`);
}

function drawCharts(widget) {
  const { model, parts, losses, votes } = widget;
  const { chance, floor } = methodOf(widget);
  const dial = dialOf(widget);
  const whole = model.get("part") === "" || model.get("part") !== "negatives";
  const least = dial?.floors ? dial.floors[nearest(dial.stops, dialsOf(widget)[dial.name])] : floor;
  const lines = whole ? [chance ?? NaN, least ?? NaN] : [NaN, -1];
  const words = [
    Number.isFinite(lines[0]) ? `${short(lines[0])} if all pictures look alike` : "",
    Number.isFinite(lines[1]) ? `${short(lines[1])} at best` : "",
  ];
  drawChart(parts.loss, losses, lines, `dotted: ${words.filter(Boolean).join(", ")}`);
  const untrained = votes[0]?.[1] ?? NaN;
  drawChart(parts.knn, votes, [1 / widget.about.classes.length, untrained], "dotted: guessing, untrained", [0, 1]);
}

/** Dark where two pictures are alike; a block on the diagonal is a shape that it knows. */
function drawMatrix({ parts, similarity, labels }) {
  const { canvas } = parts.matrix;
  if (!similarity) return;
  const order = [...labels.keys()].sort((a, b) => labels[a] - labels[b]);
  const n = order.length;
  const pixels = new ImageData(n, n);
  for (let r = 0; r < n; r++) {
    for (let c = 0; c < n; c++) pixels.data.set([31, 95, 191, Math.max(0, similarity[order[r] * n + order[c]])], 4 * (r * n + c));
  }
  if (canvas.width !== n) canvas.width = canvas.height = n;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function drawNumbers(widget) {
  const { parts, step, votes, spread, speed, terms, losses, running } = widget;
  const vote = votes.at(-1);
  parts.known.value.textContent = vote ? percent(vote[1]) : "\u2013";
  parts.known.detail.textContent = vote ? `guessing ${percent(1 / widget.about.classes.length)}, untrained ${percent(votes[0][1])}` : "of 256 pictures that it never learns from";
  parts.spread.value.textContent = spread === null ? "\u2013" : rounded(spread, 2);
  parts.count.value.textContent = step;
  const others = Object.entries(terms).filter(([name]) => name !== "loss").map(([name, value]) => `${name} ${short(value)}`);
  parts.count.detail.textContent = others.join(", ");
  parts.speed.value.textContent = speed === null ? "\u2013" : rounded(speed, 0);
  const collapsed = spread !== null && spread < 0.1 && step > 0 ? " Collapsed: all pictures are one point." : "";
  parts.ball.said.textContent = widget.points ? `Directions of the network\u2019s output z, three of many.${collapsed}` : "No network has seen these pictures yet.";
  parts.story.textContent = step ? storyOf(widget) : "";
  const news = `Step ${step}, loss ${short(losses.at(-1)?.[1])}, ${vote ? percent(vote[1]) : "nothing"} named right.${collapsed}`;
  if (!running && step && parts.live.textContent !== news) parts.live.textContent = news;
}

/** What the numbers say, in a sentence. */
function storyOf({ step, votes, about }) {
  if (!votes.length) return `Step ${step}.`;
  const share = (x) => rounded(100 * x, 0);
  const [untrained, now] = [votes[0][1], votes.at(-1)[1]];
  return `Step ${step}: of 100 new pictures it recognises ${share(now)}. Guessing: ${share(1 / about.classes.length)}. Untrained: ${share(untrained)}.`;
}

function render({ model, el }) {
  const root = makeRoot(el, "playground", "Playground: train in this page");
  const widget = { root, status: "", ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const traits = ["method", "part", "seed", "lr", "dial", "crop", "color"];
  widget.soon = () => {};
  startWorker(widget);
  const stop = keepDrawn(widget, root, { kind: "playground", fields: fieldsOf(widget), traits, draw });
  const observer = new ResizeObserver(widget.soon);
  observer.observe(root);
  const rest = () => document.hidden && widget.running && train(widget); // a page that nobody sees shall not train
  document.addEventListener("visibilitychange", rest);
  return () => {
    widget.gone = true;
    widget.worker?.terminate();
    document.removeEventListener("visibilitychange", rest);
    observer.disconnect();
    stop();
  };
}

export default { render };
