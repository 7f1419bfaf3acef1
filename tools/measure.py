"""The house's measures of a checkout, to be printed before and after a change.

    python tools/measure.py [CHECKOUT]

1. Files that name a method: tracked files outside its own (its file, golden test, chapter, assignment, idea picture);
   logs and the bibliography are counted apart. "Code" is .py, .js and .yml, the rest is notebooks and text.
2. Functions of `sslbook`, `tools`, `_ext` and `experiments`: lines of the body without docstring, blank lines and
   comments, lines as they stand, levels of nesting. Functions of the widgets' JavaScript: lines as they stand.
3. The lesson's share of each chapter's code: each non-blank line is one kind, by the statement that it belongs to.
   - setup: the bootstrap cell, imports, the clock, budget and images, the first seed
   - drawing: hidden cells that draw, a block or function with `plt.`, `figures.…` but tables, alternative texts
   - tables: `print`, `Table`, captions, rows read from logs, what a chapter's helper `lab` does
   - checks: `assert`, and an `if` on the budget's name with an assert in it
   - glue: recipe and probe looked up, a function `watch` and its calls and snapshots, and whatever seeds, builds a
     method from a recipe or trains it after the notebook has done so once
   - lesson: everything else, shown source and whole exercises among it
   A line that opens a block is of the block's kind where that has only one.
4. Pairs of places that are alike, by the command `duplicates` where the machine has it.
5. Calls with more than five positional arguments, and arithmetic on truth values, in all Python files.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

KINDS = ("setup", "drawing", "tables", "checks", "glue", "lesson")
SHOWN = 12  # the longest functions that are listed
SETUP = r"^(start|clock) = |budget\.current\(|plan\.load\(\)|\bLab\(|= lab\.plan\b"
DRAWING = r"^(ax|axes|figure|plt)\b|= plt\.|^figures\.(?!Table)|^(alt|box|arrow)\b *[+=]|^\w+\.curves\("
TABLES = r"^print\(|Table\(|^(caption|known)\b *\+?= |results\.(rows|describe)\(|evaluate\.report\(.*\)\)$"
TABLES += r"|^lab\.(?!break_it)\w*\(|^\w+\.table\(\)$"
SEEDS = r"^torch\.manual_seed\("
BUILDS = r"\b[Mm]ethod\(|\*\*[\w.]*recipe[\w.()\"']*\.method"
TRAINS = r"\bpretrain\("
GLUE = r"^(recipe|probe|snapshots)\b.* = |^watch\("


def tracked(root: Path, *patterns: str) -> list[Path]:
    """Tracked files that still exist."""
    listed = subprocess.check_output(["git", "-C", root, "ls-files", "-z", *patterns], text=True)
    return [root / name for name in listed.split("\0") if name and (root / name).is_file()]


def methods(root: Path) -> dict[str, str]:
    """File stem and class name of each method, in the checkout or in this one (the later one knows more of them)."""
    found = {}
    for path in [*root.glob("sslbook/methods/*.py"), *Path(__file__).parents[1].glob("sslbook/methods/*.py")]:
        named = re.search(r"^class (\w+)\(Method\)", path.read_text(), re.MULTILINE)
        if named and path.stem != "supervised":  # an everyday word
            found[path.stem] = named[1]
    return found


def naming(root: Path) -> Iterator[str]:
    """How many files name each method, and which of them are code."""
    texts = {path.relative_to(root).as_posix(): path.read_text(errors="ignore") for path in tracked(root)}
    for stem, method in methods(root).items():
        spaced = re.sub("(?<=[a-z])(?=[A-Z])", " ?", method)
        word = re.compile(rf"(?<![A-Za-z])({spaced}|{stem})(?![A-Za-z])")
        own = re.compile(rf"(^|/)(test_)?{stem}(\.\w+)?(/|$)")
        named = {name for name, text in texts.items() if word.search(text)}
        apart = {name for name in named if name.startswith("results/") or name.endswith(".bib")}
        outside = sorted(name for name in named - apart if not own.search(name))
        code = [name for name in outside if name.endswith((".py", ".js", ".yml"))]
        yield f"{method:12}{len(outside):4} files, {len(code)} of them code; {len(apart)} logs and bibliography"
        yield "    " + " ".join(code)


def depth(node: ast.AST) -> int:
    """Levels of blocks inside a function; `elif` is no new level."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        block = isinstance(child, (ast.For, ast.While, ast.If, ast.With, ast.Try)) and not chained
        deepest = max(deepest, depth(child) + (1 if block else 0))
    return deepest


