// CodebookWall: codebooks, a picture in their codes, and what the network in the page guesses under a mask. Follows
// page.js, weights.js and transformer.js.

const PANELS = { masked: "Picture, masked", coded: "In codes", guessed: "Guessed" };

// -- the network

/** What BEiT says to each code at each patch of a picture whose `hidden` patches it does not see: a table (L, K). */
export function scoresOf(image, hidden, w, about) {
  const { grid, patch: side, dim, depth, heads, k } = about;
  const pixels = tableOf(hidden.map((_, patch) => pixelsOf(image, patch, about)), 3 * side * side);
  const seen = linearLayer(pixels, w["encoder.patch_embed.proj.weight"], w["encoder.patch_embed.proj.bias"], dim);
  const x = table(1 + grid * grid, dim); // CLS first
  x.data.set(w["encoder.cls_token"]);
  hidden.forEach((is, patch) => {
    const shown = is ? w.mask_token : seen.data.subarray(patch * dim, (patch + 1) * dim);
    x.data.set(shown, (1 + patch) * dim);
  });
  x.data.forEach((_, i) => (x.data[i] += w["encoder.pos_embed"][i]));
  const patches = rowsFrom(throughBlocks(x, w, "encoder", depth, heads), 1);
  return linearLayer(patches, w["head.weight"], w["head.bias"], k);
}

/** The likeliest code of each patch. */
function likeliest({ rows, columns, data }) {
  return Uint8Array.from({ length: rows }, (_, i) => {
    const scores = data.subarray(i * columns, (i + 1) * columns);
    return scores.indexOf(Math.max(...scores));
  });
}

/** Take the weights, from a file beside the page if they lie there. Without them stored guesses are all there is. */
async function load(widget) {
  try {
    const halves = await fetched(widget.model, "weights", Uint16Array);
    widget.network = readWeights(fromHalves(halves), widget.about.parts);
    widget.waiting = "";
  } catch (error) {
    console.warn("The network did not come:", error);
    widget.waiting = "The network did not come (a page opened as a file needs a server).";
  }
  if (!widget.gone) draw(widget);
}

// -- state

function stateOf(model) {
  const [count, size, side] = model.get("shape");
  const grid = size / side;
  const labels = model.get("labels");
  const books = model.get("books");
  const { url, bytes } = model.get("weights");
  return {
    count,
    size,
    side,
    grid,
    patches: grid * grid,
    books,
    factors: model.get("factors"),
    nameOf: (i) => (labels.length ? labels[i] : `picture ${i + 1}`),
    images: picturesOf(model, "pixels", size, size),
    palettes: palettesOf(model, books, side),
    codes: array(model, "codes", Uint8Array),
    masks: model.get("masks"),
    guesses: array(model, "guesses", Uint8Array),
    about: { ...model.get("network"), size, patch: side, grid },
    network: null, // its weights, once they are there
    waiting: url ? `Loading the network, ${rounded(bytes / 1e6, 1)} MB.` : "", // or why they are not
    answer: { key: "", codes: null }, // the last one
    before: null, // the mask that the stroke found
    stroke: null, // while a pointer is down: does it hide or show?
  };
}

/** For each book the looks of its codes. */
function palettesOf(model, books, side) {
  const looks = picturesOf(model, "palettes", side, side);
  let first = 0;
  return books.map(({ k }) => looks.slice(first, (first += k)));
}

const bookOf = ({ model, books }) => within(model.get("tokeniser"), 0, books.length - 1);
const imageOf = ({ model, count }) => within(model.get("image"), 0, count - 1);
const codeOf = (widget) => within(widget.model.get("code"), 0, widget.books[bookOf(widget)].k - 1);

/** The codes of the shown picture in the shown book. */
function codesOf(widget) {
  const { codes, count, patches } = widget;
  const at = (bookOf(widget) * count + imageOf(widget)) * patches;
  return codes.subarray(at, at + patches);
}

/** The stored mask that is shown, by its place; -1 for one that the reader made. */
function storedMask({ model, masks }) {
  const hidden = String(model.get("hidden"));
  return masks.findIndex((mask) => String(mask.hidden) === hidden);
}

