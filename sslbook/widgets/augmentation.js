// AugmentationExplorer: what is drawn for a view, and what it does to an image. Follows views.js and page.js.

// light enough for black numbers, apart for colour-blind eyes; every frame also carries its number
const COLORS = ["#e69f00", "#56b4e9", "#1fbf8f", "#f27a4f", "#e58bbd", "#d6c72a", "#a99cf5", "#b0b0b0"];
const colorOf = (k) => `--view: ${COLORS[k % COLORS.length]}`;

const PROBABILITIES = [
  ["flip", "mirrored", "How often a view is flipped left-right"],
  ["jitter", "recoloured", "How often brightness, contrast, saturation and hue change"],
  ["grey", "made grey", "How often a view loses its colours"],
  ["blur", "blurred", "How often a view is blurred"],
  ["solarize", "solarised", "How often what is brighter than one half is inverted"],
];
const CROPS = [["alike", "Crops alike"], ["multi-crop", "Multi-crop"]];
const LARGE = 2; // views of a multi-crop
const STEPS = 9; // that make a view
const MOST_DRAWS = 1e6;

/** The augmentation's fields with the sliders' values in their places. */
export function settings(family, sliders) {
  const { scale, strength, crops, split, ...probabilities } = sliders;
  return { ...withStrength(family, strength), ...probabilities, scale: [scale, family.scale[1]] };
}

/** The augmentation of view k: in a multi-crop the first two are large, the others small. */
export function augmentationOf(family, sliders, small, k) {
  const a = settings(family, sliders);
  if (sliders.crops === "alike") return a;
  const split = Math.max(sliders.split, sliders.scale);
  return k < LARGE ? { ...a, scale: [split, 1] } : { ...a, size: small, scale: [sliders.scale, split] };
}

// -- words

const sign = (x) => (x < 0 ? "\u2212" : "+");
const times = (x) => `\u00d7 ${rounded(x, 2)}`;

/** A step in words: [what, how much]. */
function words({ name, on, value }, area) {
  if (name === "crop") return ["crop", `${value[3]} \u00d7 ${value[2]} px, ${percent((value[2] * value[3]) / area)}`];
  if (name === "flip") return on ? ["mirror", "left\u2013right"] : ["mirror", "no"];
  if (name === "hue") return ["hue", on ? `${sign(value)} ${Math.abs(value * 360).toFixed(0)}\u00b0` : "kept"];
  if (name === "blur") return ["blur", on ? `\u03c3 ${rounded(value, 2)} px` : "no"];
  if (name === "grey") return ["grey", on ? "yes" : "no"];
  if (name === "solarize") return ["solarise", on ? "yes" : "no"];
  return [name, on ? times(value) : "kept"];
}

/** A view in a few words, for its caption. */
function summary(p, area, isSmall) {
  const done = [`${isSmall ? "small crop" : "crop"} ${percent((p.box[2] * p.box[3]) / area)}`];
  if (p.flip) done.push("mirror");
  if (p.jittered && !p.grey) done.push("colour");
  if (p.grey) done.push("grey");
  if (p.sigma > 0) done.push("blur");
  if (p.solarize) done.push("solarise");
  return done.join(" \u00b7 ");
}

// -- state

function stateOf(model) {
  const [, height, width] = model.get("shape");
  const labels = model.get("labels");
  const first = array(model, "uniforms", Float32Array); // the numbers that Python drew, DRAWS for each view
  return {
    images: picturesOf(model, "pixels", height, width),
    labels,
    nameOf: (i) => (labels.length ? labels[i] : `image ${i + 1}`),
    height,
    width,
    family: model.get("family"),
    first,
    count: first.length / DRAWS, // views
    numbers: first,
    draws: 0, // how often new numbers were drawn
    chosen: 0, // image
    selected: 0, // view
    hovered: null, // view under the pointer
    drawn: [], // {p, a} of each view
  };
}

function choose(widget, i) {
  widget.chosen = i;
  draw(widget);
}

function select(widget, k) {
  widget.selected = k;
  focus(widget);
}

function hover(widget, k) {
  widget.hovered = k;
  focus(widget);
}

/** The numbers of the `draws`-th press of New views; those of 0 came from Python. */
function setDraws(widget, draws) {
  const { first, model } = widget;
  widget.draws = draws;
  widget.numbers = draws ? drawnAgain(first.length, model.get("seed"), draws) : first;
}

function reset(widget) {
  setDraws(widget, 0);
  widget.selected = 0;
  put(widget.model, "sliders", { ...widget.model.get("start") });
  draw(widget);
}

