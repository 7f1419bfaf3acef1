"""What every method gives for one batch, alone or shared by processes of torchrun: `python joined_batch.py FILE`."""

import sys

import torch
from made_up import TwoTurns, cheap_views

from sslbook import distributed, sets
from sslbook.callbacks import Checkpoints, Probe
from sslbook.encoders import ConvNet
from sslbook.methods import MAE, METHODS, MoCo, Now
from sslbook.norms import sync_batch_norm
from sslbook.pretrain import _loss_module, pretrain
from sslbook.text import TextEncoder
from sslbook.views import byol_views
from sslbook.vit import ViT
from sslbook.words import IGNORED, load_sentences

CASES = {
    **{name: entry.make_tiny for name, entry in METHODS.items()},
    "MoCo, two parts": lambda: MoCo(ConvNet(width=2), dim=8, K=40, bn_splits=2),
    "MoCo, plain batch norm": lambda: MoCo(ConvNet(width=2), dim=8, K=40, bn_splits=1),
    "two turns": TwoTurns,
    "MAE, normalised patches": lambda: MAE(ViT(32, 8, dim=16, depth=1, heads=2), 0.5, True, 16, 1, 2),
}


def data_for(method, train: int, test: int):
    """Images, or texts for a method that reads them."""
    if isinstance(method.encoder, TextEncoder):
        return load_sentences(train=train, test=test)
    return sets.load("shapes", train=train, test=test)


def a_batch(method) -> list[torch.Tensor]:
    """Views of 16 images or texts, in which the two halves are unlike."""
    if isinstance(method.encoder, TextEncoder):
        seen, targets = method.hide(data_for(method, 16, 1)[0].tokens)
        targets[:4] = IGNORED  # one process is asked for fewer words than the other
        return [seen, targets]
    batch = torch.rand(len(method.views(32)), 16, 3, 32, 32)
    batch[-1].add_(torch.linspace(0, 1, 16).view(-1, 1, 1, 1))
    return list(batch)


def one_batch(name: str) -> dict[str, torch.Tensor]:
    """Loss, gradients and buffers after two steps without an update."""
    torch.manual_seed(0)
    method = CASES[name]()
    sync_batch_norm(method)
    method.before_epoch(data_for(method, 33, 1)[0])  # not as many for each process
    method.now = Now(rows=distributed.shard(torch.arange(16)))
    loss_of = _loss_module(method, compile=False)
    losses = []
    for _ in range(2):  # the second step sees the queue that the first one left
        shared = [distributed.shard(view) for view in a_batch(method)]
        losses.append(loss_of(shared)["loss"])
        losses[-1].backward()
        method.after_step(0.5)
    distributed.all_reduce_buffers(method)
    found = {"loss": distributed.all_reduce_mean(torch.stack(losses).detach()), "rng": torch.get_rng_state()}
    found |= {f"gradient of {k}": p.grad for k, p in method.named_parameters() if p.grad is not None}
    return found | {f"state {k}": v for k, v in method.state_dict().items()}


def training(name: str, checkpoints: str | None = None) -> dict[str, torch.Tensor]:
    """Losses and final weights of a short training."""
    torch.manual_seed(distributed.rank())  # the weights of process 0 count
    method = CASES[name]()
    images, test = data_for(method, 128, 32)
    callbacks = [Probe(images, test)]
    if checkpoints:
        callbacks.append(Checkpoints(checkpoints, every=0.5))
    history = pretrain(
        method,
        images,
        epochs=2,
        batch_size=32,
        optimizer="sgd",
        lr=0.02,
        views=cheap_views(method, lambda: byol_views(32)),
        callbacks=callbacks,
        show_progress=False,
    )
    assert ("knn" in history.epochs[-1]) == (distributed.rank() == 0)
    return {"losses": torch.tensor(history.losses)} | method.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # two orders of summing must not grow apart
    with distributed.process_group("cpu"):
        results = {name: {"one batch": one_batch(name), "training": training(name)} for name in CASES}
        with_files = training("BYOL", sys.argv[1] + ".checkpoints")
        assert all(torch.equal(with_files[k], v) for k, v in results["BYOL"]["training"].items() if k != "losses")
        if distributed.rank() == 0:
            torch.save(results, sys.argv[1])