/** What BEiT says under the mask that is shown; null where nobody knows. */
function guessesOf(widget) {
  const { model, images, guesses, count, patches, network, about, answer } = widget;
  if (bookOf(widget) > 0) return null;
  const [image, hidden, mask] = [imageOf(widget), model.get("hidden"), storedMask(widget)];
  if (network) {
    const key = `${image} ${hidden}`;
    if (answer.key !== key) {
      widget.answer = { key, codes: likeliest(scoresOf(images[image], hidden, network, about)) };
    }
    return widget.answer.codes;
  }
  if (mask < 0 || !guesses.length) return null;
  const at = (mask * count + image) * patches;
  return guesses.subarray(at, at + patches);
}

/** Codes as a picture, each patch by the look of its code; null is left open. */
function pictureOf(widget, codes) {
  const { size, side, grid, palettes } = widget;
  const data = new Float32Array(3 * size * size);
  const looks = palettes[bookOf(widget)];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const code = codes[grid * Math.floor(y / side) + Math.floor(x / side)];
      if (code === null) continue;
      const within = side * (y % side) + (x % side);
      for (let c = 0; c < 3; c++) data[(c * size + y) * size + x] = looks[code].data[c * side * side + within];
    }
  }
  return { data, height: size, width: size };
}

const patchAt = ({ size, side, grid }, pixel) => grid * Math.floor(pixel / size / side) + Math.floor((pixel % size) / side);

function hide({ model }, patch, hides) {
  const hidden = [...model.get("hidden")];
  if (hidden[patch] === hides) return;
  hidden[patch] = hides;
  put(model, "hidden", hidden);
}

/** Select the code of a patch. */
function choosePatch(widget, patch) {
  put(widget.model, "code", codesOf(widget)[patch]);
}

/** What stands in the page's address. */
function fieldsOf(widget) {
  const { model, count, books } = widget;
  const names = books.map(({ name }) => name);
  const set = (i) => put(model, "image", i);
  return {
    tokeniser: {
      get: () => names[bookOf(widget)],
      parse: oneOf(names),
      set: (name) => put(model, "tokeniser", names.indexOf(name)),
    },
    image: countedField(count, () => imageOf(widget), set),
    code: traitField(model, "code", wholeIn(0, 255), () => String(codeOf(widget))),
  };
}

// -- parts

function partsOf(widget) {
  const { model, books, images, nameOf, masks, factors, patches } = widget;
  const kinds = books.map(({ name }, i) => [String(i), name]);
  const masked = masks.map(({ name, hidden }) => button(`Hide ${name}`, () => put(model, "hidden", hidden)));
  const none = () => put(model, "hidden", new Array(patches).fill(false));
  return {
    thumbs: thumbnails("Picture", images, nameOf, (i) => put(model, "image", i)),
    book: choiceSwitch("Codes of", kinds, (i) => put(model, "tokeniser", +i)),
    panels: Object.fromEntries(Object.entries(PANELS).map(([kind, title]) => [kind, panelPart(widget, kind, title)])),
    switches: latticeOf(widget, "masked", "Patches: a pressed one is hidden", (i) => {
      hide(widget, i, !model.get("hidden")[i]);
    }),
    marks: latticeOf(widget, "coded", "Patches: press one to find its code in the wall", (i) => choosePatch(widget, i)),
    buttons: [...masked, button("Show all", none)],
    right: readout("Guessed right", "of the hidden patches"),
    used: readout("Codes in use", ""),
    share: readout("This code", "of all patches"),
    wall: make("div", { class: "sslw-codes", role: "group", "aria-label": "Codes, the commonest first" }),
    tiles: books.map(({ k }, b) => Array.from({ length: k }, (_, c) => tilePart(widget, b, c))),
    rows: factors.map((name) => rowPart(name)),
    note: make("p", { class: "sslw-note" }),
    live: liveText(),
  };
}

/** A code to click. */
function tilePart({ model, palettes, books }, b, c) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  paint(canvas, palettes[b][c]);
  const share = rounded(100 * books[b].shares[c], 1);
  const label = `Code ${c}, ${share} % of all patches`;
  return make("button", { type: "button", title: label, "aria-label": label, onclick: () => put(model, "code", c) }, canvas);
}

