// CorrelationMatrix: the cross-correlation of two views' features becomes the identity, epoch by epoch. Follows page.js.

const POSITIVE = [217, 95, 2]; // orange and blue: apart for colour-blind eyes, and on light as on dark
const NEGATIVE = [43, 123, 212];
const REACHES = [["1", "colours to \u00b11"], ["0.25", "to \u00b10.25"]];
const EXTREMES = 3; // pictures shown at each end of a feature
const JUMP = 8; // cells that an arrow key goes with Shift
const SIDE = 200; // of the scatter plot, in its own units
const PAUSE = 600; // milliseconds that playing stays on an epoch

/** One feature of all pictures, with mean 0 and standard deviation 1; zeros if it is the same for all. */
function standardised(bytes, [, size, n], epoch, view, feature) {
  const start = n * (size * (2 * epoch + view) + feature);
  const stored = Float64Array.from(bytes.subarray(start, start + n));
  const mean = stored.reduce((sum, x) => sum + x, 0) / n;
  const centred = stored.map((x) => x - mean);
  const deviation = Math.sqrt(centred.reduce((sum, x) => sum + x * x, 0) / n);
  return deviation > 0 ? centred.map((x) => x / deviation) : centred;
}

/** The matrix C, row by row, of D standardised features of view 1 (rows) and D of view 2 (columns). */
function correlation(first, second) {
  const [size, n] = [first.length, first[0].length];
  const cells = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += first[i][k] * second[j][k];
      cells[i * size + j] = sum / n;
    }
  }
  return cells;
}

/** The sign is the hue and the size the opacity, so that 0 is the page's own ground, in light and in dark. */
function cellColor(c, reach) {
  const opacity = Math.round(255 * within(Math.abs(c) / reach, 0, 1));
  return [...(c < 0 ? NEGATIVE : POSITIVE), opacity];
}

/** The pictures at both ends of a feature: [those of the lowest values, those of the highest], in rising order. */
function extremes(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const each = Math.min(EXTREMES, Math.floor(order.length / 2));
  return [order.slice(0, each), order.slice(-each)];
}

const isConstant = (feature) => feature.every((x) => x === 0);

// -- state

function stateOf(model) {
  const [count, size, n] = model.get("shape");
  return {
    count,
    size,
    n,
    floor: 1 / Math.sqrt(n),
    epochs: model.get("epochs"),
    names: model.get("names"),
    measures: model.get("measures"),
    weight: model.get("weight"),
    // all views: tile k for picture k of view 1, n + k for it in view 2
    sheet: model.get("sheet").byteLength ? loadSheet(model) : null,
    at: loadEpochs(model),
    hovered: null, // the cell under the pointer
    said: null, // the epoch that a screen reader has heard of
    playing: 0,
  };
}

/** epoch => {first, second, cells}: the features of both views and their matrix, computed when first asked for. */
function loadEpochs(model) {
  const shape = model.get("shape");
  const bytes = array(model, "features", Int8Array);
  const known = [];
  const compute = (e) => {
    const [first, second] = [0, 1].map((view) =>
      Array.from({ length: shape[1] }, (_, feature) => standardised(bytes, shape, e, view, feature)),
    );
    return { first, second, cells: correlation(first, second) };
  };
  return (e) => (known[e] ??= compute(e));
}

/** The picture k of a view; nothing without pictures. */
function thumbnail({ sheet, n }, view, k) {
  if (!sheet) return "";
  const { height, width } = sheet;
  const canvas = make("canvas", { "aria-hidden": "true", width, height });
  sheet.paste(canvas.getContext("2d"), (view - 1) * n + k, 0, 0, width, height);
  return canvas;
}

const epochOf = ({ model, count }) => within(model.get("epoch"), 0, count - 1);
const selectedOf = ({ model, size }) => ["row", "column"].map((trait) => within(model.get(trait), 0, size - 1));

function select(widget, [row, column]) {
  widget.hovered = null;
  put(widget.model, "row", row);
  put(widget.model, "column", column);
}

function hover(widget, cell) {
  if (String(cell) === String(widget.hovered)) return;
  widget.hovered = cell;
  focus(widget);
}

function play(widget) {
  widget.said = null; // so that the epoch that it ends with is said
  playThrough(widget, { last: widget.count - 1, pause: PAUSE, stop });
}

function stop(widget) {
  stopPlaying(widget);
  draw(widget);
}

