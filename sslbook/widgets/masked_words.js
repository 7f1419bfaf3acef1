// MaskedWords: a sentence, its hidden words, and what the network in the page expects. Follows page.js,
// weights.js and transformer.js.

const MASK = 0; // the number of the word that hides another
const SHOWN = 8; // guesses that get a bar

// -- state

function stateOf(model) {
  const { url } = model.get("weights");
  return {
    shape: model.get("shape"),
    vocabulary: model.get("vocabulary"),
    examples: model.get("examples"),
    weights: url ? null : readWeights(array(model, "weights", Float32Array), model.get("parts")),
    waiting: "The network is on its way …",
    known: { key: "", answer: null },
    next: 0,
    wrong: "",
  };
}

/** Take the weights from the file beside the page. Until they come, words can be hidden and nothing is guessed. */
async function load(widget) {
  try {
    widget.weights = readWeights(await fetched(widget.model, "weights", Float32Array), widget.model.get("parts"));
  } catch (error) {
    console.warn("The network did not come:", error);
    widget.waiting = "The network did not come (a page opened as a file needs a server).";
  }
  if (!widget.gone) draw(widget);
}

const placeOf = ({ model, shape }) => within(model.get("place"), 0, shape[0] - 1);
const blockNumber = ({ model, shape }) => within(model.get("block"), 0, shape[2] - 1);
const headNumber = ({ model, shape }) => within(model.get("head"), 0, shape[3]);
const seenWords = ({ model }) => model.get("words").map((word, i) => (model.get("hidden")[i] ? MASK : word));

/** What the network says of what is seen; computed once for each sentence. */
function answerOf(widget) {
  const seen = seenWords(widget);
  const key = seen.join();
  if (widget.known.key !== key) widget.known = { key, answer: forward(seen, widget.weights, widget.shape) };
  return widget.known.answer;
}

/** Where a place looks: a share for each place, of one head or the mean of all. */
function attentionOf(widget) {
  const heads = answerOf(widget).attention[blockNumber(widget)].map((rows) => rows[placeOf(widget)]);
  const head = headNumber(widget);
  if (head) return heads[head - 1];
  return heads[0].map((_, j) => heads.reduce((sum, row) => sum + row[j], 0) / heads.length);
}

/** The likeliest words for a place: [[word, probability]]; the true one is the last if it is not among them. */
function guessesOf(widget) {
  const p = answerOf(widget).probabilities[placeOf(widget)];
  const order = p.map((_, word) => word).sort((a, b) => p[b] - p[a]);
  const shown = order.slice(0, SHOWN);
  const truth = widget.model.get("words")[placeOf(widget)];
  if (truth !== MASK && !shown.includes(truth)) shown[shown.length - 1] = truth;
  return shown.map((word) => [word, p[word]]);
}

/** Hide a word or show it, and look at its place. */
function toggle({ model }, i) {
  put(model, "hidden", model.get("hidden").map((is, j) => (i === j ? !is : is)));
  put(model, "place", i);
}

/** Take what was typed, if it is a sentence of the network's length from its words; "_" hides the word before it. */
function type(widget, text) {
  const { model, vocabulary, shape } = widget;
  const typed = text.trim().toLowerCase().replace(/([,.])/g, " $1 ").split(/\s+/).filter(Boolean);
  const unknown = typed.find((word) => word !== "_" && !vocabulary.includes(word));
  widget.wrong = "";
  if (unknown !== undefined) widget.wrong = `The network does not know the word “${unknown}”.`;
  else if (typed.length !== shape[0]) widget.wrong = `It reads ${shape[0]} words, these are ${typed.length}.`;
  if (widget.wrong) return draw(widget);
  const before = model.get("words");
  put(model, "words", typed.map((word, i) => (word === "_" ? before[i] : vocabulary.indexOf(word))));
  put(model, "hidden", typed.map((word) => word === "_"));
  draw(widget);
}

function another(widget) {
  widget.next = (widget.next + 1) % widget.examples.length;
  widget.wrong = "";
  put(widget.model, "words", widget.examples[widget.next]);
}

/** What stands in the page's address. */
function fieldsOf({ model, shape }) {
  const [length, , blocks, heads, count] = shape;
  const list = (text, most) => {
    const numbers = text === "" ? [] : text.split(",").map(Number);
    return numbers.every((x) => Number.isInteger(x) && x >= 0 && x < most) ? numbers : undefined;
  };
  return {
    words: {
      get: () => model.get("words").join(","),
      parse: (text) => (list(text, count)?.length === length ? list(text, count) : undefined),
      set: (words) => put(model, "words", words),
    },
    hidden: {
      get: () => model.get("hidden").flatMap((is, i) => (is ? [i] : [])).join(","),
      parse: (text) => list(text, length),
      set: (places) => put(model, "hidden", model.get("hidden").map((_, i) => places.includes(i))),
    },
    place: traitField(model, "place", wholeIn(0, length - 1)),
    block: traitField(model, "block", wholeIn(0, blocks - 1)),
    head: traitField(model, "head", wholeIn(0, heads)),
  };
}

// -- parts