function panelPart({ size }, kind, title) {
  const canvas = make("canvas", { role: "img", width: size, height: size });
  const stage = make("div", { class: `sslw-picture sslw-picture-${kind}` }, canvas);
  const note = make("span");
  return { canvas, stage, note, item: make("figure", {}, stage, make("figcaption", {}, make("b", {}, title), note)) };
}

/** A grid of buttons, one a patch; arrow keys move, and only one is in the order of Tab. */
function latticeOf({ grid, patches }, kind, label, choose) {
  const buttons = Array.from({ length: patches }, (_, i) =>
    make("button", {
      type: "button",
      tabindex: i ? -1 : 0,
      "aria-label": `row ${Math.floor(i / grid) + 1}, column ${(i % grid) + 1}`,
      onfocus: () => buttons.forEach((other, j) => (other.tabIndex = i === j ? 0 : -1)),
      onclick: () => choose(i),
      onkeydown: (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid, ArrowDown: grid }[event.key];
        if (!step) return;
        event.preventDefault();
        buttons[i + step]?.focus();
      },
    }),
  );
  return { buttons, group: make("div", { class: `sslw-lattice sslw-${kind}`, role: "group", "aria-label": label }, buttons) };
}

/** A stroke over the masked picture does to each patch what it did to the first. */
function listenToStrokes(widget) {
  const { model, grid, parts } = widget;
  const { stage } = parts.panels.masked;
  const patchUnder = (event) => {
    const box = stage.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    return x >= 0 && x < 1 && y >= 0 && y < 1 ? grid * Math.floor(grid * y) + Math.floor(grid * x) : null;
  };
  const go = (event) => {
    const i = patchUnder(event);
    if (widget.stroke !== null && i !== null) hide(widget, i, widget.stroke);
  };
  stage.addEventListener("pointerdown", (event) => {
    const i = patchUnder(event);
    if (event.button !== 0 || i === null) return;
    stage.setPointerCapture(event.pointerId);
    widget.before = model.get("hidden");
    widget.stroke = !widget.before[i];
    go(event);
  });
  stage.addEventListener("pointermove", go);
  stage.addEventListener("pointercancel", () => {
    if (widget.stroke !== null) put(model, "hidden", widget.before); // the finger scrolls the page
    widget.stroke = null;
  });
  stage.addEventListener("lostpointercapture", () => (widget.stroke = null));
}

function rowPart(name) {
  const [code, patch] = [make("td"), make("td")];
  return { code, patch, row: make("tr", {}, make("th", { scope: "row" }, name), code, patch) };
}

function layout({ parts }) {
  const head = ["Factor", "This code says", "A patch, in the mean"].map((text) => make("th", { scope: "col" }, text));
  const table = make(
    "table",
    { class: "sslw-bits" },
    make("thead", {}, make("tr", {}, head)),
    make("tbody", {}, parts.rows.map(({ row }) => row)),
  );
  parts.panels.masked.stage.append(parts.switches.group);
  parts.panels.coded.stage.append(parts.marks.group);
  return [
    parts.thumbs.row,
    make("div", { class: "sslw-controls" }, parts.book.row, make("div", { class: "sslw-buttons" }, parts.buttons)),
    make("div", { class: "sslw-panels" }, Object.values(parts.panels).map(({ item }) => item)),
    parts.note,
    readoutList([parts.right, parts.used, parts.share]),
    make("div", { class: "sslw-columns" }, parts.wall, table),
    parts.live,
  ];
}

// -- draw

function draw(widget) {
  const { parts, nameOf } = widget;
  const i = imageOf(widget);
  parts.thumbs.set(i);
  parts.book.set(String(bookOf(widget)));
  const guesses = guessesOf(widget);
  drawPictures(widget, i, guesses);
  drawWall(widget);
  const said = drawNumbers(widget, guesses);
  parts.live.textContent = `${nameOf(i)}: ${said}`;
  widget.address.changed();
}

