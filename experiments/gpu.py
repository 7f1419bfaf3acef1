"""What only a GPU can prove, one part a call: `bash tools/gpu.sh FOLDER` runs them all in a lease of minutes.

    python -m experiments.gpu device results/gpu        # does everything run, and agree with the CPU?
    python -m experiments.gpu throughput results/gpu    # a SimCLR step of a ResNet-18, and other ways to feed it
    python -m experiments.gpu head-to-head results/gpu  # every method with the gpu budget's recipe, on CIFAR-10
    python -m experiments.gpu speedrun results/gpu      # to 90 % kNN on CIFAR-10, in $SECONDS_LEFT

writes <folder>/<part>.json after every row, so that a part that is cut off keeps what it has. `--small` shows on a CPU
that a part runs. It needs benchmarks/requirements.txt.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import bench
from experiments import train
from sslbook import evaluate, results, sets, speedrun, views
from sslbook import pretrain as training
from sslbook.budget import BUDGETS, Budget
from sslbook.callbacks import AfterEpoch, Callback, Checkpoints
from sslbook.encoders import ConvNet, resnet18
from sslbook.images import ImageSet
from sslbook.methods import METHODS, Now, SimCLR, reading
from sslbook.pretrain import Run, Settings, pretrain

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def pictures(n: int) -> torch.Tensor:
    """(n, 3, 32, 32) uint8 on the device."""
    return bench.pictures(n).to(DEVICE)


def gpu_plan(small: bool) -> Budget:
    """The gpu budget on the device that there is."""
    plan = replace(BUDGETS["gpu"], device=DEVICE)
    if small:
        plan = replace(plan, train=1024, test=512, epochs=1, supervised_epochs=1, encoders=BUDGETS["smoke"].encoders)
    return plan


class Log:
    """Rows of a part, written after each."""

    def __init__(self, folder: str, part: str, **about):
        self.path, self.rows, self.about, self.start = Path(folder) / f"{part}.json", [], about, time.perf_counter()

    def add(self, **row) -> None:
        self.rows.append(row)
        print(row, flush=True)
        self.write()

    def write(self) -> None:
        minutes = (time.perf_counter() - self.start) / 60
        results.write(
            self.path,
            rows=self.rows,
            minutes=minutes,
            seed=0,
            again=f"python -m experiments.gpu {' '.join(sys.argv[1:])}",
            **self.about,
        )


@contextmanager
def attempt(log: Log, **about):
    """One row that fails must not take the others with it: the log says how it failed."""
    try:
        yield
    except Exception as error:
        log.add(**about, error=f"{type(error).__name__}: {error}"[:1000])


# -- device


def device(folder: str, small: bool) -> None:
    log = Log(folder, "device")
    for name, family in vars(views).items():
        if name.endswith("_views"):
            with attempt(log, what=f"views: {name}"):
                log.add(what=f"views: {name}", difference=difference_of_views(family(32)))
    for name in reading("images"):
        with attempt(log, what=f"loss and gradient: {name}"):
            log.add(what=f"loss and gradient: {name}", **difference_of_method(name))
    for dtype in (torch.bfloat16, torch.float16):
        for name in reading("images"):
            with attempt(log, what=f"{dtype}: {name}"):
                log.add(what=f"{dtype}: {name}", **some_steps(name, dtype, small))
    for first, then in ((torch.bfloat16, torch.float16), (torch.float16, torch.bfloat16)):
        with attempt(log, what=f"resume: {first} to {then}"), tempfile.TemporaryDirectory() as checkpoints:
            log.add(what=f"resume: {first} to {then}", steps=resumed(first, then, checkpoints))


def difference_of_views(family: views.Views) -> float:
    """The largest difference of a pixel between the device and the CPU, from the same draws."""
    images = pictures(512)
    draws = family.draw(len(images), torch.Generator().manual_seed(0))
    here, there = family.render(images, draws), family.render(images.cpu(), draws)
    return max((a.cpu() - b).abs().max().item() for a, b in zip(here, there))


def difference_of_method(name: str) -> dict[str, float]:
    """Loss and gradient of one step in float32, relative to the CPU's."""
    answers = []
    torch.backends.cudnn.allow_tf32 = False
    for place in ("cpu", DEVICE):
        method = METHODS[name].make_tiny().train()
        method.before_epoch(ImageSet(pictures(64).cpu(), torch.zeros(64).long(), ["none"]))
        method.to(place).now = Now(rows=torch.arange(64))
        family = method.views(32)
        draws = family.draw(64, torch.Generator().manual_seed(0))
        torch.manual_seed(0)  # for what a method draws itself
        made = [view.to(place) for view in family.render(pictures(64).cpu(), draws)]
        loss = method.loss(made)
        loss = loss["loss"] if isinstance(loss, dict) else loss
        loss.backward()
        gradient = [p.grad.flatten().cpu() for p in method.parameters() if p.grad is not None]
        answers.append((loss.item(), torch.cat(gradient).double()))
    torch.backends.cudnn.allow_tf32 = True
    (loss, gradient), (loss_there, gradient_there) = answers
    off = (gradient - gradient_there).norm() / gradient.norm()
    return dict(loss=abs(loss - loss_there) / abs(loss), gradient=off.item())


