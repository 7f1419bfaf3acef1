"""GanGame: losses and gradients of the page against autograd's, Adam against PyTorch's, and the game itself."""

import pytest
import torch
import torch.nn.functional as F
import traitlets
from conftest import FRAME, LEFT, UNLABELLED
from torch import nn

from sslbook.widgets import GanGame
from sslbook.widgets.gan_game import LOSSES

LOSS = """
([name, G, D, points, z, kind]) => {
  const { discriminatorLoss, generatorLoss } = window.mounted[0].module;
  const network = (layers) => layers.map(({ weight, bias, ...sizes }) => (
    { ...sizes, weight: Float64Array.from(weight), bias: Float64Array.from(bias) }
  ));
  const found = name === "D"
    ? discriminatorLoss(network(D), Float64Array.from(points), Float64Array.from(z))
    : generatorLoss({ G: network(G), D: network(D) }, Float64Array.from(z), kind);
  const flat = found.gradients.flatMap(({ weight, bias }) => [...weight, ...bias]);
  return { loss: found.loss, flat, points: [...(found.points ?? [])], slope: [...(found.slope ?? [])] };
}
"""
ADAM = """
([layers, all, rate]) => {
  const network = layers.map((layer) => (
    { ...layer, weight: Float64Array.from(layer.weight), bias: Float64Array.from(layer.bias) }
  ));
  const memory = {};
  for (const gradients of all) {
    const typed = gradients.map(({ weight, bias }) => (
      { weight: Float64Array.from(weight), bias: Float64Array.from(bias) }
    ));
    window.mounted[0].module.adam(network, typed, memory, rate);
  }
  return network.flatMap(({ weight, bias }) => [...weight, ...bias]);
}
"""


def network(*sizes, seed=0):
    torch.manual_seed(seed)
    layers = [layer for pair in zip(sizes, sizes[1:]) for layer in (nn.Linear(*pair), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers[:-1]).double()


def layers(made):
    """As the page has them."""
    linear = [layer for layer in made if isinstance(layer, nn.Linear)]
    return [
        dict(
            inputs=layer.in_features,
            outputs=layer.out_features,
            weight=layer.weight.flatten().tolist(),
            bias=layer.bias.tolist(),
        )
        for layer in linear
    ]


def gradient(made):
    return torch.cat([p.grad.flatten() for p in made.parameters()])


def slide(page, name, value):
    page.get_by_label(name, exact=True).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", value
    )
    page.evaluate(FRAME)


def readouts(page):
    return page.locator(".sslw-readouts b").all_inner_texts()


