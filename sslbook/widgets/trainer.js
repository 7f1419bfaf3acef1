// Playground's worker: it trains. Follows draws.js, views.js and shapes.js; playground.js talks to it by messages.
//
// What a method is, it does not know: a graph says how a state and views become the next state. Here are pictures, views,
// the loop around the graph, and what is measured of the embeddings.

const PICTURES = 2048; // to learn from
const [BANK, ASKED] = [512, 256]; // pictures that vote for the nearest, and those that they vote on
const PIXELS = 3 * SIDE * SIDE;
const NEIGHBOUR_TEMPERATURE = 0.1; // of the vote, as in sslbook/evaluate.py
const WARM_UP = 16; // steps in which the learning rate rises
const [LOOK, ASK] = [300, 4000]; // ms between two looks at the embeddings, and between two votes
const OTHER = { train: 1, asked: 2, watched: 3, order: 4, views: 5, weights: 6 }; // streams of numbers from one seed

/** A seed of its own for the i-th thing of a kind. */
export const seedOf = (seed, kind, i = 0) => Math.imul(Math.imul(seed + 1, APART) + OTHER[kind], APART) + Math.imul(i + 1, 0x2545f491);

// -- the state: one vector, made of parts [name, length, how it begins, a number or another's name]

const lengthOf = (parts) => parts.reduce((sum, [, length]) => sum + length, 0);

/** What the parts are at first. */
export function startOf(parts, seed) {
  const state = new Float32Array(lengthOf(parts));
  const drawn = {};
  let from = 0;
  for (const [i, [name, length, kind, value]] of parts.entries()) {
    const part = state.subarray(from, from + length);
    if (kind === "as") part.set(drawn[value]);
    else if (kind === "fill") part.fill(value);
    else part.set(uniforms(length, seedOf(seed, "weights", i)).map((u) => value * (2 * u - 1)));
    drawn[name] = part;
    from += length;
  }
  return state;
}

/** A state for other parts: what has the same name and length goes on, the rest begins anew. */
export function carried(state, from, to, seed) {
  const places = new Map();
  let at = 0;
  for (const [name, length] of from) {
    places.set(`${name} ${length}`, at);
    at += length;
  }
  const all = to.every(([name, length]) => places.has(`${name} ${length}`));
  const next = all ? new Float32Array(lengthOf(to)) : startOf(to, seed);
  at = 0;
  for (const [name, length] of to) {
    const place = places.get(`${name} ${length}`);
    if (place !== undefined) next.set(state.subarray(place, place + length), at);
    at += length;
  }
  return next;
}

// -- pictures and views

/** Pictures of one kind, each painted when it is asked for: {label(i), pixels(i)}. */
export function picturesFrom(seed, kind) {
  const painted_ = new Map();
  const numbers = (i) => uniforms(1 + UNIFORMS, seedOf(seed, kind, i));
  const label = (i) => Math.floor(SHAPES * numbers(i)[0]);
  const pixels = (i) => {
    if (!painted_.has(i)) {
      const noise = normals(PIXELS, seedOf(seed, kind, i) + 1);
      painted_.set(i, painted(label(i), numbers(i).subarray(1), noise));
    }
    return painted_.get(i);
  };
  return { label, pixels };
}

/** Bytes as numbers in [0, 1]. */
function inUnit(pixels, numbers = new Float32Array(pixels.length)) {
  for (let i = 0; i < pixels.length; i++) numbers[i] = pixels[i] / 255;
  return numbers;
}

/** A picture of bytes as the views take it. */
const asImage = (pixels) => ({ data: inUnit(pixels), height: SIDE, width: SIDE });

/** Views of the pictures: all first views, then all second ones, ... as one array. */
export function viewsOf(images, augmentations, seed) {
  const size = augmentations[0].size;
  const length = 3 * size * size;
  const views = new Float32Array(augmentations.length * images.length * length);
  augmentations.forEach((a, v) => {
    images.forEach((image, i) => {
      const place = v * images.length + i;
      const p = parameters(uniforms(DRAWS, seedOf(seed, "views", place)), a, image.height, image.width);
      views.set(apply(image, p, a).data, place * length);
    });
  });
  return views;
}

/** The reader's crop and colour in a family of views. */
export function changedViews(families, { crop, color }) {
  return families.map((family) => withStrength({ ...family, scale: [crop, Math.max(crop, family.scale[1])] }, color));
}

