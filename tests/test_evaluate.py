import math
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import normalized_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sslbook import evaluate, sets
from sslbook.callbacks import Probe
from sslbook.encoders import ConvNet
from sslbook.finetune import fine_tune
from sslbook.images import ImageSet
from sslbook.views import Augmentation

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
    theirs = g(f"{prefix}.class_scores")  # weights that are not divided by their sum
    np.testing.assert_allclose(scores, theirs / theirs.sum(dim=1, keepdim=True), rtol=1e-4)
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
    nothing = torch.zeros(512, 64)
    assert evaluate.rankme(nothing) == pytest.approx(1, abs=1e-3) and evaluate.spread(nothing) == 0
    assert evaluate.rankme(random.bfloat16()) == pytest.approx(evaluate.rankme(random), rel=1e-2)
    random[7, 3] = torch.nan
    for measure in (evaluate.rankme, evaluate.spread):
        with pytest.raises(ValueError, match="1 of 512 rows of features are not finite"):
            measure(random)


def views_of(spread, noise, n=4000, q=12, seed=0):
    """(n, q, D): images apart by `spread` in each direction, views of one by `noise`; turned at random."""
    generator = torch.Generator().manual_seed(seed)
    spread, noise = (torch.tensor(x, dtype=torch.float64) for x in (spread, noise))
    dim = len(spread)
    means = spread * torch.randn(n, 1, dim, dtype=torch.float64, generator=generator)
    turn = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator)).Q
    return (means + noise * torch.randn(n, q, dim, dtype=torch.float64, generator=generator)) @ turn


def test_lidar_counts_directions_by_signal_to_noise():
    """Eigenvalues are spread^2 / noise^2 + 1 / q in the mean, and the score is exp of their entropy."""
    assert evaluate.lidar(views_of([1, 1, 1, 1], [0.1] * 4)) == pytest.approx(4, abs=0.02)
    unlike = evaluate.lidar(views_of([1, 1, 2, 2], [0.1, 0.1, 0.2, 0.2]))
    assert unlike == pytest.approx(4, abs=0.02), "the scale of a direction does not count, as in RankMe it does"
    one = evaluate.lidar(views_of([1, 0, 0, 0], [0.1, 1, 1, 1]))
    eigenvalues = torch.tensor([100 + 1 / 12, 1 / 12, 1 / 12, 1 / 12])
    entropy = torch.distributions.Categorical(eigenvalues).entropy().exp().item()
    assert one == pytest.approx(entropy, abs=0.01)
    noise = views_of([1, 0, 0, 0], [0.1, 1, 1, 1])
    assert evaluate.rankme(noise.flatten(0, 1)) > 3.5, "RankMe counts the noise of the views"


def test_lidar_equals_the_definition():
    """S_w^(-1/2) S_b S_w^(-1/2) spelled out: covariances one image and one view at a time."""
    x = views_of([1, 0.5, 0.2], [0.3, 0.2, 0.4], n=20, q=3)
    mean = x.mean(dim=(0, 1))
    S_b = sum(torch.outer(v.mean(0) - mean, v.mean(0) - mean) for v in x) / 19
    S_w = sum(torch.outer(row - v.mean(0), row - v.mean(0)) for v in x for row in v) / 40 + 1e-4 * torch.eye(3)
    values, vectors = torch.linalg.eigh(S_w)
    root = vectors / values.sqrt() @ vectors.T
    p = torch.linalg.eigvalsh(root @ S_b @ root)
    p = p / p.sum()
    assert evaluate.lidar(x) == pytest.approx((-(p * p.log()).sum()).exp().item(), rel=1e-8)
    assert evaluate.lidar(x, delta=1.0) != pytest.approx(evaluate.lidar(x), rel=1e-3)
    assert evaluate.lidar(torch.ones(5, 3, 2)) == 1, "collapsed"
    for wrong, message in ((x[0], r"must be \(n, q, D\)"), (x[:, :1], "q at least 2"), (x[:1], "n and q at least")):
        with pytest.raises(ValueError, match=message):
            evaluate.lidar(wrong)
    with pytest.raises(ValueError, match="delta must be positive"):
        evaluate.lidar(x, delta=0)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.5])
