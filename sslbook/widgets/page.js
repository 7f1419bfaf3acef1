// What both widgets need of the page.

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

/** A labelled slider: {row, set(value)}. Its read-out shows the true value, even one between the slider's steps. */
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

/** A Bytes trait (a DataView in every front end) as a typed array. */
function array(model, name, Type) {
  const { buffer, byteOffset, byteLength } = model.get(name);
  return new Type(buffer.slice(byteOffset, byteOffset + byteLength));
}

/** Listen to traits until the returned function is called. */
function listen(model, traits, callback) {
  for (const name of traits) model.on(`change:${name}`, callback);
  return () => traits.forEach((name) => model.off(`change:${name}`, callback));
}