def some_steps(name: str, dtype: torch.dtype, small: bool) -> dict:
    """Two epochs of eight steps with the gpu budget's recipe. In the second nothing may wait for the device."""
    plan = gpu_plan(small)
    recipe = plan.recipe(name)
    images = pictures(512 if small else 4096)
    options = recipe.train | dict(epochs=2, batch_size=64 if small else 512)
    waits: Counter[str] = Counter()
    with half(dtype):
        method = plan.make(name, seed=0)
        watched = dict(callbacks=[AfterEpoch(lambda epoch, method: watch_waits(epoch == 1))], show_progress=False)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = pretrain(method, images, **options, **watched)
    watch_waits(False)
    for warning in caught:
        if "synchroniz" in str(warning.message):
            waits[f"{Path(warning.filename).name}:{warning.lineno}"] += 1
    return dict(losses=history.losses, seconds=history.epochs[1]["seconds"], memory_mib=memory(), waits=dict(waits))


def watch_waits(on: bool) -> None:
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("warn" if on else "default")


@contextmanager
def half(dtype: torch.dtype):
    """The loop as on a GPU whose half precision is `dtype`."""
    before = training._amp_dtype
    training._amp_dtype = lambda device: dtype if DEVICE == "cuda" else None
    try:
        yield
    finally:
        training._amp_dtype = before


def resumed(first: torch.dtype, then: torch.dtype, folder: str) -> int:
    """Steps that were done in all: a training that stops after an epoch in one type goes on in the other."""

    class Stop(Exception):
        pass

    def stop(epoch, method):
        raise Stop

    images, options = pictures(256), dict(epochs=2, batch_size=64, show_progress=False)
    with half(first):
        try:
            method = SimCLR(ConvNet()).to(DEVICE)
            pretrain(method, images, callbacks=[Checkpoints(folder), AfterEpoch(stop)], **options)
        except Stop:
            pass
    with half(then):
        history = pretrain(SimCLR(ConvNet()).to(DEVICE), images, callbacks=[Checkpoints(folder)], **options)
    return len(history.losses)


def memory() -> int:
    """The most memory held since the last call, in MiB."""
    if DEVICE == "cpu":
        return 0
    peak = torch.cuda.max_memory_allocated() >> 20
    torch.cuda.reset_peak_memory_stats()
    return peak


# -- throughput


