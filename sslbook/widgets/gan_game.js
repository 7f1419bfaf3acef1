// GanGame: a generator and a discriminator on a plane, which learn in the page. Follows page.js and plane_networks.js.

const DATA = [["ring", "Ring of 8"], ["grid", "Grid of 9"]];
const LOSSES = [["non-saturating", "non-saturating"], ["minimax", "minimax"]];
const [SLOWEST, FASTEST, STOPS] = [1e-4, 3e-2, 50]; // the discriminator's rate, on a logarithmic slider
const RATE = 0.003; // the generator's
const MOST_STEPS = 5;
const SEEDS = 100;
const SPREAD = 0.06; // deviation of the points of a heap
const [BATCH, SHOWN, ARROWS] = [64, 200, 50];
const [NEAR, ENOUGH] = [0.3, 0.02]; // a heap is covered if this share of the points is so near
const REACH = 2.2; // the plane goes from -2.2 to 2.2 in both directions
const CELLS = 44; // of the surface, along a side
const [LENGTH, LONGEST] = [0.5, 0.7]; // of an arrow: for a gradient of 1, and at most
const [PAUSE, ROUNDS] = [50, 3]; // while it plays: milliseconds, and rounds in them

const toStop = (rate) => (STOPS * Math.log(rate / SLOWEST)) / Math.log(FASTEST / SLOWEST);
const toRate = (stop) => +(SLOWEST * (FASTEST / SLOWEST) ** (stop / STOPS)).toPrecision(2);

// -- the game

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

/** Where the heaps of real points lie. */
function heapsOf(data) {
  const corners = [-1.2, 0, 1.2];
  if (data === "grid") return corners.flatMap((x) => corners.map((y) => [x, y]));
  return Array.from({ length: 8 }, (_, k) => [1.5 * Math.cos((k * Math.PI) / 4), 1.5 * Math.sin((k * Math.PI) / 4)]);
}

/** The discriminator's loss, -log D(x) - log(1 - D(G(z))) in the mean, and its gradient. */
export function discriminatorLoss(network, real, fake) {
  const [ofReal, ofFake] = [forward(network, real), forward(network, fake)];
  const [x, y] = [ofReal.at(-1), ofFake.at(-1)];
  const some = backward(network, ofReal, x.map((d) => -sigmoid(-d) / x.length));
  const others = backward(network, ofFake, y.map((d) => sigmoid(d) / y.length));
  return { loss: mean(x.map((d) => softplus(-d))) + mean(y.map(softplus)), gradients: sumOf(some.gradients, others.gradients) };
}

/** The generator's loss, its gradient, the points, and the loss's slope at each of them. */
export function generatorLoss({ G, D }, z, kind) {
  const made = forward(G, z);
  const judged = forward(D, made.at(-1));
  const d = judged.at(-1);
  const saturates = kind === "minimax";
  const values = d.map((v) => (saturates ? -softplus(v) : softplus(-v)));
  const { slope } = backward(D, judged, d.map((v) => (saturates ? -sigmoid(v) : -sigmoid(-v)) / d.length));
  return { loss: mean(values), gradients: backward(G, made, slope).gradients, points: made.at(-1), slope };
}

/** A new game: players, their memories, what is shown, and how often each has moved. */
function newGame(data, seed) {
  const first = 1000 * seed;
  const game = {
    G: networkOf([2, 32, 32, 2], first),
    D: networkOf([2, 32, 32, 1], first + 10),
    memory: { G: {}, D: {} },
    moves: { G: 0, D: 0 },
    heaps: heapsOf(data),
    drawn: 1e6 * (seed + 1), // seeds of what is drawn, one after the other
    loss: null, // the discriminator's, at its last move
  };
  game.z = drawNormals(game, SHOWN);
  game.real = drawReal(game, SHOWN);
  return game;
}

const drawNormals = (game, n) => Float64Array.from(normals(2 * n, game.drawn++));

function drawReal(game, n) {
  const [points, which] = [drawNormals(game, n), uniforms(n, game.drawn++)];
  return points.map((v, i) => {
    const heap = game.heaps[Math.floor(which[i >> 1] * game.heaps.length)];
    return heap[i % 2] + SPREAD * v;
  });
}

function moveD(game, rate) {
  const fake = forward(game.G, drawNormals(game, BATCH)).at(-1);
  const { loss, gradients } = discriminatorLoss(game.D, drawReal(game, BATCH), fake);
  adam(game.D, gradients, game.memory.D, rate);
  game.moves.D += 1;
  game.loss = loss;
}

function moveG(game, kind) {
  adam(game.G, generatorLoss(game, drawNormals(game, BATCH), kind).gradients, game.memory.G, RATE);
  game.moves.G += 1;
}

