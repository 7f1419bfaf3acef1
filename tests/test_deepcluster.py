import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from sslbook import evaluate, sets
from sslbook.callbacks import AfterEpoch
from sslbook.encoders import ConvNet
from sslbook.images import ImageSet
from sslbook.kmeans import uniform_over_clusters
from sslbook.losses import cosine_scores, pseudo_label_loss
from sslbook.methods import Now
from sslbook.methods.deepcluster import (
    DeepCluster,
    deepcluster_views,
)
from sslbook.photos import PhotoStream, from_folder
from sslbook.pretrain import pretrain
from sslbook.views import shapes_views

GOLDEN = np.load(Path(__file__).parent / "golden/08_deepcluster.npz")
TRAIN, TEST = sets.load("shapes", train=256, test=64)


def tiny(**options):
    torch.manual_seed(0)
    return DeepCluster(ConvNet(width=2), **{"k": 6, "dim": 8, "hidden": 16, **options})


def pictures(n, seed):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def train(method, images=TRAIN, **options):
    options = {"epochs": 2, "batch_size": 32, "views": shapes_views(16), "show_progress": False, **options}
    return pretrain(method, images, **options)


# -- the loss


def test_the_loss_equals_the_official_one_in_value_and_gradient():
    """Two heads with 7 and 9 clusters and six crops, some images without a cluster: the mean over the heads."""
    losses, scores = [], []
    for head in (0, 1):
        scores.append(torch.tensor(GOLDEN[f"dcv2_scores_head{head}"]).double().requires_grad_())
        labels = torch.tensor(GOLDEN[f"dcv2_assignments_head{head}"])[torch.tensor(GOLDEN["dcv2_idx"])].repeat(6)
        losses.append(pseudo_label_loss(scores[-1], labels, float(GOLDEN["dcv2_temperature_f64"]))["loss"])
    loss = torch.stack(losses).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(GOLDEN["dcv2_loss_f64"]), abs=1e-9)
    for head in (0, 1):
        np.testing.assert_allclose(scores[head].grad, GOLDEN[f"dcv2_grad_head{head}"], rtol=1e-5, atol=1e-8)


def test_accuracy_counts_what_has_a_label():
    scores = torch.eye(3)[[0, 1, 2, 0]].requires_grad_()
    terms = pseudo_label_loss(scores, torch.tensor([0, 2, -100, 0]), 0.1)
    assert terms["accuracy"].item() == pytest.approx(2 / 3) and not terms["accuracy"].requires_grad


def test_scores_are_cosines_in_full_precision():
    z, centroids = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    centroids = F.normalize(centroids, dim=1)
    expected = F.cosine_similarity(z[:, None], centroids[None], dim=2)
    torch.testing.assert_close(cosine_scores(z, centroids), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cosine_scores(z, centroids), cosine_scores(z, centroids).float())
        torch.testing.assert_close(cosine_scores(z, centroids), expected)


@pytest.mark.parametrize(
    ("scores", "labels", "temperature", "message"),
    [
        (torch.zeros(3), torch.zeros(3).long(), 0.1, r"got \(3,\) and \(3,\)"),
        (torch.zeros(3, 2), torch.zeros(2).long(), 0.1, r"got \(3, 2\) and \(2,\)"),
        (torch.zeros(3, 2), torch.zeros(3).long(), 0.0, "temperature must be positive, got 0"),
    ],
)
def test_the_loss_refuses_nonsense(scores, labels, temperature, message):
    with pytest.raises(ValueError, match=message):
        pseudo_label_loss(scores, labels, temperature)


# -- which images an epoch shows


def golden_labels():
    sizes = torch.tensor(GOLDEN["unif_cluster_sizes"])
    return torch.repeat_interleave(torch.arange(len(sizes)), sizes)