def test_alpha_of_a_power_law(alpha):
    """A covariance whose eigenvalues are j^(-alpha) exactly; the features' mean and turn do not count."""
    generator, dim = torch.Generator().manual_seed(0), 64
    x = torch.randn(256, dim, dtype=torch.float64, generator=generator)
    x = torch.linalg.qr(x - x.mean(dim=0)).Q  # columns of mean 0 that are orthogonal
    turn = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator)).Q
    scale = torch.arange(1, dim + 1).double() ** (-alpha / 2)
    assert evaluate.alpha_req(5 + x * scale @ turn) == pytest.approx(alpha, abs=1e-6)
    scale[0] = 30  # the first ones are left out
    assert evaluate.alpha_req(x * scale @ turn, last=40) == pytest.approx(alpha, abs=1e-6)


def test_alpha_needs_a_spectrum():
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert evaluate.alpha_req(x, first=1) > 0
    for few in (x, torch.ones(100, 64), torch.cat([x, x, x], dim=1)):
        with pytest.raises(ValueError, match="a slope needs two eigenvalues or more from number 5 to 50"):
            evaluate.alpha_req(few)


def test_the_two_collapses_of_assignments_show_in_two_monitors():
    """Healthy: all prototypes in use, and each image belongs to one."""
    healthy = F.one_hot(torch.arange(64) % 16, 16).float()
    one_for_all, all_alike = F.one_hot(torch.zeros(64, dtype=torch.long), 16).float(), torch.full((64, 16), 1 / 16)
    monitors = (evaluate.prototypes_used, evaluate.assignment_sharpness)
    assert [m(healthy) for m in monitors] == pytest.approx([16, 1])
    assert [m(one_for_all) for m in monitors] == pytest.approx([1, 1])
    assert [m(all_alike) for m in monitors] == pytest.approx([16, 16])
    mixed = torch.stack([healthy[0], all_alike[0]])
    assert evaluate.assignment_sharpness(mixed) == pytest.approx(8.5), "the mean of exp, not exp of the mean"
    p = 0.5 * (mixed[0] + mixed[1])
    assert evaluate.prototypes_used(mixed) == pytest.approx(torch.distributions.Categorical(p).entropy().exp().item())
    assert evaluate.assignment_sharpness(all_alike.bfloat16()) == pytest.approx(16, rel=1e-2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(0, 4), "at least one row"),
        (torch.ones(4), r"must be \(N, K\)"),
        (torch.full((2, 4), torch.nan), "2 of 2 rows of features are not finite"),
        (torch.ones(2, 4), "take the softmax of scores"),
        (torch.tensor([[1.5, -0.5]]), "must not be negative"),
    ],
)
def test_scores_are_not_assignments(wrong, message):
    for monitor in (evaluate.prototypes_used, evaluate.assignment_sharpness):
        with pytest.raises(ValueError, match=message):
            monitor(wrong)


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


