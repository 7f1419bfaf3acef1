"""Which method for my problem? Six questions, and what each answer speaks for or against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import anywidget
import traitlets

from sslbook.widgets._source import source


class Effect(NamedTuple):
    points: int
    reason: str
    source: str  # a key of SOURCES, and where in it after a comma


class Option(NamedTuple):
    text: str
    effects: dict[str, Effect]  # by method


class Question(NamedTuple):
    text: str
    options: dict[str, Option]


# Change what follows as you like: all that is shown or ranked is read from here. Points are 1 for a hint, 2 to 4 for a
# clear advantage, DECIDES where nothing else matters. Methods with equal points keep this order.
METHODS = {  # and the page of the book that explains them
    "Official weights": "practice/your_own_images",
    "SimCLR": "contrastive/simclr",
    "MoCo v2": "contrastive/moco",
    "BYOL": "self_distillation/byol",
    "SimSiam": "self_distillation/simsiam",
    "MAE": "masked/mae",
}

SOURCES = {  # a key of references.bib or a name of ours: what a reason calls it, and a page of the book or an address
    "chen2020simclr": ("SimCLR paper", "contrastive/simclr"),
    "he2020moco": ("MoCo paper", "contrastive/moco"),
    "chen2020mocov2": ("MoCo v2 paper", "contrastive/moco"),
    "grill2020byol": ("BYOL paper", "self_distillation/byol"),
    "chen2021simsiam": ("SimSiam paper", "self_distillation/simsiam"),
    "he2022mae": ("MAE paper", "masked/mae"),
    "caron2021dino": ("DINO paper", "references"),
    "chen2021mocov3": ("MoCo v3 paper", "references"),
    "cole2022contrastive": ("Cole et al., 2022", "references"),
    "elnouby2021splitmask": ("El-Nouby et al., 2021", "references"),
    "mocodemo": ("MoCo's CIFAR-10 demo", "https://github.com/facebookresearch/moco/tree/colab-notebook"),
    "mmselfsup": ("MMSelfSup", "https://github.com/open-mmlab/mmselfsup"),
    "lightly": (
        "lightly's benchmarks",
        "https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html",
    ),
    "finetune": ("MAE's recipe", "https://github.com/facebookresearch/mae/blob/main/FINETUNE.md"),
    "imagenette": ("stable-pretraining", "https://github.com/galilai-group/stable-pretraining"),
    "simsiam9": ("SimSiam issue 9", "https://github.com/facebookresearch/simsiam/issues/9"),
    "simsiam29": ("SimSiam issue 29", "https://github.com/facebookresearch/simsiam/issues/29"),
    "official": ("Your own images", "practice/your_own_images"),
}

DECIDES = 20

QUESTIONS = {
    "images": Question("How many unlabelled images are there?", {
        "few": Option("Fewer than 50,000", {
            "Official weights": Effect(+2, "From 50,000 images to 250,000 contrastive training often gains over "
                                       "ten points; these weights have seen a million.",
                                       "cole2022contrastive, section 4.1"),
            "MAE": Effect(+1, "Autoencoders of its kind mind a small set less than methods that compare embeddings.",
                          "elnouby2021splitmask, abstract"),
            "MoCo v2": Effect(-1, "Its queue must shrink with the set: 4,096 keys instead of 65,536 on the 50,000 "
                              "images of CIFAR-10.", "mocodemo"),
        }),
        "some": Option("50,000 to 500,000", {
            "Official weights": Effect(+1, "Near the lower end more images would still help much; these weights have "
                                       "seen a million.",
                                       "cole2022contrastive, section 4.1"),
            "BYOL": Effect(+1, "The best kNN of the table for the 50,000 images of CIFAR-10, after 800 epochs: 91.0 %.",
                           "lightly"),
        }),
        "many": Option("More than 500,000", {
            "Official weights": Effect(-1, "You have what it takes: from 500,000 images to a million, contrastive "
                                       "training gains 1 or 2 points.", "cole2022contrastive, section 4.1"),
            "MAE": Effect(+1, "Goes on gaining with larger networks: 83.6, 85.9 and 86.9 % for ViT-B, L and H, "
                          "fine-tuned on ImageNet.", "he2022mae, table 3"),
        }),
    }),
    "hardware": Question("What do you compute on?", {
        "laptop": Option("A laptop: batches of about 64", {
            "Official weights": Effect(+2, "Nothing to train: each image passes through once.", "official"),
            "MoCo v2": Effect(+2, "Needs no large batch: its negatives come from a queue.", "he2020moco, section 3.2"),
            "SimSiam": Effect(+2, "A batch of 64 costs it no more than 2 points.", "chen2021simsiam, table 2"),
            "BYOL": Effect(-1, "Keeps its accuracy down to a batch of 256, and loses below: its batch norm wants "
                           "company.", "grill2020byol, figure 3a"),
            "SimCLR": Effect(-2, "Its negatives come from the batch, so a small batch asks an easy question.",
                             "chen2020simclr, section 5.2"),
            "MAE": Effect(-1, "Wants a long training: its linear accuracy still rises at 1,600 epochs.",
                          "he2022mae, section 4.1"),
        }),
        "one": Option("One GPU: batches of about 256", {
            "MoCo v2": Effect(+2, "67.5 % with a batch of 256 in 200 epochs, 5.6 points above SimCLR.",
                              "chen2020mocov2, table 2"),
            "SimSiam": Effect(+2, "With a batch of 256 the best of five methods after 100 epochs: 68.1 %.",
                              "chen2021simsiam, table 4"),
            "BYOL": Effect(+1, "Keeps its accuracy from a batch of 4,096 down to 256.", "grill2020byol, figure 3a"),
            "MAE": Effect(+1, "Its encoder sees a quarter of each image: 2.8 times as fast for a ViT-L, and in less "
                          "memory.", "he2022mae, table 2"),
            "SimCLR": Effect(-1, "62.7 % with a batch of 256, 66.9 % with 4,096, after 200 epochs of each.",
                             "mmselfsup"),
        }),
        "several": Option("Several GPUs: batches of thousands", {
            "SimCLR": Effect(+2, "This is where it belongs: 69.3 % with a batch of 4,096.", "chen2020simclr, table 6"),
            "BYOL": Effect(+2, "74.3 % with a batch of 4,096, the best of five methods after 800 epochs.",
                           "chen2021simsiam, table 4"),
            "MAE": Effect(+2, "Made for large networks: 31 hours on 128 TPU cores for a ViT-L; MoCo v3 takes 36.",
                          "he2022mae, section 4.2"),
            "MoCo v2": Effect(-1, "With a batch of 4,096 the queue gains little, and its successor dropped it.",
                              "chen2021mocov3, section 3"),
            "SimSiam": Effect(-1, "With plain SGD a batch of 4,096 costs it about 4 points.",
                              "chen2021simsiam, table 2"),
        }),
    }),
    "use": Question("What are the features for?", {
        "search": Option("Search, grouping, kNN", {
            "Official weights": Effect(+1, "DINO's ViT-S/16 answers ImageNet with 74.5 % by kNN.",
                                       "caron2021dino, table 2"),
            "BYOL": Effect(+1, "91.0 % kNN on CIFAR-10 after 800 epochs; SimCLR has 87.9 %.", "lightly"),
            "SimSiam": Effect(+1, "90.4 % kNN on CIFAR-10 after 800 epochs; SimCLR has 87.9 %.", "lightly"),
            "MoCo v2": Effect(+1, "89.9 % kNN on CIFAR-10 after 800 epochs; SimCLR has 87.9 %.", "lightly"),
            "MAE": Effect(-4, "Distances are its weak side: 11.2 % kNN on ImageNet, from the run that gives 81.3 % "
                          "fine-tuned.", "lightly"),
        }),
        "probe": Option("A linear classifier, few labels", {
            "BYOL": Effect(+2, "53.2 % with 1 % of ImageNet's labels; SimCLR has 48.3 %.", "grill2020byol, table 2a"),
            "SimCLR": Effect(+1, "48.3 % with 1 % of ImageNet's labels, where labels alone give 25.4 %.",
                             "grill2020byol, table 2a"),
            "MoCo v2": Effect(+1, "72.2 % in linear evaluation after 800 epochs; SimSiam has 71.3 %, SimCLR 70.4 %.",
                              "chen2021simsiam, table 4"),
            "MAE": Effect(-2, "What it knows is less separable by planes than MoCo v3's features.",
                          "he2022mae, figure 9"),
        }),
        "tune": Option("Fine-tuning with many labels", {
            "MAE": Effect(+3, "Fine-tuned it is ahead: 83.6 and 85.9 % for ViT-B and L; MoCo v3 has 83.2 and 84.1 %.",
                          "he2022mae, table 3"),
            "Official weights": Effect(+1, "MAE's come with a recipe that takes ViT-B to 83.66 %.", "finetune"),
            "BYOL": Effect(+1, "77.7 % fine-tuned on all of ImageNet's labels with a ResNet-50.",
                           "grill2020byol, section 4"),
        }),
        "dense": Option("Detection, segmentation", {
            "MAE": Effect(+2, "48.1 and 53.6 mIoU on ADE20K for ViT-B and L; MoCo v3 has 47.3 and 49.1.",
                          "he2022mae, table 5"),
            "MoCo v2": Effect(+2, "39.2 AP on COCO, a point above supervised pre-training.",
                              "chen2021simsiam, table 5"),
            "SimSiam": Effect(+1, "37.9 AP on COCO, and MoCo v2's 39.2 with another rate and decay.",
                              "chen2021simsiam, table 5"),
            "SimCLR": Effect(-1, "37.9 AP on COCO; MoCo v2 has 39.2.", "chen2021simsiam, table 5"),
            "BYOL": Effect(-1, "37.9 AP on COCO; MoCo v2 has 39.2.", "chen2021simsiam, table 5"),
        }),
    }),
    "backbone": Question("Which network must it be?", {
        "convnet": Option("A ConvNet, such as a ResNet", {
            "BYOL": Effect(+1, "The best of five methods with a ResNet-50 after 800 epochs: 74.3 %.",
                           "chen2021simsiam, table 4"),
            "MAE": Effect(-DECIDES, "It leaves patches out of the input; an ordinary convolution cannot.",
                          "he2022mae, section 1"),
        }),
        "vit": Option("A vision transformer", {
            "MAE": Effect(+3, "Made for it: what is hidden is not computed.", "he2022mae, section 3"),
            "MoCo v2": Effect(+1, "Its successor leads four methods with a ViT-B: 76.5 %.", "chen2021mocov3, table 4"),
            "SimCLR": Effect(+1, "Gains more than BYOL by the change to ViT-B: 70.4 to 73.9 %.",
                             "chen2021mocov3, table 4"),
            "BYOL": Effect(-1, "Loses its lead: 74.3 % with a ResNet-50, 73.9 % with a ViT-B.",
                           "chen2021mocov3, table 4"),
            "SimSiam": Effect(-1, "An untuned ViT-S/16 on Imagenette has 54.9 % kNN; SimCLR has 73.3 %.",
                              "imagenette"),
        }),
        "free": Option("Any", {
            "Official weights": Effect(+1, "You can take the network for which there are weights.", "official"),
        }),
    }),
    "views": Question("What may change without changing what a picture means?", {
        "all": Option("Place, size and colour", {
            "SimCLR": Effect(+1, "Crops with changed colours are the best pair of operations it has.",
                             "chen2020simclr, figure 5"),
            "MoCo v2": Effect(+1, "Stronger views brought it 2.8 points.", "chen2020mocov2, table 1b"),
        }),
        "colour": Option("Place and size, but colour matters", {
            "MAE": Effect(+2, "Has to draw the colour, so it keeps it; colour jitter even hurts.",
                          "he2022mae, table 1e"),
            "BYOL": Effect(-1, "Loses 9.1 points without colour changes.", "grill2020byol, figure 3b"),
            "SimSiam": Effect(-1, "An author calls it sensitive to the views.", "simsiam29"),
            "MoCo v2": Effect(-2, "Contrasts as SimCLR does: two crops of a picture have nearly the same colours.",
                              "chen2020simclr, section 3.1"),
            "SimCLR": Effect(-3, "Loses 22.2 points without colour changes.", "grill2020byol, figure 3b"),
            "Official weights": Effect(-1, "Most were trained to ignore colour; MAE's were not.", "official"),
        }),
        "none": Option("Unknown: medical, spectral, …", {
            "MAE": Effect(+4, "Needs no views: 84.0 % fine-tuned without any, 84.9 % with crops.",
                          "he2022mae, table 1e"),
            "BYOL": Effect(-2, "Loses 13.1 points with crops alone.", "grill2020byol, figure 3b"),
            "SimSiam": Effect(-3, "37 % on CIFAR-10 where the crop had been forgotten, 84 % with it.", "simsiam9"),
            "MoCo v2": Effect(-3, "There is no evidence that contrasting works without views.",
                              "he2022mae, section 4.1"),
            "SimCLR": Effect(-4, "Loses 27.6 points with crops alone.", "grill2020byol, figure 3b"),
        }),
    }),
    "pretrained": Question("Is there a trained model that you may use?", {
        "domain": Option("Yes, on images like mine", {
            "Official weights": Effect(+DECIDES, "Take it. Training on images of the same kind is what transfers best, "
                                       "and it has been done.", "cole2022contrastive, section 4.2"),
        }),
        "photos": Option("Only on everyday photos", {
            "Official weights": Effect(+2, "The one to beat: fine-tuned, ImageNet's weights beat a random start on all "
                                       "of 12 image sets.", "chen2020simclr, table 8"),
        }),
        "no": Option("No", {
            "Official weights": Effect(-DECIDES, "Nothing to take. Read the licences: most of these weights exclude "
                                       "commercial use.", "official"),
        }),
    }),
}  # fmt: skip


class Ranked(NamedTuple):
    """A method's place: the sum of the points that the answers give it, and the answers' effects, in their order."""

    method: str
    points: int
    effects: list[Effect]


class ChoosingGuide(anywidget.AnyWidget):
    """Which method for my problem? Radio buttons, and the methods in order, with the reason for each point.

    A rule of thumb that says why, and no oracle: points are added up, so what matters most to you may be outvoted.

    Args:
        answers: {question: option}, by the keys of `QUESTIONS`, chosen at first; what is left out is open.

    With a kernel `answers` can be read and set, and `ChoosingGuide.rank(guide.answers)` is what the page shows.

    Raises:
        ValueError: there is no such question or option (TraitError if it is set later).
    """

    _esm = source("page.js", "choosing.js")
    _css = source("widgets.css", "choosing.css")
    # Lists, since a page sorts the keys of a dict
    methods = traitlets.List().tag(sync=True)  # [[method, its page]]
    questions = traitlets.List().tag(sync=True)  # [[key, text, [[key, text, [[method, points, reason, what, where]]]]]]
    answers = traitlets.Dict().tag(sync=True)

    def __init__(self, answers: Mapping[str, str] | None = None, **kwargs):
        _check(answers or {})
        super().__init__(
            methods=[list(method) for method in METHODS.items()],
            questions=[
                [key, question.text, [[k, option.text, _shown(option)] for k, option in question.options.items()]]
                for key, question in QUESTIONS.items()
            ],
            answers=dict(answers or {}),
            **kwargs,
        )

    @traitlets.validate("answers")
    def _known(self, proposal):
        try:
            _check(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error
        return proposal["value"]

    @staticmethod
    def rank(answers: Mapping[str, str]) -> list[Ranked]:
        """All methods, the one with the most points first."""
        _check(answers)
        chosen = [question.options[answers[key]].effects for key, question in QUESTIONS.items() if key in answers]
        ranked = []
        for method in METHODS:
            effects = [option[method] for option in chosen if method in option]
            ranked.append(Ranked(method, sum(effect.points for effect in effects), effects))
        return sorted(ranked, key=lambda row: -row.points)


def _check(answers: Mapping[str, str]) -> None:
    for key, option in answers.items():
        if key not in QUESTIONS:
            raise ValueError(f"there is no question {key!r}; there are {', '.join(QUESTIONS)}")
        if option not in QUESTIONS[key].options:
            raise ValueError(f"{key!r} can't be answered {option!r}, but {', '.join(QUESTIONS[key].options)}")


def _shown(option: Option) -> list[list]:
    """An option's effects with their sources spelled out: what the reason calls it, and where a link leads."""
    rows = []
    for method, (points, reason, where) in option.effects.items():
        key, comma, place = where.partition(",")
        name, link = SOURCES[key]
        rows.append([method, points, reason, name + comma + place, link])
    return rows
