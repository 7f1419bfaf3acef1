"""The shape of the package: who may import whom, how long a function is, what a new method touches."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from pybtex.database import parse_file

from sslbook import results
from sslbook.budget import BUDGETS
from sslbook.methods import METHODS
from tools.notebooks import ROOT

# from top to bottom: a module imports from its own line and from those below, never upwards
LAYERS = [
    "cli",
    "chapter",
    "widgets figures ideas",
    "speedrun removals playground",
    "patients judging samples",
    "budget",
    "finetune in_page",
    "pretrain",
    "callbacks",
    "evaluate",
    "official pretrained export onnx_writer",
    "methods",
    "losses encoders decoders vit text heads norms tokenisers graph",
    "words",
    "views images sets photos",
    "allocator bar blocks checkpoint classroom decompositions distributed download ema files history kmeans masks "
    "optim results sentences",
    "shapes",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
LOOP = ("pretrain", "callbacks", "finetune", "history", "checkpoint", "distributed", "methods/base")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "sslbook").rglob("*.py"))
    if path.name != "__main__.py" and path != ROOT / "sslbook/__init__.py"
}
each_module = pytest.mark.parametrize("name", MODULES)
each_method = pytest.mark.parametrize("name", METHODS)


@cache
def tree(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name):
    """The modules of the package that a module imports, also inside functions; what only type checkers see left out."""
    unseen = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            unseen |= set(ast.walk(node))
    found = set()
    for node in set(ast.walk(tree(name))) - unseen:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & MODULES.keys()


def room(name):
    return name.split(".")[1]


def test_every_module_has_a_place():
    assert {room(name) for name in MODULES} == LEVEL.keys()


@each_module
def test_imports_point_down(name):
    upwards = [other for other in imports(name) if LEVEL[room(other)] < LEVEL[room(name)]]
    assert upwards == []


def test_no_module_imports_itself_by_a_detour():
    left = {name: imports(name) - {name} for name in MODULES}
    while leaves := [name for name, below in left.items() if not below & left.keys()]:
        for name in leaves:
            del left[name]
    assert left == {}, "these import each other"


def code_lines(function, source):
    """Lines of its body without docstring, comments and blank ones."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    lines = source[body[0].lineno - 1 : function.end_lineno] if body else []
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


@each_module
def test_no_function_has_more_than_40_lines(name):
    source = MODULES[name].read_text(encoding="utf-8").splitlines()
    functions = [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if len(code_lines(f, source)) > 40] == []


@each_module
def test_no_call_has_more_than_5_arguments_without_names(name):
    """A list of layers or axes is one thing, however long."""
    lists = {"permute", "__init__", "Sequential"}
    calls = [node for node in ast.walk(tree(name)) if isinstance(node, ast.Call) and len(node.args) > 5]
    long = [ast.unparse(call) for call in calls if ast.unparse(call.func).split(".")[-1] not in lists]
    assert long == []


def test_a_method_fits_a_screen_without_its_registration():
    for entry in METHODS.values():
        text = Path(sys.modules[entry.method.__module__].__file__).read_text(encoding="utf-8")
        assert len(text.split("\nregister(")[0].splitlines()) <= 180, entry.label


@pytest.mark.parametrize("file", LOOP)
def test_the_loop_names_no_method(file):
    text = (ROOT / f"sslbook/{file}.py").read_text(encoding="utf-8")
    named = [entry.label for name, entry in METHODS.items() if re.search(rf"\b({name}|{entry.label})\b", text)]
    assert named == []


def test_importing_the_package_changes_nothing_in_its_host():
    code = "import sys; before = set(sys.modules); import sslbook; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "sslbook" in loaded and not loaded & {"torch", "numpy", "ctypes", "matplotlib"}


# ---- what a new method touches


def module(name):
    """The name of its file, chapter, assignment and test."""
    return METHODS[name].method.__module__.split(".")[-1]