/** What stands in the page's address: picture, view and draw, and the sliders under the augmentation's own names. */
function fieldsOf(widget) {
  const { model, images, count, family } = widget;
  const sliderField = (name, low, high) => ({
    get: () => String(model.get("sliders")[name]),
    parse: numberIn(low, high),
    set: (value) => put(model, "sliders", { ...model.get("sliders"), [name]: value }),
  });
  return {
    image: countedField(images.length, () => widget.chosen, (i) => (widget.chosen = i)),
    view: countedField(count, () => widget.selected, (k) => (widget.selected = k)),
    draw: { get: () => String(widget.draws), parse: wholeIn(0, MOST_DRAWS), set: (draws) => setDraws(widget, draws) },
    scale: sliderField("scale", 0.02, family.scale[1]),
    crops: { ...sliderField("crops"), parse: oneOf(CROPS.map(([value]) => value)) },
    split: sliderField("split", 0.02, 1),
    strength: sliderField("strength", 0, 2),
    ...Object.fromEntries(PROBABILITIES.map(([name]) => [name, sliderField(name, 0, 1)])),
  };
}

// -- parts

function partsOf(widget) {
  const { images, nameOf, model, family, count } = widget;
  const id = unique();
  const all = [...Array(count).keys()];
  const move = (name, value) => put(model, "sliders", { ...model.get("sliders"), [name]: value });
  const anew = () => {
    setDraws(widget, widget.draws + 1);
    draw(widget);
  };
  return {
    thumbs: thumbnails("Image", images, nameOf, (i) => choose(widget, i)),
    original: make("canvas", { role: "img" }),
    caption: make("figcaption"),
    frames: all.map((k) => framePart(widget, k)),
    boxes: make("g"), // the frames; the tags lie above every frame
    tags: all.map((k) => tagPart(widget, k)),
    views: all.map((k) => viewPart(widget, k, `${id}-view`)),
    controls: sliderParts(family, move),
    crops: choiceSwitch("Crops", CROPS, (value) => move("crops", value)),
    again: primaryButton("New views", anew),
    reset: button("Reset", () => reset(widget)),
    drawCount: make("span", { class: "sslw-note" }),
    filmTitle: make("h4"),
    film: Array.from({ length: STEPS }, filmPart),
    live: liveText(),
  };
}

/** Where a view was cut from the original. */
function framePart(widget, k) {
  const edge = { fill: "none", "vector-effect": "non-scaling-stroke" };
  return make(
    "g",
    { class: "sslw-box", style: colorOf(k), onclick: () => select(widget, k) },
    make("rect", { ...edge, class: "sslw-halo" }),
    make("rect", { ...edge, class: "sslw-edge" }),
  );
}

const tagSide = ({ height, width }) => Math.max(height, width) / 12;

/** The frame's number, in one of its corners. */
function tagPart(widget, k) {
  const side = tagSide(widget);
  const middle = { "text-anchor": "middle", "dominant-baseline": "central", x: side / 2, y: side / 2 };
  return make(
    "g",
    { class: "sslw-tag", style: colorOf(k), onclick: () => select(widget, k) },
    make("rect", { width: side, height: side }),
    make("text", { "font-size": 0.85 * side, ...middle }, `${k + 1}`),
  );
}

function viewPart(widget, k, name) {
  const input = make("input", { type: "radio", name, onchange: () => select(widget, k) });
  const canvas = make("canvas", { "aria-hidden": "true" });
  const text = make("span", { class: "sslw-words" });
  const card = make(
    "label",
    {
      class: "sslw-view",
      style: colorOf(k),
      onpointerenter: () => hover(widget, k),
      onpointerleave: () => hover(widget, null),
    },
    input,
    make("span", { class: "sslw-frame" }, canvas, make("b", {}, `${k + 1}`)),
    text,
  );
  return { input, canvas, text, card };
}

/** One step of how the selected view came to be. */
function filmPart() {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const [what, value] = [make("b"), make("span")];
  return { canvas, what, value, item: make("li", {}, canvas, what, value) };
}

/** The sliders by name; their values live in the model, so that a notebook can read them back. */
function sliderParts(family, move) {
  const scale = slider({
    label: "Smallest crop",
    hint: "The least share of the image that a crop keeps",
    min: 0.02, max: family.scale[1], step: 0.01, format: percent, oninput: (value) => move("scale", value),
  });
  const strength = slider({
    label: "Colour strength",
    hint: "How far brightness, contrast, saturation and hue may go, as a multiple of this augmentation's own ranges",
    min: 0, max: 2, step: 0.05, format: times, oninput: (value) => move("strength", value),
  });
  const split = slider({
    label: "Small up to",
    hint: "The share of the image that a small crop has at most, and a large one at least",
    min: 0.02, max: 0.9, step: 0.01, format: percent, oninput: (value) => move("split", value),
  });
  const probabilities = PROBABILITIES.map(([name, label, hint]) => {
    const oninput = (value) => move(name, value);
    return [name, slider({ label, hint, min: 0, max: 1, step: 0.05, format: percent, oninput })];
  });
  return { scale, strength, split, ...Object.fromEntries(probabilities) };
}