@pytest.mark.parametrize("measure", [partial(evaluate.knn, k=2), evaluate.linear_evaluation], ids=["kNN", "linear"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(train_labels=torch.tensor([0, 1, 0, 1])), "6 training features but 4 labels"),
        (dict(test_labels=torch.tensor([[0], [1], [0]])), r"3 test features but \(3, 1\) labels"),
        (
            dict(train_labels=torch.tensor([0, 1, 0, 1, 0, -1])),
            "a training label is negative, which means not labelled",
        ),
        (dict(test_labels=torch.tensor([0, 1, -1])), "a test label is negative"),
        (
            dict(train_features=torch.tensor([[1.0, 2.0]] * 5 + [[1.0, torch.nan]])),
            "1 of 6 rows of features are not fin",
        ),
        (dict(test_features=torch.full((3, 2), torch.inf)), "3 of 3 rows of features are not finite"),
        (dict(test_features=torch.empty(0, 2), test_labels=torch.empty(0, dtype=torch.long)), "at least one"),
        (dict(train_features=torch.ones(6, 2, 1)), r"must be \(N, D\)"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_would_be_a_silent_wrong_answer_is_refused(measure, wrong, message):
    right = dict(
        train_features=torch.arange(12.0).view(6, 2),
        train_labels=torch.tensor([0, 1, 0, 1, 0, 1]),
        test_features=torch.arange(6.0).view(3, 2),
        test_labels=torch.tensor([0, 1, 0]),
    )
    assert 0 <= measure(*right.values()) <= 1
    with pytest.raises(ValueError, match=message):
        measure(*(right | wrong).values())


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="one class only"):
        evaluate.linear_evaluation(torch.randn(4, 2), torch.ones(4).long(), torch.randn(2, 2), torch.ones(2).long())


@pytest.mark.parametrize("temperature", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_vote_overflows_at_no_temperature_and_in_no_precision(temperature, dtype):
    """exp(cosine / .01) is infinite in float32, and in half precision 200 votes of exp(1 / .1) are."""
    (x, labels), (new, asked) = features(), features(300, seed=1)
    x, new = (((f - x.mean(dim=0)) / x.std(dim=0)).to(dtype) for f in (x, new))
    expected = evaluate.knn_scores(x.double(), labels, new.double(), temperature=temperature)
    scores = evaluate.knn_scores(x, labels, new, temperature=temperature)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), expected, atol=3e-3, rtol=0)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(300))
    assert evaluate.knn(x, labels, new, asked, temperature=temperature) > 0.6


def test_half_precision_features_have_the_probe_of_whole_ones():
    (x, labels), (new, asked) = features(), features(300, seed=1)
    for dtype in (torch.float16, torch.bfloat16):
        x_, new_ = x.to(dtype), new.to(dtype)
        whole = evaluate.linear_evaluation(x_.float(), labels, new_.float(), asked)
        assert evaluate.linear_evaluation(x_, labels, new_, asked) == whole > 0.6


def named(labels, classes):
    labels = torch.tensor(labels)
    images = 40 * torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return ImageSet(images, labels, classes)


def test_classes_are_matched_by_their_names():
    train = named([0, 1, 2, -1], ["cat", "dog", "owl"])
    ours, test = evaluate.to_judge(train, named([1, 0, -1, 1], ["owl", "cat", "bat"]))
    assert ours.labels.tolist() == [0, 1, 2] and test.labels.tolist() == [0, 2, 0]
    assert test.classes == ours.classes and len(test) == 3 and test.images[2, 0, 0, 0] == 120
    _, held_out = evaluate.to_judge(train, named([0, 0], ["dog"]))
    assert held_out.labels.tolist() == [1, 1], "a class may be missing among those that are asked"
    same = named([0, 1], ["cat", "dog"])
    assert evaluate.to_judge(same, same)[0] is same, "nothing is copied where nothing changes"


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (named([0, 1], ["cat", "dog"]), named([0, 1], ["cat", "owl"]), "of the class 'owl', which no train image has"),
        (named([0, 0], ["cat", "dog"]), named([0, 1], ["cat", "dog"]), "one class only"),
        (named([0, 0], ["cat"]), named([0], ["cat"]), "one class only"),
        (named([-1, -1], []), named([0, 1], ["cat", "dog"]), "no train image has a label: photos need a sub-folder"),
        (named([0, 1], ["cat", "dog"]), named([-1], []), "no test image has a label"),
    ],
    ids=["another class", "one is there", "there is one", "none to train by", "none to ask"],
)
def test_sets_that_do_not_fit_are_refused_wherever_they_are_judged(train, test, message):
    encoder, view = ConvNet(width=2), Augmentation(4)
    for judge in (
        lambda: evaluate.report(encoder, train, test),
        lambda: evaluate.protocol(train, test),
        lambda: Probe(train, test),
        lambda: fine_tune(encoder, train, test, epochs=1, view=view, show_progress=False),
    ):
        with pytest.raises(ValueError, match=message):
            judge()


def test_the_report_does_not_depend_on_how_classes_are_ordered():
    train, test = sets.load("shapes", train=400, test=100)
    turned = replace(test, labels=len(test.classes) - 1 - test.labels, classes=test.classes[::-1])
    torch.manual_seed(0)
    encoder = ConvNet(width=4)
    assert evaluate.report(encoder, train, turned) == evaluate.report(encoder, train, test)


