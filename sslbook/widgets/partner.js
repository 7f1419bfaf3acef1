// PartnerGame: a view, and among four others the one of the same picture. Follows views.js and page.js.

const STRENGTHS = ["0", "1", "2"]; // of the colour changes
const CHOICES = 4;
const MOST_ROUNDS = 1e6;

// -- a round

/** The mean of each channel: all that the rival in this game looks at. */
export function meanColor({ data, height, width }) {
  const n = height * width;
  return [0, 1, 2].map((c) => data.subarray(c * n, (c + 1) * n).reduce((sum, x) => sum + x, 0) / n);
}

/** The place of the candidate whose mean colour is nearest to that of the asked view. */
export function byColor(asked, candidates) {
  const mine = meanColor(asked);
  const far = candidates.map((view) => Math.hypot(...meanColor(view).map((x, c) => x - mine[c])));
  return far.indexOf(Math.min(...far));
}

/** A round: which pictures, the place of the partner, and uniform numbers for the asked view and each candidate. */
export function drawRound(count, seed, round) {
  const numbers = drawnAgain(count + 1 + (CHOICES + 1) * DRAWS, seed, round);
  const order = [...Array(count).keys()].sort((i, j) => numbers[i] - numbers[j]);
  const viewNumbers = numbers.subarray(count + 1);
  return {
    pictures: order.slice(0, CHOICES),
    partner: Math.floor(CHOICES * numbers[count]),
    numbers: Array.from({ length: CHOICES + 1 }, (_, k) => viewNumbers.subarray(k * DRAWS, (k + 1) * DRAWS)),
  };
}

/** The views of a round: {asked, candidates}. */
function viewsOf({ images, family, height, width }, { pictures, partner, numbers }, strength) {
  const a = withStrength(family, strength);
  const view = (i, u) => apply(images[i], parameters(u, a, height, width), a);
  return {
    asked: view(pictures[partner], numbers[CHOICES]),
    candidates: pictures.map((i, k) => view(i, numbers[k])),
  };
}

// -- state

function stateOf(model) {
  const [, height, width] = model.get("shape");
  const labels = model.get("labels");
  return {
    images: picturesOf(model, "pixels", height, width),
    nameOf: (i) => (labels.length ? labels[i] : `image ${i + 1}`),
    height,
    width,
    family: model.get("family"),
    answered: {}, // {round, place}: the last round that the reader answered, and the place that was chosen
    scores: Object.fromEntries(STRENGTHS.map((strength) => [strength, { rounds: 0, reader: 0, color: 0 }])),
  };
}

const strengthOf = ({ model }) => String(model.get("strength"));
const roundOf = ({ model }) => `${model.get("strength")} ${model.get("round")}`;

/** The place that the reader chose in this round; null before that. */
const chosenIn = (widget) => (widget.answered.round === roundOf(widget) ? widget.answered.place : null);

function present(widget) {
  const { model, images } = widget;
  const round = drawRound(images.length, model.get("seed"), model.get("round"));
  const views = viewsOf(widget, round, model.get("strength"));
  return { ...round, ...views, color: byColor(views.asked, views.candidates) };
}

function answer(widget, place) {
  if (chosenIn(widget) !== null) return;
  const { partner, color } = widget.present;
  const score = widget.scores[strengthOf(widget)];
  widget.answered = { round: roundOf(widget), place };
  score.rounds += 1;
  score.reader += place === partner ? 1 : 0;
  score.color += color === partner ? 1 : 0;
  draw(widget);
}

/** Another round, drawn at once: a quick answer must not be to the one before. */
function begin(widget, trait, value) {
  put(widget.model, trait, value);
  draw(widget);
}

function fieldsOf({ model }) {
  const strength = traitField(model, "strength", (text) => (STRENGTHS.includes(text) ? +text : undefined));
  return { strength, round: traitField(model, "round", wholeIn(0, MOST_ROUNDS)) };
}

// -- parts

function partsOf(widget) {
  const { model } = widget;
  const next = () => begin(widget, "round", model.get("round") + 1);
  const kinds = STRENGTHS.map((strength) => [strength, `\u00d7 ${strength}`]);
  return {
    strength: choiceSwitch("Colour strength", kinds, (strength) => begin(widget, "strength", +strength)),
    asked: make("canvas", { role: "img", "aria-label": "The view whose partner is to be found" }),
    candidates: Array.from({ length: CHOICES }, (_, place) => candidatePart(widget, place)),
    verdict: make("p", { class: "sslw-game-verdict", "aria-live": "polite" }),
    next: primaryButton("Next", next),
    scores: STRENGTHS.map(scorePart),
  };
}