def throughput(folder: str, small: bool) -> None:
    batch, n = (32, 128) if small else (512, 16384)
    log = Log(folder, "throughput", batch=batch, images=n)
    torchvision_n = n // 4
    small_views = views.cifar_views(24)
    contenders: dict[str, Callable[[], Callable[[], int]]] = {
        "views only": lambda: only_views(n, batch),
        "step only": lambda: loop(batch, ready(batch), n),
        "whole step": lambda: loop(batch, rendered(n, batch), n),
        "whole step, fp16": lambda: loop(batch, rendered(n, batch), n, dtype=torch.float16),
        "whole step, 24 px": lambda: loop(batch, rendered(n, batch, small_views), n),
        "whole step, 24 px, fp16": lambda: loop(batch, rendered(n, batch, small_views), n, dtype=torch.float16),
        "whole step, 24 px, fp16, batch twice": lambda: loop(
            2 * batch, rendered(n, 2 * batch, small_views), n, dtype=torch.float16
        ),
        "whole step fed by kornia on the device": lambda: loop(batch, rendered(n, batch, bench.ByKornia(bench.TWO)), n),
        "whole step fed by torchvision, a worker a core": lambda: loop(
            batch, torchvision(torchvision_n, batch), torchvision_n
        ),
    }
    for name, make in contenders.items():
        with attempt(log, what=name):
            start = time.perf_counter()
            run = make()
            count = run()  # fills caches, starts workers
            first = time.perf_counter() - start
            rates = [timed(run) for _ in range(1 if "torchvision" in name else 3)]
            row = dict(views_per_second=2 * statistics.median(rates), first_seconds=first, memory_mib=memory())
            if name in ("step only", "whole step, fp16"):
                log.about[f"kernels, {name}"] = profile(run)
            log.add(what=name, pictures=count, **row)


def timed(run: Callable[[], int]) -> float:
    """Pictures a second."""
    synchronize()
    start = time.perf_counter()
    count = run()
    synchronize()
    return count / (time.perf_counter() - start)


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def loop(batch: int, batches, n: int, dtype: torch.dtype = torch.bfloat16):
    """The book's own training step, on batches of two views however they are made."""
    plan = gpu_plan(small=False)
    method = plan.make("SimCLR")
    options = plan.recipe("SimCLR").train
    settings = Settings(
        epochs=10**6, batch_size=batch, optimizer="sgd", lr=options["lr"], weight_decay=5e-4, warmup_epochs=0, seed=0
    )

    class Given(views.Views):
        """Views that are made already."""

        def render(self, images, draws=None):
            return images

    class Loader:
        """What `Run` wants of images."""

        size = (32, 32)

        def __len__(self):
            return n

        def batches(self, shards):
            for made, _ in zip(batches(), shards):
                yield Pair(made)

    with half(dtype):
        run = Run(method, Loader(), Given(views.cifar_views()), settings, callbacks=[Callback()])
    run.loss_of = training._loss_module(method, compile=False)

    def epoch() -> int:
        run.train_epoch()
        return n // batch * batch

    return epoch


class Pair(list):
    """Two views that go to a device together, as a batch does."""

    def to(self, device, non_blocking=False):
        return [view.to(device, non_blocking=non_blocking) for view in self]


def ready(batch: int):
    made = list(pictures(2 * batch).div(255).chunk(2))

    def batches():
        while True:
            yield made

    return batches


def rendered(n: int, batch: int, family: views.Views = bench.TWO):
    """Batches of views of pictures that lie on the device."""
    images, generator = pictures(n), torch.Generator().manual_seed(0)

    def batches():
        for rows in torch.randperm(n, generator=generator).to(DEVICE).split(batch):
            draws = family.draw(len(rows), generator)
            yield family.render(images.index_select(0, rows), draws)

    return batches


def only_views(n: int, batch: int):
    batches = rendered(n, batch)

    def run() -> int:
        for _ in batches():
            pass
        return n

    return run


def torchvision(n: int, batch: int):
    """torchvision's transforms on PIL images, in a DataLoader with as many workers as cores."""
    loader = bench.loader(n, bench.PerImage(bench.TWO), batch=batch)
    return lambda: iter(loader)


