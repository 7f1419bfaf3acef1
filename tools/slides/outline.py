"""What goes on which slide of a chapter, and what goes into its notes.

On slides: headings, what the reader will be able to do, pictures, tables, equations with the sentence around them, code
of the package, short cells that train or print, bold lead sentences, questions to predict with their answers, the
summary. A widget is a link to its place on the chapter's page. In the notes: the whole text. Left out: the other
exercises, cells that set up and check, the references.
"""

import re
from dataclasses import dataclass, field

from sslbook.ideas import idea
from tools.notebooks import text as source_of
from tools.slides import markup

LINE = 39  # pixels of a line of text
CAPACITY = 13.0  # such lines on a slide; a list may have SPARE more, in smaller letters
SPARE = 2.0
ENOUGH = 6.0  # with less than this left, a picture or a table goes on the next slide
WIDTH = 84  # letters in a line
SMALL, LARGE = 15, 26  # pixels of the smallest and the largest letters of code and tables
WIDE = 1160  # pixels
LONG = 24  # lines of code on a slide
LONGEST = 18  # a cell with more lines of its own code is left to the page, and so is a longer print
SETUP = re.compile(r"\bLab\(|\.clock\(\)")  # in cells that choose the budget or look at the clock
REFERENCES, EXERCISES = "References and further reading", "Exercises"
VISUAL = ("picture", "table", "code", "widget")
FIGURE = re.compile(r'<img class="figure"[^>]*data-on="light"[^>]*>')
WIDGET = "application/vnd.jupyter.widget-view+json"
AGAIN = re.compile(r"^ *python .*$|[;,] (?:again: ?)?python .*$|(?:; |^)again:.*$", re.MULTILINE)  # how to repeat a log
PREDICT = re.compile(r"\W*Predict\b")


@dataclass
class Piece:
    """A part of a slide: its kind, its Markdown, code, text or HTML, and how many lines it takes."""

    kind: str
    content: str
    lines: float
    size: float = 0.0  # pixels of its letters, if they are not those of the slide


@dataclass
class Slide:
    title: str
    above: str = ""  # the part or the chapter that it belongs to
    starts: bool = False  # a part of the chapter: the arrow to the right leads from one to the next
    closed: bool = False  # takes no more pieces
    pieces: list[Piece] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> float:
        return sum(piece.lines for piece in self.pieces)

    def takes(self, *pieces: Piece) -> bool:
        """Is there room, and is it no second picture?"""
        kinds = [piece.kind for piece in (*self.pieces, *pieces)]
        room = CAPACITY + SPARE * (set(kinds) <= {"lead", "text", "code", "printed"})
        fits = self.lines + sum(piece.lines for piece in pieces) <= room
        return not self.closed and fits and sum(kind in VISUAL for kind in kinds) < 2