def functions(root: Path) -> Iterator[tuple[int, int, int, str]]:
    """(lines of code in the body, lines as they stand, levels, where) of each Python function."""
    for path in tracked(root, "sslbook/*.py", "tools/*.py", "_ext/*.py", "experiments/*.py"):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            rows = lines[body[0].lineno - 1 : node.end_lineno] if body else []
            code = [row for row in rows if row.strip() and not row.strip().startswith("#")]
            where = f"{path.relative_to(root)}:{node.lineno} {node.name}"
            yield len(code), node.end_lineno - node.lineno + 1, depth(node), where


def js_functions(root: Path) -> Iterator[tuple[int, str]]:
    """(lines, where) of each JavaScript function of the widgets: braces that follow `)` or `=>`."""
    quiet = re.compile(r"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"|'[^'\n]*'|`(?:\$\{[^}]*\}|[^`$])*`", re.DOTALL)
    for path in tracked(root, "sslbook/widgets/*.js"):
        text = quiet.sub(lambda m: re.sub(r"[^\n]", "_", m[0]), path.read_text())
        opened = []
        for place, letter in enumerate(text):
            if letter == "{":
                opened.append(place)
            elif letter == "}" and opened:
                begin = opened.pop()
                head = text[:begin].rstrip()
                line = head[head.rfind("\n") + 1 :].strip()
                if head.endswith((")", "=>")) and not re.match(r"(\} *else )?(if|for|while|switch)\b|\} *catch", line):
                    where = f"{path.relative_to(root)}:{text.count(chr(10), 0, begin) + 1} {line[:60]}"
                    yield text.count("\n", begin, place) + 1, where


class Chapter:
    """Counts a notebook's code lines by kind."""

    def __init__(self, path: Path):
        self.counts, self.bootstrap, self.trained, self.built = Counter(), 0, False, False
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                self.read(cell)

    def read(self, cell: dict) -> None:
        text = re.sub(r"^( *)[%!].*", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)
        filled = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
        hidden = {"hide-input", "hide-cell", "remove-input"} & set(cell["metadata"].get("tags", []))
        if cell["id"] == "bootstrap":
            kinds, self.bootstrap = dict.fromkeys(filled, "setup"), len(filled)
        elif cell["id"].startswith("exercise"):
            kinds = dict.fromkeys(filled, "lesson")
        elif hidden and re.search("plt|figures", text):
            kinds = dict.fromkeys(filled, "drawing")
        else:
            kinds = {}
            self.mark(ast.parse(text).body, kinds)
        self.counts.update(kinds.get(number, "lesson") for number in filled)

    def mark(self, body: list[ast.stmt], kinds: dict[int, str]) -> set[str]:
        """Write down the kind of each statement's lines; the set of these kinds."""
        return {self.kind(statement, kinds) for statement in body}

    def kind(self, node: ast.stmt, kinds: dict[int, str]) -> str:
        own, text = range(node.lineno, node.end_lineno + 1), ast.unparse(node)
        blocks = [block for name in ("body", "orelse", "finalbody") if (block := getattr(node, name, None))]
        asserts = any(isinstance(child, ast.Assert) for child in ast.walk(node))
        if isinstance(node, (ast.FunctionDef, ast.With)) and "plt." in text:
            kind = "drawing"
        elif isinstance(node, ast.FunctionDef) and node.name in ("watch", "look"):
            kind = "glue"
        elif isinstance(node, ast.If) and "plan.name" in ast.unparse(node.test) and asserts:
            kind = "checks"
        elif isinstance(node, ast.ClassDef) or not blocks:
            kind = self.simple(node, text)
        else:
            found = set().union(*(self.mark(block, kinds) for block in blocks))
            kind = found.pop() if len(found) == 1 else "lesson"
            own = range(node.lineno, blocks[0][0].lineno)
        kinds.update(dict.fromkeys(own, kind))
        return kind

    def simple(self, node: ast.stmt, text: str) -> str:
        """The kind of a statement without blocks, from how it begins and what it calls."""
        if isinstance(node, (ast.Import, ast.ImportFrom)) or re.search(SETUP, text):
            return "setup"
        if isinstance(node, ast.Assert):
            return "checks"
        if re.search(SEEDS, text):
            return "glue" if self.built else "setup"
        trains, builds = bool(re.search(TRAINS, text)), bool(re.search(BUILDS, text))
        again = (trains and self.trained) or (builds and self.built)
        self.trained, self.built = self.trained or trains, self.built or builds
        if again or re.search(GLUE, text):
            return "glue"
        if re.search(DRAWING, text):
            return "drawing"
        return "tables" if re.search(TABLES, text) else "lesson"