def profile(run: Callable[[], int]) -> list[dict]:
    """The kernels that take the most of the device's time, and the CPU's own time beside them."""
    if DEVICE == "cpu":
        return []
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        run()
        synchronize()
    events = sorted(profiler.key_averages(), key=lambda e: -e.self_device_time_total)[:25]
    return [
        dict(
            name=e.key[:80], calls=e.count, device_ms=e.self_device_time_total / 1e3, cpu_ms=e.self_cpu_time_total / 1e3
        )
        for e in events
    ]


# -- speedrun


RECORD = views.Views([replace(view, scale=(0.2, 1), grey=0.1) for view in views.cifar_views(24)])


def race(folder: str, small: bool) -> None:
    """As many epochs as fit into $SECONDS_LEFT, then the vote; the curve is the same vote on the way, with its time."""
    seconds = float(os.environ.get("SECONDS_LEFT", 240))
    options = dict(batch_size=64 if small else 1024, views=RECORD, optimizer="sgd", lr=0.24, weight_decay=5e-4)
    log = Log(folder, "speedrun", budget_seconds=seconds)
    images = pictures(512 if small else 50_000)
    taken = {}
    for dtype in (torch.bfloat16, torch.float16):
        with half(dtype):
            history = pretrain(net(), images, epochs=2, show_progress=False, **options)
        taken[dtype] = history.epochs[1]["seconds"]
    dtype = min(taken, key=taken.get)
    epochs = 2 if small else int(seconds / (taken[dtype] * 1.03))
    log.about |= dict(epochs=epochs, dtype=str(dtype), epoch_seconds={str(k): v for k, v in taken.items()})
    known, asked = sets.load("cifar10", device=DEVICE, train=512 if small else None, test=512 if small else None)
    start = 0.0

    def look(epoch: int, method) -> None:
        if epoch % max(1, epochs // 8) == 0 or epoch == epochs:
            passed = time.perf_counter() - start
            features = [evaluate.embed(method.encoder, images, batch_size=2000) for images in (known, asked)]
            accuracy = evaluate.knn(features[0], known.labels, features[1], asked.labels, **speedrun.VOTE)
            log.add(epoch=epoch, seconds=passed, knn=accuracy)

    with half(dtype):
        method = net()
        start = time.perf_counter()
        history = pretrain(
            method, known, epochs=epochs, warmup_epochs=5, callbacks=[AfterEpoch(look)], show_progress=False, **options
        )
    log.about |= dict(loss=[row["loss"] for row in history.epochs], config=history.config, memory_mib=memory())
    log.about["report"] = evaluate.report(method.encoder, known, asked)
    log.write()


def net() -> SimCLR:
    torch.manual_seed(0)
    return SimCLR((ConvNet if DEVICE == "cpu" else resnet18)(), temperature=0.2).to(DEVICE)


# -- head to head


def head_to_head(folder: str, small: bool) -> None:
    """Every method with the gpu budget's recipe, logged as `experiments/train.py` does."""
    BUDGETS["gpu"] = gpu_plan(small)  # where `train.run` looks
    for name in (*METHODS, "random encoder", "random ViT", "supervised"):
        start = time.perf_counter()
        try:
            log = train.run(name, "gpu", seed=0, probes=2)
        except Exception as error:
            print(name, f"{type(error).__name__}: {error}"[:1000], flush=True)
            continue
        results.write(f"{folder}/{name.lower().replace(' ', '-')}-0.json", **log)
        print(name, f"{time.perf_counter() - start:.1f} s", log["report"], memory(), flush=True)


PARTS = {"device": device, "throughput": throughput, "head-to-head": head_to_head, "speedrun": race}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder")
    parser.add_argument("--small", action="store_true", help="does it run at all? Small and short")
    options = parser.parse_args()
    PARTS[options.part](options.folder, options.small)


if __name__ == "__main__":
    main()