def test_no_more_neighbours_vote_than_the_smallest_class_has():
    train, test = sets.load("shapes", train=400, test=100)
    few = train[torch.cat([(train.labels == 0).nonzero()[:3, 0], (train.labels > 0).nonzero()[:, 0]])]
    assert evaluate.neighbours(few.labels) == 3 and evaluate.neighbours(few.labels, 2) == 2
    assert evaluate.protocol(few, test) == {"k": 3, "labels": len(few), "1 % of labels": 8, "test labels": 100}
    x, y = (s.images.flatten(1) / 255 for s in (few, test))
    answer = evaluate.report(lambda images: images.images.flatten(1) / 255, few, test)["kNN"]
    assert answer == evaluate.knn(x, few.labels, y, test.labels, k=3)


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_explained_variance_equals_scikit_learn_s(ridge):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(200, 5, generator=generator) * 3 + 1 for _ in range(2))
    known, asked = (f[:, 0] - 2 * f[:, 1:2].square().squeeze(1) for f in (x, y))
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=ridge * len(x))).fit(x, known).score(y, asked)
    assert evaluate.explained(x, known, y, asked, ridge=ridge) == pytest.approx(theirs, abs=2e-3)


def test_an_angle_is_explained_by_its_cosine_and_sine():
    hue = torch.linspace(0, 1, 101)[:-1]
    circle = torch.stack([(2 * torch.pi * hue).cos(), (2 * torch.pi * hue).sin()], dim=1)
    shares = evaluate.explained_factors(circle, {"hue": hue, "x": hue}, circle, {"hue": hue, "x": hue})
    assert shares["hue"] > 0.999, "0 and 1 are one hue"
    assert shares["x"] < 0.7, "as a number it jumps there"
    noise = torch.randn(2, 100, 2, generator=torch.Generator().manual_seed(0))
    assert abs(evaluate.explained_factors(noise[0], {"hue": hue}, noise[1], {"hue": hue})["hue"]) < 0.1


def test_partners_are_found_by_direction_among_all_others():
    z = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    assert evaluate.partners_found(torch.cat([z, 5 * z])) == 1.0
    assert evaluate.partners_found(torch.cat([z, z.roll(1, 0)])) == 0.0, "every row's twin is of another image"
    one_wrong = torch.cat([z, z])
    one_wrong[8] = -z[0]
    assert evaluate.partners_found(one_wrong) == 14 / 16
    with pytest.raises(ValueError, match="even number of rows; got 3"):
        evaluate.partners_found(z[:3])


def test_few_labels_are_a_share_of_each_class():
    labels = torch.tensor([0] * 200 + [1] * 100 + [2] * 10)
    few = evaluate.few_labels(labels, 0.02)
    assert few.tolist() == [0, 1, 2, 3, 200, 201, 300]
    unlabelled = torch.cat([torch.tensor([-1] * 100), labels])
    assert torch.equal(evaluate.few_labels(unlabelled, 0.02), 100 + few)


