// MAEExplorer: hide patches of a picture and see what a MAE makes of the rest. Follows views.js, page.js and runtime.js.

const PANELS = ["original", "masked", "reconstruction", "pasted"];
const TITLES = { original: "Original", masked: "Masked", reconstruction: "Predicted", pasted: "Filled in" };
const STORED = "The slider chooses among stored masks.";
const PATIENCE = 1500; // ms that a kernel has to answer before the page says that there is none

/** The mask that hides the first `count` patches of an order. */
export function firstOf(order, count) {
  const hidden = new Array(order.length).fill(false);
  for (const place of order.slice(0, count)) hidden[place] = true;
  return hidden;
}

/** Visible patches row by row, and the place of every patch when they come first: what the network takes. */
export function maskIndices(hidden) {
  const places = [...hidden.keys()];
  const visible = places.filter((i) => !hidden[i]);
  const restore = new Array(hidden.length);
  [...visible, ...places.filter((i) => hidden[i])].forEach((patch, place) => (restore[patch] = place));
  return [visible, restore].map((indices) => BigInt64Array.from(indices, BigInt));
}

/** Mean squared error over the hidden patches: the network's, and of the picture's mean colour. Colours in [0, 1]. */
export function errors(image, predicted, inHidden) {
  const area = inHidden.length;
  let [network, colour, count] = [0, 0, 0];
  for (let c = 0; c < 3; c++) {
    const plane = image.subarray(c * area, (c + 1) * area);
    const mean = plane.reduce((a, b) => a + b, 0) / area;
    for (let i = 0; i < area; i++) {
      if (!inHidden[i]) continue;
      network += (predicted[c * area + i] - plane[i]) ** 2;
      colour += (mean - plane[i]) ** 2;
      count += 1;
    }
  }
  return { network: network / count, colour: colour / count }; // 0 / 0 is NaN: nothing is hidden
}

const hiddenIn = (hidden) => hidden.filter(Boolean).length;

// -- networks: {run(image, hidden), stop()}, where run promises every patch as predicted

/** The network in this page, run by onnxruntime-web, whose WebAssembly is `binary` or comes from its own folder. */
export async function inPage(ort, network, images, size, binary) {
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  if (binary) ort.env.wasm.wasmBinary = binary;
  const session = await ort.InferenceSession.create(network);
  const run = async (image, hidden) => {
    const [visible, restore] = maskIndices(hidden);
    const { reconstruction } = await session.run({
      image: new ort.Tensor("float32", images[image], [1, 3, size, size]),
      visible: new ort.Tensor("int64", visible, [visible.length]),
      ids_restore: new ort.Tensor("int64", restore, [restore.length]),
    });
    return reconstruction.data;
  };
  return { run, stop: () => session.release() };
}

/** onnxruntime-web's module from its folder. What failed once, a browser never asks for again by the same address. */
export function runtime(address, attempt = 0) {
  return import(fileOf(`${RUNTIME_MODULE}${attempt ? `?${attempt}` : ""}`, address));
}

/** The same, asked of Python, one question at a time; where no kernel is, the answer never comes. */
function inPython(model) {
  let [id, answer] = [null, null];
  const hear = (message, [bytes]) => {
    if (message.id !== id) return; // another view's
    answer(new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)));
  };
  model.on("msg:custom", hear);
  const run = (image, hidden) =>
    new Promise((resolve) => {
      [id, answer] = [unique(), resolve];
      model.send({ id, image, hidden });
    });
  return { run, stop: () => model.off("msg:custom", hear) };
}

// -- state

function stateOf(model) {
  const [, size, side] = model.get("shape");
  const grid = size / side;
  const labels = model.get("labels");
  const file = model.get("network");
  const order = model.get("order");
  const counts = model.get("counts");
  const row = (pixel) => Math.floor(pixel / size / side);
  const column = (pixel) => Math.floor((pixel % size) / side);
  return {
    size,
    grid,
    patches: grid * grid,
    patchOf: Array.from({ length: size * size }, (_, pixel) => grid * row(pixel) + column(pixel)),
    labels,
    nameOf: (i) => (labels.length ? labels[i] : `image ${i + 1}`),
    images: picturesOf(model, "pixels", size, size),
    stored: picturesOf(model, "stored", size, size).map(({ data }) => data),
    counts, // numbers of hidden patches that are stored
    file: file.url ? null : array(model, "network", Uint8Array), // the network, if it came with the page
    link: file.url ? file : null, // or where it is: {url, bytes}
    attempt: 0, // how often it was fetched
    firstOrder: order,
    order, // in which the slider hides patches
    start: hiddenIn(model.get("hidden")),
    stops: counts, // numbers of hidden patches that the slider offers
    draws: 0, // how often a new mask was drawn
    stroke: null, // while a pointer is down: does it hide or show?
    before: null, // and the mask before it came down
    past: [], // masks that Undo can bring back, the last one last
    network: null, // as long as there is none, stored pictures are shown
    candidate: null, // the one that is tried
    place: "", // where it runs
    fallen: false, // back to stored pictures: no network will come, unless the reader tries again
    timer: 0,
    busy: false, // a prediction is under way
    stale: false, // and something changed since
    gone: false,
  };
}

