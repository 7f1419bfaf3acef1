// What every widget needs of the page: controls, pictures, read-outs, and the way from a model to them.
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

/** The widget's root. Its keys must not also move Jupyter's cells or turn pages. */
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

/** Random: each widget of a page runs its own copy of this module. */
const unique = () => `sslw-${Math.random().toString(36).slice(2)}`;

const rounded = (x, digits) => x.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "\u2212"); // no minus nought
const percent = (x) => `${rounded(100 * x, 0)} %`;
const within = (x, low, high) => Math.min(high, Math.max(low, x));

const button = (text, onclick) => make("button", { type: "button", onclick }, text);
const primaryButton = (text, onclick) => make("button", { type: "button", class: "sslw-primary", onclick }, text);

/** What a screen reader says when it changes. */
const liveText = (attributes = {}) => make("p", { class: "sslw-hidden", "aria-live": "polite", ...attributes });

const MOST_STOPS = 12; // of a slider, named one by one

/** A labelled slider: {row, input, set(value)}. Its read-out shows the true value, also between steps. */
function slider({ label, hint = "", min, max, step, format, oninput }) {
  const id = unique();
  const out = make("output", { for: id });
  let held; // when a finger came
  const input = make("input", {
    type: "range", id, min, max, step, oninput: () => oninput(+input.value),
    onpointerdown: () => (held = input.value),
    onpointercancel: () => input.value !== held && oninput(+held), // to scroll
  });
  const row = make("div", { class: "sslw-slider", title: hint }, make("label", { for: id }, label), out, input);
  const set = (value) => {
    input.value = value;
    out.textContent = format(value);
    input.setAttribute("aria-valuetext", out.textContent);
  };
  return { row, set, input };
}