def chapters(root: Path) -> Iterator[str]:
    """The table of kinds, a line a chapter."""
    total, bootstraps = Counter(), 0
    yield f"{'':24}" + "".join(f"{kind:>9}" for kind in KINDS) + "      all   lesson, and without the bootstrap"
    for path in tracked(root, "book/*.ipynb"):
        chapter = Chapter(path)
        total += chapter.counts
        bootstraps += chapter.bootstrap
        yield table_row(path.stem, chapter.counts, chapter.bootstrap)
    yield table_row("all", total, bootstraps)


def table_row(name: str, counts: Counter, bootstrap: int) -> str:
    lines, lesson = sum(counts.values()), counts["lesson"]
    numbers = "".join(f"{counts[kind]:9}" for kind in KINDS)
    return f"{name:24}{numbers}{lines:9}{lesson / lines:8.0%}{lesson / (lines - bootstrap):8.0%}"


def duplicates(root: Path) -> Iterator[str]:
    if shutil.which("duplicates") is None:
        yield "the command `duplicates` is not on this machine"
    else:
        command = ["duplicates", "--repo", str(root), "--most", "60", "--seconds", "120"]
        yield from subprocess.check_output(command, text=True).splitlines()


def unclear(root: Path) -> tuple[list[str], list[str]]:
    """Calls with more than five positional arguments, arithmetic on truth values."""
    positional, arithmetic = [], []
    for path in tracked(root, "*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)} "
            if isinstance(node, ast.Call) and sum(not isinstance(a, ast.Starred) for a in node.args) > 5:
                positional.append(where + ast.unparse(node)[:90])
            sums = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
            if sums and (truth(node.left) or truth(node.right)):
                arithmetic.append(where + ast.unparse(node)[:90])
    return positional, arithmetic


def truth(node: ast.AST) -> bool:
    """Is this expression written as a truth value (of a scalar or a tensor)?"""
    called = isinstance(node, ast.Call) and ast.unparse(node.func) in ("bool", "any", "all", "isinstance")
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return called or negated or isinstance(node, ast.Compare)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    commit = subprocess.check_output(["git", "-C", root, "log", "-1", "--format=%h %s"], text=True).strip()
    print(f"{root} at {commit}\n\n1. Files that name a method")
    print("\n".join(naming(root)))

    python, js = sorted(functions(root), reverse=True), sorted(js_functions(root), reverse=True)
    long = sum(code > 40 for code, *_ in python)
    raw_long = sum(raw > 40 for _, raw, *_ in python)
    print(f"\n2. Python: {len(python)} functions, {long} of more than 40 lines of code, {raw_long} of more than 40 as")
    print(f"   they stand, at most {max(levels for *_, levels, _ in python)} levels deep")
    for code, raw, levels, where in python[:SHOWN]:
        print(f"   {code:4} code {raw:4} as they stand {levels:2} levels  {where}")
    print(f"   JavaScript: {len(js)} functions, {sum(n > 60 for n, _ in js)} of more than 60 lines")
    for lines, where in js[:SHOWN]:
        print(f"   {lines:4}  {where}")

    print("\n3. Code lines of the chapters by kind")
    print("\n".join(chapters(root)))
    print("\n4. Duplicates")
    print("\n".join(duplicates(root)))
    positional, arithmetic = unclear(root)
    print(f"\n5. {len(positional)} calls with more than five positional arguments", *positional, sep="\n   ")
    print(f"\n   {len(arithmetic)} places with arithmetic on truth values", *arithmetic, sep="\n   ")


if __name__ == "__main__":
    main()
