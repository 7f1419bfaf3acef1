// AugmentationExplorer: what is drawn for a view, and what it does to an image. Follows views.js and page.js.

// light enough for black numbers, apart for colour-blind eyes; every frame also carries its number
const COLORS = ["#e69f00", "#56b4e9", "#1fbf8f", "#f27a4f", "#e58bbd", "#d6c72a", "#a99cf5", "#b0b0b0"];

const PROBABILITIES = [
  ["flip", "mirrored", "How often a view is flipped left-right"],
  ["jitter", "recoloured", "How often brightness, contrast, saturation and hue change"],
  ["grey", "made grey", "How often a view loses its colours"],
  ["blur", "blurred", "How often a view is blurred"],
  ["solarize", "solarised", "How often what is brighter than one half is inverted"],
];

/** The augmentation's fields with the sliders' values in their places. */
export function settings(family, sliders) {
  const { scale, strength, ...probabilities } = sliders;
  const colors = ["brightness", "contrast", "saturation", "hue"].map((c) => {
    const range = strength * family[c];
    return [c, c === "hue" ? Math.min(0.5, range) : range];
  });
  return { ...family, ...probabilities, ...Object.fromEntries(colors), scale: [scale, family.scale[1]] };
}

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
function summary(p, area) {
  const done = [`crop ${percent((p.box[2] * p.box[3]) / area)}`];
  if (p.flip) done.push("mirror");
  if (p.jittered && !p.grey) done.push("colour");
  if (p.grey) done.push("grey");
  if (p.sigma > 0) done.push("blur");
  if (p.solarize) done.push("solarise");
  return done.join(" \u00b7 ");
}

