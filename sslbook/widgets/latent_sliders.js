// LatentSliders: move the latents of a VAE; the decoder in this page paints. Follows page.js, weights.js, decoder.js.

const REACH = 3; // of a slider, at least: a standard normal seldom goes farther
const STEPS = 9; // pictures on the way from one to another
const WORDS = {
  here: "The decoder runs in this page. Move a slider, or draw a code.",
  without: "nothing is painted",
};

// -- state

function stateOf(model) {
  const about = model.get("network");
  const images = picturesOf(model, "pixels", about.size, about.size);
  const flat = array(model, "codes", Float32Array);
  const labels = model.get("labels");
  return {
    about, images,
    codes: images.map((_, i) => Array.from(flat.subarray(i * about.latents, (i + 1) * about.latents))),
    reach: Math.max(REACH, Math.ceil(flat.reduce((most, v) => Math.max(most, Math.abs(v)), 0))),
    nameOf: (i) => (labels.length ? labels[i] : `image ${i + 1}`),
    network: null, // until the weights are there
    networkOf: decoderOf,
    words: WORDS,
    draws: 0, // how often a code was drawn from the prior
    drawn: "", // the last of them
    painted: {}, // what was painted last of the pictures' own codes: {key, pictures}
  };
}

const imageOf = ({ model, images }) => within(model.get("image"), 0, images.length - 1);
const otherOf = ({ model, images }) => within(model.get("other"), 0, images.length - 1);

/** The code that is painted: the reader's own, or one on the way from the first picture to the other. */
function codeOf(widget) {
  const { model, codes, about } = widget;
  const own = model.get("code");
  return own.length === about.latents ? own : onLine(codes[imageOf(widget)], codes[otherOf(widget)], model.get("t"));
}

/** Choose pictures, or how far to go between them; the reader's own code is gone. */
function go({ model }, traits) {
  model.set("code", []);
  for (const [trait, value] of Object.entries(traits)) model.set(trait, value);
  model.save_changes();
}

function setLatent(widget, latent, value) {
  put(widget.model, "code", codeOf(widget).map((v, k) => (k === latent ? value : v)));
}

/** The same codes on every page, one after the other. */
function drawCode(widget) {
  widget.draws += 1;
  const code = Array.from(normals(widget.about.latents, widget.draws), (v) => +v.toFixed(2));
  widget.drawn = String(code);
  put(widget.model, "code", code);
}

/** What stands in the page's address. */
function fieldsOf(widget) {
  const { model, images, about } = widget;
  const parse = (text) => {
    const code = text ? text.split(",").map(numberIn(-99, 99)) : [];
    return code.includes(undefined) || ![0, about.latents].includes(code.length) ? undefined : code;
  };
  return {
    image: countedField(images.length, () => imageOf(widget), (i) => put(model, "image", i)),
    to: countedField(images.length, () => otherOf(widget), (i) => put(model, "other", i)),
    t: traitField(model, "t", numberIn(0, 1)),
    code: traitField(model, "code", parse, (code) => code.map((v) => +v.toFixed(2)).join(",")),
  };
}

// -- parts

function partsOf(widget) {
  const { model, images, nameOf, about } = widget;
  const latents = model.get("shown");
  return {
    thumbs: thumbnails("Picture", images, nameOf, (i) => go(widget, { image: i, t: 0 })),
    others: thumbnails("Morph to", images, nameOf, (i) => go(widget, { other: i })),
    network: networkPart(widget),
    picture: panelPart(widget, "Picture"),
    again: panelPart(widget, "Reconstruction"),
    painted: panelPart(widget, "Code, painted"),
    sliders: latents.map((latent) => ({ latent, ...latentPart(widget, latent) })),
    rest: make("p", { class: "sslw-note" }, restWords(latents.length, about.latents)),
    buttons: [
      primaryButton("A code from the prior", () => drawCode(widget)),
      button("The picture\u2019s own code", () => go(widget, { t: 0 })),
    ],
    t: slider({
      label: "From the first to the other",
      min: 0, max: 1, step: 0.01, format: percent, oninput: (t) => go(widget, { t }),
    }),
    strip: Array.from({ length: STEPS }, () => make("canvas")),
    active: readout("Active latents", `of ${about.latents}: their \u03bc varies by more than .01`),
    length: readout("Length of the code", `one from the prior: about ${rounded(Math.sqrt(about.latents), 1)}`),
    error: readout("Error of the reconstruction", "root mean square, colours from 0 to 1"),
    live: liveText(),
  };
}

