"""The classroom: three kinds of exercise, hidden tests that catch mistakes, and nbgrader's verdict on all."""

import csv
import re

import pytest

from tools import exercises, notebooks

NAMES = exercises.assignments()
FOUNDATIONS = {"why_labels_run_out", "contrastive_learning"}
each_assignment = pytest.mark.parametrize("name", NAMES)

# What students get wrong: (assignment, the check that must notice, what the solution says, what they write)
MISTAKES = [
    ("why_labels_run_out", "predict-star-check", '"c"', '"a"'),
    ("why_labels_run_out", "predict-mirror-check", '"moon"', '"heart"'),
    ("why_labels_run_out", "implement-turns-draws", "(len(images),), generator=generator)",
     "(1,), generator=generator).expand(len(images))"),
    ("why_labels_run_out", "implement-turns-draws", ", generator=generator", ""),
    ("why_labels_run_out", "implement-draw-random", "places[order[:per_class]]", "places[:per_class]"),
    ("why_labels_run_out", "implement-draw-random", "torch.randperm(len(places), generator=generator)",
     "torch.randint(len(places), (len(places),), generator=generator)"),
    ("why_labels_run_out", "implement-draw-random", ", generator=generator", ""),
    ("contrastive_learning", "predict-classes-check", "15 +", "7 +"),
    ("contrastive_learning", "implement-loss-values", "F.normalize(features, dim=1)", "features"),
    ("contrastive_learning", "implement-loss-values", "similarity.log_softmax(dim=1)[rows, partner].mean()",
     "similarity.softmax(dim=1)[rows, partner].mean().log()"),
    ("contrastive_learning", "implement-loss-values", "[rows, partner]", "[rows, partner][: len(z) // 2]"),
    ("contrastive_learning", "implement-loss-numerics", "similarity.log_softmax(dim=1)",
     "(similarity.exp() / similarity.exp().sum(dim=1, keepdim=True)).log()"),
    ("contrastive_learning", "implement-loss-numerics", "z @ z.T", "z @ z.detach().T"),
    ("contrastive_learning", "implement-false-check", "left_out[rows, partner] = False", "pass"),
    ("contrastive_learning", "implement-false-check", "labels.repeat(2)", "torch.cat([labels, labels + len(labels)])"),
    ("simclr", "predict-one-sided-check", '"b"', '"a"'),
    ("simclr", "implement-boxes-draws", "torch.rand(3, n, generator=generator)",
     "torch.rand(3, 1, generator=generator).expand(3, n)"),
    ("simclr", "implement-boxes-draws", "right * (size - side)", "down * (size - side)"),
    ("simclr", "implement-boxes-draws", "down * (size - side), right * (size - side)",
     "(size - side) / 2, (size - side) / 2"),
    ("simclr", "implement-boxes-draws", ", generator=generator", ""),
    ("simclr", "implement-boxes-area", ".sqrt()", ""),
    ("simclr", "implement-boxes-area", "(smallest + (1 - smallest) * share).sqrt()",
     "(smallest**0.5 + (1 - smallest**0.5) * share)"),
    ("simclr", "implement-loss-check", "projector(encoder(torch.cat([x1, x2])))", "encoder(torch.cat([x1, x2]))"),
    ("simclr", "implement-loss-check", "projector(encoder(torch.cat([x1, x2])))",
     "torch.cat([projector(encoder(x)) for x in (x1, x2)])"),
    ("simclr", "implement-loss-check", "info_nce_loss(z,", "info_nce_loss(torch.stack(z.chunk(2), 1).flatten(0, 1),"),
    ("moco", "predict-early-check", "math.log(2)", "math.log(1 + 1e-6)"),
    ("moco", "implement-queue-turns", "F.normalize(torch.randn(K, dim, generator=generator), dim=1)",
     "torch.zeros(K, dim)"),
    ("moco", "implement-queue-turns", "q @ self.keys.T", "k @ self.keys.T"),
    ("moco", "implement-queue-turns", "self.keys = self.keys.index_copy(0, places, k.detach())",
     "end = len(self.keys) - self.next\n        self.keys[self.next : self.next + len(k)] = k.detach()[:end]"),
    ("moco", "implement-queue-turns", "k.detach()", "k"),
    ("moco", "implement-queue-turns", "self.keys = self.keys.index_copy(", "self.keys.index_copy_("),
    ("moco", "implement-ema-details", "return f_k", "f_q.load_state_dict(f_k.state_dict())\n    return f_k"),
    ("moco", "implement-ema-details", "return f_k",
     "f_k[0].weight = nn.Parameter(f_k[0].weight.detach().clone())\n    return f_k"),
    ("moco", "implement-ema-details", "return f_k",
     "for a, b in zip(f_k.buffers(), f_q.buffers()):\n        a.copy_(b)\n    return f_k"),
    ("byol", "predict-both-check", '"b"', '"c"'),
    ("byol", "predict-tau-check", "(math.cos(math.pi / 3) + 1) / 2", "2 / 3"),
    ("byol", "implement-loss-views", "target(other)", "target(x)"),
    ("byol", "implement-loss-views", "F.normalize(predictor(online(x)), dim=1)", "predictor(online(x))"),
    ("byol", "implement-loss-views", "return total", "return total / 2"),
    ("byol", "implement-loss-gradient", "torch.no_grad()", "torch.enable_grad()"),
    ("byol", "implement-loss-gradient", "predictor(online(x))", "predictor(online(x)).detach()"),
    ("byol", "implement-loss-gradient", "predictor(online(x))", "predictor(online(torch.cat([x, other])))[: len(x)]"),
    ("byol", "implement-tau-check", "(math.cos(math.pi * step / steps) + 1) / 2", "(1 - step / steps)"),
    ("simsiam", "predict-side-check", '"b"', '"a"'),
    ("simsiam", "implement-step-stop", "f(x1), f(x2)", "f(torch.cat([x1, x2])).chunk(2)"),
    ("simsiam", "implement-step-stop", "p1, z2.detach()", "p1, z1.detach()"),
    ("simsiam", "implement-step-stop", ".detach()", ""),
    ("simsiam", "implement-step-stop", "h(z1), h(z2)", "h(z1), h(z2)\n    p1, p2, z1, z2 = z2, z1, p2, p1"),
    ("simsiam", "implement-step-again", "optimizer.zero_grad()", "pass"),
    ("simsiam", "implement-eta-check", "torch.no_grad()", "torch.enable_grad()"),
    ("simsiam", "implement-eta-check", "sum(f(view(images, generator)) for _ in range(times)) / times",
     "f(sum(view(images, generator) for _ in range(times)) / times)"),
    ("collapse_lab", "predict-patients-check", '2: "dimensional collapse",\n    3: "has not learnt yet"',
     '2: "has not learnt yet",\n    3: "dimensional collapse"'),
    ("collapse_lab", "implement-rank-values", "svdvals(z)", "svdvals(z).square()"),
    ("collapse_lab", "implement-rank-values", "torch.special.entr(p).sum()", "-(p * p.log2()).sum()"),
    ("collapse_lab", "implement-rank-values", "torch.special.entr(p).sum().exp()", "(-(p * p.log()).sum()).exp()"),
    ("collapse_lab", "implement-rank-values", "svdvals(z)", "svdvals(z - z.mean(dim=0))"),
    ("collapse_lab", "implement-doctor-line", "rank_of(z) < least * rank_of(z_healthy)", "False"),
    ("collapse_lab", "implement-doctor-line", " * evaluate.spread(z_healthy)", ""),
    ("collapse_lab", "implement-doctor-line", "least * rank_of(z_healthy)", "8"),
    ("mae", "predict-grid-check", '"a"', '"b"'),
    ("mae", "implement-masking-mask", "ids_restore >= keep", "ids_restore < keep"),
    ("mae", "implement-masking-mask", "ids_restore >= keep",
     "(torch.arange(noise.shape[1]) >= keep).expand(noise.shape)"),
    ("mae", "implement-masking-mask", "noise.argsort(dim=1)", "noise[:1].argsort(dim=1).expand(noise.shape)"),
    ("mae", "implement-masking-restore", "ids_restore >= keep, ids_restore", "ids_restore >= keep, ids_shuffle"),
    ("mae", "implement-error-check", "(error * mask).sum()", "error.sum()"),
    ("mae", "implement-error-check", "(error * mask).sum() / mask.sum()", "error.mean()"),
    ("evaluation", "predict-loud-check", '"b"', '"a"'),
    ("evaluation", "implement-knn-weights", "F.normalize(x, dim=1)", "x"),
    ("evaluation", "implement-knn-weights", "(cosine / temperature).exp()", "torch.ones(cosine.shape)"),
    ("evaluation", "implement-knn-weights", "cosine / temperature", "cosine * temperature"),
    ("evaluation", "implement-probe-frozen", "encoder.eval()", "encoder.train()"),
    ("evaluation", "implement-probe-frozen", "encoder.train(training)", "encoder.train()"),
    ("evaluation", "implement-probe-frozen", "encoder.train(training)",
     "encoder[0][0].weight.data += 1e-3\n    encoder.train(training)"),
    ("evaluation", "implement-probe-frozen", "(x_test - mean)", "(x_test - x_test.mean(dim=0))"),
    ("evaluation", "implement-probe-frozen", "x, x_test = (x - mean) / std, (x_test - mean) / std", "pass"),
]  # fmt: skip