/** Which pictures a step shows: every one once in an epoch, in an order of its own. */
export function batchAt(step, size, seed) {
  const steps = Math.floor(PICTURES / size);
  const u = uniforms(PICTURES, seedOf(seed, "order", Math.floor(step / steps)));
  const order = [...u.keys()].sort((a, b) => u[a] - u[b]);
  const first = (step % steps) * size;
  return order.slice(first, first + size);
}

// -- what is measured

/** Rows of n numbers, each made of length one. */
export function unitRows(x, n) {
  const unit = new Float32Array(x.length);
  for (let i = 0; i < x.length; i += n) {
    let sum = 0;
    for (let k = i; k < i + n; k++) sum += x[k] * x[k];
    const length = Math.max(Math.sqrt(sum), 1e-12);
    for (let k = i; k < i + n; k++) unit[k] = x[k] / length;
  }
  return unit;
}

/** Cosines of all pairs of unit rows, times 255 and none below 0: a row for each. */
export function cosines(z, n) {
  const rows = z.length / n;
  const found = new Uint8ClampedArray(rows * rows);
  for (let a = 0; a < rows; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += z[a * n + j] * z[b * n + j];
      found[a * rows + b] = found[b * rows + a] = 255 * sum;
    }
  }
  return found;
}

/** The share of rows for which the nearest of a bank vote right, as `knn_scores` of sslbook/evaluate.py counts votes. */
export function knn(bank, bankLabels, asked, askedLabels, n, k) {
  const [train, test] = [unitRows(bank, n), unitRows(asked, n)];
  let right = 0;
  for (const [row, truth] of askedLabels.entries()) {
    const cosines = Float32Array.from(bankLabels, (_, i) => {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += train[i * n + j] * test[row * n + j];
      return sum;
    });
    const nearest = [...cosines.keys()].sort((a, b) => cosines[b] - cosines[a]).slice(0, k);
    const votes = new Array(SHAPES).fill(0);
    for (const i of nearest) votes[bankLabels[i]] += Math.exp((cosines[i] - cosines[nearest[0]]) / NEIGHBOUR_TEMPERATURE);
    if (votes.indexOf(Math.max(...votes)) === truth) right += 1;
  }
  return right / askedLabels.length;
}

/** How many vote: as many as the smallest class has, lest the others outvote it. */
export const neighbours = (labels) => Math.min(...Array.from({ length: SHAPES }, (_, c) => labels.filter((l) => l === c).length));

/** The deviation of unit rows over the batch times the root of their length: about 1 all over the sphere, 0 collapsed. */
export function spread(z, n) {
  const rows = z.length / n;
  let sum = 0;
  for (let j = 0; j < n; j++) {
    let [mean, squares] = [0, 0];
    for (let i = j; i < z.length; i += n) mean += z[i] / rows;
    for (let i = j; i < z.length; i += n) squares += (z[i] - mean) ** 2;
    sum += Math.sqrt(squares / (rows - 1));
  }
  return (sum / n) * Math.sqrt(n);
}

/**
 * The three directions that carry most of the rows of z, as columns of `axes` (3 arrays), which are moved towards them:
 * a round of orthogonal iteration with z^T z. So a picture that learns turns slowly, and does not jump.
 */
export function turnAxes(axes, z, n, rounds) {
  for (let round = 0; round < rounds; round++) {
    for (const [a, axis] of axes.entries()) {
      const next = new Float64Array(n);
      for (let i = 0; i < z.length; i += n) {
        let along = 0;
        for (let j = 0; j < n; j++) along += z[i + j] * axis[j];
        for (let j = 0; j < n; j++) next[j] += along * z[i + j];
      }
      for (const before of axes.slice(0, a)) {
        const shared = next.reduce((sum, x, j) => sum + x * before[j], 0);
        for (let j = 0; j < n; j++) next[j] -= shared * before[j];
      }
      const length = Math.hypot(...next);
      if (length > 1e-9) next.forEach((x, j) => (axis[j] = x / length));
    }
  }
  return axes;
}

/** Rows of z in three directions, pushed out to length one: 3 numbers a row. */
export function onSphere(z, n, axes) {
  const points = new Float32Array((3 * z.length) / n);
  for (let i = 0; i < z.length / n; i++) {
    for (let a = 0; a < 3; a++) for (let j = 0; j < n; j++) points[3 * i + a] += z[i * n + j] * axes[a][j];
  }
  return unitRows(points, 3);
}

// -- the training