function drawPictures(widget, i, guesses) {
  const { model, images, parts, nameOf } = widget;
  const { masked, coded, guessed } = parts.panels;
  const hidden = model.get("hidden");
  const codes = codesOf(widget);
  const count = hidden.filter(Boolean).length;
  paint(masked.canvas, images[i], (pixel) => hidden[patchAt(widget, pixel)]);
  paint(coded.canvas, pictureOf(widget, codes));
  const filled = [...codes].map((code, patch) => (hidden[patch] ? (guesses ? guesses[patch] : null) : code));
  paint(guessed.canvas, pictureOf(widget, filled), (pixel) => filled[patchAt(widget, pixel)] === null);
  masked.canvas.setAttribute("aria-label", `${nameOf(i)}, masked`);
  coded.canvas.setAttribute("aria-label", `${nameOf(i)}, each patch as the mean of its code`);
  guessed.canvas.setAttribute("aria-label", `${nameOf(i)}, hidden patches as guessed`);
  masked.note.textContent = `${count} of ${hidden.length} patches hidden`;
  coded.note.textContent = "each patch as its code looks";
  guessed.note.textContent = whatIsGuessed(widget, guesses);
  parts.switches.buttons.forEach((part, patch) => part.setAttribute("aria-pressed", String(hidden[patch])));
  const code = codeOf(widget);
  parts.marks.buttons.forEach((part, patch) => part.setAttribute("aria-pressed", String(codes[patch] === code)));
}

function whatIsGuessed({ model, books, guesses: stored }, guesses) {
  if (guesses) return "hidden patches as BEiT guesses them";
  if (!stored.length) return "no network is here to guess";
  if (model.get("tokeniser")) return `this BEiT has learnt the codes of ${books[0].name} only`;
  return "guesses are stored for the masks of the buttons only";
}

function drawWall(widget) {
  const { parts, books } = widget;
  const b = bookOf(widget);
  const { k, shares } = books[b];
  const order = [...Array(k).keys()].sort((one, other) => shares[other] - shares[one]);
  const tiles = order.map((c) => parts.tiles[b][c]);
  if (parts.wall.firstChild !== tiles[0]) parts.wall.replaceChildren(...tiles);
  parts.tiles[b].forEach((tile, c) => tile.setAttribute("aria-pressed", String(c === codeOf(widget))));
}

/** Read-outs and table; the words that a screen reader says. */
function drawNumbers(widget, guesses) {
  const { model, books, parts } = widget;
  const hidden = model.get("hidden");
  const { k, shares, bits, of_patch: mean } = books[bookOf(widget)];
  const code = codeOf(widget);
  const codes = codesOf(widget);
  const places = [...hidden.keys()].filter((patch) => hidden[patch]);
  const right = guesses ? places.filter((patch) => guesses[patch] === codes[patch]).length : 0;
  const entropy = shares.reduce((sum, share) => sum - (share > 0 ? share * Math.log(share) : 0), 0);
  parts.right.value.textContent = guesses && places.length ? `${right} of ${places.length}` : "\u2013";
  parts.used.value.textContent = rounded(Math.exp(entropy), 1);
  parts.used.detail.textContent = `of ${k}; exp of the entropy`;
  parts.share.value.textContent = `${rounded(100 * shares[code], 1)} %`;
  parts.rows.forEach((row, f) => {
    row.code.textContent = `${rounded(bits[f][code], 2)} bits`;
    row.patch.textContent = `${rounded(mean[f], 3)} bits`;
  });
  parts.note.textContent = `Drag over the masked picture to hide patches; press a patch in codes to find its code. ${widget.waiting}`;
  return `code ${code}, ${parts.share.value.textContent} of all patches. Guessed right: ${parts.right.value.textContent}.`;
}

function render({ model, el }) {
  const root = makeRoot(el, "codebook", "Codebooks");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.style.setProperty("--grid", widget.grid);
  root.append(...layout(widget));
  listenToStrokes(widget);
  const traits = ["tokeniser", "image", "code", "hidden"];
  const stop = keepDrawn(widget, root, { kind: "codebook", fields: fieldsOf(widget), traits, draw });
  if (widget.about.parts && !widget.waiting) load(widget);
  const ignore = widget.waiting && whenNear(root, () => load(widget));
  return () => {
    widget.gone = true;
    if (ignore) ignore();
    stop();
  };
}

export default { render };