def test_few_labels_can_be_drawn():
    labels = torch.tensor([-1, 0, 1, 2] * 100)
    one, again, other = (evaluate.few_labels(labels, 0.1, seed) for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert labels[one].tolist() == labels[other].tolist() == [0] * 10 + [1] * 10 + [2] * 10
    drawn = torch.cat([evaluate.few_labels(labels, 0.1, seed) for seed in range(100)])
    assert len(drawn.unique()) == 300, "each image has its turn"


def test_the_report_asks_an_encoder_and_plain_features_the_same():
    train, test = sets.load("shapes", train=400, test=100)
    pixels = evaluate.report(lambda images: images.images.flatten(1) / 255, train, test)
    assert list(pixels) == ["kNN", "linear", "linear, 1 % of labels", "± of 10 draws", "linear, hue"]
    labels = evaluate.report(lambda images: F.one_hot(images.labels).float(), train, test)
    assert labels["kNN"] == labels["linear"] == labels["linear, 1 % of labels"] == 1
    assert labels["linear, hue"] < 0.25 < pixels["linear, hue"]
    x, y, answers = train.images.flatten(1) / 255, test.images.flatten(1) / 255, []
    for seed in range(10):
        few = evaluate.few_labels(train.labels, 0.01, seed)
        answers.append(evaluate.linear_evaluation(x[few], train.labels[few], y, test.labels))
    assert pixels["linear, 1 % of labels"] == pytest.approx(np.mean(answers)) and np.mean(answers) < pixels["linear"]
    assert pixels["± of 10 draws"] == pytest.approx(np.std(answers, ddof=1)) and len(set(answers)) > 1
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


@pytest.mark.parametrize("weight_decay", [1e-5, 1e-3, 1e-1])
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


def test_a_nearly_constant_feature_does_not_outweigh_the_others():
    """1e-6 is added to its variance, as in MAE's probe: with a clamp it would decide all."""
    (x, labels), (new, asked) = features(), features(1000, seed=1)
    noise = torch.randn(1900, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    still = [1e-7 * noise[:900], 1e-2 * noise[900:]]
    expected = evaluate.linear_evaluation(x, labels, new, asked)
    found = evaluate.linear_evaluation(torch.cat([x, still[0]], 1), labels, torch.cat([new, still[1]], 1), asked)
    assert found == pytest.approx(expected, abs=0.01) and expected > 0.6


def test_the_probe_is_fitted_to_the_end_or_says_that_it_is_not(probes):
    """A small penalty and features that hang together: after 100 steps scikit-learn's weights are far away still."""
    (x, labels), (new, asked) = features(), features(1000, seed=1)
    x, new = (torch.cat([f, f + 0.1 * f.roll(1, 0)], dim=1) for f in (x, new))
    with warnings.catch_warnings(action="error"):
        evaluate.linear_evaluation(x, labels, new, asked, weight_decay=1e-6)
    with pytest.warns(UserWarning, match="stopped after 5 steps, before its end"):
        evaluate.linear_evaluation(x, labels, new, asked, weight_decay=1e-6, steps=5)
    there, early = (np.abs(probe.weight.detach().numpy() - oracle(x, labels, 1e-6)[-1].coef_).max() for probe in probes)
    assert there < 0.05 < early


# -- clusters


def some_clusters(n=400, k=7, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clusters = torch.randint(k, (n,), generator=generator)
    labels = torch.where(torch.rand(n, generator=generator) < 0.4, clusters % classes, clusters.flip(0) % classes)
    return clusters, labels


def test_nmi_equals_scikit_learn_s_geometric_one():
    clusters, labels = some_clusters()
    theirs = normalized_mutual_info_score(labels, clusters, average_method="geometric")
    assert evaluate.nmi(clusters, labels) == pytest.approx(theirs) == evaluate.nmi(labels, clusters)
    assert evaluate.nmi(labels, (labels + 1) % 4) == pytest.approx(1)
    assert evaluate.nmi(torch.zeros_like(labels), labels) == 0


def test_purity_is_the_share_of_the_commonest_label():
    clusters, labels = torch.tensor([0, 0, 0, 2, 2, 5]), torch.tensor([1, 1, 0, 3, 0, 2])
    assert evaluate.purity(clusters, labels) == pytest.approx((2 + 1 + 1) / 6)
    assert evaluate.purity(torch.arange(6), labels) == 1, "a cluster each"
    assert evaluate.purity(torch.zeros(6).long(), labels) == pytest.approx(2 / 6), "the commonest label's share"


def test_chance_is_that_of_clusters_that_know_nothing():
    generator = torch.Generator().manual_seed(1)
    clusters, labels = torch.randint(64, (2000,), generator=generator), torch.randint(8, (2000,), generator=generator)
    for measure in (evaluate.purity, evaluate.nmi):
        chance = evaluate.by_chance(measure, clusters, labels)
        assert measure(clusters, labels) == pytest.approx(chance, rel=0.05)
        assert evaluate.by_chance(measure, clusters, labels) == chance
    assert evaluate.by_chance(evaluate.purity, clusters, labels) > 0.22, "of 8 labels, and not 1/8"
    assert evaluate.by_chance(evaluate.nmi, labels, labels) < 0.02


@pytest.mark.parametrize("measure", [evaluate.purity, evaluate.nmi])
def test_clusters_that_do_not_fit_are_refused(measure):
    zeros = torch.zeros(3).long()
    with pytest.raises(ValueError, match=r"must both be \(N,\), got 3 and 2"):
        measure(zeros, zeros[:2])
    with pytest.raises(ValueError, match="negative"):
        measure(zeros, zeros - 1)


def test_factors_are_cut_into_parts_of_as_many_images():
    train, _ = sets.load("shapes", train=800, test=1)
    parts = evaluate.in_parts(train)
    assert list(parts) == ["class", *train.factors] and torch.equal(parts["class"][0], train.labels)
    for name, (part, names) in parts.items():
        counts = part.bincount()
        assert len(counts) == len(names) == 8, name
        assert counts.min() > 60 and counts.max() < 140, name
        if name not in ("class", "hue"):
            assert counts.min() >= 98 and counts.max() <= 102, name
    assert torch.equal(parts["hue"][0], (8 * train.factors["hue"]).long())
    x, (part, names) = train.factors["x"], parts["x"]
    edges = [(x[part == i].min().item(), x[part == i].max().item()) for i in range(8)]
    assert all(high <= low for (_, high), (low, _) in zip(edges, edges[1:]))
    assert names[0].startswith(f"{x.min().item():.2f} to ")


def test_iou_is_what_both_masks_have_of_what_either_has():
    found, truth = torch.zeros(3, 4, 4, dtype=torch.bool), torch.zeros(3, 4, 4, dtype=torch.bool)
    found[0, 0, :3], truth[0, 0, 1:] = True, True  # two of four
    found[1, 0, 0], truth[1, 1, 1] = True, True  # none; the third pair is empty
    assert evaluate.iou(found, truth) == pytest.approx((2 / 4 + 0 + 1) / 3)
    assert evaluate.iou(truth, truth) == 1
    for wrong in (truth[:2], truth[0], truth.float()):
        with pytest.raises(ValueError, match=r"masks must both be bool \(n, H, W\)"):
            evaluate.iou(found, wrong)


def test_attended_patches_are_the_fewest_with_their_share():
    attention = torch.tensor([[0.4, 0.3], [0.2, 0.1]])
    for share, kept in ((0.3, [1, 0, 0, 0]), (0.6, [1, 1, 0, 0]), (0.75, [1, 1, 1, 0]), (1.0, [1, 1, 1, 1])):
        assert evaluate.attended(attention, share).int().flatten().tolist() == kept
        assert torch.equal(
            evaluate.attended(0.1 * attention.expand(2, 3, 2, 2), share)[1, 2].int().flatten(), torch.tensor(kept)
        )


def test_information_is_the_mutual_information_of_numpy():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (500,), generator=generator)
    codes = torch.where(
        torch.rand(500, 6, generator=generator) < 0.5, labels[:, None], torch.randint(4, (500, 6), generator=generator)
    )
    p = np.zeros((4, 4))
    np.add.at(p, (codes.numpy(), np.repeat(labels[:, None].numpy(), 6, 1)), 1 / 3000)
    expected = (p * np.log2(p / p.sum(0) / p.sum(1, keepdims=True))).sum()
    assert evaluate.bits_of_a_patch(codes, labels) == pytest.approx(expected, rel=1e-5)
    alike = (labels[:, None] == torch.arange(4)).float()
    assert evaluate.information(labels[:, None], labels) == pytest.approx(-alike.mean(0).log2(), rel=1e-5)
    shuffled = evaluate.by_chance(evaluate.bits_of_a_patch, codes, labels)
    assert 0 < shuffled < expected / 20
    assert evaluate.bags(codes, 5).sum(1) == pytest.approx(torch.ones(500)) and not evaluate.bags(codes, 5)[:, 4].any()


def test_information_refuses_codes_of_other_images():
    with pytest.raises(ValueError, match=r"codes must be \(N, L\)"):
        evaluate.information(torch.zeros(3, 4).long(), torch.zeros(4).long())


# ---- what each latent says


def factors_and_noise(n=4096):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(n, 2, generator=generator)
    classes = torch.randint(8, (n,), generator=generator)
    return {"hue": values[:, 0], "x": values[:, 1], "class": classes}, torch.randn(n, 5, generator=generator)


def test_codes_that_are_the_factors_have_the_whole_gap_and_noise_has_none():
    factors, noise = factors_and_noise()
    codes = torch.cat([noise[:, :2], torch.stack([3 - 7 * factors["x"], factors["hue"].exp()], dim=1)], dim=1)
    of_values = {name: factors[name] for name in ("hue", "x")}
    assert evaluate.mutual_information_gap(codes, of_values) == pytest.approx(1, abs=0.03)
    assert evaluate.mutual_information_gap(noise, factors) < 0.01
    found = evaluate.factor_information(codes, of_values)
    assert found.shape == (4, 2) and found[3, 0] == pytest.approx(1) and found[2, 1] == pytest.approx(1, abs=0.01)
    by_chance = 81 / 2 / 4096 / math.log(10)
    assert found[:2].mean() == pytest.approx(by_chance, rel=0.3), "the bias that the docstring names"


def test_two_latents_that_say_the_same_have_no_gap():
    factors, noise = factors_and_noise()
    both = torch.stack([factors["x"], -2 * factors["x"], noise[:, 0]], dim=1)
    assert evaluate.mutual_information_gap(both, {"x": factors["x"]}) == pytest.approx(0, abs=0.01)
    # x is said whole, of the hue nothing: the mean of two gaps
    half = evaluate.mutual_information_gap(both[:, 1:], {name: factors[name] for name in ("x", "hue")})
    assert half == pytest.approx(0.5, abs=0.02)


def test_information_is_a_share_of_the_factor_s_entropy():
    """A code of ten parts says half a class of two where it says which of four: known by counting."""
    classes = torch.arange(4000) % 4
    code = (classes >= 2).float()[:, None]
    found = evaluate.factor_information(code, {"class": classes, "half": classes // 2, "odd": classes % 2})
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0, 0.0]]))


