import math

import numpy as np
import pytest
import torch
from made_up import pictures

from sslbook import sets
from sslbook.samples import Judge, classes_drawn, frechet_distance

TRAIN, TEST = sets.load("shapes", train=1024, test=256)


@pytest.fixture(scope="module")
def judge():
    return Judge(TRAIN, TEST, epochs=20)


def features(n=500, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)


def test_a_shift_counts_by_its_square_and_equal_sets_are_0_apart():
    x = features()
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-4)
    shift = torch.tensor([1.0, -2.0, 0, 0, 0, 3])
    assert frechet_distance(x, x + shift) == pytest.approx(14, rel=1e-4)
    assert frechet_distance(x, x[torch.randperm(500)]) == pytest.approx(0, abs=1e-4)


def test_a_wider_gaussian_is_as_far_as_its_deviations_say():
    """Of Gaussians along the same axes the distance is the sum of (sigma_x - sigma_y)^2."""
    x = features(d=1)
    assert frechet_distance(x, 3 * x) == pytest.approx(4 * x.var().item() + 4 * x.mean().item() ** 2, rel=1e-5)


def test_it_equals_the_formula_with_scipy_s_root():
    scipy = pytest.importorskip("scipy.linalg")
    x, y = features(seed=1), features(n=300, seed=2) + 1
    c_x, c_y = (np.cov(z.double().numpy(), rowvar=False) for z in (x, y))
    apart = np.square(x.double().mean(0).numpy() - y.double().mean(0).numpy()).sum()
    expected = apart + np.trace(c_x + c_y - 2 * scipy.sqrtm(c_x @ c_y).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-6)


def test_fewer_pictures_than_features_are_no_trouble():
    few = frechet_distance(features(n=4), features(n=4, seed=1))
    assert math.isfinite(few) and few > 0


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((5,), (5,)), ((1, 3), (5, 3))])
def test_what_are_no_two_sets_of_features_is_refused(shapes):
    with pytest.raises(ValueError, match=r"features must be \(n, D\) and \(m, D\), two rows or more"):
        frechet_distance(*(torch.zeros(shape) for shape in shapes))


def test_classes_drawn_counts_in_effect():
    assert classes_drawn(torch.full((8,), 1 / 8)) == pytest.approx(8)
    assert classes_drawn(torch.tensor([0.0, 1, 0])) == pytest.approx(1)
    assert classes_drawn(torch.tensor([0.5, 0.5, 0])) == pytest.approx(2)


def test_the_judge_knows_the_shapes_and_counts_them(judge):
    assert judge.accuracy > 0.8 and judge.names == TEST.classes
    one = TEST[TEST.labels == 3]
    shares = judge.classes(one)
    assert shares.shape == (8,) and shares.sum().item() == pytest.approx(1) and shares.argmax() == 3
    assert classes_drawn(judge.classes(TEST)) > 7 > 3 > classes_drawn(shares)


def test_real_pictures_are_near_noise_and_one_class_are_far(judge):
    half = torch.arange(128)
    real, same = TEST[half], TEST[half + 128]
    near = judge.frechet(real, same)
    assert judge.frechet(real, real) == pytest.approx(0, abs=1e-3)
    assert judge.frechet(real, same.images / 255) == pytest.approx(near, rel=1e-3)
    assert judge.frechet(real, TEST[TEST.labels == 3]) > 3 * near
    assert judge.frechet(real, pictures(128, size=32)) > 3 * near


def test_the_same_seed_makes_the_same_judge_and_leaves_randomness_alone():
    before = torch.manual_seed(3).get_state()
    one, two = (Judge(TRAIN[torch.arange(64)], TEST, epochs=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.features(TEST), two.features(TEST))
    other = Judge(TRAIN[torch.arange(64)], TEST, epochs=1, seed=1)
    assert not torch.equal(one.features(TEST), other.features(TEST))


def test_other_classes_are_refused():
    photos = sets.ImageSet(TEST.images, TEST.labels, [f"{name}s" for name in TEST.classes])
    with pytest.raises(ValueError, match="the test images are of the classes"):
        Judge(TRAIN, photos)
