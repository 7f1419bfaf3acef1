// ClusterWall: clusters as walls of pictures, epoch by epoch, and what they are pure in. Follows page.js.

const ALONG = 3; // pictures along a side of a small wall
const WIDE = 10; // pictures in a row of the large one
const PAUSE = 900; // milliseconds that playing stays on an epoch

// -- state

function stateOf(model) {
  const [count, k, kinds, shown, n] = model.get("shape");
  return {
    count,
    k,
    kinds,
    shown,
    n,
    epochs: model.get("epochs"),
    factors: model.get("factors"),
    measures: model.get("measures"),
    sizes: array(model, "sizes", Uint32Array),
    commonest: array(model, "commonest", Uint8Array),
    counts: array(model, "counts", Uint32Array),
    sheet: loadSheet(model),
    membersOf: loadMembers(model),
    said: "",
    playing: 0,
  };
}

/** epoch => for each cluster the pictures that are shown of it; computed when first asked for. */
function loadMembers(model) {
  const [, k, , shown] = model.get("shape");
  const bytes = array(model, "members", Uint8Array);
  const known = [];
  return (e) => {
    if (!known[e]) {
      known[e] = Array.from({ length: k }, () => []);
      for (let i = 0; i < shown; i++) known[e][bytes[e * shown + i]].push(i);
    }
    return known[e];
  };
}

const epochOf = ({ model, count }) => within(model.get("epoch"), 0, count - 1);
const factorOf = ({ model, kinds }) => within(model.get("factor"), 0, kinds - 1);
const clusterOf = ({ model, k }) => within(model.get("cluster"), 0, k - 1);
const sizeOf = ({ sizes, k }, e, c) => sizes[e * k + c];

/** What most pictures of a cluster have in common in a factor: {part, share}; null for an empty cluster. */
function commonestOf(widget, e, c, f) {
  const { commonest, counts, factors, k, kinds } = widget;
  const at = (e * k + c) * kinds + f;
  const size = sizeOf(widget, e, c);
  return size ? { part: factors[f].parts[commonest[at]], share: counts[at] / size } : null;
}

/** The clusters of an epoch that hold pictures, the largest first. */
function inOrder(widget, e) {
  const used = [...Array(widget.k).keys()].filter((c) => sizeOf(widget, e, c) > 0);
  return used.sort((a, b) => sizeOf(widget, e, b) - sizeOf(widget, e, a));
}

/** The cluster of another epoch that shares most pictures with one; itself if none of its pictures is shown. */
function heirOf({ membersOf }, e, c, to) {
  const own = new Set(membersOf(e)[c]);
  const shared = membersOf(to).map((members) => members.filter((i) => own.has(i)).length);
  const most = Math.max(...shared);
  return most ? shared.indexOf(most) : c;
}

/** Show another epoch, and of it the cluster in which most pictures of the selected one now lie. */
function showEpoch(widget, to) {
  const heir = heirOf(widget, epochOf(widget), clusterOf(widget), to);
  put(widget.model, "cluster", heir);
  put(widget.model, "epoch", to);
}

function play(widget) {
  playThrough(widget, { last: widget.count - 1, pause: PAUSE, stop, show: (to) => showEpoch(widget, to) });
}

function stop(widget) {
  stopPlaying(widget);
  draw(widget);
}

/** What stands in the page's address. */
function fieldsOf({ model, epochs, factors, k }) {
  const names = factors.map(({ name }) => name);
  return {
    epoch: traitField(model, "epoch", placeIn(epochs), (e) => epochs[within(e, 0, epochs.length - 1)]),
    factor: {
      get: () => names[within(model.get("factor"), 0, names.length - 1)],
      parse: oneOf(names),
      set: (name) => put(model, "factor", names.indexOf(name)),
    },
    cluster: traitField(model, "cluster", wholeIn(0, k - 1), (c) => String(within(c, 0, k - 1))),
  };
}

// -- parts

