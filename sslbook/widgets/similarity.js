// SimilarityMatrix: all views of a batch compared with each other, as InfoNCE sees them. Follows page.js.

const VIRIDIS = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725".split(" ");
const RED_BLUE = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f".split(" ");
const STOPS = { cosine: RED_BLUE, probability: VIRIDIS, classes: RED_BLUE };
const LEAST = 1e-4; // the probability at the dark end of the logarithmic scale
const [T_MIN, T_MAX] = [0.02, 2];
const ROWS = 6; // views in the list of a row's heaviest

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
    if (best) nearest += 1 / size;
  }
  return { loss, positive, nearest };
}

/** Runs of equal names, [{name, start, length}], if each name stands in one run and one of them is longer than 1. */
export function classesOf(names) {
  const runs = [];
  names.forEach((name, start) => {
    if (runs.at(-1)?.name === name) runs.at(-1).length += 1;
    else runs.push({ name, start, length: 1 });
  });
  const sorted = new Set(names).size === runs.length;
  return sorted && runs.length > 1 && runs.length < names.length ? runs : [];
}

/** The mean cosine between views of different images of every two classes: (C x C) row by row. */
export function classMeans(cosine, size, classes) {
  const half = size / 2;
  const views = ({ start, length }) => {
    const first = Array.from({ length }, (_, k) => start + k);
    return [...first, ...first.map((i) => i + half)];
  };
  return classes.flatMap((a) =>
    classes.map((b) => {
      const pairs = views(a).flatMap((i) => views(b).map((j) => [i, j])).filter(([i, j]) => i % half !== j % half);
      return pairs.reduce((sum, [i, j]) => sum + cosine[i * size + j], 0) / pairs.length; // NaN for a class of one image
    }),
  );
}

/** The mean cosine of two images of one class and of two classes, every pair of images counted once. */
export function withinAndAcross(cosine, size, classes) {
  const half = size / 2;
  const classAt = classes.flatMap(({ length }, c) => Array(length).fill(c));
  const sums = { within: [0, 0], across: [0, 0] };
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      if (i % half === j % half) continue;
      const part = sums[classAt[i % half] === classAt[j % half] ? "within" : "across"];
      part[0] += cosine[i * size + j];
      part[1] += 1;
    }
  }
  return { within: sums.within[0] / sums.within[1], across: sums.across[0] / sums.across[1] };
}

const scientific = (p) => (p >= 0.001 ? `${rounded(100 * p, 1)} %` : "< 0.1 %");

// -- state

function stateOf(model) {
  const size = model.get("size");
  const half = size / 2;
  const names = model.get("names");
  const epochs = model.get("epochs");
  const triangles = array(model, "triangles", Float32Array);
  const per = (size * (size - 1)) / 2;
  const views = model.get("views");
  const view = (i) => views[i < half ? 0 : 1];
  const name = (i) => (names.length ? names[i % half] : `image ${(i % half) + 1}`);
  return {
    size,
    epochs,
    views,
    classes: classesOf(names),
    nameOf: (i) => `${name(i)}, ${view(i)}`,
    matrices: epochs.map((_, e) => fromTriangle(triangles.subarray(e * per, (e + 1) * per), size)),
    maps: { cosine: colorMap(RED_BLUE), probability: colorMap(VIRIDIS), classes: colorMap(RED_BLUE) },
    sheet: loadSheet(model),
    selected: [0, half], // row, column
    hovered: null,
    cosine: null, // the matrix of this epoch
    p: null, // and its softmax at this temperature
    geometry: { side: 0, margin: 0, cell: 0 }, // in CSS pixels: thumbnails in a margin, then the cells
  };
}

/** What the colours show: means of classes only where there are classes. */
function shownBy({ model, classes }) {
  const shown = model.get("shown");
  return shown === "classes" && !classes.length ? "cosine" : shown;
}

function select(widget, cell) {
  widget.selected = cell.map((k) => within(k, 0, widget.size - 1));
  widget.hovered = null;
  focus(widget);
}

function hover(widget, cell) {
  if (String(cell) === String(widget.hovered)) return;
  widget.hovered = cell;
  focus(widget);
}