/** Draw at native size; the style sheet enlarges it with crisp pixels. Half a grey level rounds as in torch. */
function paint(canvas, { data, height, width }) {
  const n = height * width;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 255 * data[c * n + i];
    pixels.data[4 * i + 3] = 255;
  }
  if (canvas.width !== width) canvas.width = width; // setting a size clears, even when it is the same
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function render({ model, el }) {
  const [count, height, width] = model.get("shape");
  const pixels = array(model, "pixels", Uint8Array);
  const labels = model.get("labels");
  const family = model.get("family");
  const seed = model.get("seed");
  const first = array(model, "uniforms", Float32Array);
  const n = first.length / DRAWS;
  const area = height * width;
  const images = Array.from({ length: count }, (_, i) => ({
    data: Float32Array.from(pixels.subarray(i * 3 * area, (i + 1) * 3 * area), (x) => x / 255),
    height,
    width,
  }));

  let numbers = first; // n x 36 uniform numbers
  let draws = 0; // how often new ones were drawn
  let chosen = 0; // image
  let selected = 0; // view
  let hovered = null; // view under the pointer
  let drawn = []; // [{p, a}] of each view

  const root = makeRoot(el, "augmentation", "Augmentation explorer");
  const id = unique();

  // which image
  const picture = (i) => (labels.length ? labels[i] : `image ${i + 1}`);
  const thumbnails = images.map((image, i) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    paint(canvas, image);
    const input = make("input", { type: "radio", name: `${id}-image`, "aria-label": picture(i), onchange: () => choose(i) });
    return make("label", { class: "sslw-thumb", title: picture(i) }, input, canvas);
  });
  const choose = (i) => {
    chosen = i;
    draw();
  };

  // the original and where each view was cut from it
  const original = make("canvas", { role: "img" });
  const frames = Array.from({ length: n }, (_, k) => {
    const edge = { fill: "none", "vector-effect": "non-scaling-stroke" };
    return make(
      "g",
      { class: "sslw-box", style: `--view: ${COLORS[k % COLORS.length]}`, onclick: () => select(k) },
      make("rect", { ...edge, class: "sslw-halo" }),
      make("rect", { ...edge, class: "sslw-edge" }),
    );
  });
  const side = Math.max(height, width) / 12;
  const tags = Array.from({ length: n }, (_, k) =>
    make(
      "g",
      { class: "sslw-tag", style: `--view: ${COLORS[k % COLORS.length]}`, onclick: () => select(k) },
      make("rect", { width: side, height: side }),
      make("text", { "font-size": 0.85 * side, "text-anchor": "middle", "dominant-baseline": "central", x: side / 2, y: side / 2 }, `${k + 1}`),
    ),
  );
  const boxes = make("g", {}, frames); // the tags lie above every frame
  const overlay = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, boxes, make("g", {}, tags));
  const caption = make("figcaption");

  // the views
  const views = Array.from({ length: n }, (_, k) => {
    const input = make("input", { type: "radio", name: `${id}-view`, onchange: () => select(k) });
    const canvas = make("canvas", { "aria-hidden": "true" });
    const text = make("span", { class: "sslw-words" });
    const card = make(
      "label",
      {
        class: "sslw-view",
        style: `--view: ${COLORS[k % COLORS.length]}`,
        onpointerenter: () => hover(k),
        onpointerleave: () => hover(null),
      },
      input,
      make("span", { class: "sslw-frame" }, canvas, make("b", {}, `${k + 1}`)),
      text,
    );
    return { input, canvas, text, card };
  });
  const select = (k) => {
    selected = k;
    focus();
  };
  const hover = (k) => {
    hovered = k;
    focus();
  };

  // how the selected view came to be
  const filmTitle = make("h4");
  const film = Array.from({ length: 9 }, () => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const [what, value] = [make("b"), make("span")];
    return { canvas, what, value, item: make("li", {}, canvas, what, value) };
  });
  const live = make("p", { class: "sslw-hidden", "aria-live": "polite" });

  // the sliders: their values live in the model, so that a notebook can read them back
  let sliders = model.get("sliders");
  const move = (name) => (value) => {
    model.set("sliders", { ...model.get("sliders"), [name]: value });
    model.save_changes();
  };
  const controls = {
    scale: slider({
      label: "Smallest crop",
      hint: "The least share of the image that a crop keeps",
      min: 0.02, max: family.scale[1], step: 0.01, format: percent, oninput: move("scale"),
    }),
    strength: slider({
      label: "Colour strength",
      hint: "How far brightness, contrast, saturation and hue may go, as a multiple of this augmentation's own ranges",
      min: 0, max: 2, step: 0.05, format: times, oninput: move("strength"),
    }),
    ...Object.fromEntries(
      PROBABILITIES.map(([name, label, hint]) => [
        name,
        slider({ label, hint, min: 0, max: 1, step: 0.05, format: percent, oninput: move(name) }),
      ]),
    ),
  };
  const again = make("button", { type: "button", class: "sslw-primary" }, "New views");
  again.addEventListener("click", () => {
    draws += 1;
    numbers = uniforms(n * DRAWS, Math.imul(seed + 1, 0x9e3779b1) + draws);
    draw();
  });
  const reset = make("button", { type: "button" }, "Reset");
  reset.addEventListener("click", () => {
    [numbers, draws, selected] = [first, 0, 0];
    model.set("sliders", { ...model.get("start") });
    model.save_changes();
    draw();
  });
  const drawCount = make("span", { class: "sslw-note" });

  root.append(
    count > 1 ? make("div", { class: "sslw-thumbs", role: "radiogroup", "aria-label": "Image" }, thumbnails) : "",
    make(
      "div",
      { class: "sslw-columns" },
      make(
        "figure",
        { class: "sslw-original" },
        make("div", { class: "sslw-stack", style: `aspect-ratio: ${width} / ${height}` }, original, overlay),
        caption,
      ),
      make(
        "div",
        { class: "sslw-side" },
        make("div", { class: "sslw-views", role: "radiogroup", "aria-label": "Views" }, views.map((v) => v.card)),
        make("div", { class: "sslw-buttons" }, again, reset, drawCount),
      ),
    ),
    make(
      "div",
      { class: "sslw-controls", role: "group", "aria-label": "Augmentation" },
      make("h4", {}, "How far a view may go"),
      [controls.scale.row, controls.strength.row],
      make("h4", {}, "How often a view is"),
      PROBABILITIES.map(([name]) => controls[name].row),
    ),
    make("div", { class: "sslw-making" }, filmTitle, make("ol", { class: "sslw-film" }, film.map((f) => f.item))),
    live,
  );

  /** All views from the numbers and the sliders. */
  function draw() {
    sliders = model.get("sliders");
    const a = settings(family, sliders);
    const image = images[chosen];
    paint(original, image);
    original.setAttribute("aria-label", `${picture(chosen)}, with a frame where each view was cut`);
    caption.textContent = `${labels.length ? `${picture(chosen)}: ` : ""}the frames show where each view was cut`;
    thumbnails.forEach((label, i) => (label.firstChild.checked = i === chosen));
    drawn = views.map(({ input, canvas, text }, k) => {
      const p = parameters(numbers.subarray(k * DRAWS, (k + 1) * DRAWS), a, height, width);
      paint(canvas, apply(image, p, a));
      text.textContent = summary(p, area);
      input.setAttribute("aria-label", `View ${k + 1}: ${text.textContent}`);
      const [top, left, h, w] = p.box;
      for (const rect of frames[k].children) {
        for (const [name, value] of Object.entries({ x: left, y: top, width: w, height: h })) rect.setAttribute(name, value);
      }
      const x = left + ((k + 1) % 4 > 1 ? w - side : 0); // the numbers go round the corners, not to hide each other
      const y = top + (k % 4 > 1 ? h - side : 0);
      tags[k].setAttribute("transform", `translate(${x} ${y})`);
      return { p, a };
    });
    for (const [name, control] of Object.entries(controls)) control.set(sliders[name]);
    drawCount.textContent = draws ? `draw ${draws}` : "";
    focus();
  }

  /** The selected (or hovered) view: its frame on top, its nine steps. */
  function focus() {
    const k = hovered ?? selected;
    views.forEach(({ input, card }, i) => {
      input.checked = i === selected;
      card.classList.toggle("sslw-on", i === k);
      frames[i].classList.toggle("sslw-on", i === k);
    });
    if (boxes.lastChild !== frames[k]) boxes.append(frames[k]);
    const { p, a } = drawn[k];
    const made = steps(images[chosen], p, a);
    filmTitle.textContent = `How view ${k + 1} was made`;
    filmTitle.style.setProperty("--view", COLORS[k % COLORS.length]);
    made.forEach((step, i) => {
      const { canvas, what, value, item } = film[i];
      paint(canvas, step.image);
      [what.textContent, value.textContent] = words(step, area);
      item.classList.toggle("sslw-off", !step.on);
    });
    if (hovered === null) {
      const done = made.filter((s) => s.on).map((s) => words(s, area).join(" "));
      live.textContent = `View ${k + 1}: ${done.join(", ")}`;
    }
  }

  const { soon, cancel } = oncePerFrame(draw);
  const stop = listen(model, ["sliders"], soon);
  draw();
  return () => {
    stop();
    cancel();
    root.remove();
  };
}

export default { render };