function hide({ model }, patch, hides) {
  const hidden = [...model.get("hidden")];
  if (hidden[patch] === hides) return;
  hidden[patch] = hides;
  model.set("hidden", hidden);
}

/** Frame one patch in all panels. */
function point({ root, grid, network }, patch) {
  root.classList.toggle("sslw-pointing", patch !== null && network !== null);
  root.style.setProperty("--row", Math.floor(patch / grid));
  root.style.setProperty("--column", patch % grid);
}

/** The reader makes another mask, which Undo takes back. */
function change(widget, hidden) {
  const now = widget.model.get("hidden");
  if (String(now) !== String(hidden)) widget.past.push(now);
  put(widget.model, "hidden", hidden);
}

function undo(widget) {
  if (widget.past.length) put(widget.model, "hidden", widget.past.pop());
}

function newMask(widget) {
  const { model, patches, start } = widget;
  widget.draws += 1;
  const u = drawnAgain(patches, model.get("seed"), widget.draws);
  widget.order = [...u.keys()].sort((a, b) => u[a] - u[b]);
  const now = hiddenIn(model.get("hidden"));
  change(widget, firstOf(widget.order, now % patches ? now : start)); // all or none can be hidden in one way only
}

/** The stop of the slider that is nearest to n hidden patches. */
function nearestStop({ stops }, n) {
  return stops.reduce((best, stop, i) => (Math.abs(stop - n) < Math.abs(stops[best] - n) ? i : best), 0);
}

/** The picture that Python stored for this mask, if it did. */
function kept({ counts, firstOrder, stored }, i, hidden) {
  const n = hiddenIn(hidden);
  const k = counts.indexOf(n);
  return k >= 0 && firstOrder.slice(0, n).every((patch) => hidden[patch]) ? stored[counts.length * i + k] : null;
}

/** What stands in the page's address. */
function fieldsOf(widget) {
  const { model, images, firstOrder } = widget;
  const shown = () => Math.min(model.get("image"), images.length - 1);
  const set = (hidden) => {
    put(model, "hidden", hidden);
    if (widget.fallen) keepToStored(widget);
  };
  return {
    image: countedField(images.length, shown, (i) => put(model, "image", i)),
    hidden: { get: () => maskText(model.get("hidden"), firstOrder), parse: (text) => maskOf(text, widget), set },
  };
}

/** A mask as the number of its patches if they are the first of the order, else as x and a bit for each, in hex. */
export function maskText(hidden, order) {
  const count = hiddenIn(hidden);
  if (order.slice(0, count).every((patch) => hidden[patch])) return String(count);
  const digits = Array.from({ length: Math.ceil(hidden.length / 4) }, (_, k) => {
    const bits = [0, 1, 2, 3].map((j) => (hidden[4 * k + j] ? "1" : "0"));
    return parseInt(bits.join(""), 2).toString(16);
  });
  return `x${digits.join("")}`;
}

/** The mask of such a text; undefined if it means none. */
export function maskOf(text, { firstOrder, patches }) {
  const digits = /^x([0-9a-f]+)$/.exec(text)?.[1];
  if (digits?.length === Math.ceil(patches / 4)) {
    const bits = [...digits].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
    return [...bits].slice(0, patches).map((bit) => bit === "1");
  }
  const count = wholeIn(0, patches)(text);
  return count === undefined ? undefined : firstOf(firstOrder, count);
}

// -- parts

