// LinearBYOL: one direction of a linear BYOL, its course and its basin of attraction. Follows page.js.

const KINDS = [["complete", "complete"], ["no predictor", "no predictor"], ["no stop-gradient", "no stop-gradient"]];
const RANGES = { p: [-1, 1.2], s: [0, 1], decay: [0, 0.3], rate: [0.1, 10] };
const [TIME, STEP] = [40, 0.05]; // as in linear_byol.py
const LONG = 200; // time after which it is decided what lives
const CELLS = [40, 30]; // of the basin's picture
const [WIDTH, HEIGHT] = [320, 240]; // of a plot, in its own units

/** How fast p and s change at a place. */
function slope([p, s], { decay, rate, kind, noise }) {
  const drive = 1 - (1 + noise) * p;
  if (kind === "no predictor") return [0, 2 * s * drive - 2 * decay * s];
  const across = rate * s * drive - decay * p;
  if (kind === "no stop-gradient") return [across, 2 * s * (2 * p - (1 + noise) * (1 + p * p) - decay)];
  return [across, 2 * p * s * drive - 2 * decay * s];
}

/** A step of Runge and Kutta. */
function step(at, h, settings) {
  const moved = (by, part) => at.map((x, k) => x + part * h * by[k]);
  const a = slope(at, settings);
  const b = slope(moved(a, 0.5), settings);
  const c = slope(moved(b, 0.5), settings);
  const d = slope(moved(c, 1), settings);
  return at.map((x, k) => x + (h / 6) * (a[k] + 2 * b[k] + 2 * c[k] + d[k]));
}

/** [p, s] at times 0, STEP, 2 STEP, ... up to TIME. */
export function course(start, settings) {
  const path = [settings.kind === "no predictor" ? [1, start[1]] : start];
  for (let k = 0; k < Math.round(TIME / STEP); k++) path.push(step(path[k], STEP, settings));
  return path;
}

/** Where the predictor's eigenvalue can rest: [unstable, stable]; null where everything dies. */
export function rests({ decay, kind, noise }) {
  const inside = 1 - 4 * decay * (1 + noise);
  if (kind !== "complete" || inside < 0) return null;
  return [-1, 1].map((sign) => (1 + sign * Math.sqrt(inside)) / (2 * (1 + noise)));
}

/** Does a direction live in the end? */
function lives(start, settings) {
  const places = rests(settings);
  if (!places || start[1] === 0) return false;
  const least = Math.max(places[0] ** 2 / settings.rate, 1e-4);
  let at = start;
  for (let t = 0; t < LONG; t += 2 * STEP) {
    const next = step(at, 2 * STEP, settings);
    const still = Math.abs(next[0] - at[0]) + Math.abs(next[1] - at[1]) < 1e-7;
    at = next;
    if (still) break;
  }
  return at[1] > least;
}

// -- state

function settingsOf({ model }) {
  return Object.fromEntries(["decay", "rate", "kind", "noise"].map((trait) => [trait, model.get(trait)]));
}

const startOf = ({ model }) => [model.get("p"), model.get("s")];

/** What stands in the page's address. */
function fieldsOf({ model }) {
  const numbers = Object.entries(RANGES).map(([trait, range]) => [trait, traitField(model, trait, numberIn(...range))]);
  return { ...Object.fromEntries(numbers), kind: traitField(model, "kind", oneOf(KINDS.map(([kind]) => kind))) };
}

/** The basin, a cell for each start; computed anew only where it has changed. */
function basinOf(widget, settings) {
  const key = JSON.stringify(settings);
  if (widget.basin?.key !== key) {
    const [columns, rows] = CELLS;
    const at = (share, [low, high]) => low + share * (high - low);
    const cells = Array.from({ length: rows * columns }, (_, k) => {
      const [row, column] = [Math.floor(k / columns), k % columns];
      return lives([at((column + 0.5) / columns, RANGES.p), at(1 - (row + 0.5) / rows, RANGES.s)], settings);
    });
    widget.basin = { key, cells };
  }
  return widget.basin.cells;
}

