// The question bank: one chapter alone, how many answers were right at once, and a sheet for a class. The chapter stands
// in the page's address, as #your-own-images, so that a teacher can send it.
const chapters = [...document.querySelectorAll("section.questions")];
const controls = document.querySelector(".question-controls");
const select = controls.querySelector("select");
const status = controls.querySelector("[role=status]");
const first = new Map(); // by question, what was answered first

const titleOf = (chapter) => chapter.querySelector("h2").firstChild.textContent;
const shown = () => chapters.filter((chapter) => !chapter.hidden);
const questionsOf = (chapter) => [...chapter.querySelectorAll("fieldset")];

function count() {
  const questions = shown().flatMap(questionsOf);
  const answered = questions.filter(({ id }) => first.has(id));
  const right = answered.filter(({ id }) => first.get(id) === "right");
  const words = answered.length ? ` ${answered.length} answered, ${right.length} right at once.` : "";
  status.textContent = `${questions.length} questions.${words}`;
}

/** The chapter that the address names; all, if it names none. */
function show() {
  const chosen = chapters.find(({ id }) => id === window.location.hash.slice(1));
  for (const chapter of chapters) chapter.hidden = chosen !== undefined && chapter !== chosen;
  select.value = chosen?.id ?? "";
  count();
}

/** Which letter is right in each question that is shown, and where that is settled. */
function answerKey() {
  const key = document.createElement("div");
  key.className = "answer-key";
  key.append(Object.assign(document.createElement("h2"), { textContent: "Answers" }));
  for (const chapter of shown()) {
    const answers = questionsOf(chapter).map((question, k) => {
      const letter = question.querySelector("input[value=right]").id.slice(-1);
      return `${k + 1} ${letter} (${question.querySelector("a").textContent})`;
    });
    key.append(Object.assign(document.createElement("p"), { textContent: `${titleOf(chapter)}: ${answers.join(", ")}` }));
  }
  return key;
}

select.append(...chapters.map((chapter) => new Option(titleOf(chapter), chapter.id)));
select.addEventListener("change", () => {
  const page = window.location.href.split("#")[0];
  window.history.replaceState(window.history.state, "", select.value ? `${page}#${select.value}` : page);
  show();
});
window.addEventListener("hashchange", show);
for (const chapter of chapters) {
  chapter.addEventListener("change", ({ target }) => {
    const { id } = target.closest("fieldset");
    if (!first.has(id)) first.set(id, target.value);
    count();
  });
}
controls.querySelector(".again").addEventListener("click", () => {
  for (const input of document.querySelectorAll("section.questions input")) input.checked = false;
  first.clear();
  count();
});
controls.querySelector(".print").addEventListener("click", () => window.print());
window.addEventListener("beforeprint", () => chapters.at(-1).after(answerKey()));
window.addEventListener("afterprint", () => document.querySelector(".answer-key").remove());
controls.hidden = false;
show();
