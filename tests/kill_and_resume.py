"""Train every method in processes that are killed, then let it finish: `python kill_and_resume.py FOLDER EPOCHS KILLS`.

A child is forked for every life, so that a life costs no new start of Python. It writes a byte to a pipe each step, and
a life that shall end early waits for one in return: so it is never more than a step ahead of who kills it.
Writes to FOLDER/METHOD: whole.pt, resumed.pt and kills.json, what the checkpoints' folder held after each kill.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from made_up import cheap_views

from sslbook import sets
from sslbook.callbacks import Callback, Checkpoints
from sslbook.methods import METHODS
from sslbook.pretrain import pretrain
from sslbook.words import load_sentences

torch.set_num_threads(1)  # a forked child has no threads
DATA = {"images": sets.load("shapes", train=128, test=1)[0], "text": load_sentences(train=128, test=1)[0]}
BATCH_SIZE, STEPS_PER_EPOCH = 16, 8
DONE, ALLOWED = os.pipe(), os.pipe()


class Ticks(Callback):
    """A byte for each step; with a leash the next one waits until it is allowed."""

    def __init__(self, leash: bool):
        self.leash = leash

    def after_step(self, run):
        os.write(DONE[1], b".")
        if self.leash:
            os.read(ALLOWED[0], 1)


def life(name: str, epochs: int, target: Path, checkpoints: Path | None, seed: int = 0, leash: bool = False) -> int:
    """Start a training in a child process, which writes the final weights to `target`; its process id."""
    child = os.fork()
    if child:
        return child
    method = METHODS[name].make_tiny(seed)
    callbacks = [Ticks(leash)]
    if checkpoints:
        callbacks.append(Checkpoints(checkpoints, every=2 / STEPS_PER_EPOCH))
    history = pretrain(
        method,
        DATA[METHODS[name].reads],
        epochs=epochs,
        batch_size=BATCH_SIZE,
        optimizer="sgd",
        lr=0.05,
        views=cheap_views(method),
        callbacks=callbacks,
        show_progress=False,
    )
    torch.save({**method.state_dict(), "losses": torch.tensor(history.losses)}, target)
    os._exit(0)


def empty_pipes() -> None:
    for end in (DONE[0], ALLOWED[0]):
        os.set_blocking(end, False)
        with open(end, "rb", closefd=False) as rest:
            rest.read()
        os.set_blocking(end, True)


def kill_often(name: str, folder: Path, epochs: int, kills: int) -> None:
    """One whole life, and one of many parts."""
    folder.mkdir()
    steps = epochs * STEPS_PER_EPOCH
    assert os.waitpid(life(name, epochs, folder / "whole.pt", None), 0)[1] == 0
    empty_pipes()
    random.seed(name)
    found = []
    for i in range(kills):
        # another seed from the second life on: the weights must come from the file
        child = life(name, epochs, folder / "resumed.pt", folder / "run", seed=i, leash=True)
        fewest = 4 if i == 0 else 0  # a checkpoint must be there before the first kill
        wanted = random.randint(fewest, max(fewest, steps // kills - 2))
        for _ in range(wanted):
            os.write(ALLOWED[1], b".")
        for _ in range(wanted):
            os.read(DONE[0], 1)
        time.sleep(random.uniform(0, 0.01))  # anywhere: in a step, in a file half-written
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), f"it ended before kill {i + 1}, after {found}"
        empty_pipes()
        found.append(sorted(path.name for path in (folder / "run").glob("*")))
    assert os.waitpid(life(name, epochs, folder / "resumed.pt", folder / "run", seed=kills), 0)[1] == 0
    empty_pipes()
    (folder / "kills.json").write_text(json.dumps(found))


if __name__ == "__main__":
    for method_name in METHODS:
        kill_often(method_name, Path(sys.argv[1]) / method_name, int(sys.argv[2]), int(sys.argv[3]))
