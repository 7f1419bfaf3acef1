"""The augmentation graph: against a pair-by-pair count, closed forms, and the package's own pictures."""

from dataclasses import replace

import pytest
import torch

from sslbook import graph, shapes
from sslbook.views import Augmentation, shapes_views

VIEW = Augmentation(24, scale=(0.25, 1), flip=0.5)


def factors(n=64, seed=0):
    return shapes.draw(n, seed)[2]


@pytest.fixture(scope="module")
def small():
    return graph.world(factors(256), VIEW, number=32, parts=(3, 3, 2))


def test_a_shape_lies_in_its_view_where_the_pixels_say():
    """The middle of mass of discs, rendered and cropped, is where `in_view` has it; so is their area."""
    n = 48
    known = {"x": 0.2, "y": -0.3, "scale": 0.4, "turn": 0.0}
    where = {name: torch.full((n,), value) for name, value in known.items()}
    discs = shapes.cover(torch.zeros(n, dtype=torch.long), where)[:, None].expand(n, 3, 32, 32)
    view = Augmentation(64, scale=(0.6, 1), ratio=(1, 1), flip=0.5)
    parameters = view.sample(n, 32, 32, torch.Generator().manual_seed(0))
    ink = view.apply(discs, parameters)[:, 0].double()
    place = graph.in_view(where, parameters)
    inside = (place[:, :2].abs() + 0.8 * place[:, 2:] < 0.95).all(dim=1)
    assert inside.sum() > 10
    axis = (torch.arange(64).double() + 0.5) / 32 - 1
    mass = ink.sum(dim=(1, 2))
    x, y = (ink.sum(dim=1) @ axis) / mass, -(ink.sum(dim=2) @ axis) / mass
    torch.testing.assert_close(torch.stack([x, y], dim=1)[inside], place[inside, :2], atol=0.02, rtol=0)
    area = torch.pi * (0.8 * place[:, 2] * 32) ** 2
    torch.testing.assert_close(mass[inside], area[inside], atol=0, rtol=0.05)


def test_a_flip_mirrors_and_the_whole_picture_changes_nothing():
    known = factors(8)
    whole = Augmentation(24).sample(8, 32, 32, torch.Generator().manual_seed(0))
    assert whole.box.unique(dim=0).tolist() == [[0, 0, 32, 32]]
    there = torch.stack([known[name].double() for name in graph.PLACES], dim=1)
    torch.testing.assert_close(graph.in_view(known, whole), there)
    flipped = replace(whole, flip=torch.ones(8, dtype=torch.bool))
    torch.testing.assert_close(graph.in_view(known, flipped), there * torch.tensor([-1.0, 1, 1]))


