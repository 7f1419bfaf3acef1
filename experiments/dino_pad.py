"""What centring and sharpening are for: DINO with and without a centre at four temperatures, and with a fast teacher.

    python experiments/dino_pad.py --seed 0
    python experiments/dino_pad.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/dino-pad-<seed>.json. For each run: loss, the teacher's entropy and the KL in each epoch, how
many prototypes are in use and among how many an image is shared after it (of 512 training images, as the loss sees
them), kNN and a linear probe at the end, and before the training. Rows that the log holds are not made again.
"""

from typing import Any

from study_options import study_options

from sslbook import evaluate, results
from sslbook.chapter import Snapshots
from sslbook.images import ImageSet
from sslbook.methods import DINO
from sslbook.pretrain import pretrain

WATCHED, SHARE = 512, 0.25  # images, and of the recipe's epochs
TEMPERATURES = (0.02, 0.04, 0.07, 0.1)  # 0.1 is the student's: no sharpening
COMPLETE, NO_EMA = "complete", "no slow teacher"


def runs() -> dict[str, dict[str, Any]]:
    """{name: arguments that differ from the recipe}; the pad's are those with a centring."""
    pad = {
        f"centring {centring}, T_t {T}": dict(centring=centring, T_t=T, T_warm=T)
        for centring in ("mean", "none")
        for T in TEMPERATURES
    }
    return {COMPLETE: {}, NO_EMA: dict(tau=0.0, schedule=False)} | pad


def monitors(method: DINO, images: ImageSet) -> dict[str, float]:
    """Of the teacher's distributions over prototypes."""
    P_t = method.targets(evaluate.embed_batch(method.teacher, images))
    return {"used": evaluate.prototypes_used(P_t), "shared": evaluate.assignment_sharpness(P_t)}


def learnt(method: DINO, train: ImageSet, test: ImageSet) -> dict[str, float]:
    """kNN and linear probe."""
    report = evaluate.report(method.encoder, train, test)
    return {question: report[question] for question in ("kNN", "linear")}


def row_of(method: DINO, settings: dict[str, Any], seed: int, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """A run's whole course."""
    watched = train[:WATCHED]
    watch = Snapshots(lambda method: monitors(method, watched))
    history = pretrain(method, train, seed=seed, show_progress=False, callbacks=[watch], **settings)
    seen = [watch.by_epoch[epoch] for epoch in history["epoch"]]
    curves = {term: history[term] for term in ("loss", "entropy", "KL")}
    curves |= {monitor: [row[monitor] for row in seen] for monitor in ("used", "shared")}
    return dict(K=method.K, **learnt(method, train, test), curves=curves)


def main() -> None:
    seed, small, plan = study_options(__doc__)
    train, test = plan.load()
    recipe = plan.recipe("DINO")
    epochs = 1 if small else max(2, round(SHARE * recipe.train["epochs"]))
    settings = recipe.train | dict(epochs=epochs)
    again = f"python experiments/dino_pad.py --seed {seed}"
    name = f"dino-pad-{seed}"
    study = results.Study(name, dry=small, seed=seed, again=again, epochs=epochs)
    untrained = next((row["untrained"] for row in study.rows), None)  # the same network in all runs
    untrained = untrained or learnt(plan.make("DINO", seed), train, test)
    for run, change in runs().items():
        if study.has(DINO=run):
            continue
        method = plan.make("DINO", seed, **change)
        about = dict(DINO=run, pad="centring" in change, centring=method.centring, T_t=method.T_t, untrained=untrained)
        row = about | row_of(method, settings, seed, train, test)
        print(run, f"kNN {row['kNN']:.3f}, entropy {row['curves']['entropy'][-1]:.2f}", flush=True)
        study.add(row)


if __name__ == "__main__":
    main()