def lines_of(text: str) -> int:
    """How many lines a text fills; a formula counts for about what it shows."""
    shown = re.sub(r"\$([^$]*)\$", lambda tex: re.sub(r"\\[a-zA-Z]+|[{}^_]", "x", tex[1]), text)
    shown = re.sub(r"\]\([^)]*\)|\*\*", "", shown)
    return max(1, -(-len(shown) // WIDTH))


def prose(kind: str, text: str) -> Piece:
    gap = 0.35 if kind == "lead" else 0.5  # between two items, between two paragraphs
    return Piece(kind, text, lines_of(text) + gap)


def chunks(code: str) -> list[str]:
    """Code in parts of at most LONG lines, divided at an empty line where there is one."""
    lines, parts = code.strip("\n").splitlines(), []
    while len(lines) > LONG:
        empty = [i for i in range(LONG // 2, LONG) if not lines[i].strip()]
        at = empty[-1] if empty else LONG
        parts.append("\n".join(lines[:at]))
        lines = lines[at:]
    return [part.strip("\n") for part in [*parts, "\n".join(lines)] if part.strip()]


def code_pieces(code: str, room: float) -> list[Piece]:
    """With letters as large as the room, in lines of text, and the longest line allow."""
    pieces = []
    for part in chunks(code):
        lines = part.splitlines()
        high, wide = room * LINE / (1.35 * (len(lines) + 1.5)), (WIDE - 50) / (0.602 * (max(map(len, lines)) + 1))
        size = max(SMALL, min(LARGE, high, wide))
        pieces.append(Piece("code", part, 1.35 * size * (len(lines) + 1.5) / LINE, size))
    return pieces


def rows_of(table: str) -> list[list[str]]:
    """The cells of a table in HTML or in Markdown, without tags."""
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("<tr>")[1:]]
    rows = rows or [row.strip("|").split("|") for row in table.splitlines() if not re.fullmatch(r"[|:\s-]+", row)]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in rows]


def height(rows: list[list[str]], size: float) -> float:
    """Lines of text that a table takes with letters of this size; words go on in a next line, numbers do not."""
    columns = list(zip(*rows))
    needed = [max(len(part) for cell in column for part in unbroken(cell)) for column in columns]
    wanted = [max(need, *(min(len(cell), 60) for cell in column)) for need, column in zip(needed, columns)]
    there = WIDE / (0.55 * size) - 3 * len(columns)  # letters side by side
    given = [max(need, want * min(1, there / sum(wanted))) for need, want in zip(needed, wanted)]
    if sum(given) > there + 3 and size > SMALL:  # too wide
        return float("inf")
    folded = [max(-(-len(cell) // max(1, int(room))) for cell, room in zip(row, given)) for row in rows]
    return sum(1.35 * max(1, lines) + 0.4 for lines in folded) * size / LINE


def unbroken(cell: str) -> list[str]:
    return [cell] if cell[:1].isdigit() else [*cell.split(), ""]


def table_pieces(table: str, room: float) -> list[Piece]:
    """The same for a table; one that is too long in the smallest letters goes on on the next slide."""
    head, *body = rows_of(table)
    title = 1.6 if "<caption" in table else 0.3
    for size in range(LARGE, SMALL - 1, -1):
        lines = title * size / LINE + height([head, *body], size)
        if lines <= room:
            return [Piece("table", table, lines, size)]
    if len(body) > 5 and "<tbody>" in table:
        start, _, rest = table.partition("<tbody>")
        rows = re.findall(r"<tr>.*?</tr>", rest, re.DOTALL)
        halves = rows[: -(-len(rows) // 2)], rows[-(-len(rows) // 2) :]
        parts = [f"{start}<tbody>{''.join(half)}</tbody></table>" for half in halves]
        return [piece for part in parts for piece in table_pieces(part, room)]
    return [Piece("table", table, room, SMALL)]


def without_long_docstrings(code: str) -> str:
    """Only the first line of each: a slide is no reference."""
    return re.sub(r'"""((?:(?!""")[^\n])+)\n(?:(?!""").)*"""', r'"""\1"""', code, flags=re.DOTALL)


def around(sentences: list[str], asked: int, lines: int = 5) -> str:
    """The sentence that asks, what follows it and what comes before it, as far as there is room."""
    first, last = asked, asked + 1
    while last < len(sentences) and lines_of(" ".join(sentences[first : last + 1])) <= lines:
        last += 1
    while first and lines_of(" ".join(sentences[first - 1 : last])) <= lines:
        first -= 1
    return " ".join(sentences[first:last])


def shows_its_code(cell: dict, part: str) -> bool:
    """A short cell that trains, prints or defines, and draws nothing, is a part of the lesson."""
    source, tags = source_of(cell), cell["metadata"].get("tags", ())
    lines = [line for line in source.splitlines() if line.strip()]
    defines = all(line.startswith((" ", "def ", "class ", "@", ")")) for line in lines)
    said = defines or "pretrain(" in source or "print(" in source
    draws = any("data" in output for output in cell["outputs"]) and not (part == "Train it" and "pretrain(" in source)
    hidden = any(tag.startswith(("hide", "remove")) for tag in tags)
    return said and len(lines) <= LONGEST and not draws and not hidden


class Outline:
    """The slides of a chapter, made as its cells are read."""

    def __init__(self, page: str, site: str):
        self.page, self.site = page, site
        self.slides = [Slide("", starts=True)]
        self.chapter = self.part = self.title = self.asked = ""
        self.begun: list[Piece] = []  # a sentence that ends in an equation
        self.said = ""  # the last paragraph

    @property
    def now(self) -> Slide:
        return self.slides[-1]

    # -- slides

    def head(self, level: int, title: str) -> None:
        """A heading begins a slide; one that has nothing to show gives its place to the next."""
        if level == 1:
            self.chapter = self.title = self.now.title = title
            return
        self.title = title
        if level == 2:
            self.part = title
        if title in (EXERCISES, REFERENCES):
            return
        self.settle()
        starts = level == 2
        if not self.now.pieces:
            starts = self.slides.pop().starts or starts
        self.slides.append(Slide(title, self.part if self.part != title else self.chapter, starts))

    def settle(self) -> None:
        """A slide with nothing but notes shows how they begin."""
        if self.now.notes and not self.now.pieces:
            said = markup.sentences(self.now.notes[0])
            self.now.pieces.append(prose("text", around(said, 0, lines=3)))

    def turn(self) -> None:
        """Another slide under the same heading."""
        self.settle()
        above = self.part if self.part not in ("", self.title) else self.chapter
        self.slides.append(Slide(self.title, above, starts=self.part == EXERCISES and self.now.above != EXERCISES))

    def show(self, *pieces: Piece) -> None:
        """Together where that fits, else one after the other."""
        if self.now.pieces and not self.now.takes(*pieces):
            self.turn()
        for piece in pieces:
            if self.now.pieces and not self.now.takes(piece):
                self.turn()
            self.now.pieces.append(piece)

    # -- Markdown cells

    def markdown(self, source: str) -> None:
        found = [(kind, text if kind == "math" else self.plain(text)) for kind, text in markup.blocks(source)]
        kinds = ["", *(kind for kind, _ in found), ""]
        for (kind, text), before, after in zip(found, kinds, kinds[2:]):
            if kind.startswith("heading"):
                self.head(int(kind[-1]), text)
            elif self.part == REFERENCES or not text or (self.part == EXERCISES and kind != "fence"):
                continue
            elif kind == "paragraph":
                self.paragraph(text, before, after)
            elif kind == "list":
                self.bullets(text)
            elif kind == "fence":
                self.fence(text)
            elif kind == "table":
                self.show(*table_pieces(text, CAPACITY))
            else:
                high = 3 + 2 * text.count(r"\newline") + text.count(r"\underbrace")
                self.show(*self.begun, Piece("math", f"$$\n{text}\n$$", high))
                self.begun = []

    def plain(self, text: str) -> str:
        return markup.plain(text, self.page, self.site)

    def paragraph(self, text: str, before: str, after: str) -> None:
        said = markup.sentences(text)
        asks = [i for i, sentence in enumerate(said) if PREDICT.match(sentence)]
        names = re.fullmatch(r"\*\*([^*]+?):?\*\*:?", text)
        if names and after == "list":  # such as "What you will be able to do"
            self.head(3, names[1])
            return
        if asks:
            self.question(around(said, asks[0]))
        elif after == "math" and said[-1][-1] not in ".!?":
            self.begun = [prose("text", around(said, len(said) - 1, lines=3))]
        elif before == "math" and text[0].islower():
            self.show(prose("text", around(said, 0, lines=3)))
        elif len(self.slides) > 1:
            self.leads(text)
        elif not self.now.pieces:
            self.show(prose("text", around(said, 0, lines=2)))
        self.now.notes.append(text)
        self.said = text

    def leads(self, text: str) -> None:
        """Bold that opens a paragraph as a sentence of its own, and whole bold sentences in it."""
        said = markup.sentences(text)
        for bold in re.finditer(r"\*\*([^*]+)\*\*", text):
            opens = bold.start() == 0 and bold[1][-1] in ".?!"
            longer = " ".join(said[:2])
            if opens and bold[0] == said[0] and len(said[0].split()) < 4 and lines_of(longer) < 3:
                self.show(prose("lead", longer))  # a name says little
            elif opens or len(bold[1].split()) >= 6:
                self.show(prose("lead", bold[0]))

    def bullets(self, text: str) -> None:
        """Every item: whole if it is short, else its first sentence or its bold beginning."""
        for item in markup.items(text):
            first, bold = markup.sentences(item)[0], re.match(r"\*\*[^*]+\*\*", item)
            short = item if lines_of(item) <= 2 else first
            if bold and lines_of(short) > 3 and len(bold[0].split()) > 3:
                short = bold[0]
            self.show(prose("lead", short))
        self.now.notes.append(text)

    def question(self, text: str) -> None:
        """A slide of its own, with no answer in sight."""
        if self.now.pieces or self.now.notes or self.part == EXERCISES:
            self.turn()
        self.now.title, self.now.above = "Predict", self.title
        self.now.pieces.append(prose("question", text))
        self.now.closed = True

    def fence(self, text: str) -> None:
        name, argument, body = markup.directive(text)
        if name == "exercise":
            kind, _, self.asked = argument.partition(" ")
            if kind == "Predict":
                self.question(body)
            else:
                self.asked = ""
        elif (name, argument) in (("solution", self.asked), ("admonition", "Answer")) and self.now.title == "Predict":
            self.answer(body)
        elif name == "admonition":
            self.now.notes.append(body)
        elif argument in ("python", "bash"):
            self.show(*code_pieces(body, CAPACITY))

    def answer(self, body: str) -> None:
        """It appears on a key, below the question."""
        paragraphs = [text for kind, text in markup.blocks(body) if kind == "paragraph"]
        said = [sentence for text in paragraphs for sentence in markup.sentences(text)]
        self.now.pieces.append(prose("answer", around(said, 0, lines=7)))
        self.now.notes.append(body)

    # -- code cells

    def code(self, cell: dict) -> None:
        """What a cell shows, below what stands on the slide if that leaves room for it, and nothing after it."""
        if SETUP.search(source_of(cell)) or cell["id"].startswith("exercise") or self.part == REFERENCES:
            return
        self.explain(cell)
        pieces = self.shown(cell, max(ENOUGH, CAPACITY - self.now.lines))
        if not self.now.takes(*pieces):
            pieces = self.shown(cell, CAPACITY)
        if any(piece.kind in ("picture", "table") for piece in pieces) and not Slide("").takes(*pieces[:2]):
            self.now.notes += [f"~~~\n{piece.content}\n~~~" for piece in pieces if piece.kind == "printed"]
            pieces = [piece for piece in pieces if piece.kind != "printed"]
        if pieces:
            self.show(*pieces)
            self.now.closed = True

    def shown(self, cell: dict, room: float) -> list[Piece]:
        """The pieces of a cell: its code if that is a part of the lesson, what it prints, what it draws."""
        source, pieces = source_of(cell), []
        streams = [output["text"] for output in cell["outputs"] if output.get("name") == "stdout"]
        printed = AGAIN.sub("", "".join("".join(text) for text in streams)).strip("\n ")
        if printed and printed.count("\n") < LONGEST:
            lines = sum(-(-len(line) // 115) or 1 for line in printed.splitlines())
            pieces.append(Piece("printed", printed, 0.65 * lines + 0.5))
            room = room - pieces[0].lines if room - pieces[0].lines > ENOUGH else CAPACITY
        if shows_its_code(cell, self.part):
            pieces = [*code_pieces(source, room), *pieces]
        drawn = re.match(r'idea\("(\w+)"\)', source)
        if drawn and not cell["outputs"]:  # not executed, but the picture is there
            pieces.append(Piece("picture", idea(drawn[1]).svg, ENOUGH))
        for output in cell["outputs"]:
            pieces += self.drawn(output.get("data", {}), room)
        return pieces

    def drawn(self, data: dict, room: float) -> list[Piece]:
        """What a cell's last line shows."""
        html, text = "".join(data.get("text/html", "")), "".join(data.get("text/plain", ""))
        if WIDGET in data:
            return [self.widget(re.search(r"(\w+)(?: object|\()", text)[1])]
        if "text/latex" in data:  # code of the package
            return code_pieces(without_long_docstrings(text), room)
        if "<table" in html:
            return table_pieces(html, room)
        if FIGURE.search(html):
            return [Piece("picture", FIGURE.search(html)[0], ENOUGH)]
        return [Piece("picture", html, ENOUGH)] if html else []

    def explain(self, cell: dict) -> None:
        """Above a widget stands the paragraph that says what to do with it, in place of its bold beginning."""
        if not any(WIDGET in output.get("data", {}) for output in cell["outputs"]) or self.now.closed:
            return
        if self.now.pieces and self.now.pieces[-1].kind == "lead" and self.said.startswith(self.now.pieces[-1].content):
            self.now.pieces.pop()
        if self.said in self.now.notes:
            self.show(prose("text", around(markup.sentences(self.said), 0, lines=4)))

    def widget(self, kind: str) -> Piece:
        """A link to the widget on the chapter's page, as near as a heading is."""
        first, *others = re.split(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", kind)
        address = f"{self.site}{self.page}.html#{markup.anchor(self.title)}"
        link = f'<a href="{address}">{" ".join([first, *map(str.lower, others)])}</a>'
        return Piece("widget", f'<p class="widget">{link}<span>{address}</span></p>', 4)


def slides(notebook: dict, page: str, site: str) -> list[Slide]:
    """The slides of a chapter, in order; `page` is its path without suffix, `site` where the book is read."""
    made = Outline(page, site)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            made.markdown(source_of(cell))
        elif cell["cell_type"] == "code":
            made.code(cell)
    made.settle()
    return [slide for slide in made.slides if slide.pieces]
