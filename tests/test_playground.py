"""What the playground gives a page: levels of the loss, small forms of methods, graphs in pieces."""

import json

import pytest
import torch

from sslbook import playground
from sslbook.in_page import Graph, Part
from sslbook.losses import info_nce_loss
from sslbook.patients import OnlyPull
from tools.graphs import packed


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_the_floor_is_the_loss_of_a_simplex(temperature):
    corners = torch.eye(4, dtype=torch.float64) - 1 / 4
    z = torch.cat([corners, corners])
    assert playground.contrastive_floor(temperature, rows=8) == pytest.approx(
        info_nce_loss(z, temperature).item(), rel=1e-5
    )
    nudged = z + 0.1 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    assert info_nce_loss(nudged, temperature) > info_nce_loss(z, temperature)


def test_a_part_is_gone():
    for name in playground.playable():
        for part in playground.PLAYS[name].parts:
            whole, without = playground.make(name), playground.make(name, part)
            assert without.encoder.features_dim == 8 * playground.WIDTH
            differ = {key for key, value in vars(whole).items() if value != vars(without).get(key) and key[0] != "_"}
            gone = set(dict(whole.named_parameters())) - set(dict(without.named_parameters()))
            assert differ or gone or isinstance(without, OnlyPull), f"{name} without {part}"


def test_what_is_no_part_or_method_is_refused():
    with pytest.raises(ValueError, match="the playground has"):
        playground.make("NoSuch")
    with pytest.raises(ValueError, match="from SimSiam can be removed: stop-gradient, predictor; got 'negatives'"):
        playground.make("SimSiam", "negatives")


def test_graphs_travel_in_pieces():
    parts = [Part("a", (2, 3), ("uniform", 0.5)), Part("b", (2, 3), ("as", "a"))]
    found = {"one": Graph(b"model one", [], [], parts), "two": Graph(b"model two", [], [], parts[:1])}
    content, index = packed(found)
    piece = lambda name, kind: playground.piece(content, index[name][kind])  # noqa: E731
    assert piece("one", "model") == b"model one" and piece("two", "model") == b"model two"
    assert json.loads(piece("one", "parts")) == [["a", 6, "uniform", 0.5], ["b", 6, "as", "a"]]
