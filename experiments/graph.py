"""Do encoders learn the eigenfunctions of the augmentation graph? Methods side by side, and an untrained network.

    python experiments/graph.py SimCLR BarlowTwins SimSiam VICReg --seed 0   # about 9 CPU-minutes
    python experiments/graph.py SimCLR --small                               # does it run at all? Nothing is written

writes results/studies/graph-<seed>.json. The eigenfunctions are those of `sslbook.graph` for the training pictures and
the views of the cpu budget. Of h and of z in eval mode: which share of each eigenfunction a linear fit on views of
training pictures explains on views of test pictures; the principal angles between the fit and the eigenfunctions; on
how much two views agree along the best directions; the factors. And along the training kNN and linear probe beside the
measures that need no label. Rows that the log holds are not made again.
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from study_options import study_parser
from torch import Tensor, nn

from sslbook import evaluate, graph, results
from sslbook.budget import BUDGETS, Budget
from sslbook.callbacks import AfterEpoch
from sslbook.images import ImageSet
from sslbook.methods import METHODS
from sslbook.patients import to_z
from sslbook.pretrain import pretrain

UNTRAINED, PLACES = "untrained", ("h", "z")
EIGENFUNCTIONS = 40  # as many are asked for, the constant one aside
ANGLES = (7, 15, 23)  # of the span of the first so many
LOOKS = 8  # how often in a training the measures are asked


class Viewed:
    """Views of a set of images, and the node of the graph at which each lies."""

    def __init__(self, images: ImageSet, plan: Budget, number: int, seed: int):
        generator, view, n = torch.Generator().manual_seed(seed), plan.views[0], len(images)
        draws = [view.sample(n, *images.size, generator) for _ in range(number)]
        self.pixels = torch.stack([view.apply(images.images, parameters) for parameters in draws])
        self.places = torch.stack([graph.in_view(images.factors, parameters) for parameters in draws])
        self.labels = images.labels.repeat(number)

    def outputs(self, method: nn.Module) -> dict[str, Tensor]:
        """h and z of the views, each (number, n, D)."""
        each = [outputs(method, pixels) for pixels in self.pixels]
        return {place: torch.stack([one[place] for one in each]) for place in PLACES}

    def functions(self, bins: graph.Bins, phi: Tensor) -> Tensor:
        """(number n, k): the value at each view of functions (nodes, k)."""
        return phi[bins.node(self.labels, self.places.flatten(0, 1))]


class Study:
    """What all rows of a seed share: images, views, the graph."""

    def __init__(self, plan: Budget):
        self.plan, (self.train, self.test) = plan, plan.load()
        world = graph.world(self.train.factors, plan.views[0])
        self.values, phi = graph.eigenfunctions(world.joined)
        phi = world.confusion @ phi[:, 1 : EIGENFUNCTIONS + 1]  # what is at a node may be taken for another
        self.known, self.asked = Viewed(self.train, plan, 2, seed=1), Viewed(self.test, plan, 4, seed=2)
        self.phi = [viewed.functions(world.bins, phi) for viewed in (self.known, self.asked)]
        self.many = Viewed(self.test, plan, 10, seed=3)  # for LiDAR

    def of_graph(self, method: nn.Module) -> dict[str, dict[str, Any]]:
        """How h and z lie to the graph's eigenfunctions."""
        known, asked = self.known.outputs(method), self.asked.outputs(method)
        whole = [outputs(method, images) for images in (self.train, self.test)]
        said = {}
        for place in PLACES:
            x, y, truth = known[place], asked[place], self.phi[1]
            guess = evaluate.linear_fit(x.flatten(0, 1), self.phi[0], y.flatten(0, 1))
            left, all_of_it = (truth - guess).square().mean(dim=0), truth.var(dim=0, correction=0)
            centred = guess - guess.mean(dim=0), truth - truth.mean(dim=0)
            factors = evaluate.explained_factors(
                whole[0][place], self.train.factors, whole[1][place], self.test.factors
            )
            said[place] = {
                "explained": (1 - left / all_of_it).tolist(),
                "cosines": {k: graph.canonical_correlations(*(f[:, :k] for f in centred)).tolist() for k in ANGLES},
                "agreement": graph.held_out(x, torch.cat([y[:2], y[2:]], dim=1), EIGENFUNCTIONS).tolist(),
                "factors": factors,
            }
        return said

    def measures(self, method: nn.Module) -> dict[str, float]:
        """What the encoder knows of the labels, and what is said of it without them."""
        x, y = (outputs(method, images) for images in (self.train, self.test))
        labels, k = (self.train.labels, self.test.labels), evaluate.neighbours(self.train.labels)
        said = {
            "kNN": evaluate.knn(x["h"], labels[0], y["h"], labels[1], k=k),
            "linear": evaluate.linear_evaluation(x["h"], labels[0], y["h"], labels[1]),
        }
        for place, views in self.many.outputs(method).items():
            said[f"RankMe of {place}"] = evaluate.rankme(y[place])
            said[f"alpha of {place}"] = evaluate.alpha_req(y[place])
            said[f"LiDAR of {place}"] = evaluate.lidar(views.transpose(0, 1))
        return said

    def row_of(self, name: str, seed: int, epochs: int | None = None) -> dict[str, Any]:
        """Train a method by its recipe, and ask h and z."""
        method = self.plan.make(name, seed)
        settings = self.plan.recipe(name).train
        if epochs is not None:
            settings = settings | dict(epochs=epochs)
        every, course = max(1, settings["epochs"] // LOOKS), [{"epoch": 0} | self.measures(method)]

        def look(epoch: int, method: nn.Module) -> None:
            if epoch % every == 0 or epoch == settings["epochs"]:
                course.append({"epoch": epoch} | self.measures(method))

        history = pretrain(method, self.train, seed=seed, show_progress=False, callbacks=[AfterEpoch(look)], **settings)
        return (
            {"method": METHODS[name].label, "seed": seed}
            | self.of_graph(method)
            | {"course": course, "seconds": history.seconds}
        )


@torch.no_grad()
def outputs(method: nn.Module, images: Tensor | ImageSet) -> dict[str, Tensor]:
    """h (n, D) and z (n, E) of images in eval mode."""
    encoder, head = to_z(method)
    h = evaluate.embed(encoder, images)
    return {"h": h, "z": copy.deepcopy(head).eval()(h)}


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("methods", nargs="+", help="names of registered methods with a projector")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = BUDGETS["cpu"]
    if arguments.small:
        plan = replace(plan, train=1024, test=512)
    asked, seed = Study(plan), arguments.seed
    again = f"python experiments/graph.py {' '.join(arguments.methods)} --seed {seed}"
    about = dict(seed=seed, eigenvalues=asked.values[1 : EIGENFUNCTIONS + 1].tolist(), again=again)
    log = results.Study(f"graph-{seed}", dry=arguments.small, **about)
    if not log.has(method=UNTRAINED):
        method = plan.make(arguments.methods[0], seed)
        row = {"method": UNTRAINED, "seed": seed} | asked.of_graph(method)
        log.add(row | {"course": [{"epoch": 0} | asked.measures(method)]})
    for name in arguments.methods:
        if not log.has(method=METHODS[name].label):
            log.add(asked.row_of(name, seed, epochs=1 if arguments.small else None))
            row = log.rows[-1]
            print(name, row["course"][-1], [round(r, 2) for r in row["z"]["explained"]], flush=True)


if __name__ == "__main__":
    main()
