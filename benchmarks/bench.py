"""Time making views, a step and a whole SimCLR epoch against the usual ways of doing it: `make bench`.

Contenders take turns, each in a process of its own, on the same random 32 px images of CIFAR-10's size. Ratios are
taken turn by turn and their median is printed: a machine that slows down half-way slows both.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import transforms as T

from sslbook import views
from sslbook.encoders import ConvNet, forward_each_size, resnet18
from sslbook.methods import SimCLR
from sslbook.pretrain import pretrain
from sslbook.results import machine

BATCH = 256
ENCODERS = {"convnet": ConvNet, "resnet18": resnet18}


def pictures(n: int) -> torch.Tensor:
    """(n, 3, 32, 32) uint8: smooth random blotches, as cheap to decode as CIFAR-10's arrays."""
    x = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.cat([(255 * F.interpolate(part, 32, mode="bicubic").clamp(0, 1)).byte() for part in x.split(5000)])


class Dataset(torch.utils.data.Dataset):
    """As torchvision's CIFAR10: an array, from which each image becomes a PIL image."""

    def __init__(self, n: int, transform):
        self.array, self.transform = pictures(n).permute(0, 2, 3, 1).contiguous().numpy(), transform

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.array[i]))


def loader(n: int, transform, workers: int = 2, batch: int = BATCH) -> torch.utils.data.DataLoader:
    options = dict(num_workers=workers, persistent_workers=True, pin_memory=torch.cuda.is_available())
    return torch.utils.data.DataLoader(Dataset(n, transform), batch, shuffle=True, drop_last=True, **options)


def views_ours(n: int, encoder: str) -> float:
    """SimCLR's two views of every image."""
    images, generator = pictures(n).to(device()), torch.Generator().manual_seed(0)

    def run():
        for rows in torch.randperm(n, generator=generator).to(images.device).split(BATCH):
            _, b = views.cifar_views().render(images.index_select(0, rows), generator)
        return b.sum().item()  # waits for the device

    return 2 * n / timed(run)


def views_torchvision(n: int, encoder: str) -> float:
    """Version 1 of the transforms on PIL images, as its CIFAR10 gives them, in a DataLoader with two workers."""
    return torchvision_views(n, T.ToTensor(), at_end=True)


def views_tensors(n: int, encoder: str) -> float:
    """The same transforms on tensors."""
    return torchvision_views(n, T.ToTensor(), at_end=False)


def views_lightly(n: int, encoder: str) -> float:
    """lightly's SimCLR transform, in a DataLoader with two workers."""
    batches = loader(n, lightly_transform())
    return 2 * len(batches) * BATCH / timed(lambda: sum(0 for _ in batches))


def torchvision_views(n: int, to_tensor, at_end: bool) -> float:
    batches = loader(n, two_of_torchvision(to_tensor, at_end))
    return 2 * len(batches) * BATCH / timed(lambda: sum(0 for _ in batches))


def two_of_torchvision(to_tensor, at_end: bool):
    """A transform from a PIL image to two views as `cifar_views` makes them."""
    jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
    changes = [T.RandomResizedCrop(32, scale=(0.08, 1)), T.RandomHorizontalFlip(), jitter, T.RandomGrayscale(0.2)]
    view = T.Compose([*changes, to_tensor] if at_end else [to_tensor, *changes])
    return lambda image: (view(image), view(image))


