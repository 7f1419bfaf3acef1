// MAEExplorer: hide patches of a picture and see what a MAE makes of the rest. Follows views.js and page.js.

const PANELS = ["original", "masked", "reconstruction", "pasted"];
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

/** The network in this page: (image, hidden) to every patch as predicted. `address` is onnxruntime-web's folder. */
export async function inPage(address, network, images, size) {
  const ort = await import(new URL("ort.wasm.bundle.min.mjs", address).href);
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
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

/** Draw (3, size, size) colours at native size; patches that `isHidden` names stay open. */
function paint(canvas, data, isHidden = () => false) {
  const { width, height } = canvas;
  const area = width * height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 255 * data[c * area + i];
    pixels.data[4 * i + 3] = isHidden(i) ? 0 : 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function render({ model, el }) {
  const [count, size, side] = model.get("shape");
  const [area, grid] = [size * size, size / side];
  const patches = grid * grid;
  const labels = model.get("labels");
  const firstOrder = model.get("order");
  const counts = model.get("counts");
  const file = array(model, "network", Uint8Array);
  const pictures = (trait) => {
    const bytes = array(model, trait, Uint8Array);
    const one = (i) => Float32Array.from(bytes.subarray(3 * area * i, 3 * area * (i + 1)), (x) => x / 255);
    return Array.from({ length: bytes.length / (3 * area) }, (_, i) => one(i));
  };
  const images = pictures("pixels");
  const stored = pictures("stored");
  const patchOf = Array.from({ length: area }, (_, i) => grid * Math.floor(i / size / side) + Math.floor((i % size) / side));
  const hiddenIn = (hidden) => hidden.filter(Boolean).length;
  const start = hiddenIn(model.get("hidden"));

  let network = null; // {run, stop}; as long as there is none, stored pictures are shown
  let candidate = null; // the one that is tried
  let place = ""; // where it runs
  let stops = counts; // numbers of hidden patches that the slider offers
  let order = firstOrder;
  let draws = 0; // how often a new mask was drawn
  let stroke = null; // while a pointer is down: does it hide or show?
  let [busy, stale, gone] = [false, false, false];

  const root = makeRoot(el, "masking", "MAE explorer");
  root.style.setProperty("--grid", grid);
  const picture = (i) => (labels.length ? labels[i] : `image ${i + 1}`);
  const put = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };
  const hide = (i, hides) => {
    const hidden = [...model.get("hidden")];
    if (hidden[i] === hides) return;
    hidden[i] = hides;
    model.set("hidden", hidden);
  };

  // which picture
  const name = unique();
  const blank = (attributes) => make("canvas", { width: size, height: size, ...attributes });
  const thumbnails = images.map((image, i) => {
    const canvas = blank({ "aria-hidden": "true" });
    paint(canvas, image);
    const input = make("input", { type: "radio", name, "aria-label": picture(i), onchange: () => put("image", i) });
    return make("label", { class: "sslw-thumb", title: picture(i) }, input, canvas);
  });

  // on the masked picture lies a grid of switches for the keyboard, one of them in the order of Tab
  const switches = Array.from({ length: patches }, (_, i) => {
    const [row, column] = [Math.floor(i / grid), i % grid];
    const keys = {
      ArrowLeft: Math.max(i - 1, i - column), ArrowRight: Math.min(i + 1, i - column + grid - 1),
      ArrowUp: row ? i - grid : i, ArrowDown: row < grid - 1 ? i + grid : i,
      Home: i - column, End: i - column + grid - 1,
    };
    return make("button", {
      type: "button",
      tabindex: i ? -1 : 0,
      "aria-label": `row ${row + 1}, column ${column + 1}`,
      onfocus: () => {
        switches.forEach((other, j) => (other.tabIndex = i === j ? 0 : -1));
        point(i);
      },
      onblur: () => point(null),
      onclick: () => {
        if (!network) return;
        hide(i, !model.get("hidden")[i]);
        model.save_changes();
      },
      onkeydown: (event) => {
        if (!(event.key in keys)) return;
        event.preventDefault();
        switches[keys[event.key]].focus();
      },
    });
  });
  const lattice = make("div", { class: "sslw-lattice", role: "group", "aria-label": "Patches: a pressed one is hidden" }, switches);

  const panels = Object.fromEntries(PANELS.map((kind) => [kind, panel(kind)]));
  function panel(kind) {
    const canvas = blank({ role: "img" });
    const stage = make("div", { class: `sslw-picture sslw-picture-${kind}` }, canvas, kind === "masked" ? lattice : "");
    const patchAt = (event) => {
      const box = stage.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
      return x >= 0 && x < 1 && y >= 0 && y < 1 ? grid * Math.floor(grid * y) + Math.floor(grid * x) : null;
    };
    const pointers = {
      pointerdown: (event) => {
        // a finger hides on the masked picture only: it must be able to scroll past the others
        if (!network || event.button !== 0 || (event.pointerType !== "mouse" && kind !== "masked")) return;
        stage.setPointerCapture(event.pointerId);
        const i = patchAt(event);
        if (i === null) return;
        stroke = !model.get("hidden")[i];
        hide(i, stroke);
      },
      pointermove: (event) => {
        const i = patchAt(event);
        point(i);
        if (stroke !== null && i !== null) hide(i, stroke);
      },
      pointerleave: () => point(null),
      lostpointercapture: () => {
        stroke = null;
        model.save_changes();
      },
    };
    for (const [type, listener] of Object.entries(pointers)) stage.addEventListener(type, listener);
    const note = make("span");
    const title = make("b", {}, kind[0].toUpperCase() + kind.slice(1));
    return { canvas, note, item: make("figure", {}, stage, make("figcaption", {}, title, " ", note)) };
  }
  /** Frame one patch in all panels. */
  function point(i) {
    root.classList.toggle("sslw-pointing", i !== null && network !== null);
    root.style.setProperty("--row", Math.floor(i / grid));
    root.style.setProperty("--column", i % grid);
  }

  const ratio = slider({
    label: "Hidden",
    hint: "The share of hidden patches; which ones, New mask draws",
    min: 0, max: 1, step: 1, format: (stop) => percent(stops[stop] / patches),
    oninput: (stop) => put("hidden", firstOf(order, stops[stop])),
  });
  const fresh = make("button", { type: "button", class: "sslw-primary" }, "New mask");
  fresh.addEventListener("click", () => {
    draws += 1;
    const u = uniforms(patches, Math.imul(model.get("seed") + 1, 0x9e3779b1) + draws);
    order = [...u.keys()].sort((a, b) => u[a] - u[b]);
    const now = hiddenIn(model.get("hidden"));
    put("hidden", firstOf(order, now % patches ? now : start)); // all or none can be hidden in one way only
  });

  const [error, guess, time] = ["Error on hidden patches (MSE)", "Error of the picture\u2019s mean colour", "Prediction"].map((label) => {
    const [value, note] = [make("b"), make("small")];
    return { value, note, item: make("div", {}, make("dt", {}, label), make("dd", {}, value, note)) };
  });
  guess.note.textContent = "on the same patches";
  const status = make("p", { class: "sslw-note" }, "Starting the network\u2026");
  const live = make("p", { class: "sslw-hidden", "aria-live": "polite" });

  root.append(
    count > 1 ? make("div", { class: "sslw-thumbs", role: "radiogroup", "aria-label": "Picture" }, thumbnails) : "",
    make("div", { class: "sslw-panels" }, PANELS.map((kind) => panels[kind].item)),
    status,
    make("div", { class: "sslw-controls", role: "group", "aria-label": "Mask" }, ratio.row, make("div", { class: "sslw-buttons" }, fresh)),
    make("dl", { class: "sslw-readouts" }, [error, guess, time].map((r) => r.item)),
    live,
  );

  const nearest = (n) => stops.reduce((best, stop, i) => (Math.abs(stop - n) < Math.abs(stops[best] - n) ? i : best), 0);

  /** The picture that Python stored for this mask, if it did. */
  function kept(i, hidden) {
    const n = hiddenIn(hidden);
    const k = counts.indexOf(n);
    return k >= 0 && firstOrder.slice(0, n).every((patch) => hidden[patch]) ? stored[counts.length * i + k] : null;
  }

  /** The mask at once, the prediction when it is there; what changes meanwhile is predicted next. */
  async function draw() {
    const i = Math.min(model.get("image"), count - 1);
    const hidden = model.get("hidden");
    drawMask(i, hidden);
    stale = busy;
    if (busy) return;
    busy = true;
    const began = performance.now();
    const predicted = network ? await network.run(i, hidden) : kept(i, hidden);
    const took = network ? performance.now() - began : null;
    busy = false;
    if (gone) return;
    drawPrediction(i, hidden, predicted, took);
    if (stale) soon();
    else root.setAttribute("aria-busy", "false");
  }

  function drawMask(i, hidden) {
    const n = hiddenIn(hidden);
    paint(panels.original.canvas, images[i]);
    paint(panels.masked.canvas, images[i], (pixel) => hidden[patchOf[pixel]]);
    panels.original.canvas.setAttribute("aria-label", picture(i));
    panels.original.note.textContent = labels.length ? picture(i) : "";
    panels.masked.canvas.setAttribute("aria-label", `${picture(i)}, masked`);
    panels.masked.note.textContent = `${n} of ${patches} patches hidden`;
    switches.forEach((button, patch) => button.setAttribute("aria-pressed", hidden[patch]));
    thumbnails.forEach((label, k) => (label.firstChild.checked = k === i));
    ratio.input.max = stops.length - 1;
    ratio.set(nearest(n));
  }

  function drawPrediction(i, hidden, predicted, took) {
    const { reconstruction, pasted } = panels;
    const inHidden = patchOf.map((patch) => hidden[patch]);
    const image = images[i];
    if (predicted) {
      paint(reconstruction.canvas, predicted);
      paint(pasted.canvas, image.map((x, k) => (inHidden[k % area] ? predicted[k] : x)));
    } else {
      for (const { canvas } of [reconstruction, pasted]) canvas.getContext("2d").clearRect(0, 0, size, size);
    }
    reconstruction.canvas.setAttribute("aria-label", `${picture(i)}, every patch as predicted`);
    reconstruction.note.textContent = model.get("true_moments")
      ? "every patch as predicted, its true mean and contrast put back"
      : "every patch as predicted; it learnt the hidden ones only";
    pasted.canvas.setAttribute("aria-label", `${picture(i)}, with hidden patches as predicted`);
    pasted.note.textContent = "visible patches kept";

    const { network: ours, colour } = predicted ? errors(image, predicted, inHidden) : {};
    const shown = (x) => (Number.isFinite(x) ? rounded(x, 4) : "\u2013");
    [error.value.textContent, guess.value.textContent] = [shown(ours), shown(colour)];
    error.note.textContent = colour > 0 ? `${rounded(ours / colour, 2)} times the mean colour\u2019s` : "";
    time.value.textContent = took === null ? "\u2013" : `${rounded(took, took < 10 ? 1 : 0)} ms`;
    time.note.textContent = took === null ? "stored with the page" : place;
    live.textContent = `${hiddenIn(hidden)} of ${patches} patches hidden. Error ${shown(ours)}, of the mean colour ${shown(colour)}.`;
  }

  /** Take this network from now on, if it proves to run. */
  async function use(next, where) {
    if (gone) return next.stop();
    candidate = next;
    await next.run(0, firstOf(firstOrder, start));
    if (gone) return;
    [network, place, stops] = [next, where, [...Array(patches + 1).keys()]];
    settle("Click or drag over patches to hide or show them; by keyboard, arrow keys and space.");
  }

  function settle(text) {
    status.textContent = text;
    fresh.disabled = !network;
    for (const button of switches) button.setAttribute("aria-disabled", !network);
    root.classList.toggle("sslw-touchable", network !== null);
    changed();
  }

  function fallBack() {
    const what = file.length ? "WebAssembly, which does not run here" : "the network, which this page does not hold";
    settle(`Clicking on patches needs ${what}, or a kernel. The slider chooses among stored masks.`);
    if (!kept(0, model.get("hidden"))) put("hidden", firstOf(firstOrder, counts[nearest(hiddenIn(model.get("hidden")))]));
  }

  async function begin() {
    const address = document.documentElement.dataset.ort; // where the book's site has it
    if (file.length && address && typeof WebAssembly === "object") {
      try {
        return await use(await inPage(address, file, images, size), "in this page, without a server");
      } catch (error) {
        console.warn("The network does not run in this page:", error);
      }
    }
    timer = setTimeout(fallBack, PATIENCE);
    await use(inPython(model), "in Python");
    clearTimeout(timer);
  }

  let timer = 0;
  const { soon, cancel } = oncePerFrame(draw);
  const changed = () => {
    root.setAttribute("aria-busy", "true");
    soon();
  };
  const ignore = listen(model, ["image", "hidden"], changed);
  // onnxruntime-web is large: it is fetched when the reader comes near
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin();
  }, { rootMargin: "300px" });
  observer.observe(root);
  fresh.disabled = true;
  draw();
  return () => {
    gone = true;
    candidate?.stop();
    clearTimeout(timer);
    observer.disconnect();
    ignore();
    cancel();
    root.remove();
  };
}

export default { render };