const restWords = (shown, all) =>
  shown < all ? `The ${shown} of ${all} latents that vary most over pictures; the others keep the code\u2019s values.` : "";

function panelPart({ about }, title) {
  const canvas = make("canvas", { role: "img", width: about.size, height: about.size });
  const note = make("span");
  return { canvas, note, item: make("figure", {}, canvas, make("figcaption", {}, make("b", {}, title), note)) };
}

function latentPart(widget, latent) {
  const { model, reach } = widget;
  const name = model.get("names")[latent];
  return slider({
    label: `Latent ${latent}${name ? `: ${name}` : ""}`,
    hint: `Its \u03bc varies by ${rounded(model.get("variances")[latent], 2)} over pictures; the prior is a standard normal`,
    min: -reach, max: reach, step: 0.05, format: (v) => rounded(v, 2), oninput: (v) => setLatent(widget, latent, v),
  });
}

function layout({ parts }) {
  const { thumbs, others, network, picture, again, painted, sliders, rest, buttons, t, strip, active, length, error, live } = parts;
  return [
    thumbs.row,
    make("div", { class: "sslw-panels" }, picture.item, again.item, painted.item),
    network.item,
    make("div", { class: "sslw-buttons" }, buttons),
    make("div", { class: "sslw-controls", role: "group", "aria-label": "Latents" }, sliders.map(({ row }) => row), rest),
    make("h4", {}, "Morph to another picture"),
    others.row,
    t.row,
    make("div", { class: "sslw-strip", "aria-hidden": "true" }, strip),
    readoutList([active, length, error]),
    live,
  ];
}

// -- draw

function draw(widget) {
  const { model, parts, images, about, address } = widget;
  const [own, other, code] = [imageOf(widget), otherOf(widget), codeOf(widget)];
  parts.thumbs.set(own);
  parts.others.set(other);
  parts.t.set(model.get("t"));
  for (const { latent, set } of parts.sliders) set(code[latent]);
  paint(parts.picture.canvas, images[own]);
  parts.active.value.textContent = model.get("active");
  parts.length.value.textContent = rounded(lengthOf(code), 1);
  if (widget.network) drawPainted(widget, own, other, code);
  describe(widget, own, other);
  address.changed();
}

function drawPainted(widget, own, other, code) {
  const { model, parts, images, codes, network } = widget;
  const [again] = paintedOnce(widget, "again", [codes[own]]);
  paint(parts.again.canvas, again);
  paint(parts.painted.canvas, decode(network, code));
  const squares = again.data.reduce((sum, v, i) => sum + (v - images[own].data[i]) ** 2, 0);
  parts.error.value.textContent = rounded(Math.sqrt(squares / again.data.length), 3);
  const way = Array.from({ length: STEPS }, (_, i) => onLine(codes[own], codes[other], i / (STEPS - 1)));
  const here = model.get("code").length ? -1 : Math.round((STEPS - 1) * model.get("t"));
  paintedOnce(widget, "way", way).forEach((picture, i) => {
    paint(parts.strip[i], picture);
    parts.strip[i].classList.toggle("sslw-on", i === here);
  });
}

/** What is painted, in words. */
function describe(widget, own, other) {
  const { model, parts, nameOf, drawn } = widget;
  const [code, t] = [model.get("code"), model.get("t")];
  let words = "\u03bc of the picture";
  if (t > 0) words = `${percent(t)} of the way to ${nameOf(other)}`;
  if (code.length) words = String(code) === drawn ? "drawn from the prior" : "moved by hand";
  parts.picture.note.textContent = nameOf(own);
  parts.again.note.textContent = "painted from \u03bc";
  parts.painted.note.textContent = words;
  parts.picture.canvas.setAttribute("aria-label", nameOf(own));
  parts.again.canvas.setAttribute("aria-label", `${nameOf(own)}, painted from its code`);
  parts.painted.canvas.setAttribute("aria-label", `what the decoder paints of the code, ${words}`);
  const news = `${nameOf(own)}; the code is ${words}.`;
  if (parts.live.textContent !== news) parts.live.textContent = news;
}

function render({ model, el }) {
  const root = makeRoot(el, "sliders", "Latent sliders");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const callOff = bringNetwork(widget, root);
  const traits = ["image", "other", "t", "code"];
  const stop = keepDrawn(widget, root, { kind: "sliders", fields: fieldsOf(widget), traits, draw });
  return () => {
    callOff();
    stop();
  };
}

export default { render };
