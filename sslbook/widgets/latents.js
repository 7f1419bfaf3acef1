// LatentExplorer: paint what an I-JEPA sees and what it is asked; the network in this page predicts. Follows page.js,
// weights.js and transformer.js.

const [NEITHER, CONTEXT, TARGET] = [0, 1, 2];
const BRUSHES = [["1", "Context"], ["2", "Target"], ["0", "Neither"]];
const HERE = "The network runs in this page. Click or drag over patches; by keyboard, arrow keys and space.";
const TITLES = { picture: "Picture", true: "True features", predicted: "Predicted", nearest: "Nearest patches" };

// -- the network

const rowOf = (x, i, dim) => x.subarray(i * dim, (i + 1) * dim);

/** What `predict` takes, from the weights in the order of latents.py. */
export const networkOf = (weights, about) => ({ about, w: readWeights(weights, about.parts) });

/** What the predictor says of each target, (targets, D), if the context encoder sees these patches of an image only. */
export function predict({ about, w }, image, context, targets) {
  const { patch, dim, depth, heads, predictor_dim: inner, predictor_depth, predictor_heads } = about;
  const layer = (x, name, outputs) => linearLayer(x, w[`${name}.weight`], w[`${name}.bias`], outputs);
  const at = (row, place, positions) => {
    const position = rowOf(positions, place, row.length);
    return row.map((value, c) => value + position[c]);
  };
  const pixels = tableOf(context.map((place) => pixelsOf(image, place, about)), 3 * patch ** 2);
  const patches = layer(pixels, "encoder.patch_embed.proj", dim).data;
  const tokens = context.map((place, i) => at(rowOf(patches, i, dim), place, w["encoder.pos_embed"]));
  const features = throughBlocks(tableOf([w["encoder.cls_token"], ...tokens], dim), w, "encoder", depth, heads);
  const embedded = layer(rowsFrom(features, 1), "predictor.embed", inner).data; // without CLS
  const seen = context.map((place, i) => at(rowOf(embedded, i, inner), place, w["predictor.pos_embed"]));
  const asked = targets.map((place) => at(w["predictor.mask_token"], place, w["predictor.pos_embed"]));
  const out = throughBlocks(tableOf([...seen, ...asked], inner), w, "predictor", predictor_depth, predictor_heads);
  return layer(rowsFrom(out, context.length), "predictor.proj", dim).data;
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
  const [patches, labels] = [grid ** 2, model.get("labels")];
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
    before: null, // the cells that the stroke found
    network: null, // until the weights are there
    networkOf,
    words: { here: HERE, without: "nothing is predicted" },
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
    network: networkPart(widget),
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
  const { grid, model } = widget;
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
      widget.before = model.get("cells");
      paintAt(event);
    },
    pointermove: (event) => widget.painting && paintAt(event),
    pointercancel: () => widget.painting && put(model, "cells", widget.before), // the finger scrolls the page
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
  const { thumbs, panels, brush, buttons, R2, seen, asked, network, live } = parts;
  return [
    thumbs.row,
    make("div", { class: "sslw-panels" }, Object.values(panels).map(({ item }) => item)),
    network.item,
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

function render({ model, el }) {
  const root = makeRoot(el, "latents", "Latent explorer");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.style.setProperty("--grid", widget.grid);
  root.append(...layout(widget));
  const callOff = bringNetwork(widget, root);
  const stop = keepDrawn(widget, root, { kind: "latents", fields: fieldsOf(widget), traits: ["image", "cells"], draw });
  return () => {
    callOff();
    stop();
  };
}

export default { render };