/** How many heaps have enough points near them, and the share of points that are near any. */
export function coverage(points, heaps) {
  const counts = heaps.map(() => 0);
  for (let i = 0; i < points.length; i += 2) {
    const k = heaps.findIndex(([x, y]) => Math.hypot(points[i] - x, points[i + 1] - y) < NEAR);
    if (k >= 0) counts[k] += 1;
  }
  const all = points.length / 2;
  return { covered: counts.filter((n) => n >= ENOUGH * all).length, near: counts.reduce((sum, n) => sum + n, 0) / all };
}

// -- state

function restart(widget) {
  const { model } = widget;
  widget.game = newGame(model.get("data"), model.get("seed"));
  widget.of = `${model.get("data")} ${model.get("seed")}`;
}

function round(widget) {
  const { model } = widget;
  for (let k = 0; k < model.get("steps"); k++) moveD(widget.game, model.get("rate"));
  moveG(widget.game, model.get("loss"));
}

/** One move by the button of a player. */
function move(widget, player) {
  stopGame(widget);
  if (player === "D") moveD(widget.game, widget.model.get("rate"));
  else moveG(widget.game, widget.model.get("loss"));
  draw(widget);
}

function playGame(widget) {
  if (widget.playing) {
    stopGame(widget);
    draw(widget);
    return;
  }
  widget.parts.play.textContent = "Stop";
  widget.playing = setInterval(() => {
    for (let k = 0; k < ROUNDS; k++) round(widget);
    widget.soon();
  }, PAUSE);
}

const stopGame = (widget) => widget.playing && stopPlaying(widget);

function startAgain(widget, seed) {
  stopGame(widget);
  restart(widget);
  put(widget.model, "seed", seed);
  draw(widget);
}

/** What stands in the page's address. */
function fieldsOf({ model }) {
  const words = (kinds) => oneOf(kinds.map(([kind]) => kind));
  return {
    data: traitField(model, "data", words(DATA)),
    loss: traitField(model, "loss", words(LOSSES)),
    rate: traitField(model, "rate", numberIn(SLOWEST, FASTEST)),
    steps: traitField(model, "steps", wholeIn(1, MOST_STEPS)),
    seed: traitField(model, "seed", wholeIn(0, SEEDS - 1)),
  };
}

// -- parts

function partsOf(widget) {
  const { model } = widget;
  return {
    plane: planePart(),
    data: choiceSwitch("Real points", DATA, (data) => put(model, "data", data)),
    loss: choiceSwitch("The generator\u2019s loss", LOSSES, (loss) => put(model, "loss", loss)),
    rate: slider({
      label: "Rate of the discriminator", hint: `The generator\u2019s is ${RATE}`,
      min: 0, max: STOPS, step: 1, format: (stop) => String(toRate(stop)), oninput: (stop) => put(model, "rate", toRate(stop)),
    }),
    steps: slider({
      label: "Its steps to each of the generator\u2019s",
      min: 1, max: MOST_STEPS, step: 1, format: String, oninput: (steps) => put(model, "steps", steps),
    }),
    play: primaryButton("Play", () => playGame(widget)),
    moves: [
      button("One step of the discriminator", () => move(widget, "D")),
      button("One step of the generator", () => move(widget, "G")),
    ],
    again: button("Start again", () => startAgain(widget, model.get("seed"))),
    other: button("Other start", () => startAgain(widget, (model.get("seed") + 1) % SEEDS)),
    covered: readout("Modes covered", `a mode is a heap of real points; ${percent(ENOUGH)} of the others are near`),
    near: readout("Generated points near a mode"),
    lossOfD: readout("Loss of the discriminator", "1.39 if it cannot tell, 0 if it always can"),
    count: readout("Steps", ""),
    live: liveText(),
  };
}

/** The plane: the discriminator's surface, and above it points and arrows. */
function planePart() {
  const surface = make("canvas", { width: CELLS, height: CELLS, "aria-hidden": "true" });
  const side = 0.05;
  const dots = (kind) => Array.from({ length: SHOWN }, () => make("rect", { class: `sslw-dot-${kind}`, width: side, height: side }));
  const [real, made] = [dots("real"), dots("made")];
  const arrows = Array.from({ length: ARROWS }, () => make("polyline", { class: "sslw-arrow", fill: "none" }));
  const plot = make("svg", { viewBox: `${-REACH} ${-REACH} ${2 * REACH} ${2 * REACH}`, role: "img" }, real, arrows, made);
  const key = (kind, words) => make("span", { class: `sslw-key-${kind}` }, words);
  const keys = [
    key("real", "real"), key("made", "generated"), key("arrow", "where the generator\u2019s loss falls"),
    key("yes", "the discriminator says real"), key("no", "it says generated"),
  ];
  const item = make("figure", { class: "sslw-gan-plane" },
    make("div", { class: "sslw-gan-stage" }, surface, plot), make("figcaption", { class: "sslw-gan-keys" }, keys));
  return { surface, plot, real, made, arrows, item };
}

