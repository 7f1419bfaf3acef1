"""What becomes of DeepCluster without its augmentations, its many clusters, its sampling: three seeds at full length.

    python experiments/deepcluster_study.py           # about 35 CPU-minutes
    python experiments/deepcluster_study.py --small   # does it run at all? Nothing is written

writes results/studies/deepcluster.json. For each run and epoch: loss, accuracy on the pseudo-labels, and of the
clusters of that epoch their agreement with the classes (NMI, purity) and with the clusters before; at the end kNN, a
linear probe, and the clusters of all pictures as they are. Rows that the log holds are not made again.
"""

from dataclasses import replace

import torch
from study_options import study_parser

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.callbacks import AfterEpoch
from sslbook.images import ImageSet
from sslbook.kmeans import spherical_kmeans
from sslbook.pretrain import pretrain
from sslbook.views import Augmentation, Views

SEEDS = (0, 1, 2)
UNTRAINED = "untrained"
PLAIN = {"views": Views([Augmentation(24)] * 2)}  # the whole picture, twice the same
CHANGES = {  # what is changed: arguments of DeepCluster, of pretrain
    "complete": ({}, {}),
    "no augmentation": ({}, PLAIN),
    "k = 2": ({"k": 2}, {}),
    "each image once an epoch": ({"uniform": False}, {}),
    "clustered once, no augmentation": ({"every": 1000}, PLAIN),
    "clusters of the pictures as they are": ({"memory": False}, {}),
    UNTRAINED: ({}, {}),
}


def of_clusters(clusters: torch.Tensor, images: ImageSet) -> dict:
    """How clusters agree with what is known of the images, what chance gives, and how many hold images."""
    parts = evaluate.in_parts(images)
    classes, _ = parts["class"]
    sizes = clusters.bincount().float() / len(clusters)
    return {
        "NMI": evaluate.nmi(clusters, classes),
        "NMI by chance": evaluate.by_chance(evaluate.nmi, clusters, classes),
        "purity": {name: evaluate.purity(clusters, part) for name, (part, _) in parts.items()},
        "purity by chance": {
            name: evaluate.by_chance(evaluate.purity, clusters, part) for name, (part, _) in parts.items()
        },
        "largest cluster": sizes.max().item(),
        "clusters used": torch.exp(-torch.xlogy(sizes, sizes).sum()).item(),  # exp of the entropy
    }


def row_of(name: str, seed: int, plan: Budget, train: ImageSet, test: ImageSet) -> dict:
    """One run's course and its end."""
    method_change, train_change = CHANGES[name]
    recipe = plan.recipe("DeepCluster")
    method = plan.make("DeepCluster", seed, **method_change)
    row, seen = {"DeepCluster": name, "seed": seed, "last loss": None, "accuracy": None, "curves": None}, []
    if name != UNTRAINED:
        watch = AfterEpoch(lambda epoch, method: seen.append(method.assignments.clone()))
        settings = recipe.train | train_change
        history = pretrain(method, train, seed=seed, show_progress=False, callbacks=[watch], **settings)
        row |= {"last loss": history["loss"][-1], "accuracy": history["accuracy"][-1]}
        row["curves"] = dict(
            loss=history["loss"],
            accuracy=history["accuracy"],
            NMI=[evaluate.nmi(clusters, train.labels) for clusters in seen],
            stability=[evaluate.nmi(before, after) for before, after in zip(seen, seen[1:])],
            purity=[evaluate.purity(clusters, train.labels) for clusters in seen],
            largest=[(clusters.bincount().max() / len(clusters)).item() for clusters in seen],
        )
    report = evaluate.report(method.encoder, train, test)
    row |= {question: report[question] for question in ("kNN", "linear", "linear, hue")}
    torch.manual_seed(seed)
    _, clusters = spherical_kmeans(method.embed(train), method.k, iterations=method.iterations)
    return row | of_clusters(clusters, train)


def main() -> None:
    parser = study_parser(__doc__, seed=False)
    small = parser.parse_args().small
    plan = BUDGETS["cpu"]
    if small:
        plan = replace(plan, train=512, test=256, epochs=1)
    train, test = plan.load()
    again = "python experiments/deepcluster_study.py"
    study = results.Study("deepcluster", dry=small, seed=SEEDS, again=again)
    for seed in SEEDS[:1] if small else SEEDS:
        for name in CHANGES:
            if study.has(DeepCluster=name, seed=seed):
                continue
            row = row_of(name, seed, plan, train, test)
            print(name, seed, f"kNN {row['kNN']:.3f}, NMI {row['NMI']:.3f}", flush=True)
            study.add(row)


if __name__ == "__main__":
    main()
