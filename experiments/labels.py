"""What are unlabelled pictures worth? Four equal rivals get the same few labels and the same number of steps.

    python experiments/labels.py cpu --seed 0            # the shapes, about 6 CPU-minutes
    python experiments/labels.py cifar10-cpu --seed 0    # CIFAR-10 (in $SSLBOOK_DATA, else downloaded), about 40
    python experiments/labels.py cpu --small             # does it run at all? Nothing is written

writes results/studies/labels-<budget>-<seed>.json. The rivals: from scratch with crops and flips; from scratch with the
pre-training's own views; a linear probe on a pre-trained encoder; that encoder fine-tuned with those views. The first
two see no unlabelled picture. Is the second stopped too early? On CIFAR-10 it also gets four times the steps. Each seed
has its own weights and its own draw of labels. Rows that the log holds are not made again.
"""

from dataclasses import replace

import torch
from study_options import study_parser

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.finetune import fine_tune
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain
from sslbook.views import crop_views

METHOD = "SimCLR"
RIVALS = ("from scratch", "from scratch, with the views", "linear probe", "fine-tuned")
PATIENT = "from scratch, with the views, four times the steps"
SIZES = {"cpu": (16, 40, 64, 256, 1024), "cifar10-cpu": (40, 100, 500, 2500)}
PATIENT_SIZES = {"cpu": (), "cifar10-cpu": SIZES["cifar10-cpu"]}
# of those that train on labels: on CIFAR-10 with 500 labels and the views 600 steps reach .466, 2,000 reach .527
STEPS = {"cpu": 384, "cifar10-cpu": 2000}
LONGER = {"cpu": 1, "cifar10-cpu": 4}  # than the recipe: pictures without labels cost nothing but time
SMALLEST = 0.25  # part of the picture in a crop of who has crops and flips only


def pretrained(plan: Budget, train: ImageSet, seed: int, small: bool) -> torch.nn.Module:
    """An encoder that has seen all pictures and no label, by the budget's recipe."""
    method = plan.make(METHOD, seed)
    options = plan.recipe(METHOD).train
    options = options | dict(epochs=1 if small else LONGER[plan.name] * options["epochs"])
    pretrain(method, train, seed=seed, show_progress=False, **options)
    return method.encoder


def epochs_of(steps: int, labels: int, batch: int) -> int:
    """How many epochs have so many steps; the loop drops what is left over of an epoch."""
    return max(1, round(steps / (labels // batch)))


def asked(plan: Budget) -> list[tuple[int, str]]:
    """What a log holds: each number of labels and rival."""
    equal = [(n, rival) for n in SIZES[plan.name] for rival in RIVALS]
    return equal + [(n, PATIENT) for n in PATIENT_SIZES[plan.name]]


def rows_of(plan: Budget, seed: int, known: set[tuple], small: bool):
    """A row for each number of labels and rival that is not known."""
    missing = [pair for pair in asked(plan) if pair not in known]
    if not missing:
        return
    train, test = plan.load()
    view, (plain,) = plan.views[0], crop_views(plan.size, SMALLEST)
    fresh = encoder = plan.encoder(seed=seed)
    if any(rival in ("linear probe", "fine-tuned") for _, rival in missing):
        encoder = pretrained(plan, train, seed, small)
        features, unseen = evaluate.embed(encoder, train), evaluate.embed(encoder, test)
    for n, rival in missing:
        share = n / len(train)
        rows = evaluate.few_labels(train.labels, share, seed)
        if rival == "linear probe":
            accuracy = evaluate.linear_evaluation(features[rows], train.labels[rows], unseen, test.labels)
        else:
            start = encoder if rival == "fine-tuned" else fresh
            lr = 1e-3 if rival == "fine-tuned" else 3e-3  # a lower rate keeps what was learnt
            shown = plain if rival == "from scratch" else view
            batch = min(len(rows), 64)
            steps = 10 if small else STEPS[plan.name] * (4 if rival == PATIENT else 1)
            options = dict(batch_size=batch, lr=lr, view=shown, show_progress=False)
            epochs = share * epochs_of(steps, len(rows), batch)  # of all labels
            accuracy = fine_tune(start, train, test, epochs=epochs, share=share, seed=seed, **options)
        yield dict(seed=seed, labels=n, rival=rival, accuracy=accuracy)


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("budget", choices=SIZES)
    options = parser.parse_args()
    plan, name = BUDGETS[options.budget], f"labels-{options.budget}-{options.seed}"
    if options.small:
        plan = replace(plan, train=2560, test=256)
    study = results.Study(
        name,
        dry=options.small,
        seed=options.seed,
        method=METHOD,
        epochs=LONGER[plan.name] * plan.recipe(METHOD).train["epochs"],
        steps=STEPS[plan.name],
        again=f"python experiments/labels.py {plan.name} --seed {options.seed}",
    )
    known = {(row["labels"], row["rival"]) for row in study.rows}
    for row in rows_of(plan, options.seed, known, options.small):
        print(row, flush=True)
        study.add(row)


if __name__ == "__main__":
    main()