def test_cells_have_as_many_places_each_and_their_number_is_that_of_the_parts():
    places = torch.randn(12_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bins = graph.Bins.of(places, (3, 2, 2))
    count = bins.cell(places).bincount()
    assert len(count) == 12 and (count - 1000).abs().max() < 150
    low, high = torch.tensor([[-3.0, -3, -3], [3, 3, 3]], dtype=torch.float64)
    assert bins.cell(torch.stack([low, high])).tolist() == [0, 11]
    assert bins.node(torch.tensor([2]), high[None]).item() == 2 * 12 + 11
    assert bins.cell(bins.centres).tolist() == list(range(12)), "a mean place lies in its own cell"
    with pytest.raises(ValueError, match="draw more, or cut into fewer parts"):
        graph.Bins.of(places[:20], (6, 6, 4))


def test_the_graph_counts_pairs_of_views_of_one_picture():
    """Without confusion: every pair of views of every picture, counted one by one."""
    known = factors(12)
    world = graph.world(known, VIEW, number=5, parts=(2, 2, 1), sigma2=0)
    places = graph.views_of(known, VIEW, 5)
    count = torch.zeros(4, 4, dtype=torch.float64)
    for picture in range(12):
        cells = world.bins.cell(places[:, picture])
        for a in cells:
            for b in cells:
                count[a, b] += 1 / (12 * 25)
    torch.testing.assert_close(world.joined[:4, :4], count / 8)
    assert world.joined[:4, 4:].eq(0).all(), "no view of one class is a view of another"
    torch.testing.assert_close(world.seen.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_it_is_a_graph(small):
    w = small.joined
    torch.testing.assert_close(w, w.T)
    torch.testing.assert_close(w.sum().item(), 1.0)
    assert w.min() >= 0
    torch.testing.assert_close(small.confusion.sum(dim=1), torch.ones(len(w), dtype=w.dtype))
    assert small.labels.bincount().tolist() == [18] * 8
    assert small.places.shape == (144, 3)


def test_each_of_the_two_views_is_misread_by_itself():
    """w(b, b') is the sum over where the two views are: w(a, a') c(a, b) c(a', b')."""
    plain, seen_so = (graph.world(factors(64), VIEW, number=8, parts=(2, 2, 1), sigma2=s) for s in (0.0, 16.0))
    c = seen_so.confusion
    assert c.diagonal().min() < 0.9, "there is something to misread"
    torch.testing.assert_close(seen_so.joined, torch.einsum("ab,ac,bd->cd", plain.joined, c, c))
    torch.testing.assert_close(seen_so.seen, plain.seen @ c)


def test_eigenfunctions_are_those_of_the_mean_over_partners(small):
    values, phi = graph.eigenfunctions(small.joined)
    T = small.joined / small.seen[:, None]  # its row a: where the partner of a view at a lies
    torch.testing.assert_close(T @ phi, phi * values)
    torch.testing.assert_close((phi.T * small.seen) @ phi, torch.eye(len(phi), dtype=phi.dtype))
    assert values[0].item() == pytest.approx(1) and phi[:, 0].std() < 1e-8, "the first is constant"
    assert values.min() > -1e-12, "two views are drawn alike from one picture: T has no negative eigenvalue"
    assert (values.diff() <= 1e-12).all()


def test_without_confusion_each_class_is_an_island(small):
    apart = graph.world(factors(256), VIEW, number=32, parts=(3, 3, 2), sigma2=0)
    assert (graph.eigenfunctions(apart.joined)[0] > 1 - 1e-9).sum() == 8
    assert (graph.eigenfunctions(small.joined)[0] > 1 - 1e-9).sum() == 1


def test_a_flip_takes_the_side_out_of_the_graph():
    for flip, low, high in ((0.5, -0.1, 0.1), (0.0, 0.5, 1.0)):
        world = graph.world(factors(1024), replace(VIEW, flip=flip), number=32, parts=(4, 1, 1), sigma2=0)
        x = world.places[:, 0]
        x = x - (world.seen @ x)
        correlation = x @ world.joined @ x / (world.seen @ x.square())
        assert low < correlation < high, flip


def test_cosines_of_known_planes():
    e = torch.eye(6, dtype=torch.float64)
    turned = torch.stack([e[0], 0.6 * e[1] + 0.8 * e[2]], dim=1)
    plane = torch.stack([2 * e[0] + e[1], e[1]], dim=1)  # spans the first two axes
    torch.testing.assert_close(graph.canonical_correlations(plane, turned), torch.tensor([1, 0.6]).double())
    weights = torch.tensor([1.0, 4, 1, 1, 1, 1], dtype=torch.float64)
    found = graph.canonical_correlations(plane, turned, weights)
    torch.testing.assert_close(found, torch.tensor([1, 1.2 / (1.44 + 0.64) ** 0.5]).double())


def test_held_out_agreement_of_a_known_mixture():
    """Features are a random mixture of four parts; between two views they keep the correlations .9, .5, 0, 0."""
    generator = torch.Generator().manual_seed(0)
    mix, kept = torch.randn(4, 4, generator=generator), torch.tensor([0.9, 0.5, 0, 0])

    def pairs(n):
        common, a, b = torch.randn(3, n, 4, generator=generator)
        return torch.stack([kept.sqrt() * common + (1 - kept).sqrt() * own for own in (a, b)]) @ mix

    found = graph.held_out(pairs(20_000), 5 + pairs(20_000), k=3)
    torch.testing.assert_close(found, torch.tensor([0.9, 0.5, 0]).double(), atol=0.03, rtol=0)


def test_the_books_views_have_a_graph():
    world = graph.world(factors(512), shapes_views(24)[0], number=16, parts=(3, 3, 2))
    assert world.joined.shape == (144, 144)