/** What stands in the page's address. */
function fieldsOf(widget) {
  const { model, size, epochs } = widget;
  const place = wholeIn(1, size);
  return {
    epoch: traitField(model, "epoch", placeIn(epochs), (e) => epochs[Math.min(e, epochs.length - 1)]),
    tau: traitField(model, "temperature", numberIn(T_MIN, T_MAX)),
    shown: traitField(model, "shown", oneOf(Object.keys(STOPS))),
    cell: {
      get: () => widget.selected.map((k) => k + 1).join(","),
      parse: (text) => {
        const cell = text.split(",").map(place);
        return cell.length === 2 && !cell.includes(undefined) ? cell : undefined;
      },
      set: (cell) => (widget.selected = cell.map((k) => k - 1)),
    },
  };
}

// -- parts

function partsOf(widget) {
  const { model, size, classes, sheet } = widget;
  const id = unique();
  const thumbnail = () => make("canvas", { "aria-hidden": "true", width: sheet.width, height: sheet.height });
  const kinds = [["cosine", "Cosine"], ["probability", "Probability"]];
  if (classes.length) kinds.push(["classes", "Mean per class"]);
  return {
    epoch: epochSlider(widget),
    temperature: temperatureSlider(model),
    shown: choiceSwitch("What the colours show", kinds, (kind) => put(model, "shown", kind)),
    loss: readout("InfoNCE loss"),
    chance: readout("Loss of guessing", `ln(${size - 1}): all others alike`),
    positive: readout("Partners\u2019 cosine", "mean over all pairs"),
    nearest: readout("Partner found", "the highest of its row"),
    classes: readout("Cosine in a class"),
    next: button("Next pair", () => {
      const i = (widget.selected[0] + 1) % size;
      select(widget, [i, partner(i, size)]);
    }),
    heat: heatPart(widget, `${id}-cell`),
    native: make("canvas", { width: size, height: size }), // one pixel a cell
    legend: make("div", { class: "sslw-legend" }),
    pair: [0, 1].map(() => ({ canvas: thumbnail(), text: make("span") })),
    verdict: make("p", { class: "sslw-verdict" }),
    rowTitle: make("h4"),
    bars: Array.from({ length: Math.min(ROWS, size - 1) }, () => barPart(widget, thumbnail())),
    rowNote: make("p", { class: "sslw-note" }),
    live: liveText({ id: `${id}-cell` }),
  };
}

/** A slider of the temperature's logarithm, which arrow keys move by a tenth of its size. */
function temperatureSlider(model) {
  const set = (t) => put(model, "temperature", +t.toPrecision(3));
  const part = slider({
    label: "Temperature \u03c4",
    hint: "Similarities are divided by it before the softmax: small means picky",
    min: Math.log(T_MIN), max: Math.log(T_MAX), step: "any",
    format: (t) => Math.exp(t).toPrecision(2), oninput: (t) => set(Math.exp(t)),
  });
  part.input.addEventListener("keydown", (event) => {
    const to = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!to) return;
    event.preventDefault();
    set(within(model.get("temperature") * 1.1 ** to, T_MIN, T_MAX));
  });
  return part;
}

/** The heat map, by mouse, finger and keyboard. */
function heatPart(widget, describedBy) {
  const { size } = widget;
  const cellAt = (event) => {
    const { side, margin, cell } = widget.geometry;
    const { left, top, width } = heat.getBoundingClientRect();
    const at = [event.clientY - top, event.clientX - left].map((x) => Math.floor(((x * side) / width - margin) / cell));
    if (shownBy(widget) === "classes") return null;
    return at.every((k) => k >= 0 && k < size) ? at : null;
  };
  const heat = make("canvas", {
    class: "sslw-heat", tabindex: 0, role: "application", "aria-roledescription": "heat map",
    "aria-describedby": describedBy,
    "aria-label": "All views compared with each other. Arrow keys move, Enter jumps to the partner.",
    onpointermove: (event) => hover(widget, event.pointerType === "mouse" ? cellAt(event) : null),
    onpointerleave: () => hover(widget, null),
    onclick: (event) => {
      const to = cellAt(event);
      if (to) select(widget, to);
    },
    onkeydown: (event) => {
      const to = cellAfter(event.key, widget.selected, size);
      if (!to) return;
      event.preventDefault();
      select(widget, to);
    },
  });
  return heat;
}

