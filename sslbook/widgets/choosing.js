// ChoosingGuide: six questions, and the methods in the order that the answers give. Follows page.js.

/** [{method, page, points, effects}], the most points first; equal ones keep the order of `methods`. */
export function rank(methods, questions, answers) {
  const chosen = questions.flatMap(([key, , options]) => {
    const option = options.find(([name]) => name === answers[key]);
    return option ? option[2] : [];
  });
  return methods
    .map(([method, page], place) => {
      const effects = chosen.filter(([places]) => places.includes(place));
      return { method, page, effects, points: effects.reduce((sum, [, points]) => sum + points, 0) };
    })
    .sort((a, b) => b.points - a.points);
}

const DECIDES = 20; // points where nothing else matters, as in choosing.py

const signed = (points) => (points > 0 ? `+${points}` : `${points}`.replace("-", "\u2212"));

/** How much a reason weighs. */
function weight(points) {
  if (Math.abs(points) < DECIDES) return signed(points);
  return points > 0 ? "decides" : "rules it out";
}

/** Who is ahead, for eyes and screen readers; nobody where the best has more against it than for it. */
function summary(ranked) {
  if (ranked[0].points <= 0) {
    return `None fits these answers: ${ranked[0].method} comes nearest (${signed(ranked[0].points)}). Can one of them change?`;
  }
  const top = ranked.filter(({ points }) => points === ranked[0].points);
  const names = top.map(({ method }) => method).join(", ");
  if (top.length > 1) return `Equal at the top (${signed(top[0].points)}): ${names}.`;
  const [first, second] = ranked.map(({ method, points }) => `${method} (${signed(points)})`);
  return ranked[1].points > 0 ? `First ${first}, then ${second}.` : `First ${first}; no other fits.`;
}

/** Text that leads to an address or, on the book's site, to one of its pages. */
function link(text, where) {
  if (where.startsWith("https:")) return make("a", { href: where, target: "_blank", rel: "noopener" }, text);
  const root = document.documentElement.dataset.content_root; // Sphinx writes it into every page
  return root === undefined ? make("span", {}, text) : make("a", { href: `${root}book/${where}.html` }, text);
}

/** A question with its options: {item, set(option)}; no option is chosen where it is still open. */
function questionPart([, text, options], choose) {
  const name = unique();
  const inputs = options.map(([option]) => make("input", { type: "radio", name, onchange: () => choose(option) }));
  const rows = options.map(([, words], k) => make("label", {}, inputs[k], make("span", {}, words)));
  const set = (chosen) => options.forEach(([option], k) => (inputs[k].checked = option === chosen));
  return { item: make("fieldset", {}, make("legend", {}, text), rows), set };
}

/** What stands in the page's address: each question's option, nothing where it is open. */
function fieldsOf({ model, questions }) {
  const fields = questions.map(([key, , options]) => {
    const get = () => model.get("answers")[key] ?? "";
    const set = (option) => {
      const { [key]: _, ...others } = model.get("answers");
      put(model, "answers", option ? { ...others, [key]: option } : others);
    };
    return [key, { get, parse: oneOf(["", ...options.map(([option]) => option)]), set }];
  });
  return Object.fromEntries(fields);
}

function partsOf({ model, questions }) {
  const answer = (key, option) => put(model, "answers", { ...model.get("answers"), [key]: option });
  const parts = {
    sets: questions.map((question) => questionPart(question, (option) => answer(question[0], option))),
    again: button("Start again", () => put(model, "answers", {})),
    said: make("p", { class: "sslw-first", "aria-live": "polite" }),
    list: make("ol", { class: "sslw-ranking" }),
    show: button("Why", () => parts.list.scrollIntoView({ block: "start" })),
  };
  return parts;
}

const NOTE = "The facts are the sources\u2019; how many points a fact is worth is this book\u2019s judgement.";

function layout({ sets, again, said, list, show }) {
  const buttons = make("div", { class: "sslw-buttons" }, again);
  const asked = make("div", { class: "sslw-questions" }, sets.map(({ item }) => item), buttons);
  const note = make("p", { class: "sslw-note" }, NOTE);
  return [
    make("div", { class: "sslw-halves" }, asked, make("div", {}, list, note)),
    make("div", { class: "sslw-bar" }, said, show), // stays in sight while the answers are given
  ];
}

/** A method's place in the list, with a line for each answer that speaks for or against it. */
function rankedItem({ method, page, points, effects }, sources) {
  const reasons = effects.map(([, points, reason, source, at]) => {
    const [name, where] = sources[source];
    const text = make("span", {}, `${reason} `, make("small", {}, link(name + at, where)));
    return make("li", { class: points > 0 ? "sslw-for" : "sslw-against" }, make("b", {}, weight(points)), text);
  });
  return make("li", {}, make("h4", {}, link(method, page), make("b", {}, signed(points))), make("ul", {}, reasons));
}

function draw({ model, methods, questions, sources, parts, address }) {
  const answers = model.get("answers");
  const ranked = rank(methods, questions, answers);
  const none = !Object.keys(answers).length;
  questions.forEach(([key], k) => parts.sets[k].set(answers[key]));
  parts.again.disabled = none;
  parts.said.textContent = none ? "Answer in any order; every answer moves the list." : summary(ranked);
  parts.show.hidden = none;
  parts.list.classList.toggle("sslw-fits", ranked[0].points > 0);
  parts.list.replaceChildren(...ranked.map((row) => rankedItem(row, sources)));
  address.changed();
}

function render({ model, el }) {
  const root = makeRoot(el, "choosing", "Which method for my problem?");
  const [methods, questions, sources] = ["methods", "questions", "sources"].map((trait) => model.get(trait));
  const widget = { model, methods, questions, sources };
  widget.parts = partsOf(widget);
  root.append(...layout(widget.parts));
  widget.address = addressState(root, "choosing", fieldsOf(widget), () => draw(widget));
  const ignore = listen(model, ["answers"], () => draw(widget));
  draw(widget);
  return () => {
    ignore();
    widget.address.stop();
    root.remove();
  };
}

export default { render };
