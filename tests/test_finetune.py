"""Training with labels: from scratch, and after pre-training on a copy."""

import copy

import pytest
import torch

from sslbook import evaluate, finetune, sets
from sslbook.encoders import ConvNet
from sslbook.images import ImageSet
from sslbook.views import Augmentation, crop_views

TRAIN, TEST = sets.load("shapes", train=200, test=50)
VIEW = crop_views(32)[0]


def coloured(n=256):
    """Dark pictures and red ones."""
    labels = torch.arange(n) % 2
    pictures = torch.zeros(n, 3, 32, 32, dtype=torch.uint8)
    pictures[labels == 1, 0] = 200
    return ImageSet(images=pictures, labels=labels, classes=["dark", "red"])


def made(seed=0):
    torch.manual_seed(seed)
    return ConvNet(width=4)


def test_supervised_learns_from_labels_in_place():
    encoder, train = made(), coloured()
    before = copy.deepcopy(encoder.state_dict())
    classifier = finetune.supervised(
        encoder, train, epochs=4, view=Augmentation(32), batch_size=32, show_progress=False
    )
    with torch.no_grad():
        predicted = classifier(evaluate.embed(encoder, train)).argmax(dim=1)
    assert (predicted == train.labels).all()
    assert not torch.equal(encoder.state_dict()["0.0.weight"], before["0.0.weight"])


def test_each_picture_is_trained_on_its_own_label():
    """The batches are in another order than the labels."""
    encoder, train = made(), coloured()
    train.labels = train.labels[torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    train.images[:, 0] = 200 * train.labels[:, None, None].to(torch.uint8)
    accuracy = finetune.fine_tune(
        encoder, train, train, epochs=4, view=Augmentation(32), batch_size=32, show_progress=False
    )
    assert accuracy == 1


@pytest.mark.parametrize("training", [True, False])
def test_fine_tuning_leaves_the_encoder_as_it_is(training):
    encoder = made().train(training)
    encoder[0].requires_grad_(False)
    before = copy.deepcopy(encoder)
    options = dict(epochs=2, view=VIEW, batch_size=32, show_progress=False)
    accuracy = finetune.fine_tune(encoder, TRAIN, TEST, **options)
    assert 0 <= accuracy <= 1
    assert encoder.training == training
    for name, value in before.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), f"{name} moved"
    for old, new in zip(before.parameters(), encoder.parameters()):
        assert old.requires_grad == new.requires_grad and new.grad is None


def test_fine_tuning_sees_the_share_of_labels_it_is_given(monkeypatch):
    seen = {}

    def supervised(encoder, train, **options):
        seen.update(options, images=train.images)
        return torch.nn.Linear(encoder.features_dim, len(TRAIN.classes))

    monkeypatch.setattr(finetune, "supervised", supervised)
    finetune.fine_tune(made(), TRAIN, TEST, epochs=2, view=VIEW, share=0.1, batch_size=128)
    few = evaluate.few_labels(TRAIN.labels, 0.1)
    assert torch.equal(seen["images"], TRAIN.images[few])
    assert seen["epochs"] == 20, "as many steps as with all labels"
    assert seen["batch_size"] == len(few)


def test_what_cannot_be_learnt_from_is_refused():
    options = dict(epochs=1, view=VIEW, show_progress=False)
    unlabelled = ImageSet(TRAIN.images, torch.full((len(TRAIN),), -1), TRAIN.classes)
    with pytest.raises(ValueError, match="every image needs a label"):
        finetune.supervised(made(), unlabelled, **options)
    with pytest.raises(ValueError, match="one class only"):
        finetune.supervised(made(), TRAIN[TRAIN.labels == 0], **options)
