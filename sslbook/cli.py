"""The command line: train a method, judge what it learned.

python -m sslbook pretrain simclr --data cifar10
torchrun --nproc-per-node=4 -m sslbook pretrain simclr --data cifar10
python -m sslbook evaluate runs/simclr-cifar10-0
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sslbook import budget, data, distributed, evaluate, methods, pretrained, results, views
from sslbook.checkpoint import CheckpointError, steps
from sslbook.data import ImageSet, PhotoStream
from sslbook.download import DownloadError
from sslbook.pretrain import OPTIMIZERS, History, TrainingDivergedError, pretrain
from sslbook.vit import ViT

METHODS = {name.lower(): name for name in methods.__all__ if name != "Method"}
VIEWS = ("simclr", "moco_v2", "byol", "cifar", "shapes")
# what a user can mend: its message says how, so that no traceback is wanted
ERRORS = (CheckpointError, DownloadError, TrainingDivergedError, OSError, ValueError, MemoryError)
PROBED = 5000  # photos of a folder that the online kNN looks at


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a mistake of the user's ends with one line on stderr and exit status 1, Ctrl-C with 130."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ERRORS as error:
        sys.exit(f"sslbook: {error}")
    except KeyboardInterrupt:
        print("\nsslbook: stopped; the same command with --resume goes on", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sslbook", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser("pretrain", help="train a method without labels", description=_pretrain.__doc__)
    train.set_defaults(run=_pretrain)
    train.add_argument("method", type=str.lower, choices=METHODS, help=", ".join(METHODS), metavar="METHOD")
    train.add_argument("--budget", choices=budget.BUDGETS, help="whose data, encoder and recipe are the defaults")
    _add_data(train)
    train.add_argument("--stream", action="store_true", help="a folder larger than memory: read photos when needed")
    train.add_argument("--workers", type=int, help="processes that decode a stream (the number of cores, at most 8)")
    train.add_argument("--encoder", choices=pretrained.ENCODERS)
    train.add_argument("--views", choices=VIEWS, help="the recipe's; for other images than the budget's, the method's")
    train.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the method: T=0.1 K=512"
    )
    train.add_argument("--epochs", type=int, help="passes over the images")
    train.add_argument("--batch-size", type=int, help="of all processes together")
    train.add_argument("--optimizer", choices=OPTIMIZERS)
    train.add_argument("--lr", type=float, help="its highest learning rate")
    train.add_argument("--weight-decay", type=float)
    train.add_argument("--warmup-epochs", type=float, help="in which the learning rate rises")
    train.add_argument("--seed", type=int, default=0, help="decides weights, batches and views (0)")
    train.add_argument("--compile", action="store_true", help="torch.compile the method")
    train.add_argument("--probe-every", type=int, metavar="EPOCHS", help="kNN on labels; a tenth of all, 0 = never")
    train.add_argument("--out", type=Path, help="folder for what is written (runs/METHOD-DATA-SEED)")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out, if there are any")
    train.add_argument("--checkpoint-every", type=float, default=1, metavar="EPOCHS", help="may be a fraction (1)")
    train.add_argument("--keep", type=int, default=2, help="how many checkpoints stay (2)")

    judge = commands.add_parser("evaluate", help="kNN and linear accuracy", description=_evaluate.__doc__)
    judge.set_defaults(run=_evaluate)
    judge.add_argument("path", type=Path, help="a folder that pretrain wrote, or an encoder.safetensors")
    _add_data(judge)
    for command in (train, judge):
        command.add_argument("--device", help="cpu, cuda, cuda:1 or mps (a GPU if there is one)")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", help=f"{', '.join(data.NAMES)}, or a folder of photos")
    command.add_argument("--test", metavar="FOLDER", help="labelled photos to judge by; classes are sub-folders")
    command.add_argument("--size", type=int, default=64, help="side in pixels of a folder's photos (64)")


def _pretrain(options: argparse.Namespace) -> None:
    """Train a method without labels. Writes to --out: checkpoints/, log.json anew after each epoch (settings, curve,
    machine, memory, and at the end what the encoder knows), encoder.safetensors. What is not said is the budget's."""
    plan = _plan(options)
    name = METHODS[options.method]
    recipe = plan.recipe(name)
    source = options.data or plan.image_set
    out = options.out or Path("runs") / f"{options.method}-{Path(source).name}-{options.seed}"
    checkpoints = out / "checkpoints"
    if steps(checkpoints) and not options.resume:
        raise CheckpointError(f"{checkpoints} holds a training: --resume goes on with it, --out FOLDER starts another")
    with distributed.join(options.device or plan.device) as device:
        first = distributed.rank() == 0
        with distributed.first_process_first():
            images, probe = _load(options, plan, source)
        size = min(images.size)
        encoder_name = options.encoder or _name_of(plan, name)
        torch.manual_seed(options.seed)
        encoder = pretrained.make_encoder(encoder_name, size)
        if recipe.vit and not isinstance(encoder, ViT):
            raise ValueError(f"{name} needs a ViT: --encoder vit_micro, vit_tiny or vit_base")
        arguments = recipe.method | _method_arguments(options.set)
        try:
            method = getattr(methods, name)(encoder, **arguments).to(device)
        except TypeError as error:
            raise ValueError(f"--set: {name} {str(error).partition('() ')[2]}") from error

        settings = dict(recipe.train)
        if options.views or source != plan.image_set:
            made = getattr(views, options.views) if options.views else method.views
            settings["views"] = made(size)
        for key in ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "warmup_epochs"):
            if getattr(options, key) is not None:
                settings[key] = getattr(options, key)
        every = max(1, settings["epochs"] // 10) if options.probe_every is None else options.probe_every
        about = dict(
            encoder=name, network=encoder_name, data=source, seed=options.seed, processes=distributed.world_size(),
            arguments=arguments, command=" ".join(["sslbook", *sys.argv[1:]]),
        )  # fmt: skip

        def log(history: History, **more: Any) -> None:
            run = asdict(history)
            results.write(out / "log.json", **about, config=run["config"], curve=run["epochs"], **more)

        start = time.perf_counter()
        history = pretrain(
            method, images, **settings, seed=options.seed, compile=options.compile, probe=probe if every else None,
            probe_every=every or 1, checkpoint=checkpoints, checkpoint_every=options.checkpoint_every,
            keep_checkpoints=options.keep, progress=not options.quiet, log=log,
        )  # fmt: skip
        if first:
            pretrained.save_encoder(out / "encoder.safetensors", method.encoder, encoder_name, size)
            report = evaluate.report(method.encoder, *probe) if probe else None
            log(history, training_seconds=history.seconds, minutes=(time.perf_counter() - start) / 60, report=report)
            _say(report, f"{history.seconds:,.0f} s of training; {out}/encoder.safetensors, log.json")


def _evaluate(options: argparse.Namespace) -> None:
    """Freeze an encoder, and print how well kNN and linear classifiers read labels off its features, as JSON."""
    folder = options.path if options.path.is_dir() else options.path.parent
    path = options.path / "encoder.safetensors" if options.path.is_dir() else options.path
    log = folder / "log.json"
    source = options.data or (json.loads(log.read_text())["data"] if log.is_file() else None)
    if source is None:
        raise ValueError(f"{folder} has no log.json that names the images: say --data")
    encoder = pretrained.load_encoder(path)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    _, probe = _load(options, None, source)
    if probe is None:
        raise ValueError(f"{source} is a folder without a second one to judge by: say --test FOLDER")
    print(json.dumps(evaluate.report(encoder.to(device), *probe), indent=1))


def _load(options: argparse.Namespace, plan: budget.Budget | None, source: str):
    """What to train on, and the labelled (train, test) sets to judge by, None if there are none."""
    if source in data.NAMES:
        if options.test:
            raise ValueError(f"--test belongs to a folder of photos; {source} has a test set of its own")
        ours = plan is not None and source == plan.image_set
        train, test = data.load(source, train=plan.train if ours else None, test=plan.test if ours else None)
        return train, (train, test) if train.labels.min() >= 0 else None
    if not Path(source).is_dir():
        raise ValueError(f"--data {source} is neither a folder nor one of {', '.join(data.NAMES)}")
    if getattr(options, "stream", False):
        train: ImageSet | PhotoStream = PhotoStream(source, options.size, options.workers)
    else:
        train = data.from_folder(source, options.size, progress=not options.quiet and distributed.rank() == 0)
    if not options.test:
        return train, None
    known = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:PROBED]]
    test = data.from_folder(options.test, options.size, progress=False)
    if known.classes != test.classes:
        raise ValueError(f"{source} has the classes {known.classes} and --test {options.test} {test.classes}")
    return train, (known, test)


