"""What each part of a method is for: every patient of `sslbook.patients` trained at full length, and looked at.

    python experiments/collapse.py --seed 0           # about 25 CPU-minutes
    python experiments/collapse.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/collapse-<seed>.json. For each run: loss, spread and RankMe of z (of 256 test images) before the
first epoch and after each, in the loss's mode and in eval mode; kNN at some of them; the singular values of z at the
end; kNN and a linear probe. Rows that the log holds are not made again.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.callbacks import Callback, Probe
from sslbook.images import ImageSet
from sslbook.methods import Method
from sslbook.patients import PATIENTS, options, remove, to_z
from sslbook.pretrain import Run, pretrain

WATCHED = 256


class Watch(Callback):
    """Spread and RankMe of z after every epoch, as the loss sees z and in eval mode."""

    def __init__(self, images: ImageSet):
        self.images, self.columns = images, {}

    def start(self, run: Run) -> None:
        self.keep(run.method)

    def after_epoch(self, run: Run) -> None:
        self.keep(run.method)

    def keep(self, method: Method) -> None:
        for mode, z in (("", seen(method, self.images)), (", eval mode", evaluate.embed(to_z(method), self.images))):
            self.columns.setdefault(f"spread{mode}", []).append(evaluate.spread(z))
            self.columns.setdefault(f"RankMe{mode}", []).append(evaluate.rankme(z))


def seen(method: Method, images: ImageSet) -> torch.Tensor:
    return evaluate.embed_batch(to_z(method), images)


def spectrum(z: torch.Tensor) -> list[float]:
    """Singular values of the unit vectors after their mean is taken away, as parts of sqrt(N): 0 in a point."""
    u = F.normalize(z, dim=1)
    return (torch.linalg.svdvals(u - u.mean(dim=0)) / len(u) ** 0.5).tolist()


def row_of(plan: Budget, name: str, part: str | None, seed: int, *, epochs: int | None = None) -> dict[str, Any]:
    """A patient's whole course."""
    train, test = plan.load()
    watched = test[:WATCHED]
    method, settings = remove(plan, name, part, seed), options(plan, name, part)
    if epochs is not None:
        settings = settings | dict(epochs=epochs)
    untrained = evaluate.report(method.encoder, train, test)
    watch, probe = Watch(watched), Probe(train, test, every=max(1, settings["epochs"] // 8))
    history = pretrain(method, train, seed=seed, show_progress=False, callbacks=[watch, probe], **settings)
    report = evaluate.report(method.encoder, train, test)
    return dict(
        method=name,
        part=part,
        untrained={question: untrained[question] for question in ("kNN", "linear")},
        kNN=report["kNN"],
        linear=report["linear"],
        spectrum=spectrum(seen(method, watched)),
        curves=dict(loss=history["loss"], knn=history["knn"], **watch.columns),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", choices=PATIENTS, help="only this one's patients")
    parser.add_argument("--small", action="store_true", help="one epoch of few images, nothing is written")
    arguments = parser.parse_args()
    plan, name = BUDGETS["cpu"], f"collapse-{arguments.seed}"
    if arguments.small:
        plan = replace(plan, train=512, test=256)
    study = (not arguments.small and results.study(name)) or dict(rows=[], minutes=0, cpu_minutes=0)
    rows, minutes, cpu_minutes = study["rows"], study["minutes"], study["cpu_minutes"]
    known = {(row["method"], row["part"]) for row in rows}
    wall, cpu = time.perf_counter(), time.process_time()
    for method in [arguments.method] if arguments.method else PATIENTS:
        for part in PATIENTS[method]:
            if (method, part) in known:
                continue
            row = row_of(plan, method, part, arguments.seed, epochs=1 if arguments.small else None)
            print(method, part, f"kNN {row['kNN']:.3f}, RankMe {row['curves']['RankMe'][-1]:.1f}", flush=True)
            rows.append(row)
            if not arguments.small:
                about = dict(
                    minutes=minutes + (time.perf_counter() - wall) / 60,
                    cpu_minutes=cpu_minutes + (time.process_time() - cpu) / 60,
                    seed=arguments.seed,
                    again=f"python experiments/collapse.py --seed {arguments.seed}",
                )
                results.write(f"results/studies/{name}.json", rows=rows, **about)


if __name__ == "__main__":
    main()
