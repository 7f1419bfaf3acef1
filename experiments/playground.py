"""What the playground's tour and the chapters say of it, over seeds: its methods, with and without their parts.

    python experiments/playground.py --seed 0           # about 5 CPU-minutes
    python experiments/playground.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/playground-<seed>.json. The loop is the page's (sslbook/widgets/trainer.js): the same networks,
batches, views and rates, on pictures of another seed for each --seed. "never" trains without the part from the start;
"removed" goes on from the complete method when it was shown SHOWN pictures. Each row has loss, spread of z and kNN
every EVERY pictures.
`python -m tools.playground` measures the page itself.
"""

import torch
from study_options import study_parser

from sslbook import evaluate, playground, results
from sslbook.methods import Method
from sslbook.optim import rate_of
from sslbook.patients import to_z
from sslbook.pretrain import OPTIMIZERS
from sslbook.shapes import draw

SHOWN, EVERY = 38_400, 3_200  # pictures: 600 steps of 64
WARM_UP = 16  # steps
PICTURES, BANK, ASKED, WATCHED = 2048, 512, 1024, 128


class Training:
    """A method that trains as in the page; another part may go while it does."""

    def __init__(self, name: str, part: str | None, seed: int):
        self.name, self.seed, self.step = name, seed, 0
        self.recipe, self.batch = playground.recipe(name).train, playground.PLAYS[name].batch
        self.images, self.labels, _ = draw(PICTURES, seed=1000 + seed)
        self.asked, self.truth, _ = draw(ASKED, seed=2000 + seed)
        self.images, self.asked = self.images / 255, self.asked / 255
        self.generator = torch.Generator().manual_seed(seed)
        self.take(playground.make(name, part, seed))

    def take(self, method: Method, state: dict | None = None) -> None:
        self.method = method
        groups = method.parameter_groups(self.recipe["weight_decay"])
        self.optimizer = OPTIMIZERS[self.recipe["optimizer"]](groups, 1.0, None)
        for p in self.optimizer.param_groups[0]["params"] if state else ():
            self.optimizer.state[p] = state.get(self.name_of(p), {})

    def name_of(self, parameter: torch.Tensor) -> str:
        return next(name for name, p in self.method.named_parameters() if p is parameter)

    def without(self, part: str) -> None:
        """Go on without a part: what has the same name keeps its numbers, as in the page."""
        kept = self.method.state_dict()
        state = {self.name_of(p): numbers for p, numbers in self.optimizer.state.items()}
        self.take(playground.make(self.name, part, self.seed), state)
        own = self.method.state_dict()
        self.method.load_state_dict({name: kept.get(name, x) for name, x in own.items()})

    def train(self, pictures: int) -> float:
        """The last loss."""
        batches = PICTURES // self.batch
        self.method.train()
        for _ in range(pictures // self.batch):
            if self.step % batches == 0:
                self.order = torch.randperm(PICTURES, generator=self.generator).view(batches, -1)
            images = self.images[self.order[self.step % batches]]
            views = self.recipe["views"]
            self.step += 1
            loss = self.update(views.render(images, views.draw(len(images), self.generator)))
        return loss

    def update(self, views: list[torch.Tensor]) -> float:
        lr = self.recipe["lr"]
        for group in self.optimizer.param_groups:
            group["lr"] = rate_of(group, lr, lr * min(1.0, self.step / WARM_UP))
        terms = self.method.loss(views)
        loss = terms["loss"] if isinstance(terms, dict) else terms
        self.optimizer.zero_grad()
        loss.backward()
        self.method.before_step()
        self.optimizer.step()
        self.method.after_step(0.0)
        return loss.item()

    def measures(self) -> dict[str, float]:
        bank = evaluate.embed(self.method.encoder, self.images[:BANK]), self.labels[:BANK]
        asked = evaluate.embed(self.method.encoder, self.asked), self.truth
        z = evaluate.embed_batch(to_z(self.method), self.asked[:WATCHED])
        return dict(kNN=evaluate.knn(*bank, *asked, k=evaluate.neighbours(bank[1])), spread=evaluate.spread(z))


def course(training: Training, pictures: int) -> dict[str, list[float]]:
    """Loss, spread and kNN now and every EVERY pictures."""
    rows = [dict(loss=None, **training.measures())]
    for _ in range(pictures // EVERY):
        loss = training.train(EVERY)
        rows.append(dict(loss=loss, **training.measures()))
    return {key: [row[key] for row in rows] for key in rows[0]}


def main() -> None:
    parser = study_parser(__doc__)
    arguments = parser.parse_args()
    shown = EVERY if arguments.small else SHOWN
    again = f"python experiments/playground.py --seed {arguments.seed}"
    name = f"playground-{arguments.seed}"
    study = results.Study(name, dry=arguments.small, seed=arguments.seed, every=EVERY, again=again)
    for method in playground.playable():
        for part in (None, *playground.PLAYS[method].parts):
            for case in ("complete",) if part is None else ("never", "removed"):
                if study.has(method=method, part=part, case=case):
                    continue
                training = Training(method, part if case == "never" else None, arguments.seed)
                if case == "removed":
                    training.train(shown)
                    training.without(part)
                row = dict(method=method, part=part, case=case, **course(training, shown))
                print(method, case, part, [round(x, 2) for x in row["kNN"]], round(row["spread"][-1], 2), flush=True)
                study.add(row)


if __name__ == "__main__":
    main()
