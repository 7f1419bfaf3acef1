"""Several processes, one batch: each takes its rows of it, and what a loss compares is gathered from all of them.

In a single process every function here gives back what it got, so that a method has one form for one GPU and for many.
`torchrun` starts the processes, `process_group` makes a group of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """How many processes share the batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; process 0 writes the files."""
    return dist.get_rank() if world_size() > 1 else 0


def find_device(name: str | torch.device) -> torch.device:
    """The device of this name. Raises ValueError if there is none on this machine."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            known.append("mps")
        reason = str(error).splitlines()[0].split(". ")[0][:120]
        raise ValueError(f"there is no device {str(name)!r}, there is {', '.join(known)} ({reason})") from error
    return device


@contextlib.contextmanager
def process_group(device: str | torch.device) -> Iterator[torch.device]:
    """Inside `torchrun`, join its other processes for a while: NCCL on GPUs, one each, and gloo on CPUs.

    Gives the device of this process: "cuda" becomes the GPU of its local rank. Without torchrun nothing happens.
    Raises ValueError if it is not there.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield find_device(device)
        return
    device = torch.device(device)
    if device.type != "cuda":
        find_device(device)
    else:
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(f"process {local} has no GPU, there are {gpus}: torchrun --nproc-per-node={gpus}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """On each machine one process goes through the block alone, then the others: it downloads, they find the file."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if first:
        yield
    if world_size() > 1:
        dist.barrier()
    if not first:
        yield


def shard(x: Tensor, dim: int = 0) -> Tensor:
    """This process's rows of what belongs to the joined batch, in order of rank: (N, ...) to (N / processes, ...)."""
    parts = world_size()
    if x.shape[dim] % parts:
        raise ValueError(f"{x.shape[dim]} rows can't be shared equally by {parts} processes")
    return x.chunk(parts, dim)[rank()]


def rand(shape: Sequence[int]) -> Tensor:
    """Uniform numbers (n, ...) for this process's rows, out of those for the joined batch: from the CPU's global RNG,
    which stands alike in all processes."""
    return shard(torch.rand(shape[0] * world_size(), *shape[1:]))


def randn(shape: Sequence[int]) -> Tensor:
    """The same from a standard normal."""
    return shard(torch.randn(shape[0] * world_size(), *shape[1:]))


def all_gather(x: Tensor) -> Tensor:
    """The rows of all processes, in order of rank: (n, ...) to (processes * n, ...); every process has as many.

    The gradient comes back to each process for its own rows, summed over all that used them. If every process computes
    the whole loss from gathered rows and gradients are averaged over processes, as DistributedDataParallel does, the
    result is the gradient of one process with the joined batch. `torch.distributed.all_gather` has no gradient at all.
    """
    return AllGather.apply(x) if world_size() > 1 else x


class AllGather(torch.autograd.Function):
    """Forward, every process gets all rows; backward, the gradient of its own, summed over processes."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return shard(all_reduce_sum(gradient))


def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean over processes, with its gradient."""
    return _Sum.apply(x) / world_size() if world_size() > 1 else x


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return all_reduce_sum(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum over processes, without a gradient."""
    if world_size() == 1:
        return x
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


def broadcast_state(module: nn.Module) -> None:
    """Give every process the weights and buffers of process 0."""
    if world_size() > 1:
        for x in module.state_dict().values():
            dist.broadcast(x, 0)


def all_reduce_buffers(module: nn.Module) -> None:
    """Give every process the mean of all processes' buffers: running statistics of what each has seen on its own."""
    if world_size() > 1:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(all_reduce_mean(buffer))