// -- parts

function partsOf(widget) {
  const { model } = widget;
  const number = (label, trait, by, digits) => {
    const [min, max] = RANGES[trait];
    const format = (x) => rounded(x, digits);
    return slider({ label, min, max, step: by, format, oninput: (x) => put(model, trait, x) });
  };
  return {
    kind: choiceSwitch("Parts", KINDS, (kind) => put(model, "kind", kind)),
    p: number("p at the start (predictor)", "p", 0.01, 2),
    s: number("s at the start (features)", "s", 0.01, 2),
    decay: number("Weight decay", "decay", 0.005, 3),
    rate: number("Predictor\u2019s rate, times the encoder\u2019s", "rate", 0.1, 1),
    end: readout("In the end", ""),
    needs: readout("The predictor can rest at", ""),
    plane: planePart(widget),
    times: plotPart("sslw-times", "time, 0 to 40", "eigenvalue, \u22121 to 1.2"),
    live: liveText(),
  };
}

/** A plot with its axes: {item, plot, curve()}. */
function plotPart(name, across, up) {
  const plot = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: name });
  const curve = (kind) => {
    const line = make("polyline", { class: `sslw-curve sslw-curve-${kind}`, fill: "none" });
    plot.append(line);
    return line;
  };
  const caption = make("figcaption", {}, `Across ${across}; up ${up}.`);
  const item = make("figure", {}, make("div", { class: "sslw-plot-frame" }, plot), caption);
  return { item, plot, curves: { s: curve("s"), p: curve("p") } };
}

/** The plane of all starts: a click chooses one; the sliders do the same by keyboard. */
function planePart({ model }) {
  const part = plotPart("sslw-plane", "p from \u22121 to 1.2", "s from 0 to 1");
  const [columns, rows] = CELLS;
  const basin = make("canvas", { width: columns, height: rows, "aria-hidden": "true" });
  const dot = make("rect", { class: "sslw-start", width: 10, height: 10 });
  const [x] = placeOf([0, 0]);
  part.plot.prepend(make("line", { class: "sslw-zero", x1: x, x2: x, y1: 0, y2: HEIGHT }));
  part.plot.append(dot);
  part.plot.before(basin);
  part.plot.addEventListener("click", ({ clientX, clientY }) => {
    const { left, top, width, height } = part.plot.getBoundingClientRect();
    const share = { p: (clientX - left) / width, s: 1 - (clientY - top) / height };
    for (const trait of ["p", "s"]) {
      const [low, high] = RANGES[trait];
      put(model, trait, within(Math.round(100 * (low + share[trait] * (high - low))) / 100, low, high));
    }
  });
  return { ...part, basin, dot };
}

function layout({ kind, p, s, decay, rate, end, needs, plane, times, live }) {
  const key = (which, words) => make("span", { class: `sslw-key-${which}` }, words);
  times.item.append(make("p", { class: "sslw-keys" }, key("p", "p of the predictor"), key("s", "s of the features")));
  const note = "Tinted: starts that live. The dot is this start, its line the course. Click to start elsewhere.";
  plane.item.append(make("p", { class: "sslw-note" }, note));
  return [
    kind.row,
    make("div", { class: "sslw-controls" }, p.row, s.row, decay.row, rate.row),
    readoutList([end, needs]),
    make("div", { class: "sslw-planes" }, plane.item, times.item),
    live,
  ];
}

// -- draw

/** Where [p, s] lies in the plane. */
function placeOf([p, s]) {
  const share = (x, [low, high]) => within((x - low) / (high - low), -0.1, 1.1);
  return [WIDTH * share(p, RANGES.p), HEIGHT * (1 - share(s, RANGES.s))];
}

const pointsOf = (places) => places.map((place) => place.map((x) => x.toFixed(1)).join(",")).join(" ");