def test_the_discriminator_s_loss_and_gradient_are_autograd_s(mount):
    D, (x, y) = network(2, 7, 5, 1), torch.randn(2, 9, 2, dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(D(x), torch.ones(9, 1).double())
    loss = loss + F.binary_cross_entropy_with_logits(D(y), torch.zeros(9, 1).double())
    loss.backward()
    found = mount(GanGame()).evaluate(LOSS, ["D", [], layers(D), x.flatten().tolist(), y.flatten().tolist(), ""])
    assert found["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(torch.tensor(found["flat"]).double(), gradient(D), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_generator_s_loss_gradient_and_slope_are_autograd_s(mount, kind):
    G, D, z = network(2, 6, 4, 2, seed=1), network(2, 7, 5, 1), torch.randn(9, 2, dtype=torch.float64)
    points = G(z)
    points.retain_grad()
    p = D(points).sigmoid()
    loss = -p.log().mean() if kind == "non-saturating" else (1 - p).log().mean()
    loss.backward()
    found = mount(GanGame()).evaluate(LOSS, ["G", layers(G), layers(D), [], z.flatten().tolist(), kind])
    assert found["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(torch.tensor(found["flat"]).double(), gradient(G), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(torch.tensor(found["points"]).double().view(9, 2), points.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.tensor(found["slope"]).double().view(9, 2), points.grad, rtol=1e-5, atol=1e-7)


def test_adam_is_pytorch_s(mount):
    made = network(2, 3, 1)
    start, optimiser = layers(made), torch.optim.Adam(made.parameters(), lr=0.01, betas=(0.5, 0.9))
    steps = []
    for k in range(4):
        for p in made.parameters():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k)).double()
        grads = [p.grad.flatten().tolist() for p in made.parameters()]
        steps.append([dict(weight=w, bias=b) for w, b in zip(grads[::2], grads[1::2])])
        optimiser.step()
    ours = torch.tensor(mount(GanGame()).evaluate(ADAM, [start, steps, 0.01])).double()
    expected = torch.cat([p.detach().flatten() for p in made.parameters()])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_coverage_counts_heaps_that_have_points(mount):
    page = mount(GanGame())
    points = [[0, 0]] * 90 + [[1.1, 0]] * 2 + [[-1.2, 0.2]] + [[0.6, 0.6]] * 7
    count = "(points) => mounted[0].module.coverage(points, [[0, 0], [1.2, 0], [-1.2, 0]])"
    found = page.evaluate(count, [v for point in points for v in point])
    assert found == {"covered": 2, "near": pytest.approx(0.93)}


PLAY = """
([n, steps]) => { // rounds without waiting for the clock
  const tick = window.setInterval;
  let round;
  window.setInterval = (f) => { round = f; return 1; };
  [...document.querySelectorAll("button")].find((b) => b.textContent === "Play").click();
  window.setInterval = tick;
  for (let k = 0; k < n; k++) round();
  [...document.querySelectorAll("button")].find((b) => b.textContent === "Stop").click();
}
"""


def test_the_game_ends_well_and_with_a_slow_discriminator_on_few_modes(mount):
    covered = {}
    for rate in (0.003, 0.0003):
        page = mount(GanGame(rate=rate))
        page.evaluate(PLAY, [400, 1])
        covered[rate] = int(readouts(page)[0].split()[0])
        assert readouts(page)[3] == "1200"
    assert covered[0.003] == 8 and covered[0.0003] <= 3, covered


def test_buttons_make_one_move_each_and_a_seed_is_a_game(mount):
    page = mount(GanGame())
    place = "document.querySelector('.sslw-dot-made').getAttribute('x')"
    surface = "document.querySelector('.sslw-gan-stage canvas').toDataURL()"
    start, shade = page.evaluate(place), page.evaluate(surface)
    page.get_by_role("button", name="One step of the discriminator").click()
    assert page.evaluate(place) == start and page.evaluate(surface) != shade
    shade = page.evaluate(surface)
    page.get_by_role("button", name="One step of the generator").click()
    moved = page.evaluate(place)
    assert moved != start and page.evaluate(surface) == shade
    assert "Steps: 1 of the discriminator, 1 of the generator" in page.locator("[aria-live]").first.inner_text()
    page.get_by_role("button", name="Start again").click()
    assert page.evaluate(place) == start
    for name in ("One step of the discriminator", "One step of the generator"):
        page.get_by_role("button", name=name).click()
    assert page.evaluate(place) == moved
    page.get_by_role("button", name="Other start").click()
    assert page.evaluate(place) not in (start, moved) and page.evaluate("mounted[0].model.get('seed')") == 1
    page.get_by_text("Grid of 9").click()
    page.evaluate(FRAME)
    assert readouts(page)[0].endswith("of 9")


def test_sliders_set_what_python_reads(mount):
    page = mount(GanGame())
    slide(page, "Rate of the discriminator", "0")
    slide(page, "Its steps to each of the generator\u2019s", "4")
    page.get_by_text("minimax", exact=True).click()
    values = page.evaluate("['rate', 'steps', 'loss'].map((trait) => mounted[0].model.get(trait))")
    assert values == [pytest.approx(0.0001), 4, "minimax"]
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("+document.querySelectorAll('.sslw-readouts b')[3].textContent >= 3")
    assert page.get_by_role("button", name="Stop", exact=True).is_visible()


def test_values_out_of_range_are_refused():
    for wrong in (dict(rate=1.0), dict(loss="hinge"), dict(data="moons"), dict(steps=0)):
        with pytest.raises(traitlets.TraitError):
            GanGame(**wrong)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_is_labelled_and_leaves(mount, width, theme):
    page = mount(GanGame(), theme=theme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNLABELLED) == 0
    page.get_by_role("button", name="Play", exact=True).click()
    assert page.evaluate(LEFT) == [0]
