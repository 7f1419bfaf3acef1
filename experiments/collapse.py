"""What each part of a method is for: every patient of `sslbook.patients` trained at full length, and looked at.

    python experiments/collapse.py --seed 0           # about 25 CPU-minutes
    python experiments/collapse.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/collapse-<seed>.json. For each run: loss, spread and RankMe of z (of 256 test images) before the
first epoch and after each, in the loss's mode and in eval mode; kNN at some of them; the singular values of z at the
end; kNN and a linear probe. Rows that the log holds are not made again.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from study_options import study_parser
from torch import nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS
from sslbook.callbacks import Probe
from sslbook.chapter import Snapshots
from sslbook.images import ImageSet
from sslbook.methods import Method
from sslbook.patients import PATIENTS, options, remove, to_z
from sslbook.pretrain import pretrain

WATCHED = 256


def seen(method: Method, images: ImageSet) -> torch.Tensor:
    return evaluate.embed_batch(to_z(method), images)


def spectrum(z: torch.Tensor) -> list[float]:
    """Singular values of the unit vectors after their mean is taken away, as parts of sqrt(N): 0 in a point."""
    u = F.normalize(z, dim=1)
    return (torch.linalg.svdvals(u - u.mean(dim=0)) / len(u) ** 0.5).tolist()


def measures(method: Method, images: ImageSet) -> dict[str, float]:
    """Spread and RankMe of z, as the loss sees z and in eval mode."""
    columns = {}
    for mode, z in (("", seen(method, images)), (", eval mode", evaluate.embed(to_z(method), images))):
        columns |= {f"spread{mode}": evaluate.spread(z), f"RankMe{mode}": evaluate.rankme(z)}
    return columns


def learnt(encoder: nn.Module, train: ImageSet, test: ImageSet) -> dict[str, float]:
    """kNN and linear probe, as in `evaluate.report`."""
    features = evaluate.embed(encoder, train), train.labels, evaluate.embed(encoder, test), test.labels
    k = evaluate.neighbours(train.labels)
    return dict(kNN=evaluate.knn(*features, k=k), linear=evaluate.linear_evaluation(*features))


def row_of(method: Method, settings: dict[str, Any], seed: int, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """A patient's whole course."""
    watched = test[:WATCHED]
    untrained = learnt(method.encoder, train, test)
    watch = Snapshots(lambda method: measures(method, watched))
    probe = Probe(train, test, every=max(1, settings["epochs"] // 8))
    history = pretrain(method, train, seed=seed, show_progress=False, callbacks=[watch, probe], **settings)
    kept = list(watch.by_epoch.values())
    columns = {column: [row[column] for row in kept] for column in kept[0]}
    return dict(
        untrained=untrained,
        **learnt(method.encoder, train, test),
        spectrum=spectrum(seen(method, watched)),
        curves=dict(loss=history["loss"], knn=history["knn"], **columns),
    )


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--method", choices=PATIENTS, help="only this one's patients")
    arguments = parser.parse_args()
    plan, name = BUDGETS["cpu"], f"collapse-{arguments.seed}"
    if arguments.small:
        plan = replace(plan, train=512, test=256)
    train, test = plan.load()
    again = f"python experiments/collapse.py --seed {arguments.seed}"
    study = results.Study(name, dry=arguments.small, seed=arguments.seed, again=again)
    for method in [arguments.method] if arguments.method else PATIENTS:
        for part in PATIENTS[method]:
            if study.has(method=method, part=part):
                continue
            patient = remove(plan, method, part, arguments.seed)
            settings = options(plan, method, part) | (dict(epochs=1) if arguments.small else {})
            row = dict(method=method, part=part) | row_of(patient, settings, arguments.seed, train, test)
            print(method, part, f"kNN {row['kNN']:.3f}, RankMe {row['curves']['RankMe'][-1]:.1f}", flush=True)
            study.add(row)


if __name__ == "__main__":
    main()
