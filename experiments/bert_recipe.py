"""What a masked language model needs on the sentences: its recipe, and the same with one thing changed.

    python experiments/bert_recipe.py --seed 0     # 1, 2; about 4 CPU-minutes each
    python experiments/bert_recipe.py --seed 0 --small    # does it run at all? Nothing is written

writes results/studies/bert-recipe-<seed>.json. The sentences are not those that the book reports on. "Above the best"
is the loss on test sentences less the smallest that is possible for the same words, in nats. Rows have half of the
recipe's epochs, in which it has learnt most of what it learns; the last asks whether a longer training finds the
relations, too. Rows that the log holds are not made again.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from study_options import study_parser

from sslbook import evaluate, results, sentences
from sslbook.budget import BUDGETS
from sslbook.methods import BERT
from sslbook.methods.bert import masked_word_loss
from sslbook.pretrain import pretrain
from sslbook.text import TextEncoder
from sslbook.words import TextSet, load_sentences

SENTENCES, WATCHED = 100, 512
UNTRAINED = "untrained"
# what is changed: arguments of the method, of `pretrain`, of the encoder
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    UNTRAINED: ({}, {}, {}),
    "the recipe": ({}, {}, {}),
    "no positions": ({}, {}, {"positions": False}),
    "60 % asked": ({"share": 0.6}, {}, {}),
    "90 % asked": ({"share": 0.9}, {}, {}),
    "all hidden (no 10/10)": ({"mask": 1.0, "other": 0.0}, {}, {}),
    "30 % asked, four times as long": ({"share": 0.3}, {"epochs": 80}, {}),
}


def make(name: str, seed: int) -> BERT:
    """The method of a row, untrained."""
    change, _, encoder = CHANGES[name]
    torch.manual_seed(seed)
    made = TextEncoder(len(sentences.WORDS), sentences.LENGTH, **encoder)
    return BERT(made, **BUDGETS["cpu"].recipe("BERT").method | change)


@torch.no_grad()
def answers(method: BERT, test: TextSet) -> dict[str, float]:
    """What the table says of a method."""
    method.eval()
    words = test.tokens[:WATCHED]
    seen, targets = method.hide.render(words, torch.Generator().manual_seed(0))
    loss = masked_word_loss(method.predict(seen), targets)["loss"].item()
    best = sentences.best_loss(seen, targets, share=method.share, mask=method.mask, other=method.other)
    kinds = sentences.kinds_of(sentences.hidden_alone(method.predict, words))
    same = (method.predict(words).argmax(dim=2) == words).float().mean().item()
    row = {"above the best": loss - best, "best": best} | {f"{kind} hidden": share for kind, share in kinds.items()}
    return row | {"seen repeated": same, "wrong mended": sentences.mended(method.predict, words)}


def row_of(name: str, seed: int, train: TextSet, test: TextSet, epochs: int | None) -> dict[str, Any]:
    """What came of the recipe with one change."""
    method = make(name, seed)
    settings = BUDGETS["cpu"].recipe("BERT").train
    settings = settings | {"epochs": settings["epochs"] // 2} | CHANGES[name][1]
    if epochs:
        settings["epochs"] = epochs
    row, cpu = {"BERT": name}, time.process_time()
    if name != UNTRAINED:
        history = pretrain(method, train, seed=seed, show_progress=False, **settings)
        row |= {"last loss": history["loss"][-1], "curve": history["loss"]}
    row["CPU-seconds"] = time.process_time() - cpu
    report = evaluate.report(method.encoder, train, test)
    return row | answers(method, test) | {question: report[question] for question in ("kNN", "linear")}


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--only", choices=CHANGES, help="this row")
    arguments = parser.parse_args()
    plan = BUDGETS["cpu"]
    if arguments.small:
        plan = replace(plan, sentences=(512, 512))
    train, test = load_sentences(train=plan.sentences[0], test=plan.sentences[1], seed=SENTENCES)
    recipe = plan.recipe("BERT")
    config = recipe.config | dict(sentences=SENTENCES)
    again = f"python experiments/bert_recipe.py --seed {arguments.seed}"
    name = f"bert-recipe-{arguments.seed}"
    study = results.Study(name, dry=arguments.small, config=config, seed=arguments.seed, again=again)
    for change in [arguments.only] if arguments.only else CHANGES:
        if not study.has(BERT=change):
            study.add(row_of(change, arguments.seed, train, test, 1 if arguments.small else None))
            print({key: value for key, value in study.rows[-1].items() if key != "curve"}, flush=True)


if __name__ == "__main__":
    main()