/** Where a key leads from a cell; undefined for keys that mean nothing here. */
function cellAfter(key, [i, j], size) {
  return {
    ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
    Home: [i, 0], End: [i, size - 1], PageUp: [0, j], PageDown: [size - 1, j], Enter: [i, partner(i, size)],
  }[key];
}

/** One of the heaviest views of a row. */
function barPart(widget, canvas) {
  const [bar, text] = [make("i"), make("span")];
  const choose = () => select(widget, [widget.selected[0], +item.dataset.column]);
  const track = make("span", { class: "sslw-track" }, bar);
  const item = make("li", {}, make("button", { type: "button", onclick: choose }, canvas, track, text));
  return { canvas, bar, text, item };
}

function layout({ epochs, views, classes, parts }) {
  const axis = (side) => {
    const halves = views.map((text) => make("span", {}, text));
    return make("div", { class: `sslw-axis sslw-${side}` }, halves);
  };
  const stage = make("div", { class: "sslw-stage" }, parts.heat);
  const figures = parts.pair.map(({ canvas, text }) => make("figure", {}, canvas, make("figcaption", {}, text)));
  const detail = make(
    "div",
    { class: "sslw-detail" },
    make("div", { class: "sslw-pair" }, figures),
    parts.verdict,
    make("div", { class: "sslw-buttons" }, parts.next),
    parts.rowTitle,
    make("ol", { class: "sslw-bars" }, parts.bars.map(({ item }) => item)),
    parts.rowNote,
  );
  const several = epochs.length > 1;
  return [
    readoutList([parts.loss, parts.chance, parts.positive, parts.nearest, ...(classes.length ? [parts.classes] : [])]),
    make("div", { class: "sslw-controls" }, several ? parts.epoch.row : "", parts.temperature.row, parts.shown.row),
    make(
      "div",
      { class: "sslw-columns" },
      make("div", { class: "sslw-matrix" }, axis("top"), axis("left"), stage, parts.legend),
      detail,
    ),
    parts.live,
  ];
}

// -- draw

/** Numbers, colours, everything. */
function draw(widget) {
  const { model, root, size, epochs, matrices, classes, parts } = widget;
  const e = Math.min(model.get("epoch"), epochs.length - 1);
  const t = model.get("temperature");
  const shown = shownBy(widget);
  widget.cosine = matrices[e];
  widget.p = probabilities(widget.cosine, size, t);
  const { loss, positive, nearest } = measures(widget.cosine, size, t);
  parts.loss.value.textContent = rounded(loss, 3);
  parts.loss.detail.textContent = `each among ${size - 1} others, \u03c4 = ${t.toPrecision(2)}`;
  parts.chance.value.textContent = rounded(Math.log(size - 1), 3);
  parts.positive.value.textContent = rounded(positive, 3);
  parts.nearest.value.textContent = percent(nearest);
  const share = `all ${size - 1} views share 100 %`;
  parts.rowNote.textContent = `The row\u2019s softmax at \u03c4 = ${t.toPrecision(2)}: ${share}.`;
  parts.epoch.set(e);
  parts.temperature.set(Math.log(t));
  parts.shown.set(shown);
  if (classes.length) drawClassReadout(widget);
  root.classList.toggle("sslw-by-class", shown === "classes");
  parts.legend.replaceChildren(...legendParts(shown, size, classes));
  drawCells(widget, shown);
  focus(widget);
}

function drawClassReadout({ size, cosine, classes, parts }) {
  const { within, across } = withinAndAcross(cosine, size, classes);
  parts.classes.value.textContent = rounded(within, 3);
  parts.classes.detail.textContent = `two images; of two classes ${rounded(across, 3)}`;
}

/** Where a probability lies on the logarithmic scale, from 0 to 1. */
const onLogScale = (p) => 1 - Math.log(Math.max(p, LEAST)) / Math.log(LEAST);