/** A view to choose, and after the answer the picture that it was cut from. */
function candidatePart(widget, place) {
  const [view, original] = [make("canvas", { "aria-hidden": "true" }), make("canvas", { "aria-hidden": "true" })];
  const choose = make("button", { type: "button", onclick: () => answer(widget, place) }, view);
  const words = make("span");
  const reveal = make("figcaption", {}, original, words);
  return { view, original, choose, words, reveal, item: make("figure", {}, choose, reveal) };
}

function scorePart(strength) {
  const [reader, color] = [make("td"), make("td")];
  return { reader, color, row: make("tr", {}, make("th", { scope: "row" }, `\u00d7 ${strength}`), reader, color) };
}

function layout({ strength, asked, candidates, verdict, next, scores }) {
  const head = ["Colour strength", "You", "Mean colour alone"].map((words) => make("th", { scope: "col" }, words));
  const question = make("figcaption", {}, "Which of the four was cut from the same picture?");
  return [
    make("div", { class: "sslw-game-top" }, make("span", {}, "Colour strength"), strength.row),
    make(
      "div",
      { class: "sslw-columns" },
      make("figure", { class: "sslw-asked" }, asked, question),
      make("div", { class: "sslw-candidates", role: "group", "aria-label": "Candidates" }, candidates.map((c) => c.item)),
    ),
    make("div", { class: "sslw-buttons" }, next, verdict),
    make("table", { class: "sslw-scores" }, make("thead", {}, make("tr", {}, head)), make("tbody", {}, scores.map((s) => s.row))),
  ];
}

// -- draw

function draw(widget) {
  const { model, images, nameOf, parts, address } = widget;
  widget.present = present(widget);
  const { asked, candidates, pictures } = widget.present;
  const chosen = chosenIn(widget);
  const answered = chosen !== null;
  parts.strength.set(strengthOf(widget));
  paint(parts.asked, asked);
  parts.candidates.forEach((part, place) => {
    paint(part.view, candidates[place]);
    paint(part.original, images[pictures[place]]);
    const words = remarks(widget.present, chosen, place).join(", ");
    part.words.textContent = words || "\u00a0";
    part.choose.setAttribute("aria-label", `Candidate ${place + 1}${answered ? `: ${nameOf(pictures[place])}, ${words}` : ""}`);
    part.choose.setAttribute("aria-disabled", String(answered));
    part.choose.classList.toggle("sslw-right", answered && place === widget.present.partner);
    part.choose.classList.toggle("sslw-wrong", place === chosen && place !== widget.present.partner);
    part.reveal.classList.toggle("sslw-covered", !answered);
  });
  parts.next.disabled = !answered;
  parts.verdict.textContent = verdictOf(widget.present, chosen);
  STRENGTHS.forEach((strength, k) => {
    const { rounds, reader, color } = widget.scores[strength];
    parts.scores[k].reader.textContent = rounds ? `${reader} of ${rounds}` : "\u2013";
    parts.scores[k].color.textContent = rounds ? `${color} of ${rounds}` : "\u2013";
  });
  address.changed();
}

/** What an answered round says of a candidate. */
function remarks({ partner, color }, chosen, place) {
  if (chosen === null) return [];
  const said = [];
  if (place === partner) said.push("the partner");
  if (place === chosen) said.push("you");
  if (place === color) said.push("colour");
  return said;
}

function verdictOf({ partner, color }, chosen) {
  if (chosen === null) return "";
  const mine = chosen === partner ? "Right." : `No, it was candidate ${partner + 1}.`;
  return `${mine} Mean colour alone is ${color === partner ? "right" : "wrong"}.`;
}

function render({ model, el }) {
  const root = makeRoot(el, "game", "Find the partner");
  const widget = { model, ...stateOf(model) };
  widget.parts = partsOf(widget);
  root.append(...layout(widget.parts));
  return keepDrawn(widget, root, { kind: "game", fields: fieldsOf(widget), traits: ["strength", "round"], draw });
}

export default { render };
