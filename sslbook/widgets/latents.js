// LatentExplorer: paint what an I-JEPA sees and what it is asked; the network in this page predicts. Follows page.js.

const [NEITHER, CONTEXT, TARGET] = [0, 1, 2];
const BRUSHES = [["1", "Context"], ["2", "Target"], ["0", "Neither"]];
const TITLES = { picture: "Picture", true: "True features", predicted: "Predicted", nearest: "Nearest patches" };

// -- the network: a ViT on Float32Arrays, a token's features one after the other

/** The network's parts from its weights, in the order of latents.py. */
export function networkOf(weights, about) {
  let place = 0;
  const take = (n) => weights.subarray(place, (place += n));
  const linear = (inputs, outputs) => ({ weight: take(inputs * outputs), bias: take(outputs), inputs, outputs });
  const norm = (dim) => ({ gain: take(dim), shift: take(dim), dim });
  const block = (dim, heads) => ({
    norm1: norm(dim), qkv: linear(dim, 3 * dim), proj: linear(dim, dim), heads,
    norm2: norm(dim), fc1: linear(dim, 4 * dim), fc2: linear(4 * dim, dim),
  });
  const blocks = (dim, depth, heads) => Array.from({ length: depth }, () => block(dim, heads));
  const { patch, grid, dim, depth, heads, predictor_dim: inner } = about;
  const encoder = {
    patches: linear(3 * patch ** 2, dim), cls: take(dim), positions: take(grid ** 2 * dim),
    blocks: blocks(dim, depth, heads), norm: norm(dim),
  };
  const predictor = {
    embed: linear(dim, inner), token: take(inner), positions: take(grid ** 2 * inner),
    blocks: blocks(inner, about.predictor_depth, about.predictor_heads), norm: norm(inner), proj: linear(inner, dim),
  };
  return { about, encoder, predictor };
}

/** x W^T + b for each token. */
function affine(x, { weight, bias, inputs, outputs }) {
  const tokens = x.length / inputs;
  const out = new Float32Array(tokens * outputs);
  for (let t = 0; t < tokens; t++) {
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let i = 0; i < inputs; i++) sum += x[t * inputs + i] * weight[o * inputs + i];
      out[t * outputs + o] = sum;
    }
  }
  return out;
}

function layerNorm(x, { gain, shift, dim }) {
  const out = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += dim) {
    const token = x.subarray(at, at + dim);
    const mean = token.reduce((a, b) => a + b, 0) / dim;
    const variance = token.reduce((a, b) => a + (b - mean) ** 2, 0) / dim;
    const scale = 1 / Math.sqrt(variance + 1e-6);
    for (let i = 0; i < dim; i++) out[at + i] = (token[i] - mean) * scale * gain[i] + shift[i];
  }
  return out;
}

/** x Phi(x), Phi to 1e-7 (Abramowitz and Stegun, 7.1.26). */
function gelu(x) {
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * z);
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const tail = 0.5 * series * Math.exp(-z * z);
  return x * (x > 0 ? 1 - tail : tail);
}

/** softmax(q k^T / sqrt(d)) v in each head. */
function attention(x, { qkv, proj, heads }) {
  const dim = proj.inputs;
  const [d, tokens, all] = [dim / heads, x.length / dim, affine(x, qkv)];
  const out = new Float32Array(x.length);
  const scores = new Float32Array(tokens);
  for (let h = 0; h < heads; h++) {
    for (let t = 0; t < tokens; t++) {
      const [q, most] = [t * 3 * dim + h * d, { score: -Infinity }];
      for (let s = 0; s < tokens; s++) {
        let dot = 0;
        for (let i = 0; i < d; i++) dot += all[q + i] * all[s * 3 * dim + dim + h * d + i];
        scores[s] = dot / Math.sqrt(d);
        most.score = Math.max(most.score, scores[s]);
      }
      let sum = 0;
      for (let s = 0; s < tokens; s++) sum += scores[s] = Math.exp(scores[s] - most.score);
      for (let s = 0; s < tokens; s++) {
        const v = s * 3 * dim + 2 * dim + h * d;
        for (let i = 0; i < d; i++) out[t * dim + h * d + i] += (scores[s] / sum) * all[v + i];
      }
    }
  }
  return affine(out, proj);
}

const added = (x, y) => x.map((value, i) => value + y[i]);

function transformed(x, blocks) {
  for (const block of blocks) {
    x = added(x, attention(layerNorm(x, block.norm1), block));
    x = added(x, affine(affine(layerNorm(x, block.norm2), block.fc1).map(gelu), block.fc2));
  }
  return x;
}

const joined = (rows) => Float32Array.from(rows.flatMap((row) => [...row]));
const rowOf = (x, i, dim) => x.subarray(i * dim, (i + 1) * dim);