function layout({ parts }) {
  const { plane, data, loss, rate, steps, play, moves, again, other, covered, near, lossOfD, count, live } = parts;
  const side = make("div", { class: "sslw-gan-side" },
    make("div", { class: "sslw-buttons" }, play, moves),
    make("div", { class: "sslw-buttons" }, again, other),
    readoutList([covered, near, lossOfD, count]));
  return [
    make("div", { class: "sslw-columns" }, plane.item, side),
    make("div", { class: "sslw-controls" }, data.row, loss.row, rate.row, steps.row),
    live,
  ];
}

// -- draw

function draw(widget) {
  const { model, parts, address } = widget;
  if (widget.of !== `${model.get("data")} ${model.get("seed")}`) restart(widget);
  parts.data.set(model.get("data"));
  parts.loss.set(model.get("loss"));
  parts.rate.set(toStop(model.get("rate")));
  parts.steps.set(model.get("steps"));
  const { points, slope } = generatorLoss(widget.game, widget.game.z, model.get("loss"));
  drawSurface(widget);
  placeDots(parts.plane.real, widget.game.real);
  placeDots(parts.plane.made, points);
  drawArrows(parts.plane.arrows, points, slope);
  say(widget, coverage(points, widget.game.heaps));
  address.changed();
}

/** Blue where the discriminator says real, orange where it says generated; the stronger, the surer it is. */
function drawSurface({ game, parts }) {
  const places = new Float64Array(2 * CELLS ** 2);
  const at = (cell) => REACH * ((2 * cell + 1) / CELLS - 1);
  for (let i = 0; i < CELLS ** 2; i++) places.set([at(i % CELLS), at(Math.floor(i / CELLS))], 2 * i);
  const pixels = new ImageData(CELLS, CELLS);
  forward(game.D, places).at(-1).forEach((d, i) => {
    const p = sigmoid(d);
    const colour = p > 0.5 ? [43, 110, 220] : [235, 120, 30];
    pixels.data.set([...colour, 280 * Math.abs(p - 0.5)], 4 * i);
  });
  parts.plane.surface.getContext("2d").putImageData(pixels, 0, 0);
}

function placeDots(dots, points) {
  dots.forEach((dot, i) => {
    dot.setAttribute("x", (points[2 * i] - 0.025).toFixed(3)); // it is .05 wide
    dot.setAttribute("y", (points[2 * i + 1] - 0.025).toFixed(3));
  });
}

/** Minus the slope of each point's own loss, with a head. */
function drawArrows(arrows, points, slope) {
  arrows.forEach((arrow, i) => {
    const [x, y] = [points[2 * i], points[2 * i + 1]];
    const by = [-slope[2 * i], -slope[2 * i + 1]].map((v) => v * (points.length / 2) * LENGTH);
    const long = Math.hypot(...by);
    const [dx, dy] = by.map((v) => v * Math.min(1, LONGEST / (long || 1)));
    const head = (sign) => [x + 0.75 * dx - sign * 0.15 * dy, y + 0.75 * dy + sign * 0.15 * dx];
    const line = [[x, y], [x + dx, y + dy], head(1), [x + dx, y + dy], head(-1)];
    arrow.setAttribute("points", line.map((place) => place.map((v) => v.toFixed(3)).join(",")).join(" "));
  });
}

function say({ parts, game, playing }, { covered, near }) {
  const words = `${covered} of ${game.heaps.length}`;
  parts.covered.value.textContent = words;
  parts.near.value.textContent = percent(near);
  parts.lossOfD.value.textContent = game.loss === null ? "\u2013" : rounded(game.loss, 2);
  parts.count.value.textContent = game.moves.G;
  parts.count.detail.textContent = `of the generator, ${game.moves.D} of the discriminator`;
  const steps = `Steps: ${game.moves.D} of the discriminator, ${game.moves.G} of the generator.`;
  const news = `${steps} ${words} modes covered, ${percent(near)} of the generated points near one.`;
  parts.plane.plot.setAttribute("aria-label", `Real and generated points on a plane. ${news}`);
  if (!playing && parts.live.textContent !== news) parts.live.textContent = news;
}

function render({ model, el }) {
  const root = makeRoot(el, "gan", "The game of a GAN");
  const widget = { model, playing: 0 };
  restart(widget);
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const traits = ["data", "loss", "rate", "steps", "seed"];
  const stop = keepDrawn(widget, root, { kind: "gan", fields: fieldsOf(widget), traits, draw });
  return () => {
    clearInterval(widget.playing);
    stop();
  };
}

export default { render };
