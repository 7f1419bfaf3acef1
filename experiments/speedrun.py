"""What each trick of the speedrun buys: entries that differ by one trick each, on the track that is named.

    python experiments/speedrun.py shapes           # two CPU cores
    python experiments/speedrun.py cifar10          # a GPU
    python experiments/speedrun.py cifar10 --small  # does it run at all? A minute on a CPU

writes results/studies/speedrun-<track>.json. A rung of the ladder adds one trick to the rung below. It is trained with
as many epochs as the rung below needed, then with fewer and fewer until it misses the track's kNN accuracy, or with
more if it misses at once. Runs that the log of the same seed holds are not repeated.
"""

from dataclasses import replace

import torch
from study_options import study_parser

from sslbook import results, sets, speedrun, views
from sslbook.encoders import ConvNet, resnet18
from sslbook.methods.registry import sgd

device = "cuda" if torch.cuda.is_available() else "cpu"
# the public record's recipe (dkobak/simclr-cifar10): crops from .2, grey in one picture of ten
record = [replace(view, scale=(0.2, 1), grey=0.1) for view in views.cifar_views()]
TRACKS = {  # epochs to try, the lowest rung, and the tricks
    "shapes": (
        (40, 30, 20, 15, 12, 10, 8),
        dict(make_encoder=ConvNet, temperature=0.5, views=views.shapes_views(), batch_size=256, lr=3e-3),
        {
            "SimCLR, temperature 0.5, batch 256": {},
            "+ temperature 0.1": dict(temperature=0.1),
            "+ twice the learning rate": dict(lr=6e-3),
            "+ batch 64: four times the steps": dict(batch_size=64),
            "+ views of 24 px instead of 32": dict(views=views.shapes_views(24)),
            "+ crops from .4 of the area instead of .25": dict(
                views=[replace(view, scale=(0.4, 1)) for view in views.shapes_views(24)]
            ),
        },
    ),
    "cifar10": (
        (500, 400, 300, 200, 150, 100, 70, 50),
        dict(make_encoder=resnet18, temperature=0.5, views=record, batch_size=512, **sgd(0.06, warmup_epochs=0)),
        {
            "SimCLR with the record's recipe": {},
            "+ temperature 0.2": dict(temperature=0.2),
            "+ rate four times as high, with warm-up": dict(lr=0.24, warmup_epochs=5),
            "+ torch.compile": dict(compile=True),
            "+ views of 24 px instead of 32": dict(views=[replace(view, size=24) for view in record]),
        },
    ),
}


def climb(track: str, seed: int, small: bool, known: dict | None = None):
    """A row for every training; `known` are rows by (trick, epochs)."""
    budgets, options, tricks = TRACKS[track]
    known, place = known or {}, 0
    for trick, change in tricks.items():
        options = options | change | (dict(batch_size=64) if small else {})
        direction = None  # in `budgets`: 1 to fewer epochs, -1 to more
        while True:
            epochs = 1 if small else budgets[place]
            row = known.get((trick, epochs))
            if row is None:
                entry = speedrun.simclr(**options, epochs=epochs, seed=seed, show_progress=False)
                log = speedrun.race(entry, track, team=trick, device=device, folder=None)
                row = dict(trick=trick, epochs=epochs) | {key: log[key] for key in ("seconds", "knn", "reached")}
                print(row, flush=True)
            yield row
            direction = direction or (1 if row["reached"] else -1)
            turned = row["reached"] == (direction == -1)
            beyond = not 0 <= place + direction < len(budgets)
            if small or turned or beyond:
                if turned and direction == 1:
                    place -= 1  # the last one that reached the goal
                break
            place += direction


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("track", choices=TRACKS)
    options = parser.parse_args()
    if options.small:
        whole = sets.load
        sets.load = lambda name, device: whole(name, train=128, test=128, device=device)
    track, again = speedrun.TRACKS[options.track], f"python experiments/speedrun.py {options.track}"
    about = dict(target=track.target, seed=options.seed, again=again)
    earlier = results.study(f"speedrun-{options.track}")
    same_seed = earlier is not None and earlier["seed"] == options.seed
    study = results.Study(f"speedrun-{options.track}", keep=same_seed, dry=options.small, **about)
    known = {(row["trick"], row["epochs"]): row for row in study.rows}
    study.rows = list(climb(options.track, options.seed, options.small, known))
    if not options.small:
        print(study.write())


if __name__ == "__main__":
    main()