def _plan(options: argparse.Namespace) -> budget.Budget:
    """The budget that was named, else one of this machine for the data that were."""
    if options.budget:
        return budget.BUDGETS[options.budget]
    plan = budget.current()
    fitting = [b for b in budget.BUDGETS.values() if b.image_set == options.data and b.device == plan.device]
    return fitting[0] if fitting and options.data != plan.image_set else plan


def _name_of(plan: budget.Budget, method: str) -> str:
    """The name of the budget's encoder for a method."""
    make = plan.make_vit if plan.recipe(method).vit else plan.make_encoder
    return make.__name__.lower()


def _method_arguments(pairs: list[str]) -> dict[str, Any]:
    """{"T": 0.1, "symmetric": True} from ["T=0.1", "symmetric=true"]."""
    arguments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--set takes NAME=VALUE, got {pair!r}")
        try:
            arguments[name] = json.loads(value.lower() if value.lower() in ("true", "false") else value)
        except json.JSONDecodeError as error:
            raise ValueError(f"--set {name}: {value!r} is neither a number nor true or false") from error
    return arguments


def _say(report: dict[str, float] | None, rest: str) -> None:
    answers = ", ".join(f"{question} {answer:.3f}" for question, answer in (report or {}).items())
    print("; ".join([answers, rest] if answers else [rest]), flush=True)