function draw(widget) {
  const { model, parts, address } = widget;
  const settings = settingsOf(widget);
  const path = course(startOf(widget), settings);
  const alive = lives(path[0], settings);
  for (const trait of Object.keys(RANGES)) parts[trait].set(model.get(trait));
  parts.kind.set(settings.kind);
  parts.p.input.disabled = parts.rate.input.disabled = settings.kind === "no predictor";
  drawPlane(widget, path, settings);
  drawTimes(parts.times, path);
  say(widget, path, settings, alive);
  address.changed();
}

function drawPlane(widget, path, settings) {
  const { basin, dot, curves, plot } = widget.parts.plane;
  const pixels = new ImageData(...CELLS);
  basinOf(widget, settings).forEach((alive, k) => pixels.data.set([43, 150, 90, alive ? 90 : 0], 4 * k));
  basin.getContext("2d").putImageData(pixels, 0, 0);
  curves.p.setAttribute("points", pointsOf(path.map(placeOf)));
  const parabola = Array.from({ length: 61 }, (_, k) => -1.2 + k / 24).map((p) => [p, p ** 2 / settings.rate]);
  curves.s.setAttribute("points", settings.kind === "complete" ? pointsOf(parabola.map(placeOf)) : "");
  const [x, y] = placeOf(path[0]);
  dot.setAttribute("x", x - 5); // it is 10 wide
  dot.setAttribute("y", y - 5);
  const [[p, s], [pEnd, sEnd]] = [path[0], path.at(-1)].map((at) => at.map((value) => rounded(value, 2)));
  plot.setAttribute("aria-label", `From p = ${p}, s = ${s} to p = ${pEnd}, s = ${sEnd} at time ${TIME}`);
}

function drawTimes({ curves, plot }, path) {
  ["p", "s"].forEach((which, k) => {
    const points = path.map((at, n) => [(WIDTH * n) / (path.length - 1), placeOfValue(at[k])]);
    curves[which].setAttribute("points", pointsOf(points));
  });
  plot.querySelector(".sslw-zero")?.remove();
  plot.prepend(make("line", { class: "sslw-zero", x1: 0, x2: WIDTH, y1: placeOfValue(0), y2: placeOfValue(0) }));
  const [p, s] = path.at(-1).map((value) => rounded(value, 2));
  plot.setAttribute("aria-label", `Both eigenvalues over time; at ${TIME}, p is ${p} and s is ${s}`);
}

/** The height of an eigenvalue among the courses. */
const placeOfValue = (x) => HEIGHT * (1 - within((x - RANGES.p[0]) / (RANGES.p[1] - RANGES.p[0]), -0.1, 1.1));

/** What became of it, in words, and where it could have rested. */
function say({ parts }, path, settings, alive) {
  const places = rests(settings);
  const [p, s] = path.at(-1).map((value) => rounded(value, 2));
  parts.end.value.textContent = alive ? "it lives" : "it dies";
  parts.end.detail.textContent = `at time ${TIME}: p = ${p}, s = ${s}`;
  parts.needs.value.textContent = places ? rounded(places[1], 2) : "nowhere";
  let why = "without this part every start dies";
  if (settings.kind === "complete") why = "the weight decay is too strong for any start";
  if (places) why = `or at 0, below ${rounded(places[0], 2)} on the dotted curve`;
  parts.needs.detail.textContent = why;
  const news = `${parts.end.value.textContent}: ${parts.end.detail.textContent}.`;
  if (parts.live.textContent !== news) parts.live.textContent = news;
}

function render({ model, el }) {
  const root = makeRoot(el, "linear-byol", "One direction of a linear BYOL");
  const widget = { model };
  widget.parts = partsOf(widget);
  root.append(...layout(widget.parts));
  const traits = [...Object.keys(RANGES), "kind"];
  return keepDrawn(widget, root, { kind: "linear-byol", fields: fieldsOf(widget), traits, draw });
}

export default { render };