def test_sampling_has_the_official_statistics():
    """Over 200 draws: how often each cluster comes, how many of its images are different ones."""
    labels, generator = golden_labels(), torch.Generator().manual_seed(0)
    counts, different = [], []
    for _ in range(200):
        rows = uniform_over_clusters(labels, generator)
        assert rows.shape == tuple(GOLDEN["unif_len"][:1])
        counts.append(labels[rows].bincount(minlength=5))
        different.append(labels[rows.unique()].bincount(minlength=5))
    counts, different = torch.stack(counts), torch.stack(different).float()
    each = int(GOLDEN["unif_size_per_pseudolabel"])
    assert counts.max(dim=0).values.tolist() == GOLDEN["unif_count_max"].tolist() == [each, each, 0, each, each]
    assert (counts.min(dim=0).values - torch.tensor(GOLDEN["unif_count_min"])).abs().max() <= 1
    np.testing.assert_allclose(counts.float().mean(dim=0), GOLDEN["unif_count_mean"], atol=0.25)
    np.testing.assert_allclose(different.mean(dim=0), GOLDEN["unif_unique_mean"], atol=0.35)
    large = labels[uniform_over_clusters(labels, generator)] == 0
    rows = uniform_over_clusters(labels, generator)
    picked = rows[labels[rows] == 0]
    assert large.any() and len(picked.unique()) == len(picked), "a large cluster shows no image twice"