function partsOf(widget) {
  const { model, count, epochs, factors, k, n } = widget;
  const kinds = factors.map(({ name }, f) => [String(f), name]);
  return {
    used: readout("Clusters with pictures", `of ${k}`),
    largest: readout("Largest", `of ${n.toLocaleString("en")} pictures`),
    purity: readout("Purity"),
    epoch: slider({
      label: "Epoch",
      min: 0, max: count - 1, step: 1, format: (e) => epochs[e],
      oninput: (e) => {
        if (widget.playing) stop(widget);
        showEpoch(widget, e);
      },
    }),
    play: primaryButton("Play", () => play(widget)),
    factor: choiceSwitch("Purity in", kinds, (f) => put(model, "factor", +f)),
    walls: Array.from({ length: k }, (_, c) => wallPart(widget, c)),
    grid: make("div", { class: "sslw-walls", role: "group", "aria-label": "Clusters, the largest first" }),
    title: make("h4"),
    wall: make("canvas", { class: "sslw-wall", role: "img" }),
    note: make("p", { class: "sslw-note" }),
    rows: factors.map(({ name }) => rowPart(name)),
    live: liveText(),
  };
}

/** A cluster to click: a few of its pictures, and what most of them are. */
function wallPart({ model, sheet }, c) {
  const side = { width: ALONG * sheet.width, height: ALONG * sheet.height };
  const canvas = make("canvas", { "aria-hidden": "true", ...side });
  const name = make("span", { class: "sslw-name" });
  const share = make("small");
  const choose = () => put(model, "cluster", c);
  return { canvas, name, share, item: make("button", { type: "button", onclick: choose }, canvas, name, share) };
}

/** A factor's row of the table: all clusters as a bar with chance as a mark, and the selected cluster. */
function rowPart(name) {
  const bar = make("div", { class: "sslw-level", "aria-hidden": "true" }, make("i"), make("b"));
  const [purity, chance, part, share] = [0, 1, 2, 3].map(() => make("td"));
  const row = make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, bar), purity, chance, part, share);
  return { bar, purity, chance, part, share, row };
}

function layout({ count, parts }) {
  const head = ["Factor", "Purity of all clusters", "", "Chance", "In this cluster", ""];
  const table = make(
    "table",
    { class: "sslw-factors" },
    make("thead", {}, make("tr", {}, head.map((text) => make(text ? "th" : "td", text ? { scope: "col" } : {}, text)))),
    make("tbody", {}, parts.rows.map(({ row }) => row)),
  );
  const time = count > 1 ? [parts.epoch.row, make("div", { class: "sslw-buttons" }, parts.play)] : [];
  return [
    readoutList([parts.used, parts.largest, parts.purity]),
    make("div", { class: "sslw-controls" }, time, parts.factor.row),
    make(
      "div",
      { class: "sslw-columns" },
      make("div", { class: "sslw-field" }, parts.grid),
      make("div", { class: "sslw-detail" }, parts.title, parts.wall, parts.note),
    ),
    make("div", { class: "sslw-scroll", tabindex: 0, role: "region", "aria-label": "Purity in each factor" }, table),
    parts.live,
  ];
}

// -- draw

/** Numbers, walls, everything. */
function draw(widget) {
  const { parts, measures, factors } = widget;
  const [e, f] = [epochOf(widget), factorOf(widget)];
  const order = inOrder(widget, e);
  const { purity, chance } = measures[e][f];
  parts.used.value.textContent = order.length;
  parts.largest.value.textContent = sizeOf(widget, e, order[0]).toLocaleString("en");
  parts.purity.value.textContent = rounded(purity, 2);
  parts.purity.detail.textContent = `in ${factors[f].name}; by chance ${rounded(chance, 2)}`;
  parts.epoch.set(e);
  parts.factor.set(String(f));
  drawWalls(widget, order, e, f);
  drawCluster(widget, e);
  drawRows(widget, e, f);
  say(widget, e, f);
  widget.address.changed();
}

