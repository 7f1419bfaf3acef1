"""The command line: train a method, judge what it learned.

python -m sslbook pretrain simclr --data cifar10
torchrun --nproc-per-node=4 -m sslbook pretrain simclr --data cifar10
python -m sslbook evaluate runs/simclr-cifar10-0
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sslbook import budget, distributed, encoders, judging, photos, pretrained, results, sets, views
from sslbook.allocator import keep_freed_memory
from sslbook.callbacks import Callback, Checkpoints, Log, Probe
from sslbook.checkpoint import CheckpointError, steps
from sslbook.download import DownloadError
from sslbook.files import alone, atomic
from sslbook.history import History, TrainingDivergedError
from sslbook.images import ImageSet
from sslbook.methods import METHODS, Method, Recipe, reading
from sslbook.photos import PhotoStream
from sslbook.pretrain import OPTIMIZERS, pretrain
from sslbook.vit import ViT

NAMES = {name.lower(): name for name in reading("images")}
VIEWS = tuple(name.removesuffix("_views") for name in vars(views) if name.endswith("_views"))
# what a user can mend: its message says how, so that no traceback is wanted
ERRORS = (CheckpointError, DownloadError, TrainingDivergedError, OSError, ValueError, MemoryError)
PHOTO_SIZE = 64  # side in pixels of a folder's photos
STEPS = 360  # fewer teach a small network nothing that its untrained twin does not know: see "Your own images"


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a mistake of the user's ends with one line on stderr and exit status 1, Ctrl-C with 130, SIGTERM,
    as a cluster sends it when the time is up, with 143."""
    options = _parser().parse_args(arguments)
    keep_freed_memory()
    try:
        with warnings.catch_warnings(), _sigterm_interrupts():
            warnings.showwarning = _warn
            options.run(options)
    except ERRORS as error:
        sys.exit(f"sslbook: {error}")
    except KeyboardInterrupt as stop:
        again = "; the same command with --resume goes on" if options.run is _pretrain else ""
        print(f"\nsslbook: stopped{again}", file=sys.stderr)
        sys.exit(143 if stop.args else 130)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: files are closed and workers end. Threads other than the first have no say."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt("SIGTERM")

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _warn(message: Warning | str, *where: Any, **options: Any) -> None:
    """A warning in one line, without the line of code that it came from."""
    print(f"sslbook: {message}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sslbook", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    known = [f"  {name}: {', '.join(_parameters(method))}" for name, method in NAMES.items()]
    train = commands.add_parser(
        "pretrain",
        help="train a method without labels",
        description=_pretrain.__doc__,
        epilog="\n".join(["what --set takes, whole numbers from 1:", *known]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.set_defaults(run=_pretrain)
    train.add_argument("method", type=str.lower, choices=NAMES, help=", ".join(NAMES), metavar="METHOD")
    train.add_argument("--budget", choices=budget.BUDGETS, help="whose data, encoder and recipe are the defaults")
    _add_data(train)
    _add_training(train)
    _add_files(train)
    judge = commands.add_parser("evaluate", help="kNN and linear accuracy", description=_evaluate.__doc__)
    judge.set_defaults(run=_evaluate)
    judge.add_argument("path", type=Path, help="a folder that pretrain wrote, or an encoder.safetensors")
    _add_data(judge)
    for command in (train, judge):
        command.add_argument("--device", help="cpu, cuda, cuda:1 or mps (a GPU if there is one)")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _add_training(train: argparse.ArgumentParser) -> None:
    train.add_argument("--stream", action="store_true", help="a folder larger than memory: read photos when needed")
    train.add_argument("--workers", type=int, help="processes that decode a stream (the number of cores, at most 8)")
    train.add_argument("--encoder", choices=encoders.IMAGE_ENCODERS)
    train.add_argument("--views", choices=VIEWS, help="the recipe's; for other images than the budget's, the method's")
    train.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the method, listed below: T=0.1 K=512"
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


def _add_files(train: argparse.ArgumentParser) -> None:
    train.add_argument("--out", type=Path, help="folder for what is written (runs/METHOD-DATA-SEED)")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out, if there are any")
    train.add_argument("--checkpoint-every", type=float, default=1, metavar="EPOCHS", help="may be a fraction (1)")
    train.add_argument("--keep", type=int, default=2, help="how many checkpoints stay (2)")


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", help=f"{', '.join(sets.NAMES)}, or a folder of photos")
    command.add_argument("--test", metavar="FOLDER", help="labelled photos to judge by; classes are sub-folders")
    command.add_argument(
        "--size", type=int, help="side in pixels of a folder's photos (64; to evaluate, the encoder's)"
    )


def _pretrain(options: argparse.Namespace) -> None:
    """Train a method without labels. Writes to --out: checkpoints/, log.json anew after each epoch (settings, curve,
    machine, memory, and at the end what the encoder knows), encoder.safetensors, and skipped.json if there are photos
    that can't be read. What is not said is the budget's."""
    plan = _plan(options)
    name = NAMES[options.method]
    recipe = plan.recipe(name)
    source = options.data or plan.image_set
    _check(options, source)
    arguments = recipe.method | _method_arguments(name, options.set)
    out = options.out or Path("runs") / f"{options.method}-{Path(source).name}-{options.seed}"
    with distributed.process_group(options.device or plan.device) as device, _alone(out):
        checkpoints = out / "checkpoints"
        if steps(checkpoints) and not options.resume:
            raise CheckpointError(f"{checkpoints} holds a training: --resume goes on, --out FOLDER starts another")
        with distributed.first_process_first():
            images, probe = _load(options, source, options.size or PHOTO_SIZE, plan)
        size = min(images.size)
        encoder_name = options.encoder or plan.encoders[METHODS[name].encoder]
        method = _make(name, encoder_name, size, arguments, options.seed).to(device)
        settings = _settings(options, recipe, method, images, ours=source == plan.image_set)
        about = dict(
            method=name,
            encoder=encoder_name,
            data=_whole_path(source),
            test=_whole_path(options.test),
            budget=plan.name,
            seed=options.seed,
            processes=distributed.world_size(),
            arguments=arguments,
            command=" ".join(["sslbook", *sys.argv[1:]]),
        )
        log = partial(_log, out / "log.json", about, images)
        callbacks = _callbacks(options, settings["epochs"], probe, checkpoints, log)
        if distributed.rank() == 0:
            _announce(method, encoder_name, images, settings, plan)
        start = time.perf_counter()
        history = pretrain(method, images, **settings, callbacks=callbacks)
        if distributed.rank() == 0:
            pretrained.save_encoder(out / "encoder.safetensors", method.encoder, encoder_name, size)
            judged = judging.judge(method.encoder, encoder_name, size, probe) if probe else dict(report=None)
            log(history, training_seconds=history.seconds, minutes=(time.perf_counter() - start) / 60, **judged)
            _say_the_end(method, history, judged, out, images)


def _make(name: str, encoder: str, size: int, arguments: dict[str, Any], seed: int) -> Method:
    """A method from random weights; its own errors say which argument is wrong."""
    torch.manual_seed(seed)
    made = encoders.make_encoder(encoder, size)
    if METHODS[name].encoder == "vit" and not isinstance(made, ViT):
        raise ValueError(f"{name} needs a ViT: --encoder vit_micro, vit_tiny or vit_base")
    if "size" in _parameters(name):  # what a method paints is as large as what it is shown
        arguments = {"size": size} | arguments
    try:
        return METHODS[name].method(made, **arguments)
    except (ArithmeticError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--set: {name} can't be made with {arguments}: {reason}") from error


def _parameters(name: str) -> dict[str, str]:
    """What `--set` takes for a method, by name, each "int", "float", "bool" or "str"."""
    parameters = list(inspect.signature(METHODS[name].method).parameters.values())[1:]  # without the encoder
    return {parameter.name: str(parameter.annotation).removesuffix(" | None") for parameter in parameters}


def _check(options: argparse.Namespace, source: str) -> None:
    """Refuse what no training can use, before anything is loaded."""
    at_least = dict(epochs=1, batch_size=2, keep=1, size=1, workers=0, probe_every=0)
    at_least |= dict(lr=0, weight_decay=0, warmup_epochs=0, checkpoint_every=0)
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None and not least <= value < math.inf:
            finite = " and finite" if isinstance(value, float) else ""
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}{finite}, got {value}")
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed must lie between 0 and 2**63, got {options.seed}")
    if source in sets.NAMES and options.stream:
        raise ValueError(f"--stream belongs to a folder of photos; {source} is held in memory")
    if options.workers is not None and not options.stream:
        raise ValueError("--workers belongs to --stream")


def _alone(out: Path) -> contextlib.AbstractContextManager[None]:
    """Two runs in one folder would write over each other's files; of one run's processes one holds the lock."""
    return alone(out, Checkpoints.PATIENCE) if distributed.rank() == 0 else contextlib.nullcontext()


def _in_patches(made: views.Views, size: int, patch: int) -> views.Views:
    """The views, the largest of `size` px, the others in proportion and rounded to a multiple of the ViT's patch."""
    share = size / max(view.size for view in made)
    sides = [max(patch, round(share * view.size / patch) * patch) for view in made]
    return views.Views(replace(view, size=side) for view, side in zip(made, sides))


def _settings(
    options: argparse.Namespace, recipe: Recipe, method: Method, images: ImageSet | PhotoStream, ours: bool
) -> dict[str, Any]:
    """Arguments of `pretrain`: the recipe's, over them what was said. `ours` are the images that the recipe is for."""
    size = min(images.size)
    settings = dict(recipe.train, seed=options.seed, compile=options.compile, show_progress=not options.quiet)
    if options.views:
        settings["views"] = getattr(views, f"{options.views}_views")(size)
    elif not ours:
        settings["views"] = method.views(size)
    elif isinstance(method.encoder, ViT):  # it cuts views into whole patches, which the recipe's may not have
        settings["views"] = _in_patches(settings["views"], size, method.encoder.patch)
    for key in ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "warmup_epochs"):
        if getattr(options, key) is not None:
            settings[key] = getattr(options, key)
    quarter = len(images) // 4 // distributed.world_size() * distributed.world_size()
    if options.batch_size is None and not ours and quarter < settings["batch_size"]:
        warnings.warn(
            f"{len(images)} images: the batch size is {quarter}, the recipe's {settings['batch_size']}", stacklevel=2
        )
        settings["batch_size"] = quarter
    if options.warmup_epochs is not None and options.warmup_epochs > settings["epochs"]:
        raise ValueError(f"--warmup-epochs {options.warmup_epochs:g} is more than the training's {settings['epochs']}")
    return settings


def _callbacks(
    options: argparse.Namespace,
    epochs: int,
    probe: tuple[ImageSet, ImageSet] | None,
    checkpoints: Path,
    log: Callable[[History], None],
) -> list[Callback]:
    callbacks: list[Callback] = [Checkpoints(checkpoints, options.checkpoint_every, options.keep), Log(log)]
    every = options.probe_every
    if every is None:
        every = max(1, epochs // 10)
    if probe and every:
        callbacks.append(Probe(*probe, every))
    return callbacks


def _log(path: Path, about: dict[str, Any], images: ImageSet | PhotoStream, history: History, **more: Any) -> None:
    """Write the log, and beside it, file by file, why photos could not be read."""
    run = asdict(history)
    if images.skipped:
        with atomic(path.with_name("skipped.json")) as file:
            file.write(json.dumps(dict(images.skipped), indent=1).encode())
    results.write(path, **about, config=run["config"], curve=run["epochs"], **more)


def _whole_path(source: str | None) -> str | None:
    """What a log says of images: a name, or where a folder lies, whatever the working folder."""
    return source if source is None or source in sets.NAMES else str(Path(source).resolve())


def _announce(
    method: Method, encoder: str, images: ImageSet | PhotoStream, settings: dict[str, Any], plan: budget.Budget
) -> None:
    """One line before a training: what is trained on what, with which recipe, for how many steps."""
    weights = sum(p.numel() for p in method.encoder.parameters())
    steps = len(images) // settings["batch_size"]  # in an epoch
    total, name = settings["epochs"] * steps, type(method).__name__
    print(
        f"{name}: a {encoder} of {weights:,} weights, {len(images):,} images of {min(images.size)} px, "
        f"{settings['epochs']} epochs, {total:,} steps of {settings['batch_size']} images; the recipe of the "
        f"{plan.name} budget for {plan.image_set}",
        flush=True,
    )
    if images.name != plan.image_set and 0 < total < STEPS:
        warnings.warn(
            f"{total} steps are few: --epochs {-(-STEPS // steps)} makes {STEPS}. With few photos published weights "
            "are the better start: see the book's page on your own images",
            stacklevel=2,
        )


def _say_the_end(
    method: Method, history: History, judged: dict[str, Any], out: Path, images: ImageSet | PhotoStream
) -> None:
    """What the encoder answers; the loss, where things lie, how to judge them. Warns of a loss worse than chance."""
    if judged["report"] is not None:
        print(judging.table(type(method).__name__, judged))
    loss, chance = history["loss"][-1], method.chance(history.config["batch_size"])
    if chance is not None and loss > chance:
        warnings.warn(
            f"the loss ended at {loss:.2f}, above chance: {chance:.2f} is that of a network to which all images look "
            "alike. Train longer, or with another learning rate, before you use this encoder",
            stacklevel=2,
        )
    left_out = f", skipped.json ({len(images.skipped)} photos)" if images.skipped else ""
    print(
        f"loss {loss:.3f} after {history.seconds:,.0f} s of training; {out}/encoder.safetensors, log.json{left_out}; "
        f"to judge it: python -m sslbook evaluate {out}; to load it: sslbook.pretrained.load_encoder(path)",
        flush=True,
    )


def _evaluate(options: argparse.Namespace) -> None:
    """Freeze an encoder, and print as JSON how well kNN and linear classifiers read labels off its features ("report"),
    those of an untrained encoder and plain pixels ("baselines"), and of how many images ("protocol"). Images, size and
    --test are those of the training unless others are named."""
    folder = options.path if options.path.is_dir() else options.path.parent
    path = options.path / "encoder.safetensors" if options.path.is_dir() else options.path
    log = {} if options.data else judging.read_log(folder)
    source = options.data or log.get("data")
    if source is None:
        raise ValueError(f"{folder} has no log.json that names the images: say --data")
    if not (options.data or source in sets.NAMES or Path(source).is_dir()):
        raise ValueError(f"{folder}/log.json names the images {source}, which are not there: say --data")
    options.test = options.test or log.get("test")
    about = pretrained.read_about(path)
    encoder = pretrained.load_encoder(path)
    device = distributed.find_device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if source not in sets.NAMES and not options.test:
        raise ValueError(f"{source} is a folder without a second one to judge by: say --test FOLDER")
    size = options.size or about["size"]
    if size != about["size"]:
        warnings.warn(f"the encoder was trained at {about['size']} px, and is judged at {size} px", stacklevel=2)
    _, probe = _load(options, source, size, budget.BUDGETS.get(log.get("budget")))
    if probe is None:
        raise ValueError(f"{source} has no labels to judge by: say --data")
    judged = judging.judge(encoder.to(device), about["encoder"], about["size"], probe)
    print(json.dumps(judged, indent=1, allow_nan=False))


def _load(options: argparse.Namespace, source: str, size: int, plan: budget.Budget | None):
    """What to train on, and the labelled (train, test) sets to judge by, None if there are none."""
    if source in sets.NAMES:
        for option, value in (("--test", options.test), ("--size", options.size)):
            if value:
                raise ValueError(f"{option} belongs to a folder of photos; {source} has a test set and size of its own")
        ours = plan is not None and source == plan.image_set
        train, test = sets.load(source, train=plan.train if ours else None, test=plan.test if ours else None)
        return train, (train, test) if train.labels.min() >= 0 else None
    if not Path(source).is_dir():
        raise ValueError(f"--data {source} is neither a folder nor one of {', '.join(sets.NAMES)}")
    if getattr(options, "stream", True):  # to evaluate, a part is read: all may be more than memory holds
        train: ImageSet | PhotoStream = PhotoStream(source, size, getattr(options, "workers", None))
    else:
        train = photos.from_folder(source, size, show_progress=not options.quiet and distributed.rank() == 0)
    return train, judging.labelled_photos(train, options.test, size) if options.test else None


def _plan(options: argparse.Namespace) -> budget.Budget:
    """The budget that was named, else one of this machine for the data that were."""
    if options.budget:
        return budget.BUDGETS[options.budget]
    plan = budget.current()
    fitting = [b for b in budget.BUDGETS.values() if b.image_set == options.data and b.device == plan.device]
    return fitting[0] if fitting and options.data != plan.image_set else plan


def _method_arguments(method: str, pairs: list[str]) -> dict[str, Any]:
    """{"T": 0.1, "symmetric": True} from ["T=0.1", "symmetric=true"], each of the kind that the method takes."""
    kinds, arguments = _parameters(method), {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--set takes NAME=VALUE, got {pair!r}")
        if name not in kinds:
            raise ValueError(f"--set: {method} has no argument {name!r}; it has {', '.join(kinds)}")
        arguments[name] = _value(name, kinds[name], text)
    return arguments


def _value(name: str, kind: str, text: str) -> bool | int | float | str:
    if kind.startswith("str"):  # the method knows its words, and refuses others
        return text
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"--set {name}: {text!r} is neither true nor false")
        return text.lower() == "true"
    try:
        value = int(text) if kind == "int" else float(text)
    except ValueError as error:
        raise ValueError(f"--set {name}: {text!r} is no {'whole ' if kind == 'int' else ''}number") from error
    least = 1 if kind == "int" else 0
    if not least <= value < math.inf:
        raise ValueError(f"--set {name} must be at least {least} and finite, got {text}")
    return value