function partsOf(widget) {
  const { model, images, nameOf, patches } = widget;
  const switches = latticeSwitches(widget);
  const label = "Patches: a pressed one is hidden";
  const lattice = make("div", { class: "sslw-lattice", role: "group", "aria-label": label }, switches);
  const panels = PANELS.map((kind) => [kind, panelPart(widget, kind, kind === "masked" ? lattice : "")]);
  return {
    thumbs: thumbnails("Picture", images, nameOf, (i) => put(model, "image", i)),
    switches,
    panels: Object.fromEntries(panels),
    ratio: slider({
      label: "Hidden",
      hint: "The share of hidden patches; which ones, New mask draws",
      min: 0, max: 1, step: 1, format: (stop) => percent(widget.stops[stop] / patches),
      oninput: (stop) => put(model, "hidden", firstOf(widget.order, widget.stops[stop])),
    }),
    buttons: [
      primaryButton("New mask", () => newMask(widget)),
      button("Hide all", () => change(widget, new Array(patches).fill(true))),
      button("Show all", () => change(widget, new Array(patches).fill(false))),
      button("Undo", () => undo(widget)),
    ],
    error: readout("Error on hidden patches (MSE)"),
    guess: readout("Error of the picture\u2019s mean colour", "mean squared difference, colours from 0 to 1"),
    time: readout("Prediction"),
    status: make("p", { class: "sslw-note", role: "status" }, "The network is loaded when it is needed."),
    again: button("Try again", () => begin(widget)),
    live: liveText(),
  };
}

/** On the masked picture lies a grid of switches for the keyboard, one of them in the order of Tab. */
function latticeSwitches(widget) {
  const { model, grid, patches } = widget;
  const switches = Array.from({ length: patches }, (_, i) =>
    make("button", {
      type: "button",
      tabindex: i ? -1 : 0,
      "aria-label": `row ${Math.floor(i / grid) + 1}, column ${(i % grid) + 1}`,
      onfocus: () => {
        switches.forEach((other, j) => (other.tabIndex = i === j ? 0 : -1));
        point(widget, i);
      },
      onblur: () => point(widget, null),
      onclick: () => {
        if (widget.fallen) return;
        change(widget, model.get("hidden").map((h, j) => (i === j ? !h : h)));
      },
      onkeydown: (event) => {
        const to = patchAfter(event.key, i, grid);
        if (to === undefined) return;
        event.preventDefault();
        switches[to].focus();
      },
    }),
  );
  return switches;
}

function panelPart(widget, kind, above) {
  const { size } = widget;
  const canvas = make("canvas", { role: "img", width: size, height: size });
  const stage = make("div", { class: `sslw-picture sslw-picture-${kind}` }, canvas, above);
  listenToPointer(widget, kind, stage);
  const note = make("span");
  const title = make("b", {}, TITLES[kind]);
  return { canvas, note, item: make("figure", {}, stage, make("figcaption", {}, title, " ", note)) };
}

/** A click hides or shows a patch; a stroke does everywhere what it did to its first patch. */
function listenToPointer(widget, kind, stage) {
  const { model, grid } = widget;
  const patchAt = (event) => {
    const box = stage.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    return x >= 0 && x < 1 && y >= 0 && y < 1 ? grid * Math.floor(grid * y) + Math.floor(grid * x) : null;
  };
  const listeners = {
    pointerdown: (event) => {
      // a finger hides on the masked picture only: it must be able to scroll past the others
      const touchable = event.pointerType === "mouse" || kind === "masked";
      if (widget.fallen || event.button !== 0 || !touchable) return;
      stage.setPointerCapture(event.pointerId);
      const i = patchAt(event);
      if (i === null) return;
      widget.before = model.get("hidden");
      widget.stroke = !model.get("hidden")[i];
      hide(widget, i, widget.stroke);
    },
    pointermove: (event) => {
      const i = patchAt(event);
      point(widget, i);
      if (widget.stroke !== null && i !== null) hide(widget, i, widget.stroke);
    },
    pointerleave: () => point(widget, null),
    pointercancel: () => {
      if (widget.stroke !== null) model.set("hidden", widget.before); // the finger scrolls the page, and nothing is undone
    },
    lostpointercapture: () => {
      if (widget.stroke !== null && String(widget.before) !== String(model.get("hidden"))) widget.past.push(widget.before);
      widget.stroke = null;
      model.save_changes();
    },
  };
  for (const [type, listener] of Object.entries(listeners)) stage.addEventListener(type, listener);
}

function layout({ parts }) {
  const { thumbs, panels, status, again, ratio, error, guess, time, live } = parts;
  const buttons = make("div", { class: "sslw-buttons" }, parts.buttons);
  again.hidden = true;
  return [
    thumbs.row,
    make("div", { class: "sslw-panels" }, PANELS.map((kind) => panels[kind].item)),
    make("div", { class: "sslw-state" }, status, again),
    make("div", { class: "sslw-controls", role: "group", "aria-label": "Mask" }, ratio.row, buttons),
    readoutList([error, guess, time]),
    live,
  ];
}