/** The slider of the model's epoch, with the stops under it, which are seldom equally far apart. */
function epochSlider({ model, epochs }, before = () => {}) {
  const part = slider({
    label: "Epoch",
    min: 0, max: epochs.length - 1, step: 1, format: (e) => epochs[e],
    oninput: (e) => {
      before();
      put(model, "epoch", e);
    },
  });
  const shown = epochs.length > MOST_STOPS ? [epochs[0], epochs.at(-1)] : epochs;
  part.row.append(make("div", { class: "sslw-stops", "aria-hidden": "true" }, shown.map((e) => make("span", {}, e))));
  return part;
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

/** Draw at native size, which the style sheet enlarges. Pixels that `isOpen` names stay transparent. */
function paint(canvas, { data, height, width }, isOpen = () => false) {
  const n = height * width;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 255 * data[c * n + i];
    pixels.data[4 * i + 3] = isOpen(i) ? 0 : 255;
  }
  if (canvas.width !== width) canvas.width = width; // setting a size clears
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

/** Where a key leads from a patch, if it means something here. */
function patchAfter(key, i, grid) {
  const [row, column] = [Math.floor(i / grid), i % grid];
  const [first, last] = [i - column, i - column + grid - 1]; // of the row
  return {
    ArrowLeft: Math.max(i - 1, first), ArrowRight: Math.min(i + 1, last),
    ArrowUp: row ? i - grid : i, ArrowDown: row < grid - 1 ? i + grid : i,
    Home: first, End: last,
  }[key];
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

/** Many small pictures in one, `sheet` of the model, with `tiles`: {image, height, width, paste, free}. */
function loadSheet(model) {
  const [[height, width], across] = model.get("tiles");
  const image = new Image();
  const url = URL.createObjectURL(new Blob([array(model, "sheet", Uint8Array)], { type: "image/webp" }));
  image.src = url;
  const paste = (context, i, x, y, w, h) => {
    if (!image.naturalWidth) return; // not decoded yet
    context.drawImage(image, (i % across) * width, Math.floor(i / across) * height, width, height, x, y, w, h);
  };
  const free = () => {
    image.onload = null;
    URL.revokeObjectURL(url);
  };
  return { image, height, width, paste, free };
}

/** A trait's value after value to the last one, from 0 if that is shown; a widget that plays is stopped. */
function playThrough(widget, { trait = "epoch", last, pause, stop, show = (to) => put(widget.model, trait, to) }) {
  if (widget.playing) return stop(widget);
  const now = () => within(widget.model.get(trait), 0, last);
  if (now() === last) show(0);
  widget.parts.play.textContent = "Stop";
  widget.playing = setInterval(() => {
    show(Math.min(now() + 1, last));
    if (now() === last) stop(widget);
  }, pause);
}

function stopPlaying(widget) {
  clearInterval(widget.playing);
  widget.playing = 0;
  widget.parts.play.textContent = "Play";
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

/**
 * Draw a widget now, when one of these traits of its model changes, and when the page's address does, until the function
 * that comes back takes it off the page. `widget.soon` draws it in the next frame.
 */
function keepDrawn(widget, root, { kind, fields, traits, draw }) {
  widget.address = addressState(root, kind, fields, () => draw(widget));
  const { soon, cancel } = oncePerFrame(() => draw(widget));
  widget.soon = soon;
  const ignore = listen(widget.model, traits, soon);
  draw(widget);
  return () => {
    ignore();
    cancel();
    widget.address.stop();
    root.remove();
  };
}

// -- the page's address: a reader's settings, such as #similarity.epoch=12&similarity.tau=0.05

const SETTLE = 300; // ms from a change to the address; browsers allow about three changes a second
const TOUCHES = ["pointerdown", "click", "keydown", "input"];

/**
 * Keep a widget's settings in the page's address, so that a link opens the page with them: {changed, stop}.
 *
 * `fields` are {name: {get, parse, set}}: the setting as text, a text as a value (undefined if it means nothing) and
 * setting this value. `redraw` is called when settings have come from the address; call `changed` at the end of every
 * drawing. Call this when the parts are in the root, which gets a button that copies the link.
 *
 * Only what differs from the start is written, and only once the reader has touched the widget: a link to a heading
 * stays what it is until then. The second widget of a kind has the keys `similarity2.epoch`, and so on. Outside a page
 * of the book, such as in Jupyter or Colab, the address is not ours, and nothing happens.
 */
function addressState(root, kind, fields, redraw) {
  if (document.documentElement.dataset.content_root === undefined) return { changed() {}, stop() {} }; // Sphinx has it
  const texts = () => Object.entries(fields).map(([name, { get }]) => [name, get()]);
  const start = Object.fromEntries(texts());
  const differing = () => texts().filter(([name, text]) => text !== start[name]);
  let [key, known, restored, touched, timer] = [null, "", false, false, 0]; // known: what the address was told last

  const read = () => {
    const given = Object.fromEntries(ownSettings(key));
    restored ||= Object.keys(given).length > 0;
    if (!restored) return;
    restore(fields, start, given);
    known = String(differing());
    redraw();
  };
  const write = () => {
    timer = 0;
    const own = differing();
    if (!key || !touched || String(own) === known) return;
    known = String(own);
    setAddress(linkTo(key, own, otherSettings(key)));
  };
  const arrive = () => {
    const place = [...document.querySelectorAll(`.sslw-${kind}`)].indexOf(root);
    const next = `${kind}${place > 0 ? place + 1 : ""}.`;
    if (place < 0 || next === key) return;
    const first = key === null;
    key = next;
    if (!touched) read();
    if (first && isNewVisit()) scrollIfNamedFirst(root, key);
    if (first) document.dispatchEvent(new CustomEvent("sslw-arrived")); // one above another of its kind moves that on
  };
  const follow = () => {
    if (!key || !ownSettings(key).length) return; // a link to a heading changes nothing here
    read();
    scrollIfNamedFirst(root, key);
  };

  const observer = new ResizeObserver(arrive); // a front end draws a widget before it is on the page
  observer.observe(root);
  document.addEventListener("sslw-arrived", arrive);
  window.addEventListener("hashchange", follow);
  for (const type of TOUCHES) root.addEventListener(type, () => (touched = true), { capture: true });
  root.append(copyButton(() => linkTo(key, differing().length ? differing() : texts().slice(0, 1))));
  return {
    changed: () => (timer ||= setTimeout(write, SETTLE)),
    stop: () => {
      clearTimeout(timer);
      observer.disconnect();
      document.removeEventListener("sslw-arrived", arrive);
      window.removeEventListener("hashchange", follow);
    },
  };
}

/** All settings of the address as [[key with its widget, text]]; what is no setting, such as a heading, is left out. */
function addressSettings() {
  const parts = window.location.hash.slice(1).split("&").filter((part) => part.includes("="));
  return parts.flatMap((part) => {
    const at = part.indexOf("=");
    try {
      return [[part.slice(0, at), part.slice(at + 1)].map(decodeURIComponent)];
    } catch {
      return []; // a stray %
    }
  });
}

const ownSettings = (key) =>
  addressSettings().flatMap(([name, text]) => (name.startsWith(key) ? [[name.slice(key.length), text]] : []));
const otherSettings = (key) => addressSettings().filter(([name]) => !name.startsWith(key));

/** Set every field to what is given, if that means something, else to its start. */
function restore(fields, start, given) {
  for (const [name, { get, parse, set }] of Object.entries(fields)) {
    const value = name in given ? parse(given[name]) : undefined;
    if (value !== undefined) set(value);
    else if (get() !== start[name]) set(parse(start[name]));
  }
}

/** The page with these settings of one widget, followed by those of others. */
function linkTo(key, own, others = []) {
  const encode = (text) => encodeURIComponent(text).replaceAll("%2C", ",");
  const all = [...own.map(([name, text]) => [key + name, text]), ...others];
  const page = window.location.href.split("#")[0];
  return all.length ? `${page}#${all.map((pair) => pair.map(encode).join("=")).join("&")}` : page;
}

function setAddress(address) {
  try {
    window.history.replaceState(window.history.state, "", address); // no step of its own for the back button
  } catch {
    // a page that may not: the link can still be copied
  }
}

/** Not reloaded and not gone back to: then the browser knows best where the reader was. */
const isNewVisit = () => window.scrollY === 0 && performance.getEntriesByType("navigation")[0]?.type === "navigate";

/** Show the widget whose setting comes first in the address. */
function scrollIfNamedFirst(root, key) {
  if (addressSettings()[0]?.[0].startsWith(key)) root.scrollIntoView({ block: "start" });
}

function copyButton(link) {
  const words = "Copy link to this view";
  const said = make("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link());
      said.textContent = "Copied.";
    } catch {
      setAddress(link()); // a page without https has no clipboard
      said.textContent = "Copy it from the address bar.";
    }
    setTimeout(() => (said.textContent = ""), 4000);
  };
  return make("div", { class: "sslw-share" }, said, button(words, copy));
}

/** A field for a trait; `format` makes its value a text. */
function traitField(model, trait, parse, format = String) {
  return { get: () => format(model.get(trait)), parse, set: (value) => put(model, trait, value) };
}

/** Parsers of a field. Numbers are moved into the range. */
const numberIn = (low, high) => (text) => {
  const value = text.trim() ? Number(text) : NaN;
  return Number.isFinite(value) ? within(value, low, high) : undefined;
};
const wholeIn = (low, high) => (text) => {
  const value = numberIn(low, high)(text);
  return value === undefined ? undefined : Math.round(value);
};
const oneOf = (words) => (text) => (words.includes(text) ? text : undefined);

/** The place of a name in a list; a number that is not there means the nearest that is. */
const placeIn = (names) => (text) => {
  if (names.includes(text)) return names.indexOf(text);
  const far = names.map((name) => Math.abs(Number(name || NaN) - Number(text.trim() || NaN)));
  const nearest = Math.min(...far.filter(Number.isFinite));
  return Number.isFinite(nearest) ? far.indexOf(nearest) : undefined;
};

/** The place of a picture in the model or elsewhere, counted from 1 for people. */
const countedField = (count, get, set) => ({
  get: () => String(get() + 1),
  parse: wholeIn(1, count),
  set: (value) => set(value - 1),
});
