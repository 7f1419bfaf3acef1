"""A page's MyST in pieces, and as plain Markdown that reads without Sphinx."""

import posixpath
import re
from functools import cache

from docutils.nodes import make_id
from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pybtex.database import parse_file

from tools.notebooks import BADGE, BOOK

PARSER = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, allow_labels=True).use(amsmath_plugin)
BLOCKS = {"paragraph_open", "bullet_list_open", "ordered_list_open", "table_open", "fence", "math_block", "amsmath"}
QUOTE = re.compile(r"<!--=.*?-->|<!--/-->")  # around a number that tools.quotes fills in
CITE = re.compile(r"\{cite(?::([tp]))?\}`([^`]+)`")
ROLE = re.compile(r"\{[a-z:]+\}`([^`<]*?)\s*(?:<[^`]*>)?`")
LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
NEXT = r"(?=[*\"`$(\[]{0,3}[A-Z]"  # how a sentence begins, or with a formula
SENTENCE = re.compile(rf"(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.)(?<!\.\.)\*{{0,2}}\s+{NEXT}|\$)|(?<=:)\*{{0,2}}\s+{NEXT})")


def blocks(source: str) -> list[tuple[str, str]]:
    """The top level of a cell as (kind, text): heading1, heading2, …, paragraph, list, table, math, fence."""
    found, lines = [], source.splitlines()
    for token in PARSER.parse(source):
        if token.level or not token.map:
            continue
        text = "\n".join(lines[slice(*token.map)]).strip()
        if token.type == "heading_open":
            found.append((f"heading{token.tag[1]}", text.lstrip("# ")))
        elif token.type in ("math_block", "math_block_label", "amsmath"):
            found.append(("math", token.content.strip()))
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            found.append(("list", text))
        elif token.type in BLOCKS:
            found.append((token.type.removesuffix("_open"), text))
    return found


def directive(fence: str) -> tuple[str, str, str]:
    """(name, argument, text) of a fenced block, without its options; the name of ```python is "".

    The argument of an exercise is its title and its label, of a solution its label.
    """
    first, *lines = fence.splitlines()
    named = re.match(r"[`~:]+(?:\{([\w-]+)\})?\s*(.*)", first)
    if lines and re.fullmatch(r"[`~:]+", lines[-1].strip()):
        lines.pop()
    if not named[1]:
        return "", named[2], "\n".join(lines)
    label = next((line.split()[1] for line in lines if line.startswith(":label:")), "")
    body = [line for line in lines if not re.match(r":[\w-]+:", line)]
    return named[1], f"{named[2]} {label}".strip(), "\n".join(body).strip()


def items(listing: str) -> list[str]:
    """The items of a list, a line each."""
    found = re.split(r"^(?:[-*+]|\d+\.)\s+", listing, flags=re.MULTILINE)
    return [" ".join(item.split()) for item in found if item.strip()]


def sentences(paragraph: str) -> list[str]:
    """A paragraph's sentences; bold that ends with one stays whole."""
    text = " ".join(paragraph.split())
    ends = [0, *(found.end() for found in SENTENCE.finditer(text)), len(text)]
    return [text[start:end].strip() for start, end in zip(ends, ends[1:])]


@cache
def works() -> dict[str, tuple[str, str]]:
    """Every cited work's (authors, year), as a text names them."""
    found = {}
    for key, entry in parse_file(BOOK / "references.bib").entries.items():
        names = [" ".join([*person.prelast_names, *person.last_names]) for person in entry.persons["author"]]
        names = [name.strip("{}") for name in names]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        found[key] = (who, entry.fields["year"])
    return found


def cited(match: re.Match) -> str:
    named = [works().get(key.strip(), (key.strip(), "")) for key in match[2].split(",")]
    if match[1] == "t":
        return ", ".join(f"{who} ({year})" for who, year in named)
    return "(" + "; ".join(f"{who}, {year}" for who, year in named) + ")"


def plain(text: str, page: str, site: str) -> str:
    """Without badges, roles and marks of quoted numbers; links lead to the site."""

    def follow(link: re.Match) -> str:
        path, _, anchor = link[1].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), re.sub(r"\.(ipynb|md)$", "", path)))
        return f"]({site}{path}.html{'#' if anchor else ''}{anchor})"

    text = CITE.sub(cited, QUOTE.sub("", BADGE.sub("", text)))
    text = re.sub(r"\{eq\}`eq-([\w-]+)`", lambda name: f"*{name[1].replace('-', ' ')}*", text)
    return LINK.sub(follow, ROLE.sub(r"*\1*", text)).strip()


def anchor(heading: str) -> str:
    """What a heading is called in its page's address."""
    return make_id(re.sub(r"[*`$]", "", heading))
