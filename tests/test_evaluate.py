from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sslbook import evaluate, sets
from sslbook.encoders import ConvNet
from sslbook.images import ImageSet

GOLDEN = np.load(Path(__file__).parent / "golden" / "15_knn_rankme_alignunif.npz")


def g(name):
    array = torch.tensor(GOLDEN[name])
    return array.double() if array.is_floating_point() else array


@pytest.mark.parametrize("prefix, k, temperature", [("knn", None, None), ("knn_k5_T05", 5, 0.5)])
def test_knn_equals_dino(prefix, k, temperature):
    k, temperature = k or int(g("knn.k")), temperature or float(g("knn.T_f64"))
    known, new = (g("knn.train_features"), g("knn.train_labels")), (g("knn.test_features"), g("knn.test_labels"))
    scores = evaluate.knn_scores(*known, new[0], k=k, temperature=temperature)
    assert torch.equal(scores.argmax(dim=1), g(f"{prefix}.pred"))
    np.testing.assert_allclose(scores, g(f"{prefix}.class_scores"), rtol=1e-4)
    top1 = evaluate.knn(*known, *new, k=k, temperature=temperature)
    assert 100 * top1 == pytest.approx(float(g(f"{prefix}.top1_percent_f64")))


def test_knn_looks_at_directions_only():
    generator = torch.Generator().manual_seed(0)
    known, new = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (60, 20))
    labels, lengths = torch.arange(60) % 3, torch.linspace(1, 10, 60, dtype=torch.float64)[:, None]
    expected = evaluate.knn_scores(known, labels, new, k=5)
    torch.testing.assert_close(evaluate.knn_scores(lengths * known, labels, 7 * new, k=5), expected)


def test_rankme_alignment_and_uniformity_equal_their_authors():
    assert evaluate.rankme(g("rankme.X")) == pytest.approx(float(g("rankme.eps1e-7_paper_formula_f64")), rel=1e-5)
    x, y = g("au.x").requires_grad_(), g("au.y")
    align, uniform = evaluate.alignment(x, y), evaluate.uniformity(x)
    assert align.item() == pytest.approx(float(g("au.align_alpha2_f64")), rel=1e-6)
    assert evaluate.alignment(x, y, alpha=1).item() == pytest.approx(float(g("au.align_alpha1_f64")), rel=1e-6)
    assert uniform.item() == pytest.approx(float(g("au.uniform_x_t2_f64")), rel=1e-6)
    assert evaluate.uniformity(x, t=3).item() == pytest.approx(float(g("au.uniform_x_t3_f64")), rel=1e-6)
    np.testing.assert_allclose(torch.autograd.grad(align, x)[0], g("au.align_grad_x"), atol=1e-6)
    np.testing.assert_allclose(torch.autograd.grad(uniform, x)[0], g("au.uniform_grad_x"), atol=1e-6)


def test_collapse_shows():
    random = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    collapsed = torch.ones(512, 64) + 1e-6 * random
    assert evaluate.spread(random) == pytest.approx(1, abs=0.02) and evaluate.spread(collapsed) < 1e-3
    assert evaluate.rankme(random) > 55 and evaluate.rankme(collapsed) < 1.01
    assert evaluate.rankme(100 + random) < 2, "features are not centred: what they share counts"
    assert evaluate.uniformity(F.normalize(collapsed, dim=1)).item() == pytest.approx(0, abs=1e-4)


def test_the_frozen_encoder_does_not_move():
    """A published 92.9 % came from an encoder that was fine-tuned while it was thought frozen."""
    encoder = ConvNet(width=4).train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    images = torch.randint(0, 256, (96, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(96) % 3
    features = evaluate.embed(encoder, images, batch_size=32)
    evaluate.linear_evaluation(features, labels, features, labels)
    assert not features.requires_grad
    assert encoder.training, "the mode is put back"
    after = encoder.state_dict()
    assert "1.1.running_mean" in after
    for name, value in before.items():
        assert torch.equal(value, after[name]), f"{name} moved"
    encoder.train()(images / 255)  # the same test sees that batch norm moves where nothing is frozen
    assert not torch.equal(before["1.1.running_mean"], encoder.state_dict()["1.1.running_mean"])


def test_embed_does_not_depend_on_batches_or_dtype():
    encoder = ConvNet(width=4)
    images = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8)
    whole = evaluate.embed(encoder, images)
    assert whole.shape == (10, 32)
    torch.testing.assert_close(whole, evaluate.embed(encoder, images / 255, batch_size=3))


def test_linear_evaluation_finds_what_is_linear_and_nothing_else():
    x = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    linear, xor = (x[:, 3] > 0).long(), ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()
    assert evaluate.linear_evaluation(x[:400], linear[:400], x[400:], linear[400:]) > 0.97
    assert evaluate.linear_evaluation(x[:400], xor[:400], x[400:], xor[400:]) < 0.65


def test_refuses_a_k_larger_than_the_training_set():
    with pytest.raises(ValueError, match="got 200"):
        evaluate.knn_scores(torch.randn(5, 2), torch.zeros(5, dtype=torch.long), torch.randn(2, 2))


def test_refuses_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="5 training features but 4 labels"):
        evaluate.knn_scores(torch.randn(5, 2), torch.zeros(4, dtype=torch.long), torch.randn(2, 2), k=2)