function legendParts(shown, size, classes) {
  const ticks =
    shown !== "probability"
      ? [-1, -0.5, 0, 0.5, 1].map((v) => [(v + 1) / 2, rounded(v, Math.abs(v) === 0.5 ? 1 : 0)])
      : [0.0001, 0.001, 0.01, 0.1, 1].map((v, i) => [i / 4, `${100 * v} %`]);
  const scale = make(
    "div",
    { class: "sslw-scale", style: `--stops: ${STOPS[shown].map((s) => `#${s}`).join(",")}` },
    ticks.map(([at, text]) => make("span", { style: `left: ${100 * at}%` }, text)),
  );
  const key = (kind, text) => make("span", { class: `sslw-key sslw-key-${kind}` }, text);
  if (shown === "classes") return [scale, make("p", {}, "Mean over views of two different images.")];
  const keys = [key("partner", "two views of one image"), key("self", "itself, left out")];
  if (classes.length) keys.push(make("span", {}, `Blocks, from the top: ${classes.map(({ name }) => name).join(", ")}.`));
  if (shown === "probability") {
    const at = 100 * onLogScale(1 / (size - 1));
    scale.append(make("em", { style: `left: ${at}%`, title: `all alike: 1/${size - 1}` }));
    keys.push(key("chance", `all alike, 1/${size - 1}`));
  }
  return [scale, make("p", {}, keys)];
}

/** One pixel a cell; what is compared with itself is a pale grey. */
function drawCells(widget, shown) {
  const { size, cosine, p, maps, parts } = widget;
  if (shown === "classes") return drawClassCells(widget);
  parts.native.width = parts.native.height = size;
  const level = shown === "cosine" ? (k) => (cosine[k] + 1) / 2 : (k) => onLogScale(p[k]);
  const cells = new ImageData(size, size);
  for (let k = 0; k < size * size; k++) {
    const itself = k % (size + 1) === 0;
    const color = maps[shown][Math.round(255 * within(level(k), 0, 1))];
    cells.data.set(itself ? [128, 128, 128, 90] : [...color, 255], 4 * k);
  }
  parts.native.getContext("2d").putImageData(cells, 0, 0);
}

function drawClassCells(widget) {
  const { size, cosine, classes, maps, parts } = widget;
  widget.means = classMeans(cosine, size, classes);
  const n = classes.length;
  parts.native.width = parts.native.height = n;
  const cells = new ImageData(n, n);
  widget.means.forEach((mean, k) => {
    const color = maps.classes[Math.round(255 * within((mean + 1) / 2, 0, 1))];
    cells.data.set(Number.isFinite(mean) ? [...color, 255] : [128, 128, 128, 90], 4 * k);
  });
  parts.native.getContext("2d").putImageData(cells, 0, 0);
}

function resize(widget) {
  const { root, size, parts, p } = widget;
  const side = parts.heat.parentElement.clientWidth;
  const margin = Math.round(within(side / (size + 1), 26, 44));
  widget.geometry = { side, margin, cell: (side - margin - 1) / size };
  parts.heat.width = parts.heat.height = Math.round(side * (window.devicePixelRatio || 1));
  root.style.setProperty("--margin", `${margin}px`);
  if (p) drawHeat(widget);
}

/** Where cell k begins, in CSS pixels. */
const edgeOf = ({ margin, cell }, k) => margin + Math.round(k * cell);

/** The cells at the size of the page, and what lies on them and beside them. */
function drawHeat(widget) {
  const { size, geometry, parts } = widget;
  const { side, margin } = geometry;
  if (!side) return; // not on the page yet
  const g = parts.heat.getContext("2d");
  g.setTransform(parts.heat.width / side, 0, 0, parts.heat.height / side, 0, 0);
  g.clearRect(0, 0, side, side);
  g.imageSmoothingEnabled = false;
  const width = edgeOf(geometry, size) - margin;
  g.drawImage(parts.native, margin, margin, width, width);
  if (shownBy(widget) === "classes") return drawClassNumbers(g, widget, width);
  drawPartners(g, widget);
  drawBlocks(g, widget);
  drawMargin(g, widget);
  drawCross(g, widget);
}

/** A line between two classes, and a stronger one between the halves. */
function drawBlocks(g, { size, classes, geometry }) {
  const end = edgeOf(geometry, size);
  const line = (k, color) => {
    const at = edgeOf(geometry, k);
    g.strokeStyle = color;
    g.lineWidth = 1;
    for (const [x, y, x2, y2] of [[at, geometry.margin, at, end], [geometry.margin, at, end, at]]) {
      g.beginPath();
      g.moveTo(x, y);
      g.lineTo(x2, y2);
      g.stroke();
    }
  };
  for (const half of [0, size / 2]) {
    for (const { start } of classes) if (start) line(half + start, "rgb(0 0 0 / 0.55)");
  }
  line(size / 2, "#000");
}

/** The mean of every two classes in its cell, and a picture of each class beside its row and above its column. */
function drawClassNumbers(g, { classes, sheet, means, geometry: { margin } }, width) {
  const n = classes.length;
  const cell = width / n;
  const s = Math.min(cell, margin) - 4;
  g.font = `${Math.min(13, cell / 2.6)}px system-ui, sans-serif`;
  g.textAlign = "center";
  g.textBaseline = "middle";
  means.forEach((mean, k) => {
    g.fillStyle = Math.abs(mean) > 0.55 ? "#fff" : "#000";
    const [x, y] = [margin + cell * ((k % n) + 0.5), margin + cell * (Math.floor(k / n) + 0.5)];
    if (Number.isFinite(mean)) g.fillText(rounded(mean, 2), x, y);
  });
  g.imageSmoothingEnabled = s < sheet.width;
  classes.forEach(({ start }, c) => {
    const at = margin + cell * (c + 0.5) - s / 2;
    sheet.paste(g, start, margin - s - 3, at, s, s);
    sheet.paste(g, start, at, margin - s - 3, s, s);
  });
}

/** Partners: black around white is seen on every colour, but small cells have room for a thin line only. */
function drawPartners(g, { model, size, geometry }) {
  const one = model.get("shown") === "cosine" ? "rgb(0 0 0 / 0.5)" : "rgb(255 255 255 / 0.6)";
  const lines = geometry.cell < 12 ? [[one, 0.5]] : [["#000", 3], ["#fff", 1.4]];
  const edge = (k) => edgeOf(geometry, k);
  for (let i = 0; i < size; i++) {
    const j = partner(i, size);
    const [x, y, w] = [edge(j), edge(i), edge(j + 1) - edge(j)];
    for (const [color, line] of lines) {
      g.strokeStyle = color;
      g.lineWidth = line;
      g.strokeRect(x + 0.5, y + 0.5, w - 1, edge(i + 1) - y - 1);
    }
  }
}

/** Every view beside its row and above its column; where they would be tiny, one of each class. */
function drawMargin(g, { size, sheet, classes, geometry }) {
  const { margin, cell } = geometry;
  const one = (start, length) => ({ start, length });
  const every = Array.from({ length: size }, (_, i) => one(i, 1));
  const some = classes.flatMap(({ start, length }) => [one(start, length), one(start + size / 2, length)]);
  for (const { start, length } of cell < 14 && some.length ? some : every) {
    const s = Math.min(cell * length - 1, margin - 4);
    const at = edgeOf(geometry, start) + (cell * length - s) / 2;
    g.imageSmoothingEnabled = s < sheet.width;
    sheet.paste(g, start, margin - 3 - s, at, s, s);
    sheet.paste(g, start, at, margin - 3 - s, s, s);
  }
}

/** The chosen row and column, with their images in full size in the margin. */
function drawCross(g, { root, size, sheet, geometry, hovered, selected }) {
  const [row, column] = hovered ?? selected;
  const { side, margin, cell } = geometry;
  const edge = (k) => edgeOf(geometry, k);
  g.strokeStyle = getComputedStyle(root).getPropertyValue("--mark") || "#e6007e";
  g.lineWidth = 1;
  g.strokeRect(margin - 0.5, edge(row) - 0.5, edge(size) - margin + 1, edge(row + 1) - edge(row) + 1);
  g.strokeRect(edge(column) - 0.5, margin - 0.5, edge(column + 1) - edge(column) + 1, edge(size) - margin + 1);
  g.lineWidth = 3;
  g.strokeRect(edge(column), edge(row), edge(column + 1) - edge(column), edge(row + 1) - edge(row));
  if (!sheet.image.naturalWidth) return;
  g.imageSmoothingEnabled = margin < sheet.width;
  g.lineWidth = 2;
  const s = margin - 3;
  const inside = (k) => Math.min(side - s - 1, Math.max(margin, edge(k) + (cell - s) / 2));
  for (const [i, x, y] of [[row, 1, inside(row)], [column, inside(column), 1]]) {
    sheet.paste(g, i, x, y, s, s);
    g.strokeRect(x, y, s, s);
  }
}

/** The chosen cell: outline, images, numbers, its row's weights. */
function focus(widget) {
  const { size, nameOf, sheet, cosine, p, hovered, selected, parts } = widget;
  const [i, j] = hovered ?? selected;
  drawHeat(widget);
  [i, j].forEach((k, at) => {
    const { canvas, text } = parts.pair[at];
    sheet.paste(canvas.getContext("2d"), k, 0, 0, sheet.width, sheet.height);
    text.textContent = nameOf(k);
  });
  const same = j === partner(i, size);
  const [c, q] = [rounded(cosine[i * size + j], 3), scientific(p[i * size + j])];
  parts.verdict.replaceChildren(...verdictParts(i === j, same, c, q));
  parts.rowTitle.textContent = `Which is the partner of ${nameOf(i)}?`;
  drawBars(widget, i);
  widget.address.changed();
  if (hovered !== null) return;
  const value = i === j ? "the same view" : `cosine ${c}, probability ${q}${same ? ", partners" : ""}`;
  parts.live.textContent = `Row ${nameOf(i)}; column ${nameOf(j)}: ${value}`;
}

function verdictParts(itself, same, cosine, probability) {
  if (itself) return [make("b", {}, "the same view"), " \u2014 left out of the softmax"];
  const said = same ? "\u2713 partners: two views of one image" : "\u2717 two different images";
  return [
    make("span", {}, "cosine ", make("b", { class: "sslw-cosine" }, cosine)),
    make("span", {}, "probability ", make("b", { class: "sslw-probability" }, probability)),
    make("span", { class: same ? "sslw-yes" : "" }, said),
  ];
}

/** The heaviest of row i; the partner takes the last place if it is not among them. */
function drawBars({ size, nameOf, sheet, cosine, p, parts }, i) {
  const own = partner(i, size);
  const order = [...Array(size).keys()].filter((k) => k !== i);
  order.sort((a, b) => cosine[i * size + b] - cosine[i * size + a]);
  const top = order.slice(0, parts.bars.length);
  const rank = order.indexOf(own);
  if (rank >= top.length) top[top.length - 1] = own;
  const most = p[i * size + order[0]];
  parts.bars.forEach(({ canvas, bar, text, item }, b) => {
    const k = top[b];
    const weight = p[i * size + k];
    const place = k === own ? rank + 1 : b + 1;
    sheet.paste(canvas.getContext("2d"), k, 0, 0, sheet.width, sheet.height);
    item.dataset.column = k;
    item.classList.toggle("sslw-partner", k === own);
    bar.style.width = `${(100 * weight) / most}%`;
    text.textContent = `${scientific(weight)}${place > b + 1 ? `, place ${place}` : ""}`;
    item.title = `${place}. ${nameOf(k)}`;
  });
}

function render({ model, el }) {
  const root = makeRoot(el, "similarity", "Similarity matrix");
  const widget = { model, root, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const observer = new ResizeObserver(() => resize(widget));
  observer.observe(widget.parts.heat.parentElement);
  widget.sheet.image.onload = () => focus(widget);
  const traits = ["epoch", "temperature", "shown"];
  const stop = keepDrawn(widget, root, { kind: "similarity", fields: fieldsOf(widget), traits, draw });
  return () => {
    stop();
    observer.disconnect();
    widget.sheet.free();
  };
}

export default { render };
