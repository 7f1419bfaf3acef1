// ChoosingGuide: six questions, and the methods in the order that the answers give. Follows page.js.

/** [{method, page, points, effects}], the most points first; equal ones keep the order of `methods`. */
export function rank(methods, questions, answers) {
  const chosen = questions.flatMap(([key, , options]) => options.filter(([option]) => option === answers[key]).flatMap(([, , effects]) => effects));
  return methods
    .map(([method, page]) => {
      const effects = chosen.filter(([name]) => name === method);
      return { method, page, effects, points: effects.reduce((sum, [, points]) => sum + points, 0) };
    })
    .sort((a, b) => b.points - a.points);
}

const signed = (points) => (points > 0 ? `+${points}` : `${points}`.replace("-", "\u2212"));

/** Who is ahead, for eyes and screen readers. */
function summary(ranked) {
  const top = ranked.filter(({ points }) => points === ranked[0].points);
  if (top.length > 1) return `Equal at the top (${signed(top[0].points)}): ${top.map(({ method }) => method).join(", ")}.`;
  const [first, second] = ranked.map(({ method, points }) => `${method} (${signed(points)})`);
  return `First ${first}, then ${second}.`;
}

/** Text that leads to an address or, on the book's site, to one of its pages. */
function link(text, where) {
  if (where.startsWith("https:")) return make("a", { href: where, target: "_blank", rel: "noopener" }, text);
  const root = document.documentElement.dataset.content_root; // Sphinx writes it into every page
  return root === undefined ? make("span", {}, text) : make("a", { href: `${root}book/${where}.html` }, text);
}

function render({ model, el }) {
  const methods = model.get("methods");
  const questions = model.get("questions");
  const root = makeRoot(el, "choosing", "Which method for my problem?");
  const put = (answers) => {
    model.set("answers", answers);
    model.save_changes();
  };

  const radios = [];
  const sets = questions.map(([key, text, options]) => {
    const name = unique();
    const rows = options.map(([option, words]) => {
      const input = make("input", { type: "radio", name, onchange: () => put({ ...model.get("answers"), [key]: option }) });
      radios.push({ key, option, input });
      return make("label", {}, input, make("span", {}, words));
    });
    return make("fieldset", {}, make("legend", {}, text), rows);
  });
  const again = make("button", { type: "button", onclick: () => put({}) }, "Start again");
  const said = make("p", { class: "sslw-first", "aria-live": "polite" });
  const list = make("ol", { class: "sslw-ranking" });
  const note = make("p", { class: "sslw-note" }, "The facts are the sources\u2019; how many points a fact is worth is this book\u2019s judgement.");
  const asked = make("div", { class: "sslw-questions" }, sets, make("div", { class: "sslw-buttons" }, again));
  root.append(make("div", { class: "sslw-halves" }, asked, make("div", {}, said, list, note)));

  function draw() {
    const answers = model.get("answers");
    for (const { key, option, input } of radios) input.checked = answers[key] === option;
    again.disabled = !Object.keys(answers).length;
    const ranked = rank(methods, questions, answers);
    said.textContent = again.disabled ? "Answer in any order; every answer moves the list." : summary(ranked);
    list.replaceChildren(...ranked.map(({ method, page, points, effects }) => {
      const reasons = effects.map(([, points, reason, source, where]) =>
        make("li", { class: points > 0 ? "sslw-for" : "sslw-against" }, make("b", {}, signed(points)), make("span", {}, `${reason} `, make("small", {}, link(source, where)))));
      return make("li", {}, make("h4", {}, link(method, page), make("b", {}, signed(points))), make("ul", {}, reasons));
    }));
  }

  const ignore = listen(model, ["answers"], draw);
  draw();
  return () => {
    ignore();
    root.remove();
  };
}

export default { render };
