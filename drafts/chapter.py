import json
cells = []
def md(text): cells.append(dict(cell_type="markdown", metadata={}, source=text.strip("\n")))
def code(text, tags=None, alt=None):
    m = {}
    if tags: m["tags"] = tags
    if alt: m["alt"] = alt
    cells.append(dict(cell_type="code", metadata=m, source=text.strip("\n"), execution_count=None, outputs=[]))
HIDE = ["hide-input"]

md("""
# LeJEPA

Each method so far has its own device against collapse: negatives, a slow copy, a stop-gradient, a matrix that should be the
identity. {cite:t}`balestriero2025lejepa` start from the other end. What should the cloud of all embeddings look like, if nothing is
known of the questions that will be asked of it? Their answer is a **standard Gaussian**, alike in all directions. LeJEPA asks
for just that, and for views of one picture to agree. There is no second network, no predictor, no stop-gradient and no schedule.
There is one weight between two terms.

**What you will be able to do**

- compare a sample with the Gaussian by its characteristic function, and say what chance gives;
- test a cloud in many dimensions by its one-dimensional projections, and say what they miss;
- train LeJEPA, and read its two terms;
- show what either term is for, by giving the other all the weight;
- say how far its loss predicts the accuracy, in this book's runs;
- avoid the traps of knots, of batches, and of a point where the gradient is 0.

**Before you start:** [SimCLR](../contrastive/simclr) and [Barlow Twins](barlow_twins). **Time:** about 30 minutes of
reading; the last cell prints how long the code took.
""")
code("""
import copy
import math

import torch
from torch import nn

from sslbook import evaluate, figures, results
from sslbook.chapter import Lab, idea, show_source
from sslbook.losses import epps_pulley
from sslbook.methods import LeJEPA
from sslbook.methods.lejepa import prediction_error, random_directions, sigreg
from sslbook.pretrain import pretrain
from sslbook.widgets import GaussianSlices

lab = Lab("LeJEPA")
plan, train, test, recipe = lab.plan, lab.train, lab.test, lab.recipe
""")
md("## The idea in one picture")
code('idea("lejepa")', tags=HIDE)
md("""
The upper half is what all these methods ask: views of one picture should have nearly the same $z$. That alone is easy: give every
picture the same $z$. The lower half forbids it. The $z$ of a batch is a cloud of points. Look at it along one direction
after another. Each time the points should be spread like a bell of mean 0 and width 1. A collapsed cloud is a single bar.
""")
md("""
## The equation

### One dimension

How unlike is a sample $x_1, \\dots, x_N$ to the standard Gaussian? Mean and variance are not enough: coins that say $-1$ or $1$ have mean
0 and variance 1. The **characteristic function** has it all. It is the mean of a wave $e^{itx}$ for each $t$; for the Gaussian
it is $e^{-t^2/2}$. LeJEPA takes the test of Epps and Pulley (section 4.2.3 of {cite:t}`balestriero2025lejepa`):

$$
T(x) = N \\int \\Bigl| \\frac{1}{N} \\sum_{j=1}^{N} e^{i t x_j} - e^{-t^2/2} \\Bigr|^2 e^{-t^2/2}\\, dt
$$ (eq-lejepa-t)

The integral is a sum over 17 knots between $-5$ and $5$. No value can hurt much: a wave is at most 1, however far away its $x_j$ is.

### Many dimensions

A cloud in $D$ dimensions is a standard Gaussian if, and only if, its projection on *every* direction is one. **SIGReg**, "sketched isotropic Gaussian
regularisation", takes $M$ random directions $a_m$, new ones at each step, and the mean of the tests. LeJEPA's loss is (section 5.1)

$$
\\mathcal{L} = (1 - \\lambda) \\underbrace{\\frac{1}{V N D} \\sum_{v=1}^{V} \\sum_{n=1}^{N} \\bigl\\lVert z_{v,n} - \\mu_n \\bigr\\rVert^2}_{\\text{prediction}}
+ \\lambda \\underbrace{\\frac{1}{V M} \\sum_{v=1}^{V} \\sum_{m=1}^{M} T\\bigl(a_m^\\top z_{v,1}, \\dots, a_m^\\top z_{v,N}\\bigr)}_{\\text{SIGReg}}
$$ (eq-lejepa)

with $\\mu_n$ the mean of the first two views of picture $n$, the large crops. Here there are no others: $V = 2$.

### What chance gives

A sample *from* the Gaussian is not the Gaussian itself. **Predict:** what does $T$ say of 32 Gaussian numbers in the mean, and of 1,024?
And what does it say of coins, and of numbers that are all 0?
""")
code("""
generator = torch.Generator().manual_seed(0)
rows = []
for n in (32, 128, 256, 1024):
    normal = torch.randn(n, 2000, generator=generator)
    samples = {"Gaussian": normal, "coins": normal.sign(), "all 0": 0 * normal}
    means = {name: epps_pulley(x).mean().item() for name, x in samples.items()}
    rows.append({"N": f"{n:,}"} | means)
figures.Table(rows, "The statistic T, mean over 2,000 samples")
""")
md("""
A Gaussian sample has about $\\sqrt{2\\pi}\\,(1 - 1/\\sqrt{3}) = 1.06$, **whatever its size**. That is the floor: a SIGReg of 1.06 is as good as it gets. What
is really wrong grows with $N$. All at one point is the worst of these, about $0.41\\,N$ or more. So a large batch sees a smaller fault.
""")
code("""
# The text's claims, held to this table
table = {row["N"]: row for row in rows}
floor = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
assert abs(floor - 1.06) < 0.001
assert all(abs(row["Gaussian"] - floor) < 0.08 for row in rows)
assert abs(table["1,024"]["coins"] / table["256"]["coins"] - 4) < 0.2
assert abs(table["256"]["all 0"] - 0.41 * 256) < 1
""", tags=HIDE)
md("""
## The code

The statistic, the two terms, then the method:
""")
code("show_source(epps_pulley, sigreg, prediction_error)")
code("show_source(random_directions, LeJEPA)")
md("""
There is nothing else. `loss` returns a dict: the loop trains on `"loss"`, and the history keeps the mean of the other two terms. With several processes the
waves are averaged over all of them, with their gradient, so that $N$ is the whole batch. The directions come from the CPU's random numbers,
which stand alike in all processes.
""")
md("""
## Train it
""")
code("""
watched = test[:256]
views = plan.views.render(watched.images, torch.Generator().manual_seed(9))


@torch.no_grad()
def project(method):
    \"\"\"z of both views as the loss sees them: batch norm in training mode, on a copy.\"\"\"
    seen = copy.deepcopy(method).train()
    return torch.stack([seen.project(view).cpu() for view in views])


snapshots = lab.snapshots(project)
""")
code("""
torch.manual_seed(0)
lejepa = LeJEPA(lab.encoder(), **recipe.method).to(lab.device)
history = pretrain(lejepa, train, **recipe.train, callbacks=[lab.probe(), snapshots])
lab.curves(history, "prediction", "SIGReg", "knn")
""", alt="Three panels over the epochs: the prediction error rises in the first epochs and then falls, SIGReg falls steeply and then slowly towards its floor, the kNN accuracy rises.")
md("""
CURVES
""")
code("""
# The text's claims, held to this run
if plan.name == "cpu":
    prediction, gaussian = history["prediction"], history["SIGReg"]
    CURVES_ASSERT
""", tags=HIDE)
md("""
## What it learned

**Predict.** Where will it stand among the methods before it?
""")
code("lab.table(lejepa.encoder)")
code("""
# The text's claims, held to this run
if plan.name == "cpu":
    knn = {row["encoder"]: row["kNN"] for row in lab.rows}
    hue = {row["encoder"]: row["linear, hue"] for row in lab.rows}
    LEARNED_ASSERT
""", tags=HIDE)
md("""
LEARNED
""")
md("""
## Touch it

The embeddings of 256 test pictures before, during and after the training above, along one random direction after another. On the left the
histogram and the Gaussian's bell. On the right the two characteristic functions: the statistic is the weighted gap between them. Move the epoch,
ask for **another direction**, then for **the worst of 100**. How far is the worst from the mean?
""")
code("""
GaussianSlices({epoch: z[0] for epoch, z in snapshots.by_epoch.items()})
""")
md("""
## Break it

Give one term nearly all the weight. **Predict** for $\\lambda = 0$ and for a $\\lambda$ far too large: how wide is the cloud, what is SIGReg, and
what does a vote of neighbours say?
""")
code("""
def cloud(method):
    \"\"\"The cloud of z: how wide, how Gaussian, and how near the views are for its width.\"\"\"
    z = project(method)
    variance = z.var(dim=1).mean().item()
    directions = random_directions(z.shape[2], 256)
    return {
        "spread of z": math.sqrt(variance),
        "error / variance": prediction_error(z).item() / variance,
        "SIGReg": sigreg(z, directions).item(),
        "RankMe": evaluate.rankme(z[0] - z[0].mean(dim=0)),
    }


changes = {"complete": {}, "lambda = 0": {"lambd": 0.0}, "lambda = BIG": {"lambd": BIG}}
broken = lab.break_it(changes, epochs=BREAK_EPOCHS, images=1 / 2, measure=cloud)
broken.table()
""")
code("""
# The text's claims, held to this run
if plan.name == "cpu":
    start, runs = broken.untrained, (broken[name] for name in changes)
    complete, free, strict = runs
    BREAK_ASSERT
""", tags=HIDE)
md("""
BREAK
""")
md("""
### Does the loss predict the accuracy?

The authors say that it does: a Spearman correlation of over .94 between the training loss and the accuracy, so that one can choose a model without labels ([their
page](https://github.com/rbalestr-lab/lejepa/blob/main/MINIMAL.md)). Here are eight recipes from a log, at half length, on other pictures than those of
the tables. **Predict** which term will say more.
""")
code("""
lab.study("lejepa-recipe", "LeJEPA", "loss", "prediction", "SIGReg", "kNN", "linear")
""")
code("""
def spearman(one, other):
    \"\"\"The correlation of the ranks.\"\"\"
    ranks = [torch.tensor(x).argsort().argsort().double() for x in (one, other)]
    return torch.corrcoef(torch.stack(ranks))[0, 1].item()


logs = results.studies("lejepa-recipe")
rows, usual = [], recipe.method["lambd"]
for log in logs:
    every = log["rows"]
    alike = [row for row in every if row["lambda"] == usual]
    for which, few in (("all eight", every), ("one lambda", alike)):
        row = {"seed": str(log["seed"]), "recipes": which}
        for term in ("loss", "prediction", "SIGReg"):
            low = [-run[term] for run in few]
            row[f"{term}, kNN"] = spearman(low, [run["kNN"] for run in few])
            row[f"{term}, linear"] = spearman(low, [run["linear"] for run in few])
        rows.append(row)
figures.Table(rows, "Spearman correlation: 1 if the lower loss always has more accuracy")
""")
code("""
# The text's claims, held to the log
STUDY_ASSERT
""", tags=HIDE)
md("""
STUDY
""")
md("""
## On real photos
""")
code("lab.photos()")
md("""
What the authors report, a linear classifier on frozen features:

| | data | epochs | top-1 | source |
| --- | --- | ---: | ---: | --- |
| ViT-H/14 | ImageNet | not in the abstract | 79 | {cite:t}`balestriero2025lejepa`, abstract |
| ViT-S/8, 128 px | Imagenette | 800 | 90.7 | [their small example](https://github.com/rbalestr-lab/lejepa/blob/main/MINIMAL.md), classifier trained beside the method |

That small example has four views, $D = 16$, 256 directions and $\\lambda = .02$. Their list of good settings has two large crops
and six small ones, AdamW with a rate of .0005, and a weight decay of .05 for ViTs or .0005 for ResNets.
""")
md("""
## Traps
""")
code("""
generator = torch.Generator().manual_seed(1)
x = torch.randn(256, 1, generator=generator)
period = 2 * math.pi / 0.625
collapsed = 0.001 * x
standardised = (collapsed - collapsed.mean()) / collapsed.std()
signs = torch.randn(256, 64, generator=generator).sign()  # corners of a cube
torch.manual_seed(0)
directions = random_directions(64, 256)
rows = [
    {"sample": "Gaussian", "T": epps_pulley(x).item()},
    {"sample": "1: a thousandth of it", "T": epps_pulley(collapsed).item()},
    {"sample": "1: the same, standardised", "T": epps_pulley(standardised).item()},
    {"sample": "2: Gaussian, moved by 10.05", "T": epps_pulley(x + period).item()},
    {"sample": "2: the same, 65 knots", "T": epps_pulley(x + period, knots=65).item()},
    {"sample": "3: corners, along an axis", "T": epps_pulley(signs).mean().item()},
    {"sample": "3: random directions", "T": epps_pulley(signs @ directions).mean().item()},
]
figures.Table(rows, "256 numbers, or 256 points in 64 dimensions")
""")
code("""
# The text's claims, held to this table
T = [row["T"] for row in rows]
assert T[1] > 100 and T[2] < 3 and abs(T[3] - T[0]) < 0.01 and T[4] > 150
assert T[5] > 20 and T[6] < 1.5
""", tags=HIDE)
md("""
**1. Standardised before the test.** $T$ compares with *the* Gaussian of mean 0 and width 1. Whoever standardises the sample first, with a batch norm at the end of the
projector, say, tests its shape alone: a cloud that has shrunk to a thousandth passes. Here the projector ends with a plain linear layer.

**2. Knots see in circles.** 17 knots between $-5$ and $5$ are .625 apart, and what lies $2\\pi/.625 = 10.05$ away from 0 looks to them as if it
were 0. With 65 knots the fault is seen. The authors' code, as it is now, has 17 knots between 0 and 3 and counts them twice: what they can mistake lies 33.5 away.

**3. In many dimensions nearly every shadow is a bell.** The 256 points are corners of a cube, with coins for features. Along the axes $T$ sees it.
Along random directions, each a mix of 64 coins, it sees nothing. SIGReg then is a test of mean and covariance, with little more. Whether the rest
of the Gaussian matters is another question.

**4. All at one point is a place without a gradient.** $T$ is the largest there, and its slope is 0: no direction is better than another. Start
the projector's last layer at 0, as some do, and nothing ever moves:
""")
code("""
images = views[0][:64]
rows = []
for name, change in (("as PyTorch starts it", False), ("last layer 0", True)):
    method = lab.make()
    if change:
        nn.init.zeros_(method.projector[-1].weight)
        nn.init.zeros_(method.projector[-1].bias)
    loss = method.loss([images, views[1][:64]])["loss"]
    loss.backward()
    size = math.sqrt(sum(p.grad.square().sum().item() for p in method.parameters()))
    rows.append({"projector": name, "loss": loss.item(), "size of gradient": size})
figures.Table(rows, "The first step")
""")
code("""
# The text's claim, held to this table
assert rows[1]["size of gradient"] < 1e-6 < 0.01 < rows[0]["size of gradient"]
""", tags=HIDE)
md("""
**5. $N$ is the whole batch.** $T$ has a factor $N$, the prediction has none. Twice the batch is, for a cloud that is not yet Gaussian, about twice the $\\lambda$.
And with several processes, each with a characteristic function of its own, the gradient is another one. Two tests here hold that two
processes give the loss *and* the gradients of one.

**6. A rank of a single point.** At $\\lambda = 0$ all $z$ are nearly one point, and yet RankMe of the centred $z$ can be high: it does not look at the size. Look at the
spread as well.
""")
md("""
## Exercises

```{exercise} Predict
:label: ex-lejepa-stop
A stop-gradient on the mean $\\mu_n$ in equation {eq}`eq-lejepa`: does it change the training with two views? And with two large crops and six small
ones?
```

```{solution} ex-lejepa-stop
:class: dropdown
With two views it changes nothing. The mean is the place from which the squared distances of these two views are smallest, so the slope with
respect to it is 0 anyway. With small crops it changes something: they are measured from a mean that is not theirs, and pull it
towards themselves.
```

```{exercise} Implement
:label: ex-lejepa-closed
The integral of equation {eq}`eq-lejepa-t` over all $t$ can be done on paper:

$$
T(x) = N \\sqrt{2\\pi}\\, \\Bigl( \\frac{1}{N^2} \\sum_{j,k} e^{-(x_j - x_k)^2/2} - \\frac{\\sqrt{2}}{N} \\sum_j e^{-x_j^2/4} + \\frac{1}{\\sqrt{3}} \\Bigr)
$$

Write `closed_form(x)`. Which of its terms pushes, and which pulls? Which loss of an earlier chapter has the first one?
```

```{solution} ex-lejepa-closed
:class: dropdown
~~~python
def closed_form(x):
    pairs = torch.exp(-((x[:, None] - x[None, :]) ** 2) / 2).mean()
    single = torch.exp(-(x**2) / 4).mean()
    T = pairs - math.sqrt(2) * single + 1 / math.sqrt(3)
    return len(x) * math.sqrt(2 * math.pi) * T
~~~
To make $T$ small the first term must fall: it pushes every *pair* of pictures apart, the near ones most. The second pulls each picture
towards 0, that the cloud does not fly off. The pushing between all pairs is what the negatives do in SimCLR. So LeJEPA does compare pictures
with pictures, and gets by without the $N \\times N$ table: a mean of waves has all pairs in it.
```
""")
code("""
def closed_form(x):
    # (N,) to a scalar
    return None


def check(function):
    generator = torch.Generator().manual_seed(0)
    x = 1.5 * torch.randn(100, dtype=torch.float64, generator=generator) + 0.5
    if function(x) is None:
        return "not written yet"
    zeros = function(torch.zeros(100, dtype=torch.float64))
    assert abs(zeros - 40.89) < 0.01, "100 zeros: look at each term by itself"
    fine = epps_pulley(x[:, None], t_max=10.0, knots=401)
    assert torch.allclose(function(x), fine[0]), "many knots give the integral"
    return "right"


print(check(closed_form))
""")
md("""
```{exercise} Explore
:label: ex-lejepa-slices
How many directions are needed? Train with 1, 8 and 128 of them, half the epochs each and two seeds, and report SIGReg measured with 256 directions, as `cloud`
does, and kNN. Say before you run it: does one direction suffice, if each step has another?
```

```{solution} ex-lejepa-slices
:class: dropdown
`lab.break_it({"1": {"slices": 1}, "8": {"slices": 8}, "128": {"slices": 128}}, epochs=1/2, measure=cloud).table()`, then again with
`seed=1`.

One direction is a noisy answer, but an unbiased one: the mean over directions is the same for any number of them. What changes is the noise in the
gradient, and a step along one direction may undo what the last one did along another. The training has hundreds of steps, so even few
directions a step are many in the end. Grade yourself: a prediction before the run, two seeds, SIGReg measured in the same way for all runs, and no
conclusion from a difference that the seeds alone make.
```
""")
md("""
## Summary

- LeJEPA says what the cloud of embeddings should be, a standard Gaussian, and tests it along random directions.
- The test compares characteristic functions. 1.06 is chance, whatever the batch; all at one point has .41 $N$ or more.
- Two terms, one weight. With $\\lambda = 0$ everything becomes one point; with too large a $\\lambda$ the views need not agree.
- No stop-gradient is needed, and with two views one on the mean would change nothing.
- SUMMARY_STUDY
""")
md("""
## References and further reading

{cite:t}`balestriero2025lejepa`. {cite:t}`bardes2022vicreg` ask for the first two moments of what SIGReg asks for: variance 1 and no
covariance. {cite:t}`zbontar2021barlow` ask the same of the correlations between two views.
""")
code("lab.clock()")

exec(open("/tmp/lj/fill.py").read())
text = json.dumps([c["source"] for c in cells])
for c in cells:
    for key, value in FILL.items():
        c["source"] = c["source"].replace(key, value.strip("\n"))
    c["source"] = c["source"].splitlines(keepends=True)
nb = dict(cells=cells, metadata={"accelerator": "GPU", "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}, nbformat=4, nbformat_minor=5)
NAMES = "title setup idea idea-picture idea-text equation chance chance-text chance-check code code-loss code-lejepa code-text train-text watch train curves-text curves-check learned table table-check table-text touch touch-slices break break-train break-check break-text recipe recipe-study recipe-ranks recipe-check recipe-text photos cifar published traps trap-samples trap-samples-check trap-samples-text trap-start trap-start-check trap-more exercises exercise-closed exercises-more summary references runtime".split()
assert len(NAMES) == len(cells), (len(NAMES), len(cells))
for c, name in zip(nb["cells"], NAMES): c["id"] = name
json.dump(nb, open("/work/wt/lejepa/book/redundancy/lejepa.ipynb", "w"), indent=1, ensure_ascii=False)
open("/work/wt/lejepa/book/redundancy/lejepa.ipynb", "a").write("\n")
