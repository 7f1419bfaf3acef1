// ThreeDials: kNN, rank and spectrum of logged runs, by the weights of three terms. Follows page.js.

const TERMS = ["invariance", "variance", "covariance"];
const SIGNS = ["\u03bb", "\u03bc", "\u03bd"];
const PLACES = [["z", "z, what the loss sees"], ["h", "h, what is kept"]];
const [WIDTH, HEIGHT, LEFT, BELOW] = [380, 230, 40, 34]; // of both plots, in their own units; room for the axes' words
const LOWEST = -5; // log10 of a deviation that is nothing: no axis goes below
const MOST_RANK = 256; // the right end of the map's axis, which is logarithmic

/** The collapse that deviation and rank of z show; as `collapse_of` in dials.py. */
function collapseOf(deviation, rank, whole) {
  if (deviation < 0.1) return "point";
  return rank < whole / 2 ? "few directions" : "";
}

// -- state

function stateOf(model) {
  const traits = ["runs", "untrained", "dials", "recipe", "seeds"];
  const [runs, untrained, dials, recipe, seeds] = traits.map((trait) => model.get(trait));
  const powers = [...runs, ...untrained].flatMap(({ z, h }) => [...z.spectrum, ...h.spectrum]);
  const axis = [within(Math.floor(Math.min(...powers)), LOWEST, 0), Math.ceil(Math.max(...powers))]; // whole powers of 10
  return { runs, untrained, dials, recipe, seeds, axis };
}

const seedOf = ({ model, seeds }) => within(model.get("seed"), 0, seeds.length - 1);
const placesOf = ({ model, dials }) => TERMS.map((term, i) => within(model.get(term), 0, dials[i].length - 1));
const ofSeed = (widget) => widget.runs.filter(({ seed }) => seed === widget.seeds[seedOf(widget)]);
const sameWeights = (one, other) => one.weights.every((weight, i) => weight === other.weights[i]);
const wholeOf = (widget) => ofSeed(widget).find((run) => sameWeights(run, { weights: widget.recipe }));
const namedOf = (widget, run) => collapseOf(run.deviation, run.z.rank, wholeOf(widget).z.rank);

/** The run of the chosen seed that is nearest to these places of the dials, counted in stops. */
function nearest(widget, places, runs = ofSeed(widget)) {
  const far = ({ weights }) =>
    weights.reduce((sum, weight, i) => sum + Math.abs(widget.dials[i].indexOf(weight) - places[i]), 0);
  return runs.reduce((best, run) => (far(run) < far(best) ? run : best));
}

const chosen = (widget) => nearest(widget, placesOf(widget));

/** Turn one dial: it holds, the others go to the nearest run. */
function turn(widget, dial, to) {
  const places = placesOf(widget);
  places[dial] = to;
  const held = ofSeed(widget).filter(({ weights }) => weights[dial] === widget.dials[dial][to]);
  show(widget, nearest(widget, places, held));
}

function show({ model, dials }, { weights }) {
  TERMS.forEach((term, i) => put(model, term, dials[i].indexOf(weights[i])));
}

/** What stands in the page's address. */
function fieldsOf({ model, dials, seeds }) {
  const ofDial = (term, i) => {
    const names = dials[i].map(String);
    return traitField(model, term, placeIn(names), (k) => names[within(k, 0, names.length - 1)]);
  };
  return {
    ...Object.fromEntries(TERMS.map((term, i) => [term, ofDial(term, i)])),
    of: traitField(model, "place", oneOf(PLACES.map(([place]) => place))),
    seed: traitField(model, "seed", placeIn(seeds), (k) => seeds[within(k, 0, seeds.length - 1)]),
  };
}

// -- parts

function partsOf(widget) {
  const { model, dials, seeds, recipe } = widget;
  const seedNames = seeds.map((seed, k) => [String(k), `seed ${seed}`]);
  return {
    dials: TERMS.map((term, i) => dialPart(widget, term, i)),
    place: choiceSwitch("Spectrum of", PLACES, (place) => put(model, "place", place)),
    seed: choiceSwitch("Seed", seedNames, (k) => put(model, "seed", +k)),
    reset: button(`Back to ${recipe.join(", ")}`, () => show(widget, { weights: recipe })),
    knn: readout("kNN"),
    rank: readout("RankMe"),
    deviation: readout("Deviation of z", "of a feature; 1 is asked for"),
    spread: readout("Spread of z", "1: over the sphere"),
    terms: readout("Terms, last epoch", "invariance, variance, covariance"),
    spectrum: spectrumPart(widget),
    map: mapPart(),
    verdict: make("p", { class: "sslw-verdict", "aria-live": "polite" }),
  };
}

