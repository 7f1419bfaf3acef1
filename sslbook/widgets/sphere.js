// EmbeddingSphere: where the embeddings of two runs lie on the sphere, epoch by epoch. Follows page.js.

// apart for colour-blind eyes, on light and dark; more classes than colours repeat them
const CLASS_COLORS = ["#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#8a7fe0", "#b0a000", "#7f8c8d", "#e0507a", "#3d78c9"];
const SIDES = ["left", "right"];
const TURN = 0.12; // radians for one press of an arrow key

/** (run, epoch) of the points as floats: coordinates were stored as bytes in -127..127. */
export function pointsAt(bytes, [, epochs, n], run, epoch) {
  const start = 3 * n * (run * epochs + epoch);
  return Float32Array.from(bytes.subarray(start, start + 3 * n), (x) => x / 127);
}

/** Turn a point by yaw about the vertical axis, then by pitch about the horizontal one. */
export function turned([x, y, z], yaw, pitch) {
  const [x1, z1] = [x * Math.cos(yaw) + z * Math.sin(yaw), z * Math.cos(yaw) - x * Math.sin(yaw)];
  return [x1, y * Math.cos(pitch) - z1 * Math.sin(pitch), y * Math.sin(pitch) + z1 * Math.cos(pitch)];
}

/** A polyline's points in a box of 100 x 40, and the range of values, over all runs that are drawn. */
export function scaled(curves) {
  const values = curves.flat().filter(Number.isFinite);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (high - low < 1e-6) [low, high] = [low - 0.5, high + 0.5];
  const y = (v) => 38 - (36 * (v - low)) / (high - low);
  return { low, high, y };
}