/** The pixels of a patch as the network wants them, colour after colour. */
function pixelsOf({ data }, place, { size, patch, grid, mean, std }) {
  const [top, left] = [patch * Math.floor(place / grid), patch * (place % grid)];
  return Float32Array.from({ length: 3 * patch ** 2 }, (_, i) => {
    const [c, row, column] = [Math.floor(i / patch ** 2), Math.floor(i / patch) % patch, i % patch];
    return (data[c * size ** 2 + (top + row) * size + left + column] - mean[c]) / std[c];
  });
}

/** What the predictor says of each target, (targets, D), if the context encoder sees these patches of an image only. */
export function predict({ about, encoder, predictor }, image, context, targets) {
  const { dim, predictor_dim: inner } = about;
  const tokens = context.map((place) => {
    const patch = affine(pixelsOf(image, place, about), encoder.patches);
    return added(patch, rowOf(encoder.positions, place, dim));
  });
  const features = layerNorm(transformed(joined([encoder.cls, ...tokens]), encoder.blocks), encoder.norm);
  const at = (row, place) => added(row, rowOf(predictor.positions, place, inner));
  const embedded = affine(features.subarray(dim), predictor.embed); // without CLS
  const seen = context.map((place, i) => at(rowOf(embedded, i, inner), place));
  const asked = targets.map((place) => at(predictor.token, place));
  const out = transformed(joined([...seen, ...asked]), predictor.blocks).subarray(context.length * inner);
  return affine(layerNorm(out, predictor.norm), predictor.proj);
}

// -- measures

const squared = (x, y) => x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0);

/** 1 - the prediction's error / that of the mean over the pictures, place by place. */
export function explained(predicted, truth, means) {
  const sum = (rows) => rows.reduce((total, row, i) => total + squared(row, truth[i]), 0);
  return 1 - sum(predicted) / sum(means);
}

/** The patch of another picture with the nearest feature: {image, place}. */
export function nearestPatch(feature, latents, own) {
  let best = { distance: Infinity };
  latents.forEach((rows, image) => {
    if (image === own) return;
    rows.forEach((row, place) => {
      const distance = squared(row, feature);
      if (distance < best.distance) best = { image, place, distance };
    });
  });
  return best;
}

// -- state

function stateOf(model) {
  const about = model.get("network");
  const { dim, grid, size } = about;
  const [patches, labels, weights] = [grid ** 2, model.get("labels"), model.get("weights")];
  const images = picturesOf(model, "pixels", size, size);
  const flat = fromHalves(array(model, "latents", Uint16Array));
  const latents = images.map((_, n) => Array.from({ length: patches }, (_, i) => rowOf(flat, n * patches + i, dim)));
  const means = latents[0].map((_, i) =>
    Float32Array.from({ length: dim }, (_, d) => latents.reduce((sum, rows) => sum + rows[i][d], 0) / latents.length),
  );
  return {
    about, images, latents, means, grid, patches,
    nameOf: (i) => (labels.length ? labels[i] : `image ${i + 1}`),
    colours: array(model, "colours", Float32Array),
    drawn: model.get("drawn"),
    draws: 0, // how often a new mask was asked for
    brush: CONTEXT,
    painting: false,
    link: weights.url ? weights : null, // where the weights are, if they did not come with the page
    network: weights.url ? null : networkOf(fromHalves(array(model, "weights", Uint16Array)), about),
  };
}

const imageOf = ({ model, images }) => within(model.get("image"), 0, images.length - 1);
const placesOf = ({ model }, kind) => [...model.get("cells").keys()].filter((i) => model.get("cells")[i] === kind);

function setCell({ model, brush }, place) {
  const cells = [...model.get("cells")];
  if (cells[place] === brush) return;
  cells[place] = brush;
  put(model, "cells", cells);
}

function newMask(widget) {
  widget.draws += 1;
  put(widget.model, "cells", [...widget.drawn[widget.draws % widget.drawn.length]]);
}

/** All that is no target becomes context. */
function seeTheRest({ model }) {
  put(model, "cells", model.get("cells").map((cell) => (cell === TARGET ? TARGET : CONTEXT)));
}

/** What stands in the page's address. */
function fieldsOf(widget) {
  const { model, images, patches } = widget;
  const parse = (text) => (new RegExp(`^[012]{${patches}}$`).test(text) ? [...text].map(Number) : undefined);
  return {
    image: countedField(images.length, () => imageOf(widget), (i) => put(model, "image", i)),
    cells: { get: () => model.get("cells").join(""), parse, set: (cells) => put(model, "cells", cells) },
  };
}

// -- parts