def step_ours(n: int, encoder: str) -> float:
    """Forward, backward and update on views that are there: the loop's own, less views."""
    method = SimCLR(ENCODERS[encoder](), temperature=0.5).to(device(), memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(method.parameter_groups(1e-3), 3e-3, fused=True)
    made = [view.contiguous(memory_format=torch.channels_last) for view in ready_views()]

    def run():
        for _ in range(n // BATCH):
            loss = method.loss(made)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return loss.item()

    return n / timed(run)


def step_lightly(n: int, encoder: str) -> float:
    """The same with lightly's projection head and loss, as in its own examples."""
    step, made = lightly_step(encoder), ready_views()
    return n / timed(lambda: [step(*made) for _ in range(n // BATCH)][-1].item())


def ready_views() -> list[torch.Tensor]:
    return list(pictures(2 * BATCH).div(255).to(device()).chunk(2))


def epoch_ours(n: int, encoder: str) -> float:
    method = SimCLR(ENCODERS[encoder](), temperature=0.5).to(device())
    images = pictures(n).to(device())
    options = dict(batch_size=BATCH, views=views.cifar_views(), show_progress=False)
    return n / timed(lambda: pretrain(method, images, epochs=1, **options))


def epoch_lightly(n: int, encoder: str) -> float:
    """lightly's transform, projection head and loss, in the loop of its own examples."""
    step, batches = lightly_step(encoder), loader(n, lightly_transform())

    def epoch():
        for made in batches:
            loss = step(*(x.to(device(), non_blocking=True) for x in made))
        return loss.item()

    return n / timed(epoch)


def step_two(n: int, encoder: str) -> float:
    """A SimCLR epoch's work without its loss: two views rendered and sent through encoder and back."""
    return views_and_back(n, encoder, views.cifar_views())


def step_multi(n: int, encoder: str) -> float:
    """The same with four small crops of 16 px more."""
    return views_and_back(n, encoder, views.multi_crop(views.cifar_views(), small=16, number=4))


def views_and_back(n: int, encoder: str, made: views.Views) -> float:
    network = ENCODERS[encoder]().to(device(), memory_format=torch.channels_last)
    images, generator = pictures(n).to(device()), torch.Generator().manual_seed(0)

    def run():
        for rows in torch.randperm(n, generator=generator).to(images.device).split(BATCH):
            batch = made.render(images.index_select(0, rows), generator)
            torch.cat(forward_each_size(network, batch)).square().mean().backward()
        return next(network.parameters()).grad.sum().item()  # waits for the device

    return n / timed(run)


def lightly_transform():
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0, normalize=None)


def lightly_step(encoder: str):
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    backbone = ENCODERS[encoder]()
    width = backbone.features_dim
    model = torch.nn.Sequential(backbone, SimCLRProjectionHead(width, width, 128)).to(device())
    criterion = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)

    def step(x0: torch.Tensor, x1: torch.Tensor) -> torch.Tensor:
        loss = criterion(model(x0), model(x1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def timed(run) -> float:
    """Seconds of the second of two runs: the first starts workers and fills caches."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(contender: str, n: int, encoder: str) -> tuple[float, float]:
    """(rate, peak memory in MiB of the process with its workers), in a fresh process."""
    command = [sys.executable, __file__, "--contender", contender, "--images", str(n), "--encoder", encoder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.2)
        if process.returncode:
            sys.exit(f"{contender} failed")
        return json.loads(process.stdout.read().splitlines()[-1]), peak / 2**20


def memory(pid: int) -> int:
    """Bytes of a process and its children; pages that they share count once (on Linux)."""
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            info = process.memory_full_info()
            total += getattr(info, "pss", info.rss)
    except psutil.Error:  # it ended meanwhile
        pass
    return total


def compare(
    title: str,
    unit: str,
    ours: str,
    other: str,
    n: int,
    encoder: str,
    turns: int,
    names: tuple[str, str] | None = None,
) -> None:
    """Print the median rates of two contenders, by their names, and of their ratios."""
    runs = [(measure(ours, n, encoder), measure(other, n, encoder)) for _ in range(turns)]
    rates = [statistics.median(run[i][0] for run in runs) for i in (0, 1)]
    memories = [statistics.median(run[i][1] for run in runs) for i in (0, 1)]
    ratios = sorted(a[0] / b[0] for a, b in runs)
    print(f"\n{title} ({unit}, {turns} turns)")
    for name, rate, mib in zip(names or ("sslbook", other.split("_")[1]), rates, memories):
        print(f"  {name:12} {rate:10,.0f} {unit:10} {mib:8,.0f} MiB peak")
    print(f"  ratio        {statistics.median(ratios):10.1f} x          ({ratios[0]:.1f} to {ratios[-1]:.1f})")
    print(f"  memory       {memories[0] / memories[1]:10.2f} x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000, help="how many, as CIFAR-10 by default")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--encoder", choices=ENCODERS, default="convnet", help="for the epoch")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(globals()[options.contender](options.images, options.encoder)))
        return
    m = machine()
    print(
        f"{m['gpu'] or m['cpu']}, {m['cores']} cores, torch {m['torch']}; {options.images:,} images of 32 px",
        flush=True,
    )
    arguments = (options.images, options.encoder, options.turns)
    step = f"with a {options.encoder}, batch {BATCH}"
    compare("Views, against PIL images", "views/s", "views_ours", "views_torchvision", *arguments)
    compare("Views, against tensors", "views/s", "views_ours", "views_tensors", *arguments)
    compare("Views, against lightly's", "views/s", "views_ours", "views_lightly", *arguments)
    compare(f"A SimCLR step {step}: forward, backward, update", "images/s", "step_ours", "step_lightly", *arguments)
    compare(f"A whole SimCLR epoch {step}: views and steps", "images/s", "epoch_ours", "epoch_lightly", *arguments)
    title = f"Multi-crop, 2 views of 32 px and 4 of 16, against 2 views; rendered, a {options.encoder}, and back"
    compare(title, "images/s", "step_multi", "step_two", *arguments, names=("multi-crop", "two views"))


if __name__ == "__main__":
    main()