// -- draw

/** The mask at once, the prediction when it is there; what changes meanwhile is predicted next. */
async function draw(widget) {
  const { model, root, images, network } = widget;
  const i = Math.min(model.get("image"), images.length - 1);
  const hidden = model.get("hidden");
  drawMask(widget, i, hidden);
  widget.stale = widget.busy;
  if (widget.busy) return;
  widget.busy = true;
  const began = performance.now();
  const predicted = network ? await network.run(i, hidden) : kept(widget, i, hidden);
  const took = network ? performance.now() - began : null;
  widget.busy = false;
  if (widget.gone) return;
  drawPrediction(widget, i, hidden, predicted);
  drawNumbers(widget, i, hidden, predicted, took);
  if (widget.stale) widget.soon();
  else root.setAttribute("aria-busy", String(!predicted && !widget.fallen)); // a mask that the network will answer
  widget.address.changed();
}

function drawMask(widget, i, hidden) {
  const { images, labels, nameOf, patches, patchOf, stops, parts } = widget;
  const { original, masked } = parts.panels;
  const n = hiddenIn(hidden);
  paint(original.canvas, images[i]);
  original.canvas.setAttribute("aria-label", nameOf(i));
  original.note.textContent = labels.length ? nameOf(i) : "";
  paint(masked.canvas, images[i], (pixel) => hidden[patchOf[pixel]]);
  masked.canvas.setAttribute("aria-label", `${nameOf(i)}, masked`);
  masked.note.textContent = `${n} of ${patches} patches hidden`;
  parts.switches.forEach((button, patch) => button.setAttribute("aria-pressed", hidden[patch]));
  parts.thumbs.set(i);
  parts.ratio.input.max = stops.length - 1;
  parts.ratio.set(nearestStop(widget, n));
}

function drawPrediction({ model, images, nameOf, patchOf, parts }, i, hidden, predicted) {
  const { reconstruction, pasted } = parts.panels;
  const image = images[i];
  const area = patchOf.length;
  if (predicted) {
    const filled = image.data.map((x, k) => (hidden[patchOf[k % area]] ? predicted[k] : x));
    paint(reconstruction.canvas, { ...image, data: predicted });
    paint(pasted.canvas, { ...image, data: filled });
  } else {
    const { width, height } = image;
    for (const { canvas } of [reconstruction, pasted]) canvas.getContext("2d").clearRect(0, 0, width, height);
  }
  reconstruction.canvas.setAttribute("aria-label", `${nameOf(i)}, every patch as predicted`);
  reconstruction.note.textContent = model.get("true_moments")
    ? "every patch as predicted, its true mean and contrast put back"
    : "every patch as predicted; it learnt the hidden ones only";
  pasted.canvas.setAttribute("aria-label", `${nameOf(i)}, with hidden patches as predicted`);
  pasted.note.textContent = "the hidden patches only";
}

function drawNumbers({ images, patches, patchOf, place, parts }, i, hidden, predicted, took) {
  const { error, guess, time, live } = parts;
  const inHidden = patchOf.map((patch) => hidden[patch]);
  const { network, colour } = predicted ? errors(images[i].data, predicted, inHidden) : {};
  const shown = (x) => (Number.isFinite(x) ? rounded(x, 4) : "\u2013");
  error.value.textContent = shown(network);
  error.detail.textContent = colour > 0 ? `${rounded(network / colour, 2)} times the mean colour\u2019s` : "";
  guess.value.textContent = shown(colour);
  time.value.textContent = took === null ? "\u2013" : `${rounded(took, took < 10 ? 1 : 0)} ms`;
  time.detail.textContent = took === null ? "stored with the page" : place;
  const said = `Error ${shown(network)}, of the mean colour ${shown(colour)}`;
  live.textContent = `${hiddenIn(hidden)} of ${patches} patches hidden. ${said}.`;
}

/** Something is different: draw soon, and say so until it is drawn. */
function changed({ root, soon }) {
  root.setAttribute("aria-busy", "true");
  soon();
}

// -- which network

/** The page's, Python's, or none. */
async function begin(widget) {
  const { model, file, link } = widget;
  const address = siteRuntime().folder;
  const there = (link || file.length) && address && typeof WebAssembly === "object";
  if (there) return beginInPage(widget, address);
  widget.timer = setTimeout(() => fallBack(widget, `needs ${missing(widget)}, or a kernel.`), PATIENCE);
  await use(widget, inPython(model), "in Python");
  clearTimeout(widget.timer);
}