/** The bytes of a gzipped piece of the page's file. */
async function unzipped(file, [from, to]) {
  const stream = new Blob([file.subarray(from, to)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A trainer's graph by its name: {session, parts}, made once. */
function graphOf(trainer, name) {
  const { ort, file, index, graphs } = trainer;
  graphs[name] ??= (async () => {
    const [model, parts] = await Promise.all([unzipped(file, index[name].model), unzipped(file, index[name].parts)]);
    const session = await ort.InferenceSession.create(model);
    return { session, parts: JSON.parse(new TextDecoder().decode(parts)) };
  })();
  return graphs[name];
}

/** What a graph says of images, with the trainer's state. */
async function asked(trainer, name, images) {
  const { ort, seed, state } = trainer;
  const { session, parts } = await graphOf(trainer, name);
  const own = carried(state, trainer.parts, parts, seed);
  const feeds = { state: new ort.Tensor("float32", own, [own.length]), images };
  const [found] = Object.values(await session.run(feeds));
  return { rows: found.data, n: found.dims[1] };
}

/** The pictures `from` to `to` of a set as a graph takes them, made once. */
function tensorOfSet(trainer, set, from, to) {
  set.tensors ??= {};
  return (set.tensors[`${from} ${to}`] ??= tensorOf(trainer, Array.from({ length: to - from }, (_, i) => set.pixels(from + i))));
}

/** Pictures of bytes as a graph takes them. */
function tensorOf({ ort }, pictures) {
  const data = new Float32Array(pictures.length * PIXELS);
  pictures.forEach((pixels, i) => inUnit(pixels, data.subarray(i * PIXELS, (i + 1) * PIXELS)));
  return new ort.Tensor("float32", data, [pictures.length, 3, SIDE, SIDE]);
}

/** Begin anew: weights and pictures of this seed. */
async function restart(trainer) {
  const { seed, about } = trainer;
  const { parts } = await graphOf(trainer, trainer.variant);
  const numbered = (kind, count) => {
    const set = picturesFrom(seedOf(seed, kind), kind);
    return { ...set, count };
  };
  Object.assign(trainer, {
    parts,
    state: startOf(parts, seed),
    step: 0,
    train: numbered("train", PICTURES),
    test: numbered("asked", ASKED),
    watched: numbered("watched", about.watched),
    axes: null,
    looked: -Infinity,
    voted: -Infinity,
  });
}

/** Another method begins anew; another part of the same method goes on where the training is. */
async function choose(trainer, { variant, method, seed }) {
  const again = method !== trainer.method || seed !== trainer.seed;
  Object.assign(trainer, { variant, method, seed });
  if (again) return restart(trainer);
  const { parts } = await graphOf(trainer, variant);
  Object.assign(trainer, { state: carried(trainer.state, trainer.parts, parts, seed), parts });
}

/** One step: views of a batch, and the graph. */
async function takeStep(trainer) {
  const { ort, seed, step, dials, about, train } = trainer;
  const began = performance.now();
  const { session } = await graphOf(trainer, trainer.variant);
  const { batch, views: families, lr } = about.methods[trainer.method];
  const images = batchAt(step, batch, seed).map((i) => asImage(train.pixels(i)));
  const size = families[0].size;
  const views = viewsOf(images, changedViews(families, dials), seedOf(seed, "views", step));
  const rate = dials.lr * Math.min(1, (step + 1) / WARM_UP);
  const scalars = { ...dials, lr: dials.lr ?? lr, rate };
  const feeds = {
    state: new ort.Tensor("float32", trainer.state, [trainer.state.length]),
    views: new ort.Tensor("float32", views, [families.length, batch, 3, size, size]),
  };
  for (const name of session.inputNames) {
    if (!(name in feeds)) feeds[name] = new ort.Tensor("float32", [scalars[name]], []);
  }
  const drawn = performance.now();
  const { "next state": next, ...terms } = await session.run(feeds);
  if (!Number.isFinite(terms.loss.data[0])) throw new Error("the loss is no number any more; a smaller learning rate may help.");
  trainer.state = next.data;
  trainer.step += 1;
  const said = Object.fromEntries(Object.entries(terms).map(([name, term]) => [name, term.data[0]]));
  const now = performance.now();
  return { kind: "step", step: trainer.step, terms: said, pictures: batch, ms: now - began, drawing: drawn - began };
}

/** Where the watched pictures lie now. */
async function look(trainer) {
  const { watched, method, guest } = trainer;
  const images = tensorOfSet(trainer, watched, 0, watched.count);
  if (guest) inUnit(guest, images.data.subarray(images.data.length - PIXELS)); // the reader's own, in the place of the last
  const { rows, n } = await asked(trainer, `${method} z`, images);
  trainer.axes ??= turnAxes([0, 1, 2].map((a) => Float64Array.from(normals(n, a + 1))), rows, n, 30);
  turnAxes(trainer.axes, rows, n, 2);
  trainer.looked = performance.now();
  const points = onSphere(rows, n, trainer.axes);
  return { kind: "look", step: trainer.step, points, similarity: cosines(rows, n), spread: spread(rows, n) };
}

/** How many pictures the nearest of a bank name right: the encoder's features, frozen. */
async function vote(trainer) {
  const { train, test, about } = trainer;
  const chunk = about.chunk;
  const featuresOf = async (set, count) => {
    let [all, n] = [null, 0];
    for (let from = 0; from < count; from += chunk) {
      const found = await asked(trainer, "features", tensorOfSet(trainer, set, from, from + chunk));
      n = found.n;
      all ??= new Float32Array(count * n);
      all.set(found.rows, from * n);
    }
    return { rows: all, n, labels: Array.from({ length: count }, (_, i) => set.label(i)) };
  };
  const bank = await featuresOf(train, BANK);
  const queries = await featuresOf(test, ASKED);
  trainer.voted = performance.now();
  const k = neighbours(bank.labels);
  return { kind: "vote", step: trainer.step, knn: knn(bank.rows, bank.labels, queries.rows, queries.labels, bank.n, k) };
}

/** The watched pictures and their labels, for the page to draw. */
function gallery({ watched }) {
  const places = Array.from({ length: watched.count }, (_, i) => i);
  return { kind: "watched", pixels: places.map((i) => watched.pixels(i)), labels: places.map((i) => watched.label(i)) };
}

// -- the worker: one thing after the other, in the order of the messages

/** Steps and looks while the trainer runs; messages are heard between two of them. */
async function keepGoing(trainer) {
  const own = (trainer.loops += 1); // an earlier loop that has not seen the pause ends
  while (trainer.running && own === trainer.loops) {
    await turn(trainer, () => stepAndLook(trainer));
    await new Promise((resolve) => setTimeout(resolve));
  }
}

async function stepAndLook(trainer) {
  if (!trainer.running) return;
  post(await takeStep(trainer));
  if (performance.now() - trainer.looked > LOOK) post(await look(trainer));
  if (performance.now() - trainer.voted > ASK) post(await vote(trainer));
}

/** Do this when what was asked for before is done; what goes wrong is told to the page. */
function turn(trainer, act) {
  trainer.last = trainer.last.then(act).catch((error) => {
    trainer.running = false;
    post({ kind: "error", message: String(error?.message ?? error) });
  });
  return trainer.last;
}

const post = (message) => self.postMessage(message);

const ANSWERS = {
  show(trainer, { seed, about }) {
    trainer.watched = { ...picturesFrom(seedOf(seed, "watched"), "watched"), count: about.watched };
    post(gallery(trainer));
  },
  async load(trainer, { address, binary, file, index, about, dials, choice }) {
    const ort = await import(address);
    ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
    if (binary) ort.env.wasm.wasmBinary = binary;
    Object.assign(trainer, { ort, file, index, about, dials, graphs: {} });
    await choose(trainer, choice);
    post(gallery(trainer));
    post({ kind: "loaded" });
    post(await look(trainer));
  },
  async choose(trainer, { choice, dials }) {
    const before = trainer.seed;
    const fresh = choice.method !== trainer.method || choice.seed !== before;
    trainer.dials = dials;
    await choose(trainer, choice);
    if (choice.seed !== before) post(gallery(trainer));
    if (fresh) post({ kind: "restarted" });
    post(await look(trainer));
  },
  async restart(trainer) {
    if (!trainer.ort) return; // it has not begun
    await restart(trainer);
    post({ kind: "restarted" });
    post(await look(trainer));
  },
  async step(trainer) {
    post(await takeStep(trainer));
    post(await look(trainer));
  },
  async guest(trainer, { pixels }) {
    trainer.guest = pixels;
    if (trainer.ort) post(await look(trainer));
  },
  async dials(trainer, { dials }) {
    trainer.dials = dials;
  },
};

function hear(trainer, message) {
  if (message.kind === "pause") trainer.running = false;
  else if (message.kind === "run") {
    if (trainer.running) return;
    trainer.running = true;
    keepGoing(trainer);
  } else turn(trainer, () => ANSWERS[message.kind](trainer, message));
}

if (typeof document === "undefined") {
  const trainer = { last: Promise.resolve(), running: false, loops: 0 };
  self.onmessage = ({ data }) => hear(trainer, data);
}