# beyond its own files, the book knows a method by name in these only, and only for a reason
TARGETS = "experiments/targets.py"  # compares what is asked of hidden parts
PLAYED = "sslbook/playground.py"  # which methods train in a page, and what can be removed from each
ELSEWHERE = {
    "BERT": {"sslbook/widgets/masked_words.py", TARGETS},  # its network goes into a page
    "SimCLR": {  # the book's example
        "benchmarks/bench.py",
        "experiments/byol_recipe.py",
        "experiments/gpu.py",
        "experiments/labels.py",
        "experiments/negatives.py",
        "experiments/operations.py",
        "experiments/speedrun.py",
        "experiments/transfer.py",
        "sslbook/speedrun.py",
        "tools/recording.py",
        PLAYED,
    },
    "BYOL": {  # what is known of why it does not collapse is known of its linear kind
        "sslbook/widgets/linear_byol.js",
        "sslbook/widgets/linear_byol.py",
        PLAYED,
    },
    "BarlowTwins": {PLAYED},
    "MAE": {  # its network goes into a page, and its authors' checkpoints come from elsewhere
        "experiments/ijepa_recipe.py",  # it begins where MAE ends
        "experiments/ship.py",
        TARGETS,
        "sslbook/export.py",
        "sslbook/official.py",
        "sslbook/widgets/_pictures.py",
        "sslbook/widgets/masking.js",
        "sslbook/widgets/masking.py",
        "tools/offline_kit.py",
    },
    "IJEPA": {"sslbook/widgets/latents.js", "sslbook/widgets/latents.py", TARGETS},  # its network goes into a page
    "BEiT": {"sslbook/widgets/codebook.js", "sslbook/widgets/codebook.py", TARGETS},  # whose guesses the wall shows
    "VAE": {  # its decoder goes into a page
        "sslbook/widgets/latent_sliders.js",
        "sslbook/widgets/latent_sliders.py",
    },
    "GAN": {  # its generator goes into a page, and its game is played on a plane
        "sslbook/widgets/__init__.py",
        "sslbook/widgets/gan_game.js",
        "sslbook/widgets/gan_game.py",
        "sslbook/widgets/generator_walk.js",
        "sslbook/widgets/generator_walk.py",
    },
    "DINO": {"sslbook/official.py"},
    "DeepCluster": {"sslbook/official.py"},
    "MoCo": {"sslbook/official.py"},  # its authors' checkpoints
    "SimSiam": {"sslbook/official.py", PLAYED},
    "SwAV": {"sslbook/official.py"},
    "VICReg": {"sslbook/official.py", PLAYED},
}


def words(path):
    """What a file says without its comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    nodes = list(ast.walk(ast.parse(text)))
    documented = [node for node in nodes if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    prose = {id(node.body[0].value) for node in documented if ast.get_docstring(node) is not None}
    said = [str(node.value) for node in nodes if isinstance(node, ast.Constant) and id(node) not in prose]
    for node in nodes:
        for field in ("id", "attr", "name", "module"):
            said.append(str(getattr(node, field, "")))
    return "\n".join(said)


@cache
def files_that_may_name_none():
    """Code and settings outside tests, pages and logs, with what they say."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.js", "*.yml", "*.json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kinds = ("sslbook/", "experiments/", "tools/", "benchmarks/", "_ext/", "_config.yml", ".github/")
    files = [file for file in listed.stdout.split() if file.startswith(kinds) and (ROOT / file).exists()]
    files += [f"tests/{file}.py" for file in ("conftest", "kill_and_resume", "test_every_method")]
    return {file: words(ROOT / file) for file in files}


@each_method
def test_a_method_is_named_in_its_own_files_only(name):
    stem, entry = module(name), METHODS[name]
    own = [rf"sslbook/methods/{stem}\.py", rf"tools/ideas/{stem}\.py", r"sslbook/widgets/choosing\.\w+"]
    own += [rf"experiments/{stem.split('_')[0]}_\w+\.py", r"sslbook/patients\.py", r"sslbook/graphs/playground\.json"]
    pattern = re.compile(rf"(?<!-)\b({name}|{re.escape(entry.label)}|{stem})\b")  # a VQ-VAE is no VAE
    found = {file for file, text in files_that_may_name_none().items() if pattern.search(text)}
    others = {file for file in found if not any(re.fullmatch(kind, file) for kind in own)}
    assert others <= ELSEWHERE.get(name, set()), "read the registry instead"


def chapters():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return [Path(chapter["file"]) for part in parts for chapter in part["chapters"]]


def test_methods_come_in_the_order_of_the_book():
    stems = [chapter.name for chapter in chapters()]
    assert [module(name) for name in METHODS] == [stem for stem in stems if stem in map(module, METHODS)]


@each_method
def test_a_method_has_all_that_belongs_to_it(name):
    stem, entry = module(name), METHODS[name]
    assert (ROOT / f"tests/test_{stem}.py").is_file()
    (chapter,) = [chapter for chapter in chapters() if chapter.name == stem]
    assert (ROOT / chapter).with_suffix(".ipynb").is_file()
    assert list((ROOT / f"exercises/source/{stem}").glob("*.ipynb"))
    assert entry.paper in parse_file(ROOT / "book/references.bib").entries
    families = yaml.safe_load((ROOT / "book/methods.yml").read_text(encoding="utf-8"))
    lines = [(family["family"], line) for family in families for line in family["methods"]]
    ((family, line),) = [(family, line) for family, line in lines if line.get("chapter") == stem and "paper" in line]
    assert (family, line["name"], line["paper"]) == (entry.family, entry.label, entry.paper)
    assert 0 <= line["year"] - int(entry.published[:4]) <= 1, "a paper is on arXiv before it is printed"


@each_method
def test_a_method_has_a_recipe_for_every_budget(name):
    recipes = METHODS[name].recipes
    kind = METHODS[name].encoder
    assert recipes.keys() == {budget.recipes for budget in BUDGETS.values() if kind in budget.encoders}
    for budget, recipe in recipes.items():
        assert recipe.source, f"where do the numbers of {budget} come from?"
        if recipe.expected:
            (logged,) = results.rows(budget, [name])
            assert {question: logged[question] for question in recipe.expected} == pytest.approx(
                recipe.expected, abs=0.005
            )