function render({ model, el }) {
  const shape = model.get("shape"); // runs, epochs, points
  const [runCount, epochCount, n] = shape;
  const bytes = array(model, "points", Int8Array);
  const runs = model.get("runs");
  const epochs = model.get("epochs");
  const labels = model.get("labels");
  const classes = model.get("classes");
  const measures = model.get("measures"); // [[name, [[value of each epoch] of each run]]]

  let [yaw, pitch] = [0.6, -0.35];
  let playing = 0;

  const root = makeRoot(el, "sphere", "Embeddings on the sphere");
  const id = unique();
  const put = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };

  const choose = Object.fromEntries(
    SIDES.map((side) => {
      const options = runs.map((name, i) => make("option", { value: i }, name));
      const select = make("select", { id: `${id}-${side}`, onchange: () => put(side, +select.value) }, options);
      return [side, { select, row: make("div", { class: "sslw-choice" }, make("label", { for: select.id }, side === "left" ? "Left" : "Right"), select) }];
    }),
  );
  const epoch = slider({
    label: "Epoch", min: 0, max: epochCount - 1, step: 1, format: (e) => epochs[e],
    oninput: (e) => { stop(); put("epoch", e); },
  });
  const play = make("button", { type: "button", class: "sslw-primary" }, "Play");
  play.addEventListener("click", () => {
    if (playing) return stop();
    play.textContent = "Stop";
    if (model.get("epoch") === epochCount - 1) put("epoch", 0);
    playing = setInterval(() => {
      const next = model.get("epoch") + 1;
      if (next >= epochCount) return stop();
      put("epoch", next);
      if (next === epochCount - 1) stop();
    }, 500);
  });
  function stop() {
    clearInterval(playing);
    playing = 0;
    play.textContent = "Play";
  }

  const spheres = Object.fromEntries(
    SIDES.map((side) => {
      const canvas = make("canvas", {
        class: "sslw-ball", tabindex: 0, role: "img", "aria-describedby": `${id}-${side}-said`,
        onkeydown: (event) => {
          const step = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, -TURN], ArrowDown: [0, TURN] }[event.key];
          if (!step) return;
          event.preventDefault();
          turn(...step);
        },
        onpointerdown: (event) => canvas.setPointerCapture(event.pointerId),
        onpointermove: (event) => event.buttons && turn(event.movementX / 90, event.movementY / 90),
      });
      const title = make("h4", { class: `sslw-run sslw-run-${side}` });
      const said = make("p", { id: `${id}-${side}-said`, class: "sslw-note" });
      return [side, { canvas, title, said, item: make("figure", {}, title, canvas, make("figcaption", {}, said)) }];
    }),
  );
  function turn(by, up) {
    yaw += by;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + up));
    soon();
  }

  const charts = measures.map(([name, values]) => {
    const lines = Object.fromEntries(
      SIDES.map((side) => [side, make("polyline", { class: `sslw-line sslw-run-${side}`, fill: "none", "vector-effect": "non-scaling-stroke" })]),
    );
    const now = make("line", { class: "sslw-now", y1: 0, y2: 40, "vector-effect": "non-scaling-stroke" });
    const [high, low] = [make("span"), make("span")];
    const plot = make("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" }, now, lines.left, lines.right);
    const box = make("div", { class: "sslw-plot" }, plot, make("div", { class: "sslw-range" }, high, low));
    return { name, values, lines, now, high, low, plot, item: make("div", {}, make("h4", {}, name), box) };
  });

  root.append(
    make("div", { class: "sslw-controls" }, choose.left.row, choose.right.row, epoch.row, make("div", { class: "sslw-buttons" }, play)),
    make("div", { class: "sslw-balls" }, SIDES.map((side) => spheres[side].item)),
    make("p", { class: "sslw-legend-classes" }, classes.map((name, c) => make("span", { style: `--class: ${CLASS_COLORS[c % CLASS_COLORS.length]}` }, name))),
    make("div", { class: "sslw-charts" }, charts.map((c) => c.item)),
  );

  function draw() {
    const e = Math.min(model.get("epoch"), epochCount - 1);
    epoch.set(e);
    const at = Object.fromEntries(SIDES.map((side) => [side, Math.min(model.get(side), runCount - 1)]));
    for (const side of SIDES) {
      choose[side].select.value = at[side];
      const { canvas, title, said } = spheres[side];
      title.textContent = runs[at[side]];
      canvas.setAttribute("aria-label", `${n} embeddings of ${runs[at[side]]} on a sphere, after epoch ${epochs[e]}. Arrow keys turn it.`);
      said.textContent = measures.map(([name, values]) => `${name} ${number(values[at[side]][e])}`).join(" \u00b7 ");
      drawSphere(canvas, pointsAt(bytes, shape, at[side], e));
    }
    for (const { name, values, lines, now, high: top, low: bottom, plot } of charts) {
      const curves = SIDES.map((side) => values[at[side]]);
      const { low, high, y } = scaled(curves);
      const x = (i) => (epochCount > 1 ? (100 * i) / (epochCount - 1) : 50);
      SIDES.forEach((side, k) => {
        const points = curves[k].map((v, i) => (Number.isFinite(v) ? `${x(i)},${y(v)}` : "")).filter(Boolean);
        lines[side].setAttribute("points", points.join(" "));
      });
      now.setAttribute("x1", x(e));
      now.setAttribute("x2", x(e));
      [top.textContent, bottom.textContent] = [number(high), number(low)];
      plot.setAttribute("aria-label", `${name} over the epochs: ${SIDES.map((side, k) => `${runs[at[side]]} ${number(curves[k][e])}`).join(", ")}`);
    }
  }

  const number = (v) => (Number.isFinite(v) ? rounded(v, Math.abs(v) >= 10 ? 1 : 2) : "\u2013");

  /** Points in front are large and solid, those behind small and pale. */
  function drawSphere(canvas, points) {
    const side = canvas.clientWidth;
    if (!side) return; // not on the page yet
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(side * ratio)) canvas.width = canvas.height = Math.round(side * ratio);
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, side, side);
    const [middle, radius] = [side / 2, side / 2 - 10];
    drawGrid(g, middle, radius, getComputedStyle(canvas).color); // a canvas cannot read light-dark()
    const drawn = Array.from({ length: n }, (_, i) => [...turned(points.subarray(3 * i, 3 * i + 3), yaw, pitch), labels[i]]);
    drawn.sort((a, b) => a[2] - b[2]);
    for (const [x, y, z, label] of drawn) {
      g.globalAlpha = 0.35 + 0.3 * (z + 1);
      g.fillStyle = CLASS_COLORS[label % CLASS_COLORS.length];
      g.beginPath();
      g.arc(middle + radius * x, middle + radius * y, 2.2 + 1.2 * (z + 1), 0, 2 * Math.PI);
      g.fill();
    }
    g.globalAlpha = 1;
  }

  function drawGrid(g, middle, radius, color) {
    g.strokeStyle = color;
    g.lineWidth = 1;
    g.beginPath();
    g.arc(middle, middle, radius, 0, 2 * Math.PI);
    g.stroke();
    const circle = (f) => {
      g.beginPath();
      for (let k = 0; k <= 60; k++) {
        const [x, y] = turned(f((k / 60) * 2 * Math.PI), yaw, pitch);
        g.lineTo(middle + radius * x, middle + radius * y);
      }
      g.globalAlpha = 0.5;
      g.stroke();
      g.globalAlpha = 1;
    };
    circle((t) => [Math.cos(t), 0, Math.sin(t)]);
    circle((t) => [Math.cos(t), Math.sin(t), 0]);
    circle((t) => [0, Math.cos(t), Math.sin(t)]);
  }

  const { soon, cancel } = oncePerFrame(draw);
  const ignore = listen(model, ["epoch", "left", "right"], soon);
  const observer = new ResizeObserver(soon);
  observer.observe(root);
  draw();
  return () => {
    stop();
    ignore();
    cancel();
    observer.disconnect();
    root.remove();
  };
}

export default { render };