function layout({ height, width, parts }) {
  const { thumbs, original, caption, frames, boxes, tags, views, controls, filmTitle, film, live } = parts;
  boxes.append(...frames);
  const overlay = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, boxes, make("g", {}, tags));
  const stack = make("div", { class: "sslw-stack", style: `aspect-ratio: ${width} / ${height}` }, original, overlay);
  const cards = views.map(({ card }) => card);
  const side = make(
    "div",
    { class: "sslw-side" },
    make("div", { class: "sslw-views", role: "radiogroup", "aria-label": "Views" }, cards),
    make("div", { class: "sslw-buttons" }, parts.again, parts.reset, parts.drawCount),
  );
  const sliders = make(
    "div",
    { class: "sslw-controls", role: "group", "aria-label": "Augmentation" },
    make("h4", {}, "How far a view may go"),
    [controls.scale.row, controls.strength.row, controls.split.row],
    make("h4", {}, "How often a view is"),
    PROBABILITIES.map(([name]) => controls[name].row),
  );
  const strip = make("ol", { class: "sslw-film" }, film.map(({ item }) => item));
  return [
    make("div", { class: "sslw-choices" }, thumbs.row, parts.crops.row),
    make("div", { class: "sslw-columns" }, make("figure", { class: "sslw-original" }, stack, caption), side),
    sliders,
    make("div", { class: "sslw-making" }, filmTitle, strip),
    live,
  ];
}

// -- draw

/** All views from the numbers and the sliders. */
function draw(widget) {
  const { model, images, labels, nameOf, chosen, numbers, family, height, width, draws, parts } = widget;
  const sliders = model.get("sliders");
  const name = nameOf(chosen);
  paint(parts.original, images[chosen]);
  parts.original.setAttribute("aria-label", `${name}, with a frame where each view was cut`);
  parts.caption.textContent = `${labels.length ? `${name}: ` : ""}the frames show where each view was cut`;
  parts.thumbs.set(chosen);
  widget.drawn = parts.views.map((_, k) => {
    const a = augmentationOf(family, sliders, model.get("small"), k);
    const p = parameters(numbers.subarray(k * DRAWS, (k + 1) * DRAWS), a, height, width);
    drawView(widget, k, p, a);
    return { p, a };
  });
  for (const [key, control] of Object.entries(parts.controls)) control.set(sliders[key]);
  parts.crops.set(sliders.crops);
  parts.controls.split.row.hidden = sliders.crops === "alike";
  parts.drawCount.textContent = draws ? `draw ${draws}` : "";
  focus(widget);
}

/** One view, and its frame and number on the original. */
function drawView(widget, k, p, a) {
  const { images, chosen, height, width, family, parts } = widget;
  const { input, canvas, text } = parts.views[k];
  paint(canvas, apply(images[chosen], p, a));
  canvas.style.width = `${(100 * a.size) / family.size}%`;
  text.textContent = summary(p, height * width, a.size < family.size);
  input.setAttribute("aria-label", `View ${k + 1}: ${text.textContent}`);
  const [top, left, h, w] = p.box;
  const place = Object.entries({ x: left, y: top, width: w, height: h });
  for (const rect of parts.frames[k].children) {
    for (const [name, value] of place) rect.setAttribute(name, value);
  }
  const side = tagSide(widget);
  const x = left + ((k + 1) % 4 > 1 ? w - side : 0); // the numbers go round the corners, not to hide each other
  const y = top + (k % 4 > 1 ? h - side : 0);
  parts.tags[k].setAttribute("transform", `translate(${x} ${y})`);
}

/** The selected (or hovered) view: its frame on top, its nine steps. */
function focus(widget) {
  const { images, chosen, selected, hovered, drawn, height, width, parts } = widget;
  const { views, frames, boxes, filmTitle, film, live } = parts;
  const k = hovered ?? selected;
  const area = height * width;
  views.forEach(({ input, card }, i) => {
    input.checked = i === selected;
    card.classList.toggle("sslw-on", i === k);
    frames[i].classList.toggle("sslw-on", i === k);
  });
  if (boxes.lastChild !== frames[k]) boxes.append(frames[k]);
  const made = steps(images[chosen], drawn[k].p, drawn[k].a);
  filmTitle.textContent = `How view ${k + 1} was made`;
  filmTitle.style.setProperty("--view", COLORS[k % COLORS.length]);
  made.forEach((step, i) => {
    const { canvas, what, value, item } = film[i];
    paint(canvas, step.image);
    [what.textContent, value.textContent] = words(step, area);
    item.classList.toggle("sslw-off", !step.on);
  });
  widget.address.changed();
  if (hovered !== null) return;
  const done = made.filter((step) => step.on).map((step) => words(step, area).join(" "));
  live.textContent = `View ${k + 1}: ${done.join(", ")}`;
}

function render({ model, el }) {
  const root = makeRoot(el, "augmentation", "Augmentation explorer");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  return keepDrawn(widget, root, { kind: "augmentation", fields: fieldsOf(widget), traits: ["sliders"], draw });
}

export default { render };