/** What stands in the page's address; i and j as in C[i, j]. */
function fieldsOf({ model, size, epochs }) {
  const feature = (trait) => traitField(model, trait, wholeIn(0, size - 1), (k) => String(within(k, 0, size - 1)));
  return {
    epoch: traitField(model, "epoch", placeIn(epochs), (e) => epochs[Math.min(e, epochs.length - 1)]),
    i: feature("row"),
    j: feature("column"),
    reach: {
      get: () => String(model.get("reach")),
      parse: oneOf(REACHES.map(([value]) => value)),
      set: (value) => put(model, "reach", +value),
    },
  };
}

// -- parts

function partsOf(widget) {
  const { model, count, size, epochs, floor, n } = widget;
  const id = unique();
  const featureSlider = (label, trait) =>
    slider({ label, min: 0, max: size - 1, step: 1, format: String, oninput: (k) => put(model, trait, k) });
  const showEpoch = (e) => {
    if (widget.playing) stop(widget);
    put(model, "epoch", e);
  };
  return {
    diagonal: readout("Diagonal, mean", "the goal is 1"),
    off: readout("Off the diagonal, RMS", `noise floor 1/\u221a${n} = ${rounded(floor, 3)}`),
    invariance: readout("Invariance term", "sum of (1 \u2212 C[i, i])\u00b2"),
    redundancy: readout("Redundancy term"),
    epoch: slider({ label: "Epoch", min: 0, max: count - 1, step: 1, format: (e) => epochs[e], oninput: showEpoch }),
    play: primaryButton("Play", () => play(widget)),
    reach: choiceSwitch("The strongest colour stands for", REACHES, (reach) => put(model, "reach", +reach)),
    heat: heatPart(widget, `${id}-cell`),
    legend: make("div", { class: "sslw-legend" }),
    row: featureSlider("Row i", "row"),
    column: featureSlider("Column j", "column"),
    constants: make("p", { class: "sslw-note" }),
    value: make("h4", { class: "sslw-value" }),
    meaning: make("p", { class: "sslw-note" }),
    scatter: scatterPart(n),
    ends: [1, 2].map(endsPart),
    live: liveText({ id: `${id}-cell` }),
  };
}

/** The heat map, one pixel a cell, by mouse, finger and keyboard; its cursor lies over it. */
function heatPart(widget, describedBy) {
  const { size } = widget;
  const cellAt = (event) => {
    const { left, top, width, height } = heat.getBoundingClientRect();
    const at = [(event.clientY - top) / height, (event.clientX - left) / width].map((y) => Math.floor(y * size));
    return at.every((k) => k >= 0 && k < size) ? at : null;
  };
  const heat = make("canvas", {
    class: "sslw-heat", width: size, height: size, tabindex: 0, role: "application",
    "aria-roledescription": "heat map", "aria-describedby": describedBy,
    "aria-label":
      `Cross-correlation of ${size} features of two views. Arrow keys move, with Shift by ${JUMP}; ` +
      "Enter jumps to the diagonal.",
    onpointermove: (event) => hover(widget, event.pointerType === "mouse" ? cellAt(event) : null),
    onpointerleave: () => hover(widget, null),
    onclick: (event) => select(widget, cellAt(event) ?? selectedOf(widget)),
    onkeydown: (event) => {
      const to = cellAfter(event, selectedOf(widget), size);
      if (!to) return;
      event.preventDefault();
      select(widget, to);
    },
  });
  return heat;
}

/** Where a key leads from a cell; undefined for keys that mean nothing here. */
function cellAfter({ key, shiftKey }, [i, j], size) {
  const step = shiftKey ? JUMP : 1;
  const to = {
    ArrowUp: [i - step, j], ArrowDown: [i + step, j], ArrowLeft: [i, j - step], ArrowRight: [i, j + step],
    Home: [i, 0], End: [i, size - 1], PageUp: [0, j], PageDown: [size - 1, j], Enter: [i, i],
  }[key];
  return to?.map((k) => within(k, 0, size - 1));
}

/** Pictures as dots, feature i of view 1 across and feature j of view 2 up, with the line whose slope is C[i, j]. */
function scatterPart(n) {
  const half = SIDE / 2;
  const zeros = [
    make("line", { class: "sslw-zero", x1: 0, x2: SIDE, y1: half, y2: half }),
    make("line", { class: "sslw-zero", x1: half, x2: half, y1: 0, y2: SIDE }),
  ];
  const dots = Array.from({ length: n }, () => make("rect", { class: "sslw-dot" }));
  const line = make("line", { class: "sslw-slope" });
  const plot = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img" }, zeros, dots, line);
  return { plot, dots, line, caption: make("figcaption") };
}

