import json, os
cells = []
def md(id, text, **grade):
    cells.append(dict(cell_type="markdown", id=id, metadata=meta(**grade), source=text.strip("\n")))
def code(id, text, tags=None, **grade):
    m = meta(**grade)
    if tags: m["tags"] = tags
    cells.append(dict(cell_type="code", id=id, metadata=m, source=text.strip("\n"), execution_count=None, outputs=[]))
def meta(kind=None, name=None, points=None):
    if kind is None: return {}
    g = dict(schema_version=3, task=False, grade_id=name)
    if kind == "locked": g |= dict(cell_type="code", grade=False, locked=True, solution=False)
    if kind == "answer": g |= dict(cell_type="code", grade=False, locked=False, solution=True)
    if kind == "check": g |= dict(cell_type="code", grade=True, locked=True, solution=False, points=points)
    if kind == "text": g |= dict(cell_type="markdown", grade=True, locked=False, solution=True, points=points)
    return {"nbgrader": dict(sorted(g.items()))}

md("title", """
# Exercises: LeJEPA

About 50 minutes, half of them for *Explore*; 10 points. You need the chapter *LeJEPA*. The next cell
installs the book's package where it is missing; nothing else is needed, and no GPU.

- **Predict** before you run on. A prediction that turns out wrong teaches most.
- **Implement**: write below the line `# your code here`, and do not call the package's own function for it: it raises when
  your notebook is graded. The check after it says in words what is wrong. Some checks look at more then; they say at what.
- **Explore** is graded by a person, with the points listed there.

Do not delete, copy or convert cells that are here, add new ones wherever you like. Hand in the `.ipynb` file.
""")
code("bootstrap", """
# On Colab: install the book's package, PyTorch stays
try:
    import sslbook  # noqa: F401
except ModuleNotFoundError:
    %pip install -q "git+https://github.com/learning-without-labels/book"
""", tags=["remove-cell"])
code("setup", """
import copy
import math
import os

import torch

from sslbook import budget, evaluate, figures
from sslbook.methods import LeJEPA
from sslbook.pretrain import pretrain

os.environ.setdefault("SSLBOOK_BUDGET", "cpu")  # the same for everybody in class
plan = budget.current()
train, test = plan.load()
KNOTS = torch.linspace(-5, 5, 17)  # where the characteristic functions are compared
print(f"Budget: {plan.name}\\ntrain: {train}")
""", kind="locked", name="setup")
md("predict-samples-task", """
## Predict (2 points)

### Five samples (1 point)

256 numbers each. What does the statistic of Epps and Pulley say of them?

| sample | |
| --- | --- |
| 1 | from the standard Gaussian |
| 2 | evenly spread between $-\\sqrt{3}$ and $\\sqrt{3}$: mean 0, variance 1 |
| 3 | coins, $-1$ or $1$: mean 0, variance 1 |
| 4 | from a Gaussian with standard deviation 2 |
| 5 | all are 0 |

Each of these is used once: `1`, `5`, `29`, `64`, `105`.
""")
code("predict-samples", """
statistic_of = {1: None, 2: None, 3: None, 4: None, 5: None}
### BEGIN SOLUTION
statistic_of = {1: 1, 2: 5, 3: 29, 4: 64, 5: 105}
### END SOLUTION
""", kind="answer", name="predict-samples")
code("predict-samples-check", """
numbers = {1, 5, 29, 64, 105}
assert set(statistic_of.values()) == numbers, "each number is used once"
### BEGIN HIDDEN TESTS
# Why: a Gaussian sample has about 1. The even spread has the right mean and variance, and a shape
# that is not far from a bell; the coins have mean and variance too, and nothing between their two
# points: a test of moments would let both pass. A wrong variance costs more than a wrong shape.
# One point is the worst of these, .41 n: that is what keeps an embedding from collapsing.
right = {1: 1, 2: 5, 3: 29, 4: 64, 5: 105}
wrong = [sample for sample in right if statistic_of[sample] != right[sample]]
assert not wrong, f"look again at sample {wrong}: how unlike is it to a bell of width 1?"
### END HIDDEN TESTS
print("noted: the answer comes with your grade")
""", kind="check", name="predict-samples-check", points=1)
md("predict-size-task", """
### Four times as many (1 point)

A Gaussian sample of 256 numbers has about 1.06 in the mean over many such samples. What has one of **1,024** numbers? And what have
1,024 numbers that are all 0, if 256 of them have 105?
""")
code("predict-size", """
gaussian_1024 = None  # a number
zeros_1024 = None  # a number
### BEGIN SOLUTION
gaussian_1024 = 1.06
zeros_1024 = 4 * 105
### END SOLUTION
""", kind="answer", name="predict-size")
code("predict-size-check", """
for value in (gaussian_1024, zeros_1024):
    assert isinstance(value, (int, float)), "set both to a number"
### BEGIN HIDDEN TESTS
# Why: the mean of n random waves is off by about 1 / sqrt(n), its square by 1 / n, and the
# statistic multiplies by n: what chance gives does not depend on n. What is really wrong is off
# by a fixed amount, so n times as much. A larger batch sees a smaller fault.
assert abs(gaussian_1024 - 1.06) < 0.1, "chance: an error of 1 / sqrt(n), squared, times n"
assert abs(zeros_1024 / 420 - 1) < 0.05, "no chance in it: the distance stays, times n"
### END HIDDEN TESTS
print("noted: the answer comes with your grade")
""", kind="check", name="predict-size-check", points=1)
md("implement-statistic-task", """
## Implement (4 points)

### The statistic (2 points)

$n \\int \\left| \\varphi_n(t) - e^{-t^2/2} \\right|^2 e^{-t^2/2}\\, dt$ with the sample's characteristic function
$\\varphi_n(t) = \\frac{1}{n} \\sum_j e^{i t x_j}$, where $e^{i t x} = \\cos(t x) + i \\sin(t x)$ and $|a + i b|^2 = a^2 + b^2$.
`torch.trapezoid(heights, t)` is the integral by the trapezoid rule.
""")
code("implement-statistic", """
def statistic(x, t):
    \"\"\"How far a sample x (n,) is from the standard Gaussian, with knots t (T,): a scalar.

    The knots go from the lowest to the highest, negative ones too, and each counts as it
    stands. The sample is taken as it is. A gradient flows into x.
    \"\"\"
    ### BEGIN SOLUTION
    tx = x[:, None] * t
    gaussian = torch.exp(-(t**2) / 2)
    real = tx.cos().mean(dim=0) - gaussian
    imaginary = tx.sin().mean(dim=0)
    distance = real**2 + imaginary**2
    return len(x) * torch.trapezoid(distance * gaussian, t)
    ### END SOLUTION
""", kind="answer", name="implement-statistic")
code("implement-statistic-check", """
generator = torch.Generator().manual_seed(0)
samples = torch.randn(200, 256, generator=generator)
value = statistic(samples[0], KNOTS)
assert value is not None, "statistic is not written yet"
assert value.shape == (), f"a scalar was expected, not {tuple(value.shape)}"
typical = torch.stack([statistic(x, KNOTS) for x in samples]).mean().item()
assert abs(typical - 1.06) < 0.15, f"Gaussian samples have about 1.06, not {typical:.3f}"
zeros = statistic(torch.zeros(256), KNOTS).item()
assert abs(zeros / 104.7 - 1) < 0.01, f"256 zeros have 104.7, not {zeros:.3f}"
print("right so far")
""", kind="check", name="implement-statistic-check", points=1)
code("implement-statistic-values", """
assert statistic(samples[0], KNOTS) is not None, "not written yet"
# When graded: samples that are shifted, scaled and lopsided, other knots, and the gradient
### BEGIN HIDDEN TESTS
# Trap: the package's function
from sslbook import losses
from sslbook.classroom import forbidden

with forbidden(losses.epps_pulley):
    statistic(samples[0], KNOTS)
x = torch.tensor([0.2, -1.0, 0.7, 2.5, 0.1])


def plainly(x, t):
    \"\"\"Complex numbers, one sum at a time.\"\"\"
    heights = []
    for s in t.tolist():
        sample = sum(complex(math.cos(s * v), math.sin(s * v)) for v in x) / len(x)
        gaussian = math.exp(-(s**2) / 2)
        heights.append(abs(sample - gaussian) ** 2 * gaussian)
    pairs = zip(t.tolist(), t.tolist()[1:], heights, heights[1:])
    return len(x) * sum((b - a) * (f + g) / 2 for a, b, f, g in pairs)


# Trap: the sample is standardised first; the scale of an embedding would be free
assert abs(statistic(5 * x, KNOTS) - statistic(x, KNOTS)) > 0.1, "the sample's scale counts"
# Trap: the cosine alone, which cannot tell a sample from its mirror image
assert abs(statistic(x + 1, KNOTS) - plainly((x + 1).tolist(), KNOTS)) < 1e-3, (
    "a shifted sample: is the sine in it?"
)
for sample in (x, 3 * x, x - 2, x[:1]):
    expected = plainly(sample.tolist(), KNOTS)
    got = statistic(sample, KNOTS).item()
    assert abs(got - expected) < 1e-3 * max(1, expected), (
        f"{got:.4f} instead of {expected:.4f} for {sample.tolist()}"
    )
# Trap: knots that are assumed to be those of the setup cell, or equally far apart
for t in (torch.linspace(0, 3, 9), torch.tensor([-2.0, -0.5, 0.0, 0.3, 4.0])):
    assert abs(statistic(x, t) - plainly(x.tolist(), t)) < 1e-3, "other knots were given"
# Trap: no gradient, or that of another thing
x = x.requires_grad_()
assert statistic(x, KNOTS).requires_grad, "the statistic has no gradient"
(gradient,) = torch.autograd.grad(statistic(x, KNOTS), x)
values, step = x.detach().tolist(), 1e-4
for j, slope in enumerate(gradient.tolist()):
    more, less = list(values), list(values)
    more[j], less[j] = values[j] + step, values[j] - step
    expected = (plainly(more, KNOTS) - plainly(less, KNOTS)) / (2 * step)
    assert abs(slope - expected) < 2e-3, "the gradient is another one"
### END HIDDEN TESTS
print("done")
""", kind="check", name="implement-statistic-values", points=1)
md("implement-loss-task", """
### The loss (2 points)

$(1 - \\lambda)$ times the mean squared distance of all views' $z$ to their mean over the views, plus $\\lambda$ times the mean statistic
over all views and directions. Each view is a sample by itself.
""")
code("implement-loss", """
def lejepa_loss(z, directions, lambd):
    \"\"\"The loss of z (V, n, D), V views of n images, with directions (D, M): a scalar.

    The prediction is a mean over views, images and features. The samples are those of
    every view along every column of `directions`, tested by your `statistic` with the
    KNOTS above. A gradient flows through both terms.
    \"\"\"
    ### BEGIN SOLUTION
    prediction = (z - z.mean(dim=0)).square().mean()
    samples = [sample for view in z for sample in (view @ directions).T]
    answers = torch.stack([statistic(sample, KNOTS) for sample in samples])
    return (1 - lambd) * prediction + lambd * answers.mean()
    ### END SOLUTION
""", kind="answer", name="implement-loss")
code("implement-loss-check", """
generator = torch.Generator().manual_seed(1)
z = torch.randn(1, 64, 3, generator=generator).expand(2, -1, -1)  # two views that agree
axes = torch.eye(3)
value = lejepa_loss(z, axes, 0.5)
assert value is not None, "lejepa_loss is not written yet"
assert value.shape == (), f"a scalar was expected, not {tuple(value.shape)}"
agreed = lejepa_loss(z, axes, 0.0)
assert abs(agreed) < 1e-6, f"views that agree are predicted: 0, not {agreed:.3f}"
collapsed = lejepa_loss(torch.zeros(2, 64, 3), axes, 1.0)
assert abs(collapsed / 26.17 - 1) < 0.01, f"64 zeros have 26.17, not {collapsed:.3f}"
print("right so far")
""", kind="check", name="implement-loss-check", points=1)
code("implement-loss-terms", """
assert lejepa_loss(z, axes, 0.5) is not None, "not written yet"
# When graded: three views, both terms by themselves and together, and the gradient
### BEGIN HIDDEN TESTS
from unittest import mock

z = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(2))
z = z + torch.tensor([0.0, 1.0, -2.0]).view(3, 1, 1)  # the views are unlike
directions = torch.nn.functional.normalize(z[0, :5].T, dim=0)  # (4, 5)
mean = z.mean(dim=0)
prediction = ((z - mean) ** 2).mean().item()


def plain(x, t):
    tx, g = x[:, None] * t, torch.exp(-t * t / 2)
    gap = torch.complex(tx.cos().mean(dim=0) - g, tx.sin().mean(dim=0)).abs()
    return len(x) * torch.trapezoid(gap * gap * g, t)


# so that a mistake in `statistic` costs its own points only
with mock.patch.dict(globals(), statistic=plain):
    only_prediction = lejepa_loss(z, directions, 0.0).item()
    only_gaussian = lejepa_loss(z, directions, 1.0).item()
    both = lejepa_loss(z, directions, 0.25).item()
    # Trap: a sum over features or views; lambda would mean something else
    assert abs(only_prediction - prediction) < 1e-4, (
        f"{only_prediction:.4f} instead of {prediction:.4f}: a mean over everything"
    )
    samples = [view @ a for view in z for a in directions.T]
    expected = torch.stack([plain(x, KNOTS) for x in samples]).mean().item()
    # Trap: the views are thrown together, and one may be wrong as another is wrong the other way
    pooled = [torch.cat([view @ a for view in z]) for a in directions.T]
    together = torch.stack([plain(x, KNOTS) for x in pooled]).mean().item()
    assert abs(only_gaussian - together) > 1e-3, "each view is a sample by itself"
    # Trap: the directions are those of the features, or rows for columns
    assert abs(only_gaussian / expected - 1) < 1e-4, (
        f"{only_gaussian:.4f} instead of {expected:.4f}: a mean over views and directions"
    )
    # Trap: lambda at the other term, or 1 instead of 1 - lambda
    right = 0.75 * prediction + 0.25 * expected
    assert abs(both / right - 1) < 1e-4, f"{both:.4f} instead of {right:.4f} for lambda = .25"
    # Trap: no gradient from one of the terms. (A stop-gradient on the mean over all views, a habit
    # from other methods, changes nothing: the distances to a mean sum to 0.)
    z = z.requires_grad_()
    loss = lejepa_loss(z, directions, 0.0)
    assert loss.requires_grad, "the loss has no gradient"
    (gradient,) = torch.autograd.grad(loss, z)
    expected = 2 * (z - z.mean(dim=0)).detach() / z.numel()
    assert torch.allclose(gradient, expected, atol=1e-5), "the gradient of the prediction is another one"
    loss = lejepa_loss(z, directions, 1.0)
    assert loss.requires_grad, "the statistic's mean has no gradient"
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.abs().max() > 1e-3, "no gradient comes from the statistic"
### END HIDDEN TESTS
print("done")
""", kind="check", name="implement-loss-terms", points=1)
md("explore-task", """
## Explore (4 points)

### One weight, two ends

$\\lambda$ is the only weight. Train with $\\lambda = 0$, with the recipe's $\\lambda$, and with $\\lambda = 1$. **Write down first what
happens to the spread of $z$, to the prediction measured against that spread, and to kNN.** Then complete the second cell: a table
of these numbers for the three runs, and for the untrained encoder as a first row.

| points for | |
| --- | --- |
| a prediction for all three numbers, with a reason, that was written before the run | 1 |
| three runs that differ in λ only, and the untrained encoder beside them | 1 |
| a reading of the statistic against 1.06 and against all at one point, and of the prediction against the spread | 1 |
| what each of the two terms is for, and why the losses of the three runs cannot be compared | 1 |
""")
code("explore-method", """
recipe = plan.recipe("LeJEPA")
options = recipe.train | {"epochs": min(8, plan.epochs), "show_progress": False}
lambd = recipe.method["lambd"]


def numbers(method):
    \"\"\"z of two views of 256 test images, with batch norm as in training; kNN of h.\"\"\"
    trained = copy.deepcopy(method).train()
    views = plan.views.render(test.images[:256], torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = torch.stack([trained.project(view) for view in views]).cpu()
    variance = z.var(dim=1, correction=0).mean().item()
    error = (z - z.mean(dim=0)).square().mean().item()
    axes = torch.eye(z.shape[2])[:, :16]  # the first features are directions, too
    gaussian = lejepa_loss(z, axes, 1.0).item()
    known, new = (evaluate.embed(method.encoder, s) for s in (train, test))
    return {
        "spread of z": math.sqrt(variance),
        "error / variance": error / max(variance, 1e-12),
        "statistic": gaussian,
        "kNN": evaluate.knn(known, train.labels, new, test.labels, k=50),
    }
""", kind="locked", name="explore-method")
code("explore-lambda", """
### BEGIN SOLUTION
table = []
for value in (None, 0, lambd, 1):
    torch.manual_seed(0)
    change = {} if value is None else {"lambd": value}
    method = LeJEPA(plan.encoder(), **recipe.method | change).to(plan.device)
    row = {"λ": "untrained" if value is None else f"{value:g}", "loss": None}
    if value is not None:
        row["loss"] = pretrain(method, train, **options)["loss"][-1]
    table.append(row | numbers(method))
print(figures.Table(table, f"{options['epochs']} epochs; a Gaussian has 1.06, a point 105"))
# The answer below is held to this run
if plan.name == "cpu":
    start, none, recipes, all_of_it = table
    assert none["spread of z"] < 0.1 < 0.6 < recipes["spread of z"] < 1.1
    assert none["statistic"] > 95 and all_of_it["statistic"] < recipes["statistic"] < 30
    assert recipes["error / variance"] < 0.6 * all_of_it["error / variance"]
    assert none["loss"] < recipes["loss"] < all_of_it["loss"]
    assert recipes["kNN"] > max(start["kNN"], none["kNN"], all_of_it["kNN"]) + 0.1
### END SOLUTION
""", kind="answer", name="explore-lambda")
md("explore-answer", """
### BEGIN SOLUTION
**What a good answer says.** EXPLORE
### END SOLUTION
""", kind="text", name="explore-answer", points=4)

nb = dict(cells=cells, metadata={"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}, nbformat=4, nbformat_minor=5)
explore = open("/tmp/lj/explore.md").read().strip() if os.path.exists("/tmp/lj/explore.md") else "to be written"
for c in cells:
    c["source"] = c["source"].replace("EXPLORE", explore)
    c["source"] = c["source"].splitlines(keepends=True)
os.makedirs("exercises/source/lejepa", exist_ok=True)
json.dump(nb, open("exercises/source/lejepa/lejepa.ipynb", "w"), indent=1, ensure_ascii=False)
open("exercises/source/lejepa/lejepa.ipynb", "a").write("\n")