/** What clicking on patches would need. */
function missing({ file, link }) {
  return link || file.length ? "WebAssembly, which does not run here" : "the network, which this page does not hold";
}

/** Load what runs the network, say how far that is, and what went wrong. */
async function beginInPage(widget, address) {
  const { images, size, parts } = widget;
  Object.assign(widget, { fallen: false, stops: widget.counts });
  parts.again.hidden = true;
  if (window.location.protocol === "file:") {
    const how = "Start a server in its folder, \u201cpython -m http.server\u201d.";
    return fallBack(widget, `needs a page from a server; this one was opened as a file. ${how}`);
  }
  let loaded = false;
  try {
    const [ort, file, binary] = await load(widget, address);
    loaded = true;
    const network = await inPage(ort, file, images.map(({ data }) => data), size, binary);
    await use(widget, network, "in this page, without a server");
  } catch (error) {
    if (widget.gone) return;
    console.warn("The network does not run in this page:", error);
    fallBack(widget, loaded ? "needs the network, which does not run here." : "needs the network, and the download failed.");
    parts.again.hidden = loaded;
  }
}

/** onnxruntime-web's module, the network and the module's WebAssembly; the reader sees how much of them has come. */
async function load(widget, address) {
  const { file, link, parts } = widget;
  const came = { network: 0, runtime: 0 };
  const attempt = (widget.attempt += 1);
  const total = (link?.bytes ?? 0) + siteRuntime().bytes;
  const tell = (part) => (bytes) => {
    if (attempt !== widget.attempt || widget.fallen) return; // another file of this attempt was lost
    came[part] = bytes;
    const [got, all] = [came.network + came.runtime, total].map(megabytes);
    parts.status.textContent = `Loading the network, ${got} of ${all} MB. Masks that you make now are answered then.`;
  };
  tell("network")(0);
  const ort = runtime(address, attempt - 1);
  const network = link ? download(link.url, tell("network")) : file;
  const binary = download(fileOf(RUNTIME_BINARY, address), tell("runtime"));
  const all = await Promise.all([ort, network, binary]);
  parts.status.textContent = "Starting the network\u2026";
  return all;
}

/** Take this network from now on, if it proves to run. */
async function use(widget, next, place) {
  const { firstOrder, start, patches } = widget;
  if (widget.gone) return next.stop();
  widget.candidate = next;
  await next.run(0, firstOf(firstOrder, start));
  if (widget.gone) return;
  Object.assign(widget, { network: next, place, stops: [...Array(patches + 1).keys()] });
  settle(widget, "Click or drag over patches to hide or show them; by keyboard, arrow keys and space.");
}

function fallBack(widget, reason) {
  Object.assign(widget, { fallen: true, order: widget.firstOrder });
  settle(widget, `Clicking on patches ${reason} ${STORED}`);
  keepToStored(widget);
}

/** Another mask, the nearest whose pictures are stored, if those of this one are not. */
function keepToStored(widget) {
  const { model, firstOrder, counts } = widget;
  const hidden = model.get("hidden");
  if (kept(widget, 0, hidden)) return;
  put(model, "hidden", firstOf(firstOrder, counts[nearestStop(widget, hiddenIn(hidden))]));
}

function settle(widget, text) {
  const { root, network, fallen, parts } = widget;
  parts.status.textContent = text;
  if (fallen) widget.past = [];
  for (const button of parts.buttons) button.disabled = fallen;
  for (const button of parts.switches) button.setAttribute("aria-disabled", fallen);
  root.classList.toggle("sslw-touchable", network !== null);
  changed(widget);
}

/** onnxruntime-web is large: it is fetched when the reader comes near. */
function beginWhenNear(widget) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin(widget);
  }, { rootMargin: "300px" });
  observer.observe(widget.root);
  return observer;
}

function render({ model, el }) {
  const root = makeRoot(el, "masking", "MAE explorer");
  const widget = { model, root, ...stateOf(model) };
  const { soon, cancel } = oncePerFrame(() => draw(widget));
  widget.soon = soon;
  widget.parts = partsOf(widget);
  root.style.setProperty("--grid", widget.grid);
  root.append(...layout(widget));
  widget.address = addressState(root, "masking", fieldsOf(widget), () => changed(widget));
  const ignore = listen(model, ["image", "hidden"], () => changed(widget));
  const observer = beginWhenNear(widget);
  draw(widget);
  return () => {
    widget.gone = true;
    widget.candidate?.stop();
    clearTimeout(widget.timer);
    observer.disconnect();
    ignore();
    cancel();
    widget.address.stop();
    root.remove();
  };
}

export default { render };