/** The pictures at both ends of one feature. */
function endsPart(view) {
  const title = make("h4");
  const lists = [make("ol"), make("ol")];
  const end = (which, list) => make("div", {}, make("span", { class: "sslw-note" }, which), list);
  const item = make("div", { class: "sslw-ends" }, title, end("lowest", lists[0]), end("highest", lists[1]));
  return { view, title, lists, item };
}

function layout({ count, size, names, sheet, parts }) {
  const axis = (side, text) => make("div", { class: `sslw-axis sslw-${side}` }, make("span", {}, text));
  const cursor = ["row", "column", "cell"].map((kind) => make("i", { class: `sslw-cursor sslw-cursor-${kind}` }));
  const matrix = make(
    "div",
    { class: "sslw-matrix" },
    axis("top", "features j of view 2"),
    axis("left", "features i of view 1"),
    make("div", { class: "sslw-stage", style: `--size: ${size}` }, parts.heat, cursor),
    parts.legend,
  );
  const choice = make("div", { class: "sslw-cell" }, parts.row.row, parts.column.row);
  const scatter = make("figure", { class: "sslw-scatter" }, parts.scatter.plot, parts.scatter.caption);
  const ends = sheet || names.length ? parts.ends.map(({ item }) => item) : [];
  const time = count > 1 ? [parts.epoch.row, make("div", { class: "sslw-buttons" }, parts.play)] : [];
  return [
    readoutList([parts.diagonal, parts.off, parts.invariance, parts.redundancy]),
    make("div", { class: "sslw-controls" }, time, parts.reach.row),
    make(
      "div",
      { class: "sslw-columns" },
      make("div", { class: "sslw-field" }, matrix, choice, parts.constants),
      make("div", { class: "sslw-detail" }, parts.value, parts.meaning, scatter, ends),
    ),
    parts.live,
  ];
}

// -- draw

/** Numbers, colours, everything. */
function draw(widget) {
  const { model, weight, measures, at, parts } = widget;
  const e = epochOf(widget);
  const reach = model.get("reach");
  const { diagonal, off, invariance, redundancy } = measures[e];
  parts.diagonal.value.textContent = rounded(diagonal, 3);
  parts.off.value.textContent = rounded(off, 3);
  parts.invariance.value.textContent = rounded(invariance, 2);
  parts.redundancy.value.textContent = rounded(redundancy, 2);
  parts.redundancy.detail.textContent = `times \u03bb = ${weight}: ${rounded(weight * redundancy, 2)}`;
  parts.epoch.set(e);
  parts.reach.set(String(reach));
  parts.legend.replaceChildren(scalePart(reach));
  parts.constants.textContent = constantsNote(at(e));
  drawCells(widget, at(e).cells, reach);
  focus(widget);
  say(widget);
  widget.address.changed();
}

function drawCells({ size, parts }, cells, reach) {
  const pixels = new ImageData(size, size);
  cells.forEach((c, k) => pixels.data.set(cellColor(c, reach), 4 * k));
  parts.heat.getContext("2d").putImageData(pixels, 0, 0);
}

/** The legend. Beyond its ends nothing grows stronger. */
function scalePart(reach) {
  const ticks = [-1, -0.5, 0, 0.5, 1].map((share) => {
    let text = String(share * reach).replace("-", "\u2212");
    if (reach < 1 && share === -1) text = `\u2264 ${text}`;
    if (reach < 1 && share === 1) text = `\u2265 ${text}`;
    return make("span", { style: `left: ${50 + 50 * share}%` }, text);
  });
  return make("div", { class: "sslw-scale", style: `--stops: rgb(${NEGATIVE}), transparent, rgb(${POSITIVE})` }, ticks);
}

/** How many features have no correlation; empty if all have one. */
function constantsNote({ first, second }) {
  const [one, two] = [first, second].map((features) => features.filter(isConstant).length);
  if (!one && !two) return "";
  return `Features that are the same for all pictures: ${one} of view 1, ${two} of view 2. Their cells are set to 0.`;
}

