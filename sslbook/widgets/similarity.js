// SimilarityMatrix: all views of a batch compared with each other, as InfoNCE sees them. Follows page.js.

const VIRIDIS = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725".split(" ");
const RED_BLUE = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f".split(" ");
const LEAST = 1e-4; // the probability at the dark end of the logarithmic scale
const [T_MIN, T_MAX] = [0.02, 2];

/** 256 colours between equally spaced ones. */
function colorMap(stops) {
  const rgb = stops.map((s) => [0, 2, 4].map((i) => parseInt(s.slice(i, i + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    return rgb[k].map((v, c) => v + (at - k) * (rgb[k + 1][c] - v));
  });
}

/** The full symmetric matrix (size x size, ones on the diagonal) from its upper triangle. */
export function fromTriangle(triangle, size) {
  const cosine = new Float64Array(size * size).fill(1);
  let k = 0;
  for (let i = 0; i < size; i++) {
    for (let j = i + 1; j < size; j++) cosine[i * size + j] = cosine[j * size + i] = triangle[k++];
  }
  return cosine;
}

/** Softmax of every row over all other columns: p_ij, with 0 on the diagonal. */
export function probabilities(cosine, size, temperature) {
  const p = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    let most = -Infinity;
    let sum = 0;
    for (let j = 0; j < size; j++) if (j !== i) most = Math.max(most, cosine[i * size + j]);
    for (let j = 0; j < size; j++) {
      if (j !== i) sum += p[i * size + j] = Math.exp((cosine[i * size + j] - most) / temperature);
    }
    for (let j = 0; j < size; j++) p[i * size + j] /= sum;
  }
  return p;
}

/** Row i and row i + size / 2 are two views of one image. */
export const partner = (i, size) => (i + size / 2) % size;

/** InfoNCE of the matrix, the partners' mean cosine, and the share of rows whose partner is nearest. */
export function measures(cosine, size, temperature) {
  let [loss, positive, nearest] = [0, 0, 0];
  for (let i = 0; i < size; i++) {
    const row = cosine.subarray(i * size, (i + 1) * size);
    const own = row[partner(i, size)];
    let sum = 0;
    let best = true;
    for (let j = 0; j < size; j++) {
      if (j === i) continue;
      sum += Math.exp((row[j] - own) / temperature); // - log p = log of what the others weigh beside the partner
      if (row[j] > own) best = false;
    }
    loss += Math.log(sum) / size;
    positive += own / size;
    nearest += best / size;
  }
  return { loss, positive, nearest };
}

const scientific = (p) => (p >= 0.001 ? `${rounded(100 * p, 1)} %` : "< 0.1 %");

function render({ model, el }) {
  const size = model.get("size");
  const half = size / 2;
  const epochs = model.get("epochs");
  const names = model.get("names");
  const triangles = array(model, "triangles", Float32Array);
  const per = (size * (size - 1)) / 2;
  const matrices = epochs.map((_, e) => fromTriangle(triangles.subarray(e * per, (e + 1) * per), size));
  const maps = { cosine: colorMap(RED_BLUE), probability: colorMap(VIRIDIS) };
  const chance = Math.log(size - 1);

  let selected = [0, half]; // row, column
  let hovered = null;
  let cosine = matrices[0];
  let p = null;

  const root = makeRoot(el, "similarity", "Similarity matrix");
  const id = unique();
  const number = (i) => (i % half) + 1;
  const name = (i) => (names.length ? names[i % half] : `image ${number(i)}`);
  const view = (i) => (i < half ? "first view" : "second view");

  // both views of all images in one picture: tile i of the sheet is row i
  const [tile, across] = model.get("tiles");
  const sheet = new Image();
  const url = URL.createObjectURL(new Blob([array(model, "sheet", Uint8Array)], { type: "image/webp" }));
  sheet.src = url;
  const tileAt = (i) => [(i % across) * tile[1], Math.floor(i / across) * tile[0], tile[1], tile[0]];
  const thumbnail = () => make("canvas", { "aria-hidden": "true", width: tile[1], height: tile[0] });
  function show(canvas, i) {
    if (sheet.naturalWidth) canvas.getContext("2d").drawImage(sheet, ...tileAt(i), 0, 0, tile[1], tile[0]);
  }

  // controls: their values live in the model, so that a notebook can read and set them
  const put = (trait) => (value) => {
    model.set(trait, value);
    model.save_changes();
  };
  const epoch = slider({
    label: "Epoch", min: 0, max: epochs.length - 1, step: 1, format: (e) => epochs[e], oninput: put("epoch"),
  });
  const temperature = slider({
    label: "Temperature \u03c4",
    hint: "Similarities are divided by it before the softmax: small means picky",
    min: Math.log(T_MIN), max: Math.log(T_MAX), step: "any",
    format: (t) => Math.exp(t).toPrecision(2),
    oninput: (t) => put("temperature")(+Math.exp(t).toPrecision(3)),
  });
  temperature.input.addEventListener("keydown", (event) => {
    const to = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key]; // by a tenth of its size
    if (!to) return;
    event.preventDefault();
    put("temperature")(Math.min(T_MAX, Math.max(T_MIN, +(model.get("temperature") * 1.1 ** to).toPrecision(3))));
  });
  const kinds = [["cosine", "Cosine"], ["probability", "Probability"]].map(([value, label]) => {
    const input = make("input", { type: "radio", name: `${id}-kind`, value, id: `${id}-${value}` });
    input.addEventListener("change", () => put("shown")(value));
    return { input, label: make("label", { for: input.id }, label) };
  });

  // read-outs
  const readout = (term, note) => {
    const value = make("b");
    const detail = make("small", {}, note);
    return { value, detail, item: make("div", {}, make("dt", {}, term), make("dd", {}, value, detail)) };
  };
  const outs = {
    loss: readout("InfoNCE loss", ""),
    chance: readout("Loss of guessing", `ln(${size - 1}): all others alike`),
    positive: readout("Partners\u2019 cosine", "mean over all pairs"),
    nearest: readout("Partner found", "the highest of its row"),
  };

  // the matrix
  const heat = make("canvas", {
    class: "sslw-heat",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "heat map",
    "aria-describedby": `${id}-cell`,
  });
  const native = make("canvas", { width: size, height: size }); // one pixel a cell
  const stage = make("div", { class: "sslw-stage" }, heat);
  const axis = (kind) => make("div", { class: `sslw-axis sslw-${kind}` }, ...["first views", "second views"].map((t) => make("span", {}, t)));
  const legend = make("div", { class: "sslw-legend" });

  // the cell and its row
  const big = [thumbnail(), thumbnail()];
  const bigText = [make("span"), make("span")];
  const verdict = make("p", { class: "sslw-verdict" });
  const live = make("p", { class: "sslw-hidden", id: `${id}-cell`, "aria-live": "polite" });
  const [rowTitle, rowNote] = [make("h4"), make("p", { class: "sslw-note" })];
  const bars = Array.from({ length: Math.min(6, size - 1) }, () => {
    const canvas = thumbnail();
    const [bar, text] = [make("i"), make("span")];
    const item = make("li", {}, canvas, make("span", { class: "sslw-track" }, bar), text);
    item.addEventListener("click", () => select([selected[0], +item.dataset.column]));
    return { canvas, bar, text, item };
  });

  root.append(
    make("dl", { class: "sslw-readouts" }, Object.values(outs).map((o) => o.item)),
    make(
      "div",
      { class: "sslw-controls" },
      epochs.length > 1 ? epoch.row : "",
      temperature.row,
      make(
        "div",
        { class: "sslw-switch", role: "radiogroup", "aria-label": "What the colours show" },
        kinds.map(({ input, label }) => [input, label]).flat(),
      ),
    ),
    make(
      "div",
      { class: "sslw-columns" },
      make("div", { class: "sslw-matrix" }, axis("top"), axis("left"), stage, legend),
      make(
        "div",
        { class: "sslw-detail" },
        make("div", { class: "sslw-pair" }, big.map((canvas, i) => make("figure", {}, canvas, make("figcaption", {}, bigText[i])))),
        verdict,
        rowTitle,
        make("ol", { class: "sslw-bars" }, bars.map((b) => b.item)),
        rowNote,
      ),
    ),
    live,
  );

  const level = (i, j) =>
    model.get("shown") === "cosine"
      ? (cosine[i * size + j] + 1) / 2
      : 1 - Math.log(Math.max(p[i * size + j], LEAST)) / Math.log(LEAST);

  /** Numbers, colours, everything. */
  function draw() {
    const e = Math.min(model.get("epoch"), epochs.length - 1);
    const t = model.get("temperature");
    const shown = model.get("shown");
    cosine = matrices[e];
    p = probabilities(cosine, size, t);
    const m = measures(cosine, size, t);
    outs.loss.value.textContent = rounded(m.loss, 3);
    outs.loss.detail.textContent = `at \u03c4 = ${t.toPrecision(2)}`;
    rowNote.textContent = `The row\u2019s softmax at \u03c4 = ${t.toPrecision(2)}: all ${size - 1} views share 100 %.`;
    outs.chance.value.textContent = rounded(chance, 3);
    outs.positive.value.textContent = rounded(m.positive, 3);
    outs.nearest.value.textContent = `${rounded(100 * m.nearest, 0)} %`;
    epoch.set(e);
    temperature.set(Math.log(t));
    for (const { input } of kinds) input.checked = input.value === shown;
    drawLegend(shown);

    const cells = new ImageData(size, size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        const color = i === j ? [128, 128, 128] : maps[shown][Math.round(255 * Math.min(1, Math.max(0, level(i, j))))];
        cells.data.set([...color, i === j ? 90 : 255], 4 * (i * size + j));
      }
    }
    native.getContext("2d").putImageData(cells, 0, 0);
    focus();
  }

  function drawLegend(shown) {
    const stops = shown === "cosine" ? RED_BLUE : VIRIDIS;
    const ticks =
      shown === "cosine"
        ? [-1, -0.5, 0, 0.5, 1].map((v) => [(v + 1) / 2, rounded(v, Math.abs(v) === 0.5 ? 1 : 0)])
        : [0.0001, 0.001, 0.01, 0.1, 1].map((v, i) => [i / 4, `${100 * v} %`]);
    const scale = make(
      "div",
      { class: "sslw-scale", style: `--stops: ${stops.map((s) => `#${s}`).join(",")}` },
      ticks.map(([at, text]) => make("span", { style: `left: ${100 * at}%` }, text)),
    );
    if (shown === "probability") {
      const at = 1 - Math.log(1 / (size - 1)) / Math.log(LEAST);
      scale.append(make("em", { style: `left: ${100 * at}%`, title: `all alike: 1/${size - 1}` }));
    }
    const key = (kind, text) => make("span", { class: `sslw-key sslw-key-${kind}` }, text);
    legend.replaceChildren(
      scale,
      make(
        "p",
        {},
        key("partner", "two views of one image"),
        key("self", "itself, left out"),
        shown === "probability" ? key("chance", `all alike, 1/${size - 1}`) : "",
      ),
    );
  }

  // geometry in CSS pixels: thumbnails in a margin, then the cells
  let [side, margin, cell] = [0, 0, 0];
  const edge = (k) => margin + Math.round(k * cell);
  function resize() {
    side = stage.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    heat.width = heat.height = Math.round(side * ratio);
    margin = Math.round(Math.min(44, Math.max(26, side / (size + 1))));
    cell = (side - margin - 1) / size;
    root.style.setProperty("--margin", `${margin}px`);
    if (p) drawHeat();
  }

  function drawHeat() {
    if (!side) return; // not on the page yet
    const [row, column] = hovered ?? selected;
    const g = heat.getContext("2d");
    g.setTransform(heat.width / side, 0, 0, heat.height / side, 0, 0);
    g.clearRect(0, 0, side, side);
    g.imageSmoothingEnabled = false;
    g.drawImage(native, margin, margin, edge(size) - margin, edge(size) - margin);

    // partners: black around white is seen on every colour, but small cells have room for one line only
    const one = model.get("shown") === "cosine" ? "#000" : "#fff";
    const lines = cell < 12 ? [[one, 1]] : [["#000", 3], ["#fff", 1.4]];
    for (let i = 0; i < size; i++) {
      const j = partner(i, size);
      const [x, y, w] = [edge(j), edge(i), edge(j + 1) - edge(j)];
      for (const [color, line] of lines) {
        g.strokeStyle = color;
        g.lineWidth = line;
        g.strokeRect(x + 0.5, y + 0.5, w - 1, edge(i + 1) - y - 1);
      }
    }

    if (sheet.naturalWidth) {
      g.imageSmoothingEnabled = cell < tile[1];
      const s = Math.min(cell, margin - 4);
      for (let i = 0; i < size; i++) {
        const at = edge(i) + (cell - s) / 2;
        g.drawImage(sheet, ...tileAt(i), margin - 3 - s, at, s, s);
        g.drawImage(sheet, ...tileAt(i), at, margin - 3 - s, s, s);
      }
    }

    // the chosen row and column, with their images in full size in the margin
    g.strokeStyle = getComputedStyle(root).getPropertyValue("--mark") || "#e6007e";
    g.lineWidth = 1;
    g.strokeRect(margin - 0.5, edge(row) - 0.5, edge(size) - margin + 1, edge(row + 1) - edge(row) + 1);
    g.strokeRect(edge(column) - 0.5, margin - 0.5, edge(column + 1) - edge(column) + 1, edge(size) - margin + 1);
    g.lineWidth = 3;
    g.strokeRect(edge(column), edge(row), edge(column + 1) - edge(column), edge(row + 1) - edge(row));
    if (sheet.naturalWidth) {
      g.imageSmoothingEnabled = margin < tile[1];
      const s = margin - 3;
      const inside = (k) => Math.min(side - s - 1, Math.max(margin, edge(k) + (cell - s) / 2));
      for (const [i, x, y] of [[row, 1, inside(row)], [column, inside(column), 1]]) {
        g.drawImage(sheet, ...tileAt(i), x, y, s, s);
        g.lineWidth = 2;
        g.strokeRect(x, y, s, s);
      }
    }
  }

  /** The chosen cell: outline, images, numbers, its row's weights. */
  function focus() {
    const [i, j] = hovered ?? selected;
    drawHeat();
    [i, j].forEach((k, at) => {
      show(big[at], k);
      bigText[at].textContent = `${name(k)}, ${view(k)}`;
    });
    const same = j === partner(i, size);
    const [c, q] = [cosine[i * size + j], p[i * size + j]];
    verdict.replaceChildren(
      ...(i === j
        ? [make("b", {}, "the same view"), " \u2014 left out of the softmax"]
        : [
            make("span", {}, "cosine ", make("b", { class: "sslw-cosine" }, rounded(c, 3))),
            make("span", {}, "probability ", make("b", { class: "sslw-probability" }, scientific(q))),
            make("span", { class: same ? "sslw-yes" : "" }, same ? "\u2713 partners: two views of one image" : "\u2717 two different images"),
          ]),
    );
    rowTitle.textContent = `Which is the partner of ${name(i)}, ${view(i)}?`;

    // the heaviest of the row; the partner takes the last place if it is not among them
    const order = Array.from({ length: size }, (_, k) => k).filter((k) => k !== i);
    order.sort((a, b) => cosine[i * size + b] - cosine[i * size + a]);
    const rank = order.indexOf(partner(i, size));
    const top = order.slice(0, bars.length);
    if (rank >= top.length) top[top.length - 1] = partner(i, size);
    const most = p[i * size + order[0]];
    bars.forEach(({ canvas, bar, text, item }, b) => {
      const k = top[b];
      const place = k === partner(i, size) ? rank + 1 : b + 1;
      show(canvas, k);
      item.dataset.column = k;
      item.classList.toggle("sslw-partner", k === partner(i, size));
      bar.style.width = `${(100 * p[i * size + k]) / most}%`;
      text.textContent = `${scientific(p[i * size + k])}${place > b + 1 ? `, place ${place}` : ""}`;
      item.title = `${place}. ${name(k)}, ${view(k)}`;
    });
    const words = `Row ${name(i)}, ${view(i)}; column ${name(j)}, ${view(j)}: `;
    const value = i === j ? "the same view" : `cosine ${rounded(c, 3)}, probability ${scientific(q)}${same ? ", partners" : ""}`;
    heat.setAttribute("aria-label", "All views compared with each other. Arrow keys move, Enter jumps to the partner.");
    if (hovered === null) live.textContent = words + value;
  }

  const select = (to) => {
    selected = to.map((k) => Math.min(size - 1, Math.max(0, k)));
    hovered = null;
    focus();
  };
  const cellAt = (event) => {
    const { left, top, width } = heat.getBoundingClientRect();
    const at = [event.clientY - top, event.clientX - left].map((x) => Math.floor(((x * side) / width - margin) / cell));
    return at.every((k) => k >= 0 && k < size) ? at : null;
  };
  heat.addEventListener("pointermove", (event) => {
    const to = event.pointerType === "mouse" ? cellAt(event) : null;
    if (String(to) === String(hovered)) return;
    hovered = to;
    focus();
  });
  heat.addEventListener("pointerleave", () => {
    hovered = null;
    focus();
  });
  heat.addEventListener("click", (event) => {
    const to = cellAt(event);
    if (to) select(to);
  });
  heat.addEventListener("keydown", (event) => {
    const [i, j] = selected;
    const to = {
      ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
      Home: [i, 0], End: [i, size - 1], PageUp: [0, j], PageDown: [size - 1, j], Enter: [i, partner(i, size)],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    select(to);
  });

  const { soon, cancel } = oncePerFrame(draw);
  const stop = listen(model, ["epoch", "temperature", "shown"], soon);
  const observer = new ResizeObserver(resize);
  observer.observe(stage);
  sheet.onload = () => focus();
  draw();
  return () => {
    stop();
    cancel();
    observer.disconnect();
    sheet.onload = null;
    URL.revokeObjectURL(url);
    root.remove();
  };
}

export default { render };
