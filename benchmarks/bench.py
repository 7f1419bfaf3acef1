"""Time making views, a step and a whole SimCLR epoch against the usual ways of doing it: `make bench`.

The fair rival of our views is kornia: it too changes a whole batch in one process, each image with draws of its own.
torchvision and lightly change one image after the other, in as many worker processes as there are cores. The rivals'
transforms are made from our own `Augmentation`: the same operations in the same order, strengths and probabilities.

Contenders of a comparison take turns on the same random images, each in a process of its own that has run once before,
and a turn lasts `--seconds`. Ratios are taken turn by turn and their median is printed: a machine that slows down
half-way slows both. A rate needs no more images than fill some batches: 2,048, seen again until a turn is over. The
long form, with as many as CIFAR-10 has: `--images 50000 --turns 5`.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.transforms import v2 as T

from sslbook import results, views
from sslbook.allocator import keep_freed_memory
from sslbook.encoders import ConvNet, forward_each_size, resnet18
from sslbook.images import as_floats
from sslbook.methods import SimCLR
from sslbook.pretrain import pretrain

BATCH = 256
ENCODERS = {"convnet": ConvNet, "resnet18": resnet18}
TWO = views.cifar_views()  # SimCLR's two views of small images
MANY = views.multi_crop_views(32)  # two large and six small crops, with blur and SimCLR's full strength
HALVES = views.multi_crop(TWO, small=16, number=4)  # four small crops more


# -- the rivals' views


class ByKornia(views.Views):
    """The same views, made by kornia: equal augmentations in one call, as ours are.

    It crops by slices, the way that its documentation calls efficient; by resampling it is as fast. The four colour
    changes come in one order for the whole batch, ours in one for each image.
    """

    def __init__(self, family: views.Views):
        self.transforms = {augmentation: kornia_transform(augmentation) for augmentation in family}

    def render(self, images: torch.Tensor, draws=None) -> list[torch.Tensor]:
        rendered, floats = {}, as_floats(images)
        for augmentation, transform in self.transforms.items():
            places = [i for i, other in enumerate(self) if other == augmentation]
            made = transform(floats.repeat(len(places), 1, 1, 1)).chunk(len(places))
            rendered.update(zip(places, made))
        return [rendered[i] for i in range(len(self))]


def kornia_transform(view: views.Augmentation) -> nn.Module:
    import kornia.augmentation as K

    size = (view.size, view.size)
    changes = [
        K.RandomResizedCrop(size, scale=view.scale, ratio=view.ratio, align_corners=False),
        K.RandomHorizontalFlip(p=view.flip),
        K.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue, p=view.jitter),
        K.RandomGrayscale(p=view.grey),
    ]
    if view.blur:
        kernel = views.blur_kernel_size(view.size)
        changes.append(K.RandomGaussianBlur((kernel, kernel), view.sigma, p=view.blur))
    return nn.Sequential(*changes)


class PerImage:
    """The same views, made by torchvision of one PIL image, which its version 2 takes faster than a tensor."""

    def __init__(self, family: views.Views):
        self.transforms = [torchvision_transform(augmentation) for augmentation in family]

    def __call__(self, image: Image.Image) -> list[torch.Tensor]:
        return [transform(image) for transform in self.transforms]


def torchvision_transform(view: views.Augmentation) -> nn.Module:
    jitter = T.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
    changes = [
        T.RandomResizedCrop(view.size, scale=view.scale, ratio=view.ratio),
        T.RandomHorizontalFlip(view.flip),
        T.RandomApply([jitter], p=view.jitter),
        T.RandomGrayscale(view.grey),
    ]
    if view.blur:
        blur = T.GaussianBlur(views.blur_kernel_size(view.size), view.sigma)
        changes.append(T.RandomApply([blur], p=view.blur))
    return T.Compose([*changes, T.ToImage(), T.ToDtype(torch.float32, scale=True)])


def lightly_transform():
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0, normalize=None)


class Dataset(torch.utils.data.Dataset):
    """As torchvision's CIFAR10: an array, from which each image becomes a PIL image."""

    def __init__(self, n: int, transform):
        self.array, self.transform = pictures(n).permute(0, 2, 3, 1).contiguous().numpy(), transform

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.array[i]))


def loader(n: int, transform, batch: int = BATCH) -> torch.utils.data.DataLoader:
    """Shuffled batches from as many workers as there are cores."""
    options = dict(num_workers=os.cpu_count(), persistent_workers=True, pin_memory=torch.cuda.is_available())
    return torch.utils.data.DataLoader(Dataset(n, transform), batch, shuffle=True, drop_last=True, **options)


def pictures(n: int) -> torch.Tensor:
    """(n, 3, 32, 32) uint8: smooth random blotches, as cheap to decode as CIFAR-10's arrays."""
    x = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.cat([(255 * F.interpolate(part, 32, mode="bicubic").clamp(0, 1)).byte() for part in x.split(5000)])


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


# -- what contenders do: each function gives one run over all images, and how many things the run makes