/** The cell under the pointer, else the selected one: cursor, value, scatter plot, pictures. */
function focus(widget) {
  const { size, at, parts } = widget;
  const [i, j] = widget.hovered ?? selectedOf(widget);
  const { first, second, cells } = at(epochOf(widget));
  const stage = parts.heat.parentElement;
  stage.style.setProperty("--row", i);
  stage.style.setProperty("--column", j);
  parts.row.set(i);
  parts.column.set(j);
  parts.value.textContent = `C[${i}, ${j}] = ${rounded(cells[i * size + j], 2)}`;
  parts.meaning.textContent = meaningOf(widget, i, j, first[i], second[j]);
  drawScatter(widget, i, j, first[i], second[j], cells[i * size + j]);
  drawEnds(widget, parts.ends[0], i, first[i]);
  drawEnds(widget, parts.ends[1], j, second[j]);
}

/** What the loss wants of a cell. */
function meaningOf({ floor }, i, j, across, up) {
  const without = (k, view) => `Feature ${k} of view ${view} is the same for all pictures, so 0 stands for a correlation.`;
  if (isConstant(across)) return without(i, 1);
  if (isConstant(up)) return without(j, 2);
  if (i === j) return "One feature in both views: the loss pulls this cell to 1.";
  return `Two features: the loss pushes this cell to 0. Independent features give about \u00b1${rounded(floor, 2)}.`;
}

function drawScatter({ n, names, sheet, parts }, i, j, across, up, slope) {
  const { plot, dots, line, caption } = parts.scatter;
  const edge = 1.05 * Math.max(1, ...across.map(Math.abs), ...up.map(Math.abs));
  const place = (value) => (SIDE / 2) * (1 + value / edge);
  const marked = new Set([...extremes(across), ...extremes(up)].flat());
  dots.forEach((dot, k) => {
    dot.setAttribute("x", place(across[k]) - 2); // a dot is 4 wide
    dot.setAttribute("y", place(-up[k]) - 2);
    dot.classList.toggle("sslw-extreme", marked.has(k));
  });
  const ends = { x1: -edge, y1: slope * edge, x2: edge, y2: -slope * edge };
  for (const [name, value] of Object.entries(ends)) line.setAttribute(name, place(value));
  const axes = `feature ${i} of view 1 across, feature ${j} of view 2 up`;
  plot.setAttribute("aria-label", `${n} pictures as dots: ${axes}; their correlation is ${rounded(slope, 2)}`);
  caption.textContent =
    `Each dot is a picture: ${axes}, in standard deviations, ${rounded(edge, 1)} at the edge. ` +
    `The line\u2019s slope is the correlation.${sheet || names.length ? " Strong dots are the pictures below." : ""}`;
}

/** A feature's extreme pictures as its view shows them, or their names alone. */
function drawEnds({ n, names, sheet }, { view, title, lists }, feature, values) {
  title.textContent = `Feature ${feature} of view ${view}`;
  extremes(values).forEach((pictures, end) => {
    const items = pictures.map((k) => {
      const name = names.length ? names[k] : `picture ${k}`;
      return make(
        "li",
        { title: name },
        thumbnail({ sheet, n }, view, k),
        make("span", { class: names.length ? "sslw-name" : "sslw-hidden" }, `${name} `),
        make("span", {}, rounded(values[k], 1)),
      );
    });
    lists[end].replaceChildren(...items);
  });
}

/** What a screen reader says: a new epoch's measures and the selected cell. While epochs play it would not keep up. */
function say(widget) {
  const { epochs, measures, floor, hovered, playing, parts } = widget;
  if (playing || hovered !== null) return;
  const e = epochOf(widget);
  const { diagonal, off } = measures[e];
  const news =
    `Epoch ${epochs[e]}: diagonal ${rounded(diagonal, 3)}, off the diagonal ${rounded(off, 3)}, ` +
    `noise floor ${rounded(floor, 3)}. `;
  const cell = `${parts.value.textContent}. ${parts.meaning.textContent}`;
  if (e === widget.said && parts.live.textContent.endsWith(cell)) return;
  parts.live.textContent = e === widget.said ? cell : news + cell;
  widget.said = e;
}

function render({ model, el }) {
  const root = makeRoot(el, "correlation", "Cross-correlation matrix");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  if (widget.sheet) widget.sheet.image.onload = () => focus(widget);
  const traits = ["epoch", "row", "column", "reach"];
  const stop = keepDrawn(widget, root, { kind: "correlation", fields: fieldsOf(widget), traits, draw });
  return () => {
    clearInterval(widget.playing);
    stop();
    widget.sheet?.free();
  };
}

export default { render };
