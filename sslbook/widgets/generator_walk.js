// GeneratorWalk: round a ring of codes; the generator in this page paints. Follows page.js, weights.js, decoder.js.

const ANCHORS = 6;
const STEPS = 9; // pictures on the way from one anchor to the next, both among them
const SEEDS = 10000;
const WAYS = [["arc", "On the sphere"], ["line", "Straight"]];
const WORDS = { here: "The generator runs in this page.", without: "nothing is painted" };

// -- state

function stateOf(model) {
  return {
    about: model.get("network"),
    network: null, // until the weights are there
    networkOf: decoderOf,
    words: WORDS,
    painted: {}, // the anchors and the way that were painted last: {key, pictures}
  };
}

/** The codes in the ring, the same for one seed on every page. */
export function anchorsOf(latents, seed) {
  const numbers = normals(ANCHORS * latents, seed);
  return Array.from({ length: ANCHORS }, (_, i) => Array.from(numbers.subarray(i * latents, (i + 1) * latents)));
}

/** The anchor before a place, the one after it, and how far it is between them. */
function legOf(place) {
  const first = Math.min(Math.floor(place), ANCHORS - 1);
  return { first, next: (first + 1) % ANCHORS, t: place - first };
}

/** The code at a place on the way round. */
export function codeAt(place, anchors, way) {
  const { first, next, t } = legOf(place);
  return (way === "arc" ? onArc : onLine)(anchors[first], anchors[next], t);
}

const placeOf = ({ model }) => within(model.get("place"), 0, ANCHORS);
const letter = (i) => String.fromCharCode(65 + (i % ANCHORS));

/** What stands in the page's address. */
function fieldsOf({ model }) {
  return {
    seed: traitField(model, "seed", wholeIn(0, SEEDS - 1)),
    place: traitField(model, "place", numberIn(0, ANCHORS)),
    way: traitField(model, "way", oneOf(WAYS.map(([way]) => way))),
  };
}

// -- parts

function partsOf(widget) {
  const { model, about } = widget;
  return {
    network: networkPart(widget),
    large: make("canvas", { role: "img", width: about.size, height: about.size }),
    anchors: buttonsPart(ANCHORS, (i) => put(model, "place", i)),
    strip: buttonsPart(STEPS, (i) => put(model, "place", legOf(placeOf(widget)).first + i / (STEPS - 1))),
    place: slider({
      label: "Way round", min: 0, max: ANCHORS, step: 0.02, format: placeWords, oninput: (place) => put(model, "place", place),
    }),
    way: choiceSwitch("From code to code", WAYS, (way) => put(model, "way", way)),
    again: primaryButton("New codes", () => put(model, "seed", (model.get("seed") + 1) % SEEDS)),
    length: readout("Length of the code", `one from the prior: about ${rounded(Math.sqrt(about.latents), 1)}`),
    title: make("h4"),
    live: liveText(),
  };
}

/** Pictures that can be pressed: [{canvas, item}]. */
function buttonsPart(count, choose) {
  return Array.from({ length: count }, (_, i) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    return { canvas, item: make("button", { type: "button", onclick: () => choose(i) }, canvas) };
  });
}

function placeWords(place) {
  const { first, next, t } = legOf(place);
  if (t === 0) return letter(first);
  return t === 1 ? letter(next) : `${percent(t)} from ${letter(first)} to ${letter(next)}`;
}

function layout({ parts }) {
  const { network, large, anchors, strip, place, way, again, length, title, live } = parts;
  const tiles = (label, all, kind) =>
    make("div", { class: `sslw-tiles sslw-tiles-${kind}`, role: "group", "aria-label": label }, all.map(({ item }) => item));
  anchors.forEach(({ item }, i) => item.append(make("span", { "aria-hidden": "true" }, letter(i))));
  const side = make("div", { class: "sslw-walk-side" },
    make("h4", {}, "Six codes from the prior"), tiles("The six codes", anchors, "anchors"),
    place.row, title, tiles("On the way to the next code", strip, "strip"),
    make("div", { class: "sslw-choices" }, way.row, again), readoutList([length]));
  return [make("div", { class: "sslw-columns" }, make("figure", { class: "sslw-walk-large" }, large), side), network.item, live];
}

// -- draw

function draw(widget) {
  const { model, parts, about, network, address } = widget;
  const [place, way] = [placeOf(widget), model.get("way")];
  const anchors = anchorsOf(about.latents, model.get("seed"));
  const code = codeAt(place, anchors, way);
  const { first, next } = legOf(place);
  parts.place.set(place);
  parts.way.set(way);
  parts.length.value.textContent = rounded(lengthOf(code), 1);
  parts.title.textContent = `From ${letter(first)} to ${letter(next)}`;
  if (network) {
    const codes = Array.from({ length: STEPS }, (_, i) => codeAt(first + i / (STEPS - 1), anchors, way));
    codes[STEPS - 1] = anchors[next];
    paint(parts.large, decode(network, code));
    paintedOnce(widget, "anchors", anchors).forEach((picture, i) => paint(parts.anchors[i].canvas, picture));
    paintedOnce(widget, "strip", codes).forEach((picture, i) => paint(parts.strip[i].canvas, picture));
  }
  describe(widget, place);
  address.changed();
}

/** Which pictures are pressed, and what a screen reader is told. */
function describe({ parts }, place) {
  const { first, next, t } = legOf(place);
  parts.anchors.forEach(({ item }, i) => {
    item.setAttribute("aria-label", `code ${letter(i)}`);
    item.setAttribute("aria-pressed", String(place % ANCHORS === i));
  });
  parts.strip.forEach(({ item }, i) => {
    item.setAttribute("aria-label", `${percent(i / (STEPS - 1))} from ${letter(first)} to ${letter(next)}`);
    item.setAttribute("aria-pressed", String(i === Math.round((STEPS - 1) * t)));
  });
  const words = placeWords(place);
  parts.large.setAttribute("aria-label", `what the generator paints of the code ${words}`);
  const news = `Code ${words}, its length ${parts.length.value.textContent}.`;
  if (parts.live.textContent !== news) parts.live.textContent = news;
}

function render({ model, el }) {
  const root = makeRoot(el, "walk", "A walk through the codes of a generator");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const callOff = bringNetwork(widget, root);
  const traits = ["seed", "place", "way"];
  const stop = keepDrawn(widget, root, { kind: "walk", fields: fieldsOf(widget), traits, draw });
  return () => {
    callOff();
    stop();
  };
}

export default { render };
