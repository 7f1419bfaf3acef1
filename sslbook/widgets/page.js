// What every widget needs of the page: elements and controls, pictures and read-outs, and the way from a model to them.
//
// A widget is one object: what it shows (its state, much of it in the model), the parts of the page that show it, and
// `draw(widget)`, which brings the parts up to date. Nothing else changes what is seen.

// -- elements

/** An element with attributes, listeners (on...) and children. */
function make(tag, attributes = {}, ...children) {
  const shape = ["svg", "rect", "text", "g", "line", "polyline"].includes(tag);
  const node = shape ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.flat());
  return node;
}

/** The widget's root. Its own keys must not also move Jupyter's cells or turn the book's pages. */
function makeRoot(el, kind, label) {
  const keys = ["Arrow", "Home", "End", "Page", "Enter", " "];
  const root = make("section", {
    class: `sslw sslw-${kind}`,
    "aria-label": label,
    "data-lm-suppress-shortcuts": "true",
    onkeydown: (event) => keys.some((k) => event.key.startsWith(k)) && event.stopPropagation(),
  });
  el.append(root);
  return root;
}

/** Ids are random: each widget on a page runs its own copy of this module, so counting would clash. */
const unique = () => `sslw-${Math.random().toString(36).slice(2)}`;

const rounded = (x, digits) => x.toFixed(digits).replace("-", "\u2212");
const percent = (x) => `${rounded(100 * x, 0)} %`;
const within = (x, low, high) => Math.min(high, Math.max(low, x));

const button = (text, onclick) => make("button", { type: "button", onclick }, text);
const primaryButton = (text, onclick) => make("button", { type: "button", class: "sslw-primary", onclick }, text);

/** What a screen reader says when it changes. */
const liveText = (attributes = {}) => make("p", { class: "sslw-hidden", "aria-live": "polite", ...attributes });

/** A labelled slider: {row, input, set(value)}. Its read-out shows the true value, even between the slider's steps. */
function slider({ label, hint = "", min, max, step, format, oninput }) {
  const id = unique();
  const out = make("output", { for: id });
  const input = make("input", { type: "range", id, min, max, step, oninput: () => oninput(+input.value) });
  const row = make("div", { class: "sslw-slider", title: hint }, make("label", { for: id }, label), out, input);
  const set = (value) => {
    input.value = value;
    out.textContent = format(value);
    input.setAttribute("aria-valuetext", out.textContent);
  };
  return { row, set, input };
}

/** A few words to choose one from: {row, set(value)}. `kinds` are [[value, words]]. */
function choiceSwitch(label, kinds, choose) {
  const name = unique();
  const inputs = kinds.map(([value]) =>
    make("input", { type: "radio", name, value, id: `${name}-${value}`, onchange: () => choose(value) }),
  );
  const row = make(
    "div",
    { class: "sslw-switch", role: "radiogroup", "aria-label": label },
    inputs.flatMap((input, k) => [input, make("label", { for: input.id }, kinds[k][1])]),
  );
  const set = (value) => {
    for (const input of inputs) input.checked = input.value === value;
  };
  return { row, set };
}

/** A number with its name and a remark: {value, detail, item}; `readoutList` puts them side by side. */
function readout(term, remark = "") {
  const value = make("b");
  const detail = make("small", {}, remark);
  return { value, detail, item: make("div", {}, make("dt", {}, term), make("dd", {}, value, detail)) };
}

const readoutList = (outs) => make("dl", { class: "sslw-readouts" }, outs.map(({ item }) => item));

// -- pictures: {data, height, width}, float32 values in [0, 1], channel after channel

/** Pictures of a Bytes trait that holds them as uint8. */
function picturesOf(model, trait, height, width) {
  const bytes = array(model, trait, Uint8Array);
  const length = 3 * height * width;
  return Array.from({ length: bytes.length / length }, (_, i) => {
    const data = Float32Array.from(bytes.subarray(i * length, (i + 1) * length), (x) => x / 255);
    return { data, height, width };
  });
}

/**
 * Draw at native size; the style sheet enlarges it with crisp pixels. Half a grey level rounds as in torch. Pixels
 * that `isOpen` names stay transparent.
 */
function paint(canvas, { data, height, width }, isOpen = () => false) {
  const n = height * width;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 255 * data[c * n + i];
    pixels.data[4 * i + 3] = isOpen(i) ? 0 : 255;
  }
  if (canvas.width !== width) canvas.width = width; // setting a size clears, even when it is the same
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** A row of small pictures to choose one from: {row, set(i)}. One picture alone leaves no choice, and no row. */
function thumbnails(label, images, nameOf, choose) {
  const group = unique();
  const inputs = images.map((_, i) =>
    make("input", { type: "radio", name: group, "aria-label": nameOf(i), onchange: () => choose(i) }),
  );
  const items = images.map((image, i) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    paint(canvas, image);
    return make("label", { class: "sslw-thumb", title: nameOf(i) }, inputs[i], canvas);
  });
  const row = make("div", { class: "sslw-thumbs", role: "radiogroup", "aria-label": label }, items);
  const set = (chosen) => inputs.forEach((input, i) => (input.checked = i === chosen));
  return { row: images.length > 1 ? row : "", set };
}

// -- the model: what a notebook can read and set too

/** A Bytes trait (a DataView in every front end) as a typed array. */
function array(model, name, Type) {
  const { buffer, byteOffset, byteLength } = model.get(name);
  return new Type(buffer.slice(byteOffset, byteOffset + byteLength));
}

/** Set a trait for the page and for Python. */
function put(model, trait, value) {
  model.set(trait, value);
  model.save_changes();
}

/** Listen to traits until the returned function is called. */
function listen(model, traits, callback) {
  for (const name of traits) model.on(`change:${name}`, callback);
  return () => traits.forEach((name) => model.off(`change:${name}`, callback));
}

/** Many calls, one drawing: {soon, cancel}. */
function oncePerFrame(draw) {
  let frame = 0;
  const soon = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };
  return { soon, cancel: () => cancelAnimationFrame(frame) };
}