def test_sampling_follows_its_generator():
    labels = golden_labels()
    one, two, other = (uniform_over_clusters(labels, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert not torch.equal(labels[one], labels[one].sort().values), "clusters are mixed"


def test_the_loop_shows_each_cluster_as_often_and_without_it_each_image_once():
    for uniform in (True, False):
        method = tiny(uniform=uniform)
        seen = []
        loss = method.loss
        method.loss = lambda views, seen=seen, method=method, loss=loss: (seen.append(method.now.rows), loss(views))[1]
        train(method, epochs=1)
        rows = torch.cat(seen)
        counts = method.assignments[rows].bincount(minlength=6)
        sizes = method.assignments.bincount(minlength=6)
        if uniform:
            used = counts[sizes > 0]
            assert used.max() - used.min() <= len(used) + 1 and sizes.max() - sizes.min() > 20
        else:
            assert torch.equal(rows.sort().values, torch.arange(256)) and torch.equal(counts, sizes)


# -- the method


def test_both_views_are_to_be_found_in_their_images_cluster():
    method = tiny().double()
    method.before_epoch(TRAIN)
    rows, (x1, x2) = torch.tensor([3, 200, 7, 9]), (pictures(4, seed).double() for seed in (1, 2))
    method.now = Now(rows=rows)
    z = F.normalize(method.projector(method.encoder(torch.cat([x1, x2]))), dim=1)
    expected = 0
    for i, row in enumerate([3, 200, 7, 9] * 2):
        p = (z[i] @ method.centroids.T / 0.1).softmax(dim=0)
        expected -= p[method.assignments[row]].log() / 8
    terms = method.loss([x1, x2])
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-9)
    terms["loss"].backward()
    assert not method.centroids.requires_grad and all(p.grad is not None for p in method.parameters())


def test_clusters_are_those_of_all_images_as_they_are():
    method = tiny()
    method.before_epoch(TRAIN)
    z = F.normalize(evaluate.embed_batch(nn.Sequential(method.encoder, method.projector), TRAIN), dim=1)
    assert method.assignments.shape == (256,) and method.training
    nearest = (z @ method.centroids.T).argmax(dim=1)  # up to the order of sums in batch norm
    assert (method.assignments == nearest).float().mean() > 0.98
    assert method.centroids.norm(dim=1) == pytest.approx(torch.ones(6), abs=1e-5)


def test_they_are_made_anew_every_so_many_epochs():
    method, seen = tiny(every=2), []
    watch = AfterEpoch(lambda epoch, method: seen.append(method.centroids.clone()))
    history = train(method, epochs=5, callbacks=[watch])
    assert [torch.equal(one, two) for one, two in zip(seen, seen[1:])] == [True, False, True, False]
    assert history.epochs[0].keys() >= {"loss", "accuracy"} and 0 <= history["accuracy"][-1] <= 1


def test_later_clusters_are_those_of_the_views_that_were_last_seen():
    method = tiny()
    method.before_epoch(TRAIN)
    first = method.memory.clone()
    x1, x2 = pictures(4, 1), pictures(4, 2)
    method.now = Now(rows=torch.tensor([3, 200, 7, 9]))
    method.loss([x1, x2])
    z = copy.deepcopy(method).project(torch.cat([x1, x2]))[:4].detach()
    torch.testing.assert_close(method.memory[[3, 200, 7, 9]], z)
    others = torch.ones(256).bool()
    others[[3, 200, 7, 9]] = False
    assert torch.equal(method.memory[others], first[others])
    method.embed = None  # no pass over the images
    method.now = Now(epoch=1)
    method.before_epoch(TRAIN)
    nearest = (F.normalize(method.memory, dim=1) @ method.centroids.T).argmax(dim=1)
    assert torch.equal(method.assignments, nearest)
    method.eval().now = Now(rows=torch.arange(4))
    method.loss([x1, x2])
    torch.testing.assert_close(method.memory[[3]], z[:1])  # only a training remembers


def test_a_second_training_does_not_cluster_what_the_first_one_saw():
    method = tiny()
    train(method, TRAIN, epochs=1)
    before = method.memory
    train(method, TRAIN[:64], epochs=1)
    assert method.memory.shape == (64, 8) and method.assignments.shape == (64,)
    method.now = Now()
    method.before_epoch(TRAIN)
    assert not torch.equal(method.memory, before)


def test_without_a_memory_all_images_are_seen_as_they_are_each_time():
    method, made = tiny(memory=False), []
    embed = method.embed
    method.embed = lambda data: (made.append(method.now.epoch), embed(data))[1]
    train(method, epochs=3)
    assert made == [0, 1, 2] and method.memory is None


def test_the_first_clusters_of_an_untrained_network_lie_apart():
    """In eval mode all of its z point the same way: the softmax of the scores would know nothing for an epoch."""
    method = tiny()
    method.before_epoch(TRAIN)
    apart = method.centroids @ method.centroids.T
    assert apart[~torch.eye(6, dtype=torch.bool)].mean() < 0.6  # .32 to .55; in eval mode above .9999


def test_photos_that_lie_by_class_are_mixed_before_batch_norm_sees_them():
    """1,024 images, dark ones first: batches of the one and the other sort would have the same mean each."""
    dark = torch.cat([TRAIN.images // 4] * 2 + [TRAIN.images] * 2)
    method = tiny()
    z = F.normalize(method.embed(ImageSet(dark, torch.zeros(1024).long(), ["none"])), dim=1)
    first, second = z[:512].mean(dim=0), z[512:].mean(dim=0)
    assert F.cosine_similarity(first, second, dim=0) < 0.5


def test_clustering_moves_no_weight_and_no_statistic():
    method = tiny()
    before = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    method.before_epoch(TRAIN)
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.state_dict().items())
    assert all(p.grad is None for p in method.parameters())


def test_a_loss_without_rows_or_clusters_says_what_is_missing():
    method = tiny()
    with pytest.raises(ValueError, match=r"`before_epoch` clusters, `now\.rows` says so"):
        method.loss([pictures(4, 1), pictures(4, 2)])
    method.now = Now(rows=torch.arange(4))
    with pytest.raises(ValueError, match="`before_epoch` clusters"):
        method.loss([pictures(4, 1), pictures(4, 2)])


def test_more_clusters_than_images_are_refused_before_the_first_step():
    with pytest.raises(ValueError, match="k must lie between 1 and the 64 points, got 65"):
        train(tiny(k=65), TRAIN[:64])


@pytest.mark.parametrize("wrong", [dict(k=1), dict(every=0), dict(iterations=0), dict(temperature=0)])
def test_the_method_refuses_nonsense(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        tiny(**wrong)


def test_a_stream_of_photos_is_clustered_as_the_same_photos_in_memory(tmp_path):
    for i in range(24):
        Image.fromarray(TRAIN.images[i].permute(1, 2, 0).numpy()).save(tmp_path / f"{i:02}.png")
    in_memory, streamed = tiny(k=4), tiny(k=4)
    options = dict(epochs=2, batch_size=8)
    train(in_memory, from_folder(tmp_path, 32, show_progress=False), **options)
    train(streamed, PhotoStream(tmp_path, 32, workers=0), **options)
    for name, value in in_memory.state_dict().items():
        assert torch.equal(value, streamed.state_dict()[name]), name


def test_the_views_are_the_second_version_s():
    views = deepcluster_views(224)
    assert [(view.size, view.scale, view.blur, view.grey, view.hue) for view in views] == [
        (224, (0.14, 1), 0.5, 0.2, 0.2)
    ] * 2