function partsOf(widget) {
  const { model, images, nameOf } = widget;
  const cells = cellsPart(widget);
  const lattice = make("div", { class: "sslw-lattice", role: "group", "aria-label": "Patches" }, cells);
  listenToBrush(widget, lattice);
  const panels = Object.keys(TITLES).map((kind) => [kind, panelPart(widget, kind, kind === "picture" ? lattice : "")]);
  return {
    thumbs: thumbnails("Picture", images, nameOf, (i) => put(model, "image", i)),
    cells,
    panels: Object.fromEntries(panels),
    brush: choiceSwitch("A click makes it", BRUSHES, (kind) => {
      widget.brush = +kind;
      widget.parts.brush.set(kind);
    }),
    buttons: [
      primaryButton("New blocks", () => newMask(widget)),
      button("See all the rest", () => seeTheRest(widget)),
      button("See nothing", () => put(model, "cells", model.get("cells").map((cell) => (cell === TARGET ? TARGET : NEITHER)))),
    ],
    R2: readout("R\u00b2 of the prediction", "0 is the mean over the pictures, 1 is perfect"),
    seen: readout("Patches seen"),
    asked: readout("Patches asked"),
    status: make("p", { class: "sslw-note", role: "status" }),
    again: button("Try again", () => load(widget)),
    live: liveText(),
  };
}

/** A button for each patch, for the keyboard; one of them is in the order of Tab. */
function cellsPart(widget) {
  const cells = Array.from({ length: widget.patches }, (_, place) =>
    make("button", {
      type: "button",
      tabindex: place ? -1 : 0,
      onfocus: () => cells.forEach((other, j) => (other.tabIndex = place === j ? 0 : -1)),
      onclick: () => setCell(widget, place),
      onkeydown: (event) => {
        const to = patchAfter(event.key, place, widget.grid);
        if (to === undefined) return;
        event.preventDefault();
        cells[to].focus();
      },
    }),
  );
  return cells;
}

/** A stroke paints every patch that it passes. */
function listenToBrush(widget, lattice) {
  const { grid } = widget;
  const paintAt = (event) => {
    const box = lattice.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    if (x >= 0 && x < 1 && y >= 0 && y < 1) setCell(widget, grid * Math.floor(grid * y) + Math.floor(grid * x));
  };
  const listeners = {
    pointerdown: (event) => {
      if (event.button !== 0) return;
      lattice.setPointerCapture(event.pointerId);
      widget.painting = true;
      paintAt(event);
    },
    pointermove: (event) => widget.painting && paintAt(event),
    lostpointercapture: () => {
      widget.painting = false;
      draw(widget); // says what came of it
    },
  };
  for (const [type, listener] of Object.entries(listeners)) lattice.addEventListener(type, listener);
}

function panelPart({ about }, kind, above) {
  const canvas = make("canvas", { role: "img", width: about.size, height: about.size });
  const stage = make("div", { class: `sslw-picture sslw-picture-${kind}` }, canvas, above);
  return { canvas, item: make("figure", {}, stage, make("figcaption", {}, make("b", {}, TITLES[kind]))) };
}

function layout({ parts }) {
  const { thumbs, panels, brush, buttons, R2, seen, asked, status, again, live } = parts;
  again.hidden = true;
  return [
    thumbs.row,
    make("div", { class: "sslw-panels" }, Object.values(panels).map(({ item }) => item)),
    make("div", { class: "sslw-state" }, status, again),
    make("div", { class: "sslw-controls" }, brush.row, make("div", { class: "sslw-buttons" }, buttons)),
    readoutList([R2, seen, asked]),
    live,
  ];
}

// -- draw

/** A picture made patch by patch: `pixel(place, c, row, column)` in [0, 1]; places without one are open. */
function mosaic({ about }, canvas, places, pixel) {
  const { size, patch, grid } = about;
  const data = new Float32Array(3 * size ** 2);
  const filled = new Set(places);
  const placeAt = (i) => grid * Math.floor(i / size / patch) + Math.floor((i % size) / patch);
  for (let i = 0; i < size ** 2; i++) {
    const place = placeAt(i);
    if (!filled.has(place)) continue;
    for (let c = 0; c < 3; c++) data[c * size ** 2 + i] = pixel(place, c, Math.floor(i / size) % patch, i % patch);
  }
  paint(canvas, { data, height: size, width: size }, (i) => !filled.has(placeAt(i)));
}

/** Three colours of a feature, in [0, 1]. */
function colourOf({ about, colours }, feature) {
  const { dim } = about;
  return [1, 2, 3].map((axis) => {
    const along = feature.reduce((sum, value, i) => sum + (value - colours[i]) * colours[axis * dim + i], 0);
    return within(0.5 + along, 0, 1);
  });
}