function dialPart(widget, term, i) {
  const values = widget.dials[i];
  const part = slider({
    label: `${SIGNS[i]}, ${term}`, min: 0, max: values.length - 1, step: 1, format: (k) => String(values[k]),
    oninput: (k) => turn(widget, i, k),
  });
  const stops = values.map((value) => make("span", {}, String(value)));
  part.row.append(make("div", { class: "sslw-stops", "aria-hidden": "true" }, stops));
  return part;
}

const lineOf = (name, x1, y1, x2, y2) => make("line", { class: name, x1, y1, x2, y2 });
const textAt = (x, y, anchor, words) => make("text", { x, y, "text-anchor": anchor }, words);
const plotOf = (...children) =>
  make("svg", { class: "sslw-spectrum", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" }, ...children);

/** Deviations along the directions, the largest first; the other runs stand faintly behind. */
function spectrumPart({ axis }) {
  const marks = [];
  for (let power = axis[0]; power <= axis[1]; power++) {
    const y = heightOf(power, axis);
    marks.push(lineOf("sslw-limit", LEFT, y, WIDTH, y), textAt(LEFT - 5, y + 4, "end", powerOf(power)));
  }
  const foot = HEIGHT - BELOW + 18;
  const words = [textAt(LEFT, foot, "start", "1st direction"), textAt(WIDTH, foot, "end", "")];
  const others = make("g");
  const before = make("polyline", { class: "sslw-before" });
  const line = make("polyline", { class: "sslw-run-line" });
  return { plot: plotOf(...marks, ...words, others, before, line), others, before, line, last: words[1] };
}

/** All runs of a seed: RankMe to the right, kNN upwards. */
function mapPart() {
  const ticks = [1, 4, 16, 64, 256].map((rank) => textAt(acrossOf(rank), HEIGHT - BELOW + 18, "middle", String(rank)));
  const levels = [0, 0.25, 0.5, 0.75, 1].flatMap((knn) => {
    const y = upOf(knn);
    return [lineOf("sslw-limit", LEFT, y, WIDTH, y), textAt(LEFT - 5, y + 4, "end", rounded(knn, 2))];
  });
  const across = textAt((LEFT + WIDTH) / 2, HEIGHT - 2, "middle", "RankMe");
  const dots = make("g");
  return { plot: plotOf(...levels, ...ticks, across, dots), dots };
}

function layout({ seeds, parts }) {
  const lines = "Thick: this run. Dashed: untrained. Thin: the other runs.";
  const dots = "kNN (up) and RankMe of all runs; hollow: untrained, framed: this run.";
  return [
    make(
      "div",
      { class: "sslw-controls" },
      parts.dials.map(({ row }) => row),
      make("div", { class: "sslw-buttons" }, parts.reset),
    ),
    make("div", { class: "sslw-choices" }, parts.place.row, seeds.length > 1 ? parts.seed.row : []),
    readoutList([parts.knn, parts.rank, parts.deviation, parts.spread, parts.terms]),
    make(
      "div",
      { class: "sslw-columns" },
      make("figure", {}, parts.spectrum.plot, make("figcaption", {}, lines)),
      make("figure", {}, parts.map.plot, make("figcaption", {}, dots)),
    ),
    parts.verdict,
  ];
}

// -- draw

const powerOf = (power) => (power < -3 ? `1e\u2212${-power}` : String(10 ** power));
const heightOf = (power, [bottom, top]) =>
  8 + ((HEIGHT - BELOW - 8) * (top - within(power, bottom, top))) / Math.max(1, top - bottom);
const upOf = (knn) => 8 + (HEIGHT - BELOW - 8) * (1 - knn);
const acrossOf = (rank) => LEFT + 10 + ((WIDTH - LEFT - 20) * Math.log(within(rank, 1, MOST_RANK))) / Math.log(MOST_RANK);
const pointsOf = (spectrum, axis) =>
  spectrum
    .map((power, k) => `${(LEFT + ((WIDTH - LEFT) * k) / Math.max(1, spectrum.length - 1)).toFixed(1)},${heightOf(power, axis).toFixed(1)}`)
    .join(" ");

function draw(widget) {
  const { model, untrained, dials, parts, address } = widget;
  const [run, place, before] = [chosen(widget), model.get("place"), untrained[seedOf(widget)]];
  parts.dials.forEach((dial, i) => dial.set(dials[i].indexOf(run.weights[i])));
  parts.place.set(place);
  parts.seed.set(String(seedOf(widget)));
  parts.knn.value.textContent = rounded(run.knn, 2);
  parts.knn.detail.textContent = `untrained ${rounded(before.knn, 2)}`;
  parts.rank.value.textContent = rounded(run[place].rank, 1);
  parts.rank.detail.textContent = `of ${place}; untrained ${rounded(before[place].rank, 1)}`;
  parts.deviation.value.textContent = rounded(run.deviation, 3);
  parts.spread.value.textContent = rounded(run.spread, 2);
  parts.terms.value.textContent = run.terms.map((term) => rounded(term, 2)).join(", ");
  drawSpectrum(widget, run, place, before);
  drawMap(widget, run, place, before);
  const news = wordsOf(widget, run);
  if (parts.verdict.textContent !== news) parts.verdict.textContent = news;
  address.changed();
}

function drawSpectrum(widget, run, place, before) {
  const { axis, parts } = widget;
  const { plot, others, before: dashed, line, last } = parts.spectrum;
  const { spectrum } = run[place];
  line.setAttribute("points", pointsOf(spectrum, axis));
  dashed.setAttribute("points", pointsOf(before[place].spectrum, axis));
  const beside = ofSeed(widget).filter((other) => other !== run);
  others.replaceChildren(...beside.map((other) => make("polyline", { points: pointsOf(other[place].spectrum, axis) })));
  last.textContent = String(spectrum.length);
  const [first, end] = [spectrum[0], spectrum.at(-1)].map((power) => rounded(10 ** power, 4));
  plot.setAttribute("aria-label", `Spectrum of ${place}: from ${first} in the first direction to ${end} in number ${spectrum.length}`);
}

function drawMap(widget, run, place, before) {
  const { plot, dots } = widget.parts.map;
  const dot = (row, name, size) =>
    make("rect", {
      class: name, width: size, height: size, rx: size / 2,
      x: (acrossOf(row[place].rank) - size / 2).toFixed(1), y: (upOf(row.knn) - size / 2).toFixed(1),
    });
  const beside = ofSeed(widget).filter((row) => row !== run);
  const others = beside.map((row) => dot(row, "sslw-dot", 9));
  dots.replaceChildren(dot(before, "sslw-start", 10), ...others, dot(run, "sslw-dot sslw-this", 16));
  plot.setAttribute("aria-label", `This run: RankMe of ${place} ${rounded(run[place].rank, 1)}, kNN ${rounded(run.knn, 2)}`);
}

/** What the numbers of a run mean. */
function wordsOf(widget, run) {
  const name = `${SIGNS.map((sign, i) => `${sign} = ${run.weights[i]}`).join(", ")}: `;
  const kind = namedOf(widget, run);
  if (kind === "point") return `${name}all images have come close to one point, features deviate by ${rounded(run.deviation, 3)}.`;
  const rank = rounded(run.z.rank, 1);
  if (kind) return `${name}dimensional collapse: the spread is ${rounded(run.spread, 2)}, but z lies along few directions, RankMe ${rank}.`;
  const before = widget.untrained[seedOf(widget)];
  return `${name}no collapse, RankMe of z ${rank}; kNN ${rounded(run.knn, 2)}, untrained ${rounded(before.knn, 2)}.`;
}

function render({ model, el }) {
  const root = makeRoot(el, "dials", "Three weights");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const traits = [...TERMS, "place", "seed"];
  return keepDrawn(widget, root, { kind: "dials", fields: fieldsOf(widget), traits, draw });
}

export default { render };