def test_a_latent_that_says_nothing_has_no_information():
    factors, _ = factors_and_noise()
    assert evaluate.factor_information(torch.full((4096, 2), 0.3), factors).max() == 0


@pytest.mark.parametrize(
    "codes, factors, options, match",
    [
        (torch.zeros(4, 2), {}, {}, "no factors"),
        (torch.zeros(4, 2), {"x": torch.zeros(3)}, {}, r"codes must be \(N, latents\)"),
        (torch.zeros(4), {"x": torch.zeros(4)}, {}, r"codes must be \(N, latents\)"),
        (torch.zeros(4, 2), {"x": torch.zeros(4)}, {"bins": 1}, "bins must be at least 2"),
        (torch.full((4, 2), torch.nan), {"x": torch.zeros(4)}, {}, "4 of 4 rows of features are not finite"),
        (torch.zeros(4, 1), {"x": torch.zeros(4)}, {}, "needs two latents"),
    ],
)
def test_codes_and_factors_that_do_not_fit_are_refused(codes, factors, options, match):
    with pytest.raises(ValueError, match=match):
        evaluate.mutual_information_gap(codes, factors, **options)


def test_active_units_are_those_whose_mean_moves():
    mu = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.2, 0.09, 0.0]) + 5
    assert evaluate.active_units(mu) == 2 and evaluate.active_units(mu, least=0.5) == 1
    with pytest.raises(ValueError, match=r"mu must be \(N, latents\)"):
        evaluate.active_units(mu[:, 0])


def test_spearman_is_the_correlation_of_the_ranks():
    x = [3.0, -1.0, 10.0, 0.5]
    assert evaluate.spearman(x, [value**3 for value in x]) == pytest.approx(1)
    assert evaluate.spearman(x, [-value for value in x]) == pytest.approx(-1)
    # ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: equal numbers share the mean of theirs
    assert evaluate.spearman([0, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert math.isnan(evaluate.spearman([1, 1], [1, 2]))
    with pytest.raises(ValueError, match="two rows of n >= 2 numbers, got 3 and 2"):
        evaluate.spearman([1, 2, 3], [1, 2])
