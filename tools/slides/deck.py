"""Slides as one HTML file: nbconvert's exporter for reveal.js, with everything it needs put into the file."""

import html
import json
import re
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml
from nbconvert import SlidesExporter
from nbformat import v4
from pygments.formatters import HtmlFormatter

from tools.notebooks import ROOT
from tools.slides.outline import Piece, Slide

HERE = Path(__file__).parent
MODULES = ROOT / "node_modules"
STYLES = ("dist/reset.css", "dist/reveal.css")
SCRIPTS = ("dist/reveal.js", "plugin/notes/notes.js")
INLINE = r"(?<![\\\w$])\$(?P<inline>[^\s$](?:[^$]*[^\s$])?)\$"
FORMULA = re.compile(rf"(`+).+?\1|\$\$(?P<display>.+?)\$\$|{INLINE}", re.DOTALL)
WORDS = re.compile(r"<td>(?=\s*[^\s\d.+±<–−-])")  # a cell of a table that is no number
BROKEN = re.compile(r'data-mjx-error="([^"]*)"')


def svgs(formulas: list[tuple[str, bool]]) -> list[str]:
    """Each formula, given as (TeX, display), as MathJax draws it.

    Raises:
        SystemExit: there is no node or no MathJax, or a formula means nothing.
    """
    if not (MODULES / "mathjax").is_dir() or not (MODULES / "reveal.js").is_dir():
        raise SystemExit("node_modules lacks mathjax or reveal.js: run `npm ci` in the repository, or `make slides`")
    macros = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    asked = json.dumps({"macros": macros, "formulas": formulas})
    run = subprocess.run(["node", HERE / "formulas.mjs"], input=asked, capture_output=True, text=True, cwd=ROOT)
    if run.returncode:
        raise SystemExit(f"MathJax failed:\n{run.stderr}")
    made = json.loads(run.stdout)
    for (tex, _), svg in zip(formulas, made):
        if BROKEN.search(svg):
            raise SystemExit(f"MathJax does not understand {tex!r}: {BROKEN.search(svg)[1]}")
    return made


class Formulas:
    """Takes formulas out of Markdown before it is converted, and puts their pictures in afterwards."""

    def __init__(self):
        self.found: list[tuple[str, bool]] = []

    def take(self, markdown: str) -> str:
        def name(match: re.Match) -> str:
            tex = match["display"] or match["inline"]
            if tex is None:  # code
                return match[0]
            self.found.append((" ".join(tex.split()), match["display"] is not None))
            return f"FORMULA{len(self.found) - 1}END"

        return FORMULA.sub(name, markdown)

    def put(self, page: str) -> str:
        made = svgs(self.found)

        def picture(match: re.Match) -> str:
            tex, display = self.found[int(match[1])]
            kind = "formula display" if display else "formula"
            return f'<span class="{kind}" role="img" aria-label="{html.escape(tex)}">{made[int(match[1])]}</span>'

        return re.sub(r"FORMULA(\d+)END", picture, page)


def cell(kind: str, source: str, slide_type: str, **more) -> dict:
    make = v4.new_markdown_cell if kind == "markdown" else v4.new_code_cell
    made = make(source, **more)
    made.metadata["slideshow"] = {"slide_type": slide_type}
    return made


def output(content: str, kind: str) -> dict:
    """A cell that only shows what it printed or drew."""
    if kind == "printed":
        shown = v4.new_output("stream", text=content)
    else:
        shown = v4.new_output("display_data", data={"text/html": content})
    made = cell("code", "", "-", outputs=[shown])
    made.metadata["transient"] = {"remove_source": True}
    return made


def of_piece(piece: Piece, formulas: Formulas) -> dict:
    if piece.kind in ("printed", "picture"):
        return output(piece.content, piece.kind)
    if piece.kind == "code":
        made = cell("code", piece.content, "-")
        made.metadata["size"] = round(piece.size, 1)
        return made
    content = piece.content
    if piece.kind == "table":
        box = f'<div class="tabular" style="--table: {piece.size:.1f}px">'
        if content.lstrip().startswith("<"):
            return output(box + WORDS.sub('<td class="word">', content) + "</div>", "table")
        return cell("markdown", formulas.take(f"{box}\n\n{content}\n\n</div>"), "-")
    if piece.kind in ("question", "answer"):
        content = f'<div class="{piece.kind}">\n\n{content}\n\n</div>'
    return cell("markdown", formulas.take(content), "fragment" if piece.kind == "answer" else "-")


def joined(pieces: list[Piece]) -> list[Piece]:
    """Lead sentences that follow each other as one list."""
    made: list[Piece] = []
    for piece in pieces:
        content = f"- {piece.content}" if piece.kind == "lead" else piece.content
        if made and piece.kind == made[-1].kind == "lead":
            made[-1] = replace(made[-1], content=f"{made[-1].content}\n{content}")
        else:
            made.append(replace(piece, content=content))
    return made


def cells(slides: list[Slide], formulas: Formulas) -> list[dict]:
    """The cells of a notebook, marked for nbconvert."""
    made = []
    for number, slide in enumerate(slides):
        above = f'<p class="above">{slide.above}</p>\n\n' if slide.above else ""
        title = f"{above}{'##' if number else '#'} {slide.title}"
        made.append(cell("markdown", formulas.take(title), "slide" if slide.starts else "subslide"))
        if number == 0 or (slide.lines <= 4 and {piece.kind for piece in slide.pieces} <= {"lead", "text", "printed"}):
            made[-1].metadata["slideshow"]["data"] = {"few": "words"}
        if slide.notes:  # first: reveal.js does not show notes that stand in an answer
            made.append(cell("markdown", formulas.take("\n\n".join(slide.notes)), "notes"))
        made += [of_piece(piece, formulas) for piece in joined(slide.pieces)]
    return made


@cache
def inlined() -> dict[str, str]:
    """What the page's template puts into it."""
    own = (HERE / "template/slides.css").read_text(encoding="utf-8")
    code = HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(".highlight")
    styles = [(MODULES / "reveal.js" / name).read_text(encoding="utf-8") for name in STYLES]
    scripts = [(MODULES / "reveal.js" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    scripts.append((HERE / "template/slides.js").read_text(encoding="utf-8"))
    return {
        "css": "\n".join([*styles, code, own]),
        "js": "\n".join(scripts).replace("</script", r"<\/script"),  # of the window with the notes
    }


def render(slides: list[Slide], page: str, site: str) -> str:
    """The deck of these slides of the chapter `page`."""
    formulas = Formulas()
    notebook = v4.new_notebook(cells=cells(slides, formulas))
    exporter = SlidesExporter(
        template_name="template",
        extra_template_basedirs=[str(HERE)],
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    about = {"title": slides[0].title, "address": f"{site}{page}.html"}
    written, _ = exporter.from_notebook_node(notebook, resources={"deck": inlined() | about})
    return formulas.put(written)