def test_few_labels_are_a_share_of_each_class():
    labels = torch.tensor([0] * 200 + [1] * 100 + [2] * 10)
    few = evaluate.few_labels(labels, 0.02)
    assert few.tolist() == [0, 1, 2, 3, 200, 201, 300]


def test_the_report_asks_an_encoder_and_plain_features_the_same():
    train, test = sets.load("shapes", train=400, test=100)
    pixels = evaluate.report(lambda images: images.images.flatten(1) / 255, train, test)
    assert list(pixels) == ["kNN", "linear", "linear, 1 % of labels", "linear, hue"]
    labels = evaluate.report(lambda images: F.one_hot(images.labels).float(), train, test)
    assert labels["kNN"] == labels["linear"] == labels["linear, 1 % of labels"] == 1
    assert labels["linear, hue"] < 0.25 < pixels["linear, hue"]
    few, x, y = evaluate.few_labels(train.labels, 0.01), train.images.flatten(1) / 255, test.images.flatten(1) / 255
    answer = evaluate.linear_evaluation(x[few], train.labels[few], y, test.labels)
    assert pixels["linear, 1 % of labels"] == answer < pixels["linear"]
    torch.manual_seed(0)
    encoder = ConvNet(width=4)
    by_hand = evaluate.report(lambda images: evaluate.embed(encoder, images), train, test)
    assert evaluate.report(encoder, train, test) == by_hand
    unknown = ImageSet(train.images, train.labels, train.classes)
    assert "linear, hue" not in evaluate.report(encoder, unknown, test)


# -- the linear probe, against scikit-learn's


@pytest.fixture
def probes(monkeypatch):
    """The classifiers that `linear_evaluation` fits, as a list that grows."""
    fitted = []

    class Kept(torch.nn.Linear):
        def __init__(self, *args):
            super().__init__(*args)
            fitted.append(self)

    monkeypatch.setattr(torch.nn, "Linear", Kept)
    return fitted


def features(n=900, classes=3, seed=0):
    """Features (n, 6) float64 of unlike place and scale, and labels of unlike frequency that they do not decide."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, generator=generator) ** 2 * classes).long()
    centres = torch.randn(classes, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    x = 0.7 * centres[labels] + torch.randn(n, 6, generator=generator, dtype=torch.float64)
    scale = torch.tensor([0.01, 0.1, 1, 3, 10, 100], dtype=torch.float64)
    return x * scale + 5 * scale, labels


def oracle(x, labels, weight_decay):
    """scikit-learn's sums over the rows what our loss averages, and its C weighs the rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (len(x) * weight_decay), max_iter=2000, tol=1e-8))
    return model.fit(x.numpy(), labels.numpy())


@pytest.mark.parametrize("weight_decay", [1e-3, 1e-1])
def test_the_linear_probe_equals_scikit_learn_s(weight_decay, probes):
    (x, labels), (new, asked) = features(), features(1000, seed=1)
    accuracy = evaluate.linear_evaluation(x, labels, new, asked, weight_decay=weight_decay)
    model = oracle(x, labels, weight_decay)
    assert accuracy == pytest.approx(model.score(new.numpy(), asked.numpy()), abs=1e-3)
    [ours], theirs = probes, model[-1]
    np.testing.assert_allclose(ours.weight.detach(), theirs.coef_, atol=1e-2)
    bias = ours.bias.detach() - ours.bias.detach().mean()  # a constant for all classes changes nothing
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), atol=1e-2)
    assert np.abs(theirs.coef_).max() > 0.1


def test_the_linear_probe_takes_nothing_from_the_test_set(probes):
    """Mean and deviation are the training set's: shifted test features are judged as they are, shift and all."""
    (x, labels), (new, asked) = features(), features(1000, seed=1)
    shifted = 3 * new + x.std(dim=0)
    scores = [evaluate.linear_evaluation(x, labels, test, asked) for test in (new, shifted)]
    assert torch.equal(probes[0].weight, probes[1].weight), "the fit does not look at the test set"
    expected = [oracle(x, labels, 1e-3).score(test.numpy(), asked.numpy()) for test in (new, shifted)]
    assert scores == pytest.approx(expected, abs=1e-3)
    assert scores[1] < scores[0] - 0.1