function partsOf(widget) {
  const { model, shape } = widget;
  const [length, , blocks, heads] = shape;
  const numbered = (count, first) => Array.from({ length: count }, (_, i) => [String(i + (first ? 1 : 0)), String(i + 1)]);
  const id = unique();
  const input = make("input", {
    type: "text", id, autocomplete: "off", spellcheck: "false",
    onchange: () => type(widget, input.value),
  });
  return {
    input,
    typed: make("div", { class: "sslw-typed" }, make("label", { for: id }, "Sentence"), input),
    wrong: make("p", { class: "sslw-wrong", role: "alert" }),
    words: Array.from({ length }, (_, i) => wordPart(widget, i)),
    block: blocks > 1 ? choiceSwitch("Block", numbered(blocks, false), (b) => put(model, "block", +b)) : null,
    head: choiceSwitch("Head", [["0", "all"], ...numbered(heads, true)], (h) => put(model, "head", +h)),
    title: make("h4"),
    bars: Array.from({ length: SHOWN }, guessPart),
    sure: readout("Entropy", "0 is certainty; ln 4 = 1.39 is a guess among four"),
    live: liveText(),
  };
}

/** A word to click; below it the attention that it gets from the place that is looked at. */
function wordPart(widget, i) {
  const item = make("button", {
    type: "button",
    onclick: () => toggle(widget, i),
    onfocus: () => put(widget.model, "place", i),
  });
  const bar = make("i");
  return { item, bar, cell: make("li", {}, item, make("div", { class: "sslw-look", "aria-hidden": "true" }, bar)) };
}

function guessPart() {
  const [name, bar, value] = [make("span"), make("i"), make("b")];
  return { name, bar, value, row: make("li", {}, name, make("div", { class: "sslw-chance" }, bar), value) };
}

function layout(widget) {
  const { parts } = widget;
  const { typed, wrong, words, block, head, title, bars, sure, live } = parts;
  const switches = [block ? make("div", {}, make("h4", {}, "Attention: block"), block.row) : [], make("div", {}, make("h4", {}, "Attention: head"), head.row)].flat();
  const buttons = make(
    "div",
    { class: "sslw-buttons" },
    primaryButton("Another sentence", () => another(widget)),
    button("Show all words", () => put(widget.model, "hidden", widget.model.get("hidden").map(() => false))),
  );
  return [
    typed,
    wrong,
    make("ol", { class: "sslw-words", "aria-label": "The sentence: click a word to hide it" }, words.map(({ cell }) => cell)),
    buttons,
    make(
      "div",
      { class: "sslw-columns" },
      make("div", { class: "sslw-guesses" }, title, make("ol", {}, bars.map(({ row }) => row)), readoutList([sure])),
      make("div", { class: "sslw-controls" }, switches),
    ),
    live,
  ];
}

// -- draw

function draw(widget) {
  const { model, parts, vocabulary } = widget;
  const [words, hidden, place] = [model.get("words"), model.get("hidden"), placeOf(widget)];
  const looks = widget.weights ? attentionOf(widget) : words.map(() => 0);
  const most = Math.max(...looks) || 1;
  parts.words.forEach((part, i) => drawWord(part, vocabulary[words[i]], { hidden: hidden[i], here: i === place, look: looks[i], most }));
  if (document.activeElement !== parts.input || !widget.wrong) {
    parts.input.value = words.map((word, i) => (hidden[i] ? "_" : vocabulary[word])).join(" ");
  }
  parts.wrong.textContent = widget.wrong;
  if (parts.block) parts.block.set(String(blockNumber(widget)));
  parts.head.set(String(headNumber(widget)));
  drawGuesses(widget);
  widget.address.changed();
}

function drawWord({ item, bar }, word, { hidden, here, look, most }) {
  item.textContent = hidden ? "?" : word;
  item.setAttribute("aria-pressed", String(hidden));
  item.setAttribute("aria-label", hidden ? `hidden word, ${here ? "looked at" : "not looked at"}` : word);
  item.classList.toggle("sslw-here", here);
  bar.style.height = `${(100 * look) / most}%`;
  bar.title = percent(look);
}

function drawGuesses(widget) {
  const { model, parts, vocabulary } = widget;
  if (!widget.weights) {
    parts.title.textContent = widget.waiting;
    parts.bars.forEach(({ row }) => (row.hidden = true));
    return;
  }
  const place = placeOf(widget);
  const truth = model.get("words")[place];
  const isHidden = model.get("hidden")[place];
  const guesses = guessesOf(widget);
  parts.title.textContent = isHidden ? `Word ${place + 1} is hidden: what stands there?` : `Word ${place + 1} can be seen; the network would say`;
  parts.bars.forEach(({ name, bar, value, row }, k) => {
    const [word, p] = guesses[k] ?? [];
    row.hidden = word === undefined;
    if (row.hidden) return;
    name.textContent = vocabulary[word];
    bar.style.width = `${100 * p}%`;
    value.textContent = percent(p);
    row.classList.toggle("sslw-true", word === truth);
  });
  const p = answerOf(widget).probabilities[place];
  const entropy = -p.reduce((sum, x) => sum + (x > 0 ? x * Math.log(x) : 0), 0);
  parts.sure.value.textContent = rounded(entropy, 2);
  const [[first, likely]] = guesses;
  parts.live.textContent = `Word ${place + 1}, ${isHidden ? "hidden" : "seen"}: ${vocabulary[first]}, ${percent(likely)}`;
}

function render({ model, el }) {
  const root = makeRoot(el, "masked", "Hide words of a sentence");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget));
  const traits = ["words", "hidden", "place", "block", "head"];
  const stop = keepDrawn(widget, root, { kind: "masked", fields: fieldsOf(widget), traits, draw });
  const ignore = widget.weights ? null : whenNear(root, () => load(widget));
  return () => {
    widget.gone = true;
    if (ignore) ignore();
    stop();
  };
}

export default { render };
