"""`{question-bank} FILE`: questions on every chapter, and to each answer a reply that says what is the matter with it.

A section for each chapter, a group of radio buttons for each question. A reply shows when its answer is chosen: the
style sheet does that, without a script. scripts/questions.js shows one chapter alone, counts, and prints. On paper
there are no replies, and the letters of the right answers stand on a page of their own.
"""

import json
import re
from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

SCRIPT = Path(__file__).parent / "scripts/questions.js"
LETTERS = "abcd"
CONTROLS = """<div class="question-controls" hidden><p><label for="question-chapter">Chapter</label>
<select id="question-chapter"><option value="">all</option></select>
<button type="button" class="again">Start again</button>
<button type="button" class="print">Print for a class</button></p><p role="status"></p></div>
<script type="module">{script}</script>"""  # a module waits until the page is there


class element(nodes.General, nodes.Element):
    """An element of HTML: `tag`, and its `attributes`, in which True is one without a value."""


def read(path: Path) -> list[dict]:
    """The chapters of the file, each with its questions.

    Raises:
        ExtensionError: a question lacks something, or has not just one right answer.
    """
    chapters = yaml.safe_load(path.read_text(encoding="utf-8"))
    for chapter in chapters:
        for question in chapter["questions"]:
            if set(question) != {"ask", "settled", "answers"}:
                raise ExtensionError(f"{path}: a question needs ask, settled and answers, got {question}")
            kinds = [set(answer) for answer in question["answers"]]
            if kinds.count({"right", "reply"}) != 1 or kinds.count({"wrong", "reply"}) != len(kinds) - 1:
                raise ExtensionError(f"{path}: answers are wrong but one that is right, with a reply each: {question}")
    return chapters


def make(tag: str, *children, **attributes) -> element:
    """An element with nodes in it; `class_` and `for_` are attributes that Python has other uses for."""
    named = {name.rstrip("_"): value for name, value in attributes.items()}
    return element("", *children, tag=tag, attributes=named)


class QuestionBank(SphinxDirective):
    required_arguments = 1

    def run(self):
        path = Path(self.env.relfn2path(self.arguments[0])[1])
        self.env.note_dependency(str(path))
        chapters = read(path)
        controls = CONTROLS.format(script=SCRIPT.read_text(encoding="utf-8"))
        return [nodes.raw("", controls, format="html"), *map(self.section, chapters)]

    def inline(self, text):
        """A paragraph of Markdown without the paragraph around it."""
        (paragraph,) = self.parse_text_to_nodes(text)
        return nodes.inline("", "", *paragraph.children)

    def section(self, chapter):
        """A chapter's questions under its title, which is a heading of the page."""
        page, name = chapter["chapter"], name_of(chapter)
        section = nodes.section(ids=[name], classes=["questions"])
        section += nodes.title("", self.title(page))
        section += [
            self.question(page, f"{name}-{number}", number, question)
            for number, question in enumerate(chapter["questions"], start=1)
        ]
        return section

    def title(self, page):
        """The title of a chapter, as its file has it."""
        path = Path(self.env.doc2path(f"book/{page}"))
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "".join(json.loads(text)["cells"][0]["source"])
        return re.search("^# (.+)$", text, flags=re.MULTILINE)[1]

    def link(self, page, heading):
        """To a heading of a chapter; tests/test_links.py says whether it is there."""
        address = self.env.app.builder.get_relative_uri(self.env.docname, f"book/{page}")
        return make("a", nodes.Text(heading), href=f"{address}#{nodes.make_id(heading)}")

    def question(self, page, name, number, question):
        buttons, replies = [], []
        for letter, answer in zip(LETTERS, question["answers"]):
            right = "right" in answer
            button = make("input", type="radio", name=name, id=f"{name}-{letter}", value="right" if right else "wrong")
            words = make("b", nodes.Text(letter)), self.inline(answer["right" if right else "wrong"])
            buttons.append(make("label", button, make("span", *words), for_=f"{name}-{letter}"))
            verdict = make("b", nodes.Text("Right. " if right else "No. "))
            replies.append(make("p", verdict, self.inline(answer["reply"]), class_="reply right" if right else "reply"))
        legend = make("legend", make("b", nodes.Text(f"{number}. ")), self.inline(question["ask"]))
        settled = make("p", nodes.Text("Settled in "), self.link(page, question["settled"]), class_="settled")
        return make("fieldset", legend, *buttons, make("div", *replies, role="status"), settled, id=name)


def name_of(chapter: dict) -> str:
    """`your-own-images` of practice/your_own_images: what stands behind the # of an address."""
    return chapter["chapter"].rsplit("/", 1)[-1].replace("_", "-")


def visit_html(self, node):
    named = (name if value is True else f'{name}="{escape(value)}"' for name, value in node["attributes"].items())
    self.body.append(f"<{' '.join([node['tag'], *named])}>")


def depart_html(self, node):
    if node["tag"] != "input":
        self.body.append(f"</{node['tag']}>")


def visit_other(self, node):
    """Other builders show the words."""


def setup(app):
    app.add_node(element, html=(visit_html, depart_html), **dict.fromkeys(("latex", "text"), (visit_other,) * 2))
    app.add_directive("question-bank", QuestionBank)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