function draw(widget) {
  const { model, parts, images, latents, network, address } = widget;
  const own = imageOf(widget);
  const [context, targets] = [placesOf(widget, CONTEXT), placesOf(widget, TARGET)];
  parts.thumbs.set(own);
  parts.brush.set(String(widget.brush));
  paint(parts.panels.picture.canvas, images[own]);
  drawCells(widget, model.get("cells"));
  const truth = latents[own].map((feature) => colourOf(widget, feature));
  mosaic(widget, parts.panels.true.canvas, truth.keys(), (place, c) => truth[place][c]);
  parts.seen.value.textContent = context.length;
  parts.asked.value.textContent = targets.length;
  if (network) drawPrediction(widget, own, context, targets);
  describe(widget, own);
  address.changed();
}

function drawCells({ parts, grid }, cells) {
  const names = { [NEITHER]: "neither", [CONTEXT]: "context", [TARGET]: "target" };
  parts.cells.forEach((cell, i) => {
    cell.className = `sslw-cell-${names[cells[i]]}`;
    cell.setAttribute("aria-label", `row ${Math.floor(i / grid) + 1}, column ${(i % grid) + 1}: ${names[cells[i]]}`);
  });
}

function drawPrediction(widget, own, context, targets) {
  const { parts, about, images, latents, means, network } = widget;
  const { patch, grid, size, dim } = about;
  const flat = targets.length ? predict(network, images[own], context, targets) : [];
  const predicted = targets.map((_, i) => rowOf(flat, i, dim));
  const colours = Object.fromEntries(targets.map((place, i) => [place, colourOf(widget, predicted[i])]));
  mosaic(widget, parts.panels.predicted.canvas, targets, (place, c) => colours[place][c]);
  const nearest = Object.fromEntries(targets.map((place, i) => [place, nearestPatch(predicted[i], latents, own)]));
  const everywhere = [...new Set([...context, ...targets])];
  mosaic(widget, parts.panels.nearest.canvas, everywhere, (place, c, row, column) => {
    const from = nearest[place] ?? { image: own, place };
    const [y, x] = [patch * Math.floor(from.place / grid) + row, patch * (from.place % grid) + column];
    return images[from.image].data[c * size ** 2 + y * size + x];
  });
  const R2 = explained(predicted, targets.map((i) => latents[own][i]), targets.map((i) => means[i]));
  parts.R2.value.textContent = targets.length ? rounded(R2, 2) : "\u2013";
}

/** What a screen reader is told. */
function describe(widget, own) {
  const { parts, nameOf } = widget;
  const name = nameOf(own);
  const words = {
    picture: `${name}, with the patches that are seen and asked`,
    true: `true features of ${name} as colours, patch by patch`,
    predicted: "predicted features of the targets, in the same colours",
    nearest: "what is seen, and in each target the patch with the nearest feature",
  };
  for (const [kind, text] of Object.entries(words)) parts.panels[kind].canvas.setAttribute("aria-label", text);
  const [seen, asked, R2] = [parts.seen, parts.asked, parts.R2].map(({ value }) => value.textContent);
  const news = `${name}: ${seen} patches seen, ${asked} asked, R\u00b2 ${R2 || "not known yet"}.`;
  if (!widget.painting && parts.live.textContent !== news) parts.live.textContent = news;
}

// -- the weights

/** Fetch the weights where they are a file beside the page. */
async function load(widget) {
  const { link, parts, about } = widget;
  parts.again.hidden = true;
  parts.status.textContent = `Loading the network, ${rounded(link.bytes / 1e6, 1)} MB.`;
  try {
    const bits = await fetched(widget.model, "weights", Uint16Array);
    if (widget.gone) return;
    widget.network = networkOf(fromHalves(bits), about);
    ready(widget);
    draw(widget);
  } catch (error) {
    if (widget.gone) return;
    console.warn("The network did not come:", error);
    parts.status.textContent = "The network did not come, so nothing is predicted. A page opened as a file needs a server.";
    parts.again.hidden = false;
  }
}

function ready({ parts }) {
  parts.status.textContent = "The network runs in this page. Click or drag over patches; by keyboard, arrow keys and space.";
}

function render({ model, el }) {
  const root = makeRoot(el, "latents", "Latent explorer");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.style.setProperty("--grid", widget.grid);
  root.append(...layout(widget));
  if (widget.network) ready(widget);
  const stop = keepDrawn(widget, root, { kind: "latents", fields: fieldsOf(widget), traits: ["image", "cells"], draw });
  const ignore = widget.link && whenNear(root, () => load(widget));
  return () => {
    widget.gone = true;
    ignore?.();
    stop();
  };
}

export default { render };