def marks(cell):
    return cell["metadata"].get("nbgrader", {})


def as_student(source):
    """What nbgrader must make of a cell: a stub for a solution, nothing for hidden tests."""
    source = re.sub(r"( *)### BEGIN SOLUTION\n.*?### END SOLUTION", r"\1# your code here", source, flags=re.DOTALL)
    return re.sub(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", "", source, flags=re.DOTALL)


def run(notebook, change=lambda cell: notebooks.text(cell)):
    """Run all code but the bootstrap and *Explore* in this process: {check: the exception that it raised, or None}."""
    namespace, raised = {"__name__": "__main__"}, {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or cell["id"] == "bootstrap" or cell["id"].startswith("explore"):
            continue
        try:
            exec(compile(change(cell), cell["id"], "exec"), namespace)
            raised[cell["id"]] = None
        except Exception as error:
            raised[cell["id"]] = error
    return {id: raised[id] for id in exercises.checks(notebook)}


@pytest.fixture(autouse=True)
def smoke(monkeypatch):
    monkeypatch.setenv("SSLBOOK_BUDGET", "smoke")


def test_every_chapter_on_a_method_has_an_assignment():
    methods = {p.stem for p in (notebooks.ROOT / "sslbook/methods").glob("[a-z]*.py")} - {"base"}
    chapters = {page.rsplit("/", 1)[-1] for page in notebooks.toc()}
    assert chapters & (methods | FOUNDATIONS | {"collapse_lab", "evaluation"}) <= set(NAMES)
    assert set(NAMES) <= chapters | methods | {"evaluation"}, "an assignment without a chapter"


@each_assignment
def test_master_is_stored_clean(name):
    path = exercises.MASTERS / name / f"{name}.ipynb"
    notebook = notebooks.load(path)
    clean = notebooks.dump(notebooks.cleaned(notebook, path))
    assert path.read_text(encoding="utf-8") == clean, "run `make format`"
    assert notebooks.BADGE_IMAGE not in clean and "accelerator" not in notebook["metadata"]
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert notebooks.text(code[0]) == notebooks.bootstrap()


@each_assignment
def test_master_has_three_kinds_and_ten_points(name):
    cells = [c for c in exercises.master(name)["cells"] if marks(c)]
    assert all(marks(c)["grade_id"] == c["id"] for c in cells)
    assert len({c["id"] for c in cells}) == len(cells)
    points = {"predict": 0, "implement": 0, "explore": 0}
    for cell in cells:
        assert cell["cell_type"] == marks(cell)["cell_type"]
        if marks(cell)["grade"]:
            assert marks(cell)["points"] > 0
            points[cell["id"].split("-")[0]] += marks(cell)["points"]
        elif marks(cell)["solution"]:
            assert exercises.SOLUTION.search(notebooks.text(cell)), cell["id"]
    assert points == {"predict": 2, "implement": 4, "explore": 4}
    text = "\n".join(notebooks.text(c) for c in exercises.master(name)["cells"] if c["cell_type"] == "markdown")
    stated = {kind.lower(): int(n) for kind, n in re.findall(r"^## (\w+) \((\d) points\)$", text, flags=re.MULTILINE)}
    assert stated == points
    rubric = re.findall(r"^\| .+ \| (\d) \|$", text.split("| points for | |")[1], flags=re.MULTILINE)
    assert sum(map(int, rubric)) == points["explore"]
    answer = next(c for c in cells if marks(c)["grade"] and marks(c)["solution"])
    assert answer["cell_type"] == "markdown" and "a good answer" in notebooks.text(answer)


@each_assignment
def test_checks_say_why_they_look(name):
    for id, cell in exercises.checks(exercises.master(name)).items():
        source = notebooks.text(cell)
        assert not source.rstrip().splitlines()[-1].startswith("assert"), f"{id} should end by saying that all is well"
        for hidden in exercises.HIDDEN.findall(source):
            assert "# Trap: " in hidden or "# Why: " in hidden, id
            assert "When graded" in source or id.startswith("predict"), f"{id} hides what is tested"


@each_assignment
def test_solutions_pass(name):
    assert {id: error for id, error in run(exercises.master(name)).items() if error} == {}


@each_assignment
def test_students_checks_fail_on_a_blank_notebook_and_say_so(name):
    """Also without the hidden tests, and in words: no error of Python's own."""
    for id, error in run(exercises.master(name), lambda cell: as_student(notebooks.text(cell))).items():
        assert isinstance(error, AssertionError) and len(str(error)) > 10, f"{id}: {error!r}"


@pytest.mark.parametrize(("name", "check", "right", "wrong"), MISTAKES, ids=[f"{m[0]}-{m[1]}-{m[3]}" for m in MISTAKES])
def test_mistake_is_caught(name, check, right, wrong):
    solution = check.rsplit("-", 1)[0]

    def change(cell):
        source = notebooks.text(cell)
        if cell["id"] == solution:
            assert right in source
            source = source.replace(right, wrong)
        return source

    error = run(exercises.master(name), change)[check]
    assert error is not None and not isinstance(error, (NameError, SyntaxError)), repr(error)


def test_every_hidden_test_has_a_mistake_to_catch():
    hidden = {
        (name, id)
        for name in NAMES
        for id, cell in exercises.checks(exercises.master(name)).items()
        if any("assert" in part for part in exercises.HIDDEN.findall(notebooks.text(cell)))
    }
    assert hidden == {mistake[:2] for mistake in MISTAKES}


@pytest.fixture(scope="module")
def graded():
    """All solutions and all blank notebooks, graded by nbgrader in kernels of their own (about a minute)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLBOOK_BUDGET", "smoke")
        patch.setenv("OMP_NUM_THREADS", "1")
        return exercises.grade()


def test_nbgrader_gives_all_points_to_solutions_and_none_to_blanks(graded):
    assert exercises.complaints(graded) == []
    expected = {(name, id) for name in NAMES for id in exercises.checks(exercises.master(name))}
    for submission in ("solution", "blank"):
        rows = [row for row in graded if row["submission"] == submission]
        assert {(row["assignment"], row["check"]) for row in rows} == expected
        with open(exercises.BUILD / f"{submission}.csv", newline="") as file:
            export = {row["assignment"]: row for row in csv.DictReader(file)}
        assert set(export) == set(NAMES)
        for name, row in export.items():
            assert float(row["max_score"]) == 10, name
            assert float(row["score"]) == (6 if submission == "solution" else 0), f"{name}: 4 points are given by hand"


def test_complaints_are_made():
    good = dict(submission="solution", assignment="a", check="b", points=2.0, score=2.0, message="")
    blank = good | {"submission": "blank", "score": 0.0, "message": "not written yet"}
    assert exercises.complaints([good, blank]) == []
    for row in (good | {"score": 0.0}, blank | {"score": 2.0}, blank | {"message": ""}):
        assert len(exercises.complaints([row])) == 1


@each_assignment
def test_students_get_no_solution_and_no_hidden_test(graded, name):
    student = notebooks.load(exercises.BUILD / f"student/{name}.ipynb")
    master = exercises.master(name)
    assert [c["id"] for c in student["cells"]] == [c["id"] for c in master["cells"]]
    for ours, theirs in zip(master["cells"], student["cells"]):
        if ours["cell_type"] == "code":
            assert notebooks.text(theirs).rstrip() == as_student(notebooks.text(ours)).rstrip()
        assert not re.search(r"BEGIN|END|HIDDEN|import nbgrader", notebooks.text(theirs))
        assert "a good answer" not in notebooks.text(theirs)


def test_the_teacher_gets_a_course_folder(graded):
    course = exercises.BUILD / "instructor"
    assert (course / "gradebook.db").stat().st_size > 0 and (course / "nbgrader_config.py").is_file()
    readme = (course / "README.md").read_text()
    for name in NAMES:
        assert (course / f"source/{name}/{name}.ipynb").is_file() and f"### {name}" in readme