function drawWalls(widget, order, e, f) {
  const { parts, membersOf } = widget;
  const selected = clusterOf(widget);
  for (const c of order) {
    const { canvas, name, share, item } = parts.walls[c];
    const common = commonestOf(widget, e, c, f);
    paintWall(widget, canvas, membersOf(e)[c].slice(0, ALONG * ALONG), ALONG, ALONG);
    name.textContent = common.part;
    share.textContent = `${percent(common.share)} of ${sizeOf(widget, e, c).toLocaleString("en")}`;
    item.setAttribute("aria-pressed", String(c === selected));
  }
  const items = order.map((c) => parts.walls[c].item);
  const same = items.length === parts.grid.children.length && items.every((item, i) => item === parts.grid.children[i]);
  if (same) return; // a button that moves loses the focus
  const focused = items.find((item) => item === document.activeElement);
  parts.grid.replaceChildren(...items);
  focused?.focus({ preventScroll: true });
}

/** Pictures side by side, `across` in a row. */
function paintWall({ sheet }, canvas, pictures, across, down) {
  const { width, height } = sheet;
  canvas.width = across * width; // clears it
  canvas.height = down * height;
  const context = canvas.getContext("2d");
  pictures.forEach((i, at) => {
    sheet.paste(context, i, (at % across) * width, Math.floor(at / across) * height, width, height);
  });
}

/** The selected cluster, large. */
function drawCluster(widget, e) {
  const { parts, membersOf, shown, n, epochs } = widget;
  const c = clusterOf(widget);
  const pictures = membersOf(e)[c];
  const size = sizeOf(widget, e, c);
  parts.title.textContent = `Cluster ${c} in epoch ${epochs[e]}: ${size.toLocaleString("en")} pictures`;
  paintWall(widget, parts.wall, pictures, WIDE, Math.max(1, Math.ceil(pictures.length / WIDE)));
  parts.wall.setAttribute("aria-label", `${pictures.length} pictures of cluster ${c}`);
  const which = shown < n ? `Those of the first ${shown.toLocaleString("en")} pictures are shown. ` : "";
  parts.note.textContent = size
    ? `${which}In another epoch, the cluster with most of these pictures is selected.`
    : "No picture lies in this cluster here.";
}

function drawRows(widget, e, f) {
  const { parts, measures } = widget;
  const c = clusterOf(widget);
  parts.rows.forEach(({ bar, purity, chance, part, share, row }, g) => {
    const measure = measures[e][g];
    const common = commonestOf(widget, e, c, g);
    bar.style.setProperty("--value", measure.purity);
    bar.style.setProperty("--chance", measure.chance);
    purity.textContent = rounded(measure.purity, 2);
    chance.textContent = rounded(measure.chance, 2);
    part.textContent = common ? common.part : "\u2013";
    share.textContent = common ? percent(common.share) : "";
    row.classList.toggle("sslw-chosen", g === f);
  });
}

/** What a screen reader says. While epochs play it would not keep up. */
function say(widget, e, f) {
  const { parts, factors, measures, epochs, playing } = widget;
  if (playing) return;
  const common = commonestOf(widget, e, clusterOf(widget), f);
  const mostly = common ? `, ${percent(common.share)} of them ${common.part}` : "";
  const { purity, chance } = measures[e][f];
  const text =
    `Epoch ${epochs[e]}: purity in ${factors[f].name} ${rounded(purity, 2)}, by chance ${rounded(chance, 2)}. ` +
    `${parts.title.textContent}${mostly}.`;
  if (text !== widget.said) parts.live.textContent = text;
  widget.said = text;
}

function render({ model, el }) {
  const root = makeRoot(el, "clusters", "Clusters as walls of pictures");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  widget.sheet.image.onload = () => draw(widget);
  const traits = ["epoch", "factor", "cluster"];
  const stopDrawing = keepDrawn(widget, root, { kind: "clusters", fields: fieldsOf(widget), traits, draw });
  return () => {
    clearInterval(widget.playing);
    stopDrawing();
    widget.sheet.free();
  };
}

export default { render };
