import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sslbook.kmeans import assign, kmeans, nearest, spherical_kmeans


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bunches(n=300, k=5, dim=8, noise=0.05, seed=0):
    """Unit vectors around k directions, and which one each belongs to."""
    g = generator(seed)
    directions = torch.linalg.qr(torch.randn(dim, dim, generator=g))[0][:k]
    labels = torch.randint(k, (n,), generator=g)
    return directions[labels] + noise * torch.randn(n, dim, generator=g), labels


def test_bunches_are_found_whatever_their_length():
    points, labels = bunches()
    points = points * torch.rand(len(points), 1, generator=generator(1)).add(0.1)
    centroids, nearest = spherical_kmeans(points, 5, generator=generator(3))
    assert centroids.norm(dim=1) == pytest.approx(torch.ones(5)) and nearest.dtype == torch.int64
    for label in range(5):
        assert len(nearest[labels == label].unique()) == 1
    assert len(nearest.unique()) == 5


def test_each_point_goes_to_the_nearest_and_each_centroid_is_the_mean_direction():
    points = F.normalize(torch.randn(200, 6, generator=generator()), dim=1).double()
    centroids, nearest = spherical_kmeans(points, 7, iterations=100, generator=generator())
    for i, point in enumerate(points):
        assert nearest[i] == max(range(7), key=lambda c, point=point: (point * centroids[c]).sum().item())
    for c in range(7):
        torch.testing.assert_close(centroids[c], F.normalize(points[nearest == c].sum(dim=0), dim=0))


def test_more_iterations_lie_closer():
    points = F.normalize(torch.randn(500, 6, generator=generator()), dim=1)
    cosines = []
    for iterations in (0, 1, 3, 10):
        centroids, nearest = spherical_kmeans(points, 20, iterations=iterations, generator=generator(1))
        cosines.append((points * centroids[nearest]).sum(dim=1).mean().item())
    assert cosines == sorted(cosines) and cosines[0] < cosines[1] < cosines[3]


def test_the_same_seed_gives_the_same_clusters_and_parts_add_up(monkeypatch):
    points, _ = bunches(noise=0.5)
    first = spherical_kmeans(points, 9, generator=generator(2))
    again = spherical_kmeans(points, 9, generator=generator(2))
    assert all(torch.equal(x, y) for x, y in zip(first, again))
    torch.manual_seed(2)
    assert torch.equal(spherical_kmeans(points, 9)[1], first[1]), "the global one by default"
    whole = assign(points, first[0])
    monkeypatch.setattr("sslbook.kmeans.CHUNK", 64)
    parts = assign(points, first[0])
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[2], parts[2])
    torch.testing.assert_close(whole[1], parts[1])
    assert whole[2].sum() == len(points)


@pytest.mark.parametrize("seed", range(5))
def test_an_empty_cluster_takes_half_of_another(seed):
    """Two of three first centroids are the same point, so that the later one gets nothing."""
    points, _ = bunches(n=400, k=2, noise=0.3)
    points[1:200] = points[0]
    _, nearest = spherical_kmeans(points, 12, generator=generator(seed))
    counts = nearest.bincount(minlength=12)
    twins = points[:200].unique(dim=0)
    assert len(twins) == 1 and (counts > 0).sum() >= 10, counts


def test_points_that_are_all_one_are_no_error():
    points = torch.ones(10, 4)
    centroids, nearest = spherical_kmeans(points, 3, generator=generator())
    assert centroids.isfinite().all() and len(nearest.unique()) == 1


@pytest.mark.parametrize(
    ("points", "k", "message"),
    [
        (torch.ones(3), 2, r"must be \(n, D\), got \(3,\)"),
        (torch.ones(3, 2), 4, "between 1 and the 3 points, got 4"),
        (torch.ones(3, 2), 0, "between 1 and the 3 points, got 0"),
        (torch.full((3, 2), torch.nan), 2, "not finite"),
    ],
)
def test_nonsense_is_refused(points, k, message):
    with pytest.raises(ValueError, match=message):
        spherical_kmeans(points, k)


SHARED = """
import torch
from sslbook import distributed
from sslbook.kmeans import spherical_kmeans
torch.set_num_threads(1)
points = torch.randn(101, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
with distributed.process_group("cpu"):
    own = points.tensor_split(distributed.world_size())[distributed.rank()]
    torch.manual_seed(5)
    centroids, nearest = spherical_kmeans(own, 8)
    torch.save((centroids, nearest), f"{folder}/{distributed.rank()}.pt")
"""


def test_two_processes_find_what_one_finds(tmp_path):
    points = torch.randn(101, 6, generator=generator(), dtype=torch.float64)
    torch.manual_seed(5)
    centroids, nearest = spherical_kmeans(points, 8)
    (tmp_path / "script.py").write_text(f"folder = {str(tmp_path)!r}\n{SHARED}")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", tmp_path / "script.py"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(one[0], two[0]) and len(one[1]) == 51 and len(two[1]) == 50
    torch.testing.assert_close(one[0], centroids)
    assert torch.equal(torch.cat([one[1], two[1]]), nearest)


def test_plain_kmeans_finds_groups_of_unlike_length():
    """On one ray, where the sphere's k-means sees one direction; no centroid stays without points."""
    generator = torch.Generator().manual_seed(0)
    points = torch.cat([scale + 0.01 * torch.randn(100, 3, generator=generator) for scale in (1.0, 2.0, 5.0)])
    centroids = kmeans(points, 3, iterations=20, generator=generator)
    found = nearest(points, centroids)
    assert sorted(found.bincount().tolist()) == [100, 100, 100]
    assert torch.equal(found, torch.cdist(points, centroids).argmin(dim=1))
    assert sorted(centroids.mean(dim=1).tolist()) == pytest.approx([1, 2, 5], abs=0.01)


def test_plain_kmeans_refuses_nonsense():
    with pytest.raises(ValueError, match="at least k=5 of them"):
        kmeans(torch.zeros(4, 2), 5)
    with pytest.raises(ValueError, match="not finite"):
        kmeans(torch.tensor([[1.0], [torch.inf]]), 1)