Work = tuple[Callable[[], object], int]


def batches(images: torch.Tensor, family: views.Views):
    """Views of all images, in random order."""
    generator = torch.Generator().manual_seed(0)
    for rows in torch.randperm(len(images), generator=generator).to(images.device).split(BATCH):
        yield family.render(images.index_select(0, rows), generator)


def rendering(options: argparse.Namespace, family: views.Views) -> Work:
    images = pictures(options.images).to(device())

    def run():
        last = None
        for made in batches(images, family):
            last = made[-1]
        return last.sum().item()  # waits for the device

    return run, len(family) * options.images


def loading(options: argparse.Namespace, transform) -> Work:
    made = loader(options.images, transform)
    views_each = len(transform.transforms)
    return lambda: sum(0 for _ in made), views_each * len(made) * BATCH


def step_ours(options: argparse.Namespace) -> Work:
    """The loop's own step, less views."""
    method = SimCLR(ENCODERS[options.encoder](), temperature=0.5).to(device(), memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(method.parameter_groups(1e-3), 3e-3, fused=True)
    made = [view.contiguous(memory_format=torch.channels_last) for view in ready_views()]

    def step() -> torch.Tensor:
        loss = method.loss(made)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return repeated(options, step)


def step_lightly(options: argparse.Namespace) -> Work:
    """The same with lightly's projection head and loss, as in its own examples."""
    step, made = lightly_step(options.encoder), ready_views()
    return repeated(options, lambda: step(*made))


def repeated(options: argparse.Namespace, step: Callable[[], torch.Tensor]) -> Work:
    steps = options.images // BATCH
    return lambda: [step() for _ in range(steps)][-1].item(), steps * BATCH


def ready_views() -> list[torch.Tensor]:
    return list(pictures(2 * BATCH).div(255).to(device()).chunk(2))


def epoch_ours(options: argparse.Namespace, family: views.Views) -> Work:
    """The book's loop, fed by ours or another's views."""
    method = SimCLR(ENCODERS[options.encoder](), temperature=0.5).to(device())
    images = pictures(options.images).to(device())
    settings = dict(epochs=1, batch_size=BATCH, views=family, show_progress=False)
    return lambda: pretrain(method, images, **settings), options.images


def epoch_lightly(options: argparse.Namespace) -> Work:
    """lightly's transform, projection head and loss, in the loop of its own examples."""
    step, made = lightly_step(options.encoder), loader(options.images, lightly_transform())

    def epoch():
        for pair in made:
            loss = step(*(x.to(device(), non_blocking=True) for x in pair))
        return loss.item()

    return epoch, len(made) * BATCH


def lightly_step(encoder: str):
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    backbone = ENCODERS[encoder]()
    width = backbone.features_dim
    model = nn.Sequential(backbone, SimCLRProjectionHead(width, width, 128)).to(device())
    criterion = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)

    def step(x0: torch.Tensor, x1: torch.Tensor) -> torch.Tensor:
        loss = criterion(model(x0), model(x1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def views_and_back(options: argparse.Namespace, family: views.Views) -> Work:
    """A SimCLR epoch's work without its loss: views rendered, and sent through the encoder and back."""
    network = ENCODERS[options.encoder]().to(device(), memory_format=torch.channels_last)
    images = pictures(options.images).to(device())

    def run():
        for made in batches(images, family):
            torch.cat(forward_each_size(network, made)).square().mean().backward()
        return next(network.parameters()).grad.sum().item()  # waits for the device

    return run, options.images


class Comparison(NamedTuple):
    """What is compared, what is counted, and the contenders by name, ours first."""

    title: str
    unit: str
    contenders: dict[str, Callable[[argparse.Namespace], Work]]


COMPARISONS = {
    "views": Comparison(
        "SimCLR's two views of 32 px",
        "views/s",
        {
            "sslbook": lambda options: rendering(options, TWO),
            "kornia": lambda options: rendering(options, ByKornia(TWO)),
            "torchvision": lambda options: loading(options, PerImage(TWO)),
            "lightly": lambda options: loading(options, lightly_transform()),
        },
    ),
    "multi-crop": Comparison(
        "eight views of multi-crop, two of 32 px and six of 14 px",
        "views/s",
        {
            "sslbook": lambda options: rendering(options, MANY),
            "kornia": lambda options: rendering(options, ByKornia(MANY)),
            "torchvision": lambda options: loading(options, PerImage(MANY)),
        },
    ),
    "step": Comparison(
        "A SimCLR step on views that are there: forward, backward, update",
        "images/s",
        {"sslbook": step_ours, "lightly": step_lightly},
    ),
    "epoch": Comparison(
        "A whole SimCLR epoch: views and steps",
        "images/s",
        {
            "sslbook": lambda options: epoch_ours(options, TWO),
            "kornia": lambda options: epoch_ours(options, ByKornia(TWO)),
            "lightly": epoch_lightly,
        },
    ),
    "crops": Comparison(
        "Two views of 32 px, against the two and four of 16 px more: rendered, through the encoder and back",
        "images/s",
        {
            "two views": lambda options: views_and_back(options, TWO),
            "multi-crop": lambda options: views_and_back(options, HALVES),
        },
    ),
}


# -- taking turns


def serve(options: argparse.Namespace) -> None:
    """A contender's process: it gets ready, and for each line that it reads it prints the rate of a turn."""
    keep_freed_memory()  # as `pretrain` does; the rivals get it too
    comparison, name = options.contender.split("/")
    run, amount = COMPARISONS[comparison].contenders[name](options)
    run()  # starts workers and fills caches
    print("ready", flush=True)
    for _ in sys.stdin:
        start, made = time.perf_counter(), 0
        while time.perf_counter() - start < options.seconds:
            run()
            made += amount
        print(made / (time.perf_counter() - start), flush=True)


class Contender:
    """A process that waits for its turn, and the most memory that it and its workers held."""

    def __init__(self, comparison: str, name: str, options: argparse.Namespace):
        settings = [f"--{option}={getattr(options, option)}" for option in ("images", "seconds", "encoder")]
        command = [sys.executable, __file__, f"--contender={comparison}/{name}", *settings]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name, self.memory, self.rates = name, 0, []

    def answer(self) -> str:
        """The next line that it prints."""
        with ThreadPoolExecutor(1) as pool:
            line = pool.submit(self.process.stdout.readline)
            while not wait([line], timeout=0.2).done:
                self.memory = max(self.memory, memory(self.process.pid))
        if not line.result():
            sys.exit(f"{self.name} failed")
        return line.result()

    def turn(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.rates.append(float(self.answer()))

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def row(self, first: "Contender") -> dict:
        """For the log: `times` says how many times as fast the first contender was, in the median over the turns."""
        ratios = sorted(other / rate for other, rate in zip(first.rates, self.rates))
        return dict(
            contender=self.name,
            rate=statistics.median(self.rates),
            rates=self.rates,
            times=statistics.median(ratios),
            least=ratios[0],
            most=ratios[-1],
            memory_mib=self.memory,
        )

    def line(self, unit: str, first: "Contender") -> str:
        row = self.row(first)
        text = f"  {self.name:12} {row['rate']:10,.0f} {unit:9} {self.memory:6,} MiB"
        if self is first:
            return text
        return f"{text}   {first.name}: {row['times']:.1f} times as fast ({row['least']:.1f} to {row['most']:.1f})"


def memory(pid: int) -> int:
    """MiB of a process and its workers, libraries apart; pages that they share count once. 0 where nobody says."""
    kib = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with open(f"/proc/{process.pid}/smaps_rollup") as file:
                kib += sum(int(line.split()[1]) for line in file if line.startswith(("Pss_Anon", "Pss_Shmem")))
    except (psutil.Error, OSError):  # it ended meanwhile, or this is not Linux
        pass
    return kib >> 10


def compare(comparison: str, options: argparse.Namespace) -> list[dict]:
    """Rows of the log, one for each contender."""
    title, unit, names = COMPARISONS[comparison]
    print(f"\n{title}", flush=True)
    contenders = [Contender(comparison, name, options) for name in names]
    for contender in contenders:
        contender.answer()  # all are ready before the first turn
    for _ in range(options.turns):
        for contender in contenders:
            contender.turn()
    for contender in contenders:
        contender.end()
    first = contenders[0]
    for contender in contenders:
        print(contender.line(unit, first), flush=True)
    return [{"comparison": comparison, "unit": unit} | contender.row(first) for contender in contenders]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048, help=f"how many, at least {BATCH}")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of a turn, at least")
    parser.add_argument("--encoder", choices=ENCODERS, default="convnet", help="of steps and epochs")
    parser.add_argument("--only", choices=COMPARISONS, nargs="+", default=list(COMPARISONS), help="some comparisons")
    parser.add_argument("--log", help="a JSON file to write to, as benchmarks/2-cores.json")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.images < BATCH or options.turns < 1:
        parser.error(f"at least {BATCH} images, a batch, and one turn are needed")
    if options.contender:
        serve(options)
        return
    missing = [name for name in ("kornia", "lightly") if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not found: pip install -r benchmarks/requirements.txt, or `make bench`")
    start, m = time.perf_counter(), results.machine()
    where = f"{m['gpu'] or m['cpu']}, {m['cores']} cores, torch {m['torch']}"
    print(f"{where}; {options.images:,} images of 32 px, {options.turns} turns")
    rows = [row for comparison in options.only for row in compare(comparison, options)]
    minutes = (time.perf_counter() - start) / 60
    print(f"\n{minutes:.1f} minutes")
    if options.log:
        config = {name: getattr(options, name) for name in ("images", "turns", "seconds", "encoder")}
        again = f"python benchmarks/bench.py {' '.join(sys.argv[1:])}"
        results.write(options.log, rows=rows, config=config, minutes=minutes, again=again)


if __name__ == "__main__":
    main()
