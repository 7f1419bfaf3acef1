"""Train a method in processes that are killed, then let it finish: `python kill_and_resume.py METHOD FOLDER KILLS`.

A child is forked for every life, so that a life costs no new start of Python; it writes a byte to a pipe each step.
Writes whole.pt, resumed.pt and kills.json, what the checkpoints' folder held after each kill.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import tiny
import torch

from sslbook import data, views
from sslbook.pretrain import pretrain

torch.set_num_threads(1)  # a forked child has no threads
IMAGES, _ = data.load("shapes", train=256, test=1)
STEPS, PIPE = 200, os.pipe()


def life(name: str, target: Path, checkpoint: Path | None, seed: int = 0) -> int:
    """Start a training in a child process, which writes the final weights to `target`; its process id."""
    child = os.fork()
    if child:
        return child
    method = tiny.make(name, seed)
    step = method.after_step
    method.after_step = lambda progress: (step(progress), os.write(PIPE[1], b"."))
    options = dict(optimizer="sgd", lr=0.05, views=views.shapes()[: len(method.views(32))], progress=False)
    options |= dict(checkpoint=checkpoint, checkpoint_every=0.25, epochs=STEPS // 8, batch_size=32)
    history = pretrain(method, IMAGES, **options)
    torch.save({**method.state_dict(), "losses": torch.tensor(history.losses)}, target)
    os._exit(0)


def main() -> None:
    name, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    assert os.waitpid(life(name, folder / "whole.pt", None), 0)[1] == 0
    os.read(PIPE[0], STEPS)
    random.seed(name)
    found = []
    for i in range(kills):
        # another seed from the second life on: the weights must come from the file
        child = life(name, folder / "resumed.pt", folder / "run", seed=i)
        for _ in range(random.randint(i == 0 and 4, 2 * STEPS // kills - 4)):
            os.read(PIPE[0], 1)
        time.sleep(random.uniform(0, 0.01))  # anywhere: in a step, in a file half-written
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), f"it ended before kill {i + 1}, after {found}"
        os.set_blocking(PIPE[0], False)
        with open(PIPE[0], "rb", closefd=False) as rest:
            rest.read()
        os.set_blocking(PIPE[0], True)
        found.append(sorted(path.name for path in (folder / "run").glob("*")))
    assert os.waitpid(life(name, folder / "resumed.pt", folder / "run", seed=kills), 0)[1] == 0
    (folder / "kills.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
