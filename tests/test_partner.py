"""The game "find the partner": its rounds against the package's views, and the shipped JavaScript in a real browser."""

import pytest
import torch
import traitlets
from conftest import FRAME, LEFT, UNLABELLED

from sslbook import sets, views
from sslbook.views import DRAWS
from sslbook.widgets import PartnerGame

AUGMENTATION = views.shapes_views(24)[0]
ROUND = "([n, seed, round]) => { const r = window.mounted[0].module.drawRound(n, seed, round); "
ROUND += "return { ...r, numbers: r.numbers.map((u) => [...u]) }; }"
PIXELS = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, k) => k % 4 < 3)"


@pytest.fixture(scope="module")
def images():
    return sets.load("shapes", train=8, test=12)[1].images


@pytest.fixture
def game(mount, images):
    return mount(PartnerGame(images, AUGMENTATION, seed=3))


def shown(page, selector):
    """A canvas of the page as (3, H, W) in 0..255."""
    flat = torch.tensor(page.locator(selector).evaluate(PIXELS))
    return flat.view(24, 24, 3).permute(2, 0, 1)


def partner(page, round=0):
    return page.evaluate(ROUND, [12, 3, round])["partner"]


def test_a_round_has_four_pictures_and_the_partner_anywhere(game):
    rounds = [game.evaluate(ROUND, [12, 3, r]) for r in range(200)]
    assert all(len(set(r["pictures"])) == 4 and set(r["pictures"]) <= set(range(12)) for r in rounds)
    places = torch.tensor([r["partner"] for r in rounds]).bincount(minlength=4)
    assert len(places) == 4 and places.min() > 30, "each place is as likely"
    assert len({tuple(r["numbers"][4]) for r in rounds}) == 200
    assert game.evaluate(ROUND, [12, 3, 7]) == rounds[7]


@pytest.mark.parametrize("strength", [0, 1, 2])
def test_its_views_are_those_of_the_package(mount, images, strength):
    page = mount(PartnerGame(images, AUGMENTATION, seed=3, strength=strength))
    drawn = page.evaluate(ROUND, [12, 3, 0])
    numbers = torch.tensor(drawn["numbers"])
    assert numbers.shape == (5, DRAWS)
    chosen = images[[*drawn["pictures"], drawn["pictures"][drawn["partner"]]]]
    augmentation = AUGMENTATION.with_strength(min(strength, 1))  # hue is at its limit already
    if strength == 2:
        augmentation = views.replace(AUGMENTATION, brightness=0.8, contrast=0.8, saturation=0.8)
    expected = 255 * augmentation.apply(chosen, augmentation.parameters(numbers, 32, 32))
    for k in range(4):
        seen = shown(page, f".sslw-candidates figure:nth-child({k + 1}) button canvas")
        assert (seen - expected[k]).abs().max() <= 1
    assert (shown(page, ".sslw-asked canvas") - expected[4]).abs().max() <= 1


def test_the_rival_takes_the_nearest_mean_colour(game):
    flat = "([r, g, b]) => ({ height: 2, width: 2, data: new Float32Array([r, r, r, r, g, g, g, g, b, b, b, b]) })"
    choose = f"(colors) => window.mounted[0].module.byColor(...(([a, ...c]) => [a, c])(colors.map({flat})))"
    assert game.evaluate(choose, [[0.5, 0.5, 0.5], [1, 0, 0], [0.5, 0.6, 0.5], [0, 0, 0], [0.9, 0.5, 0.5]]) == 1


def test_right_and_wrong_are_counted_by_strength(game):
    scores = lambda: game.locator(".sslw-scores tbody tr").all_inner_texts()  # noqa: E731
    candidates = game.locator(".sslw-candidates button")
    assert game.get_by_role("button", name="Next").is_disabled()
    right = partner(game)
    candidates.nth(right).click()
    assert "Right." in game.locator(".sslw-game-verdict").inner_text()
    assert "1 of 1" in scores()[1] and "\u2013" in scores()[0]
    candidates.nth((right + 1) % 4).dispatch_event("click")  # too late
    assert "1 of 1" in scores()[1]
    game.get_by_role("button", name="Next").click()
    game.evaluate(FRAME)
    right = partner(game, 1)
    candidates.nth((right + 1) % 4).press("Enter")
    assert f"it was candidate {right + 1}" in game.locator(".sslw-game-verdict").inner_text()
    assert "1 of 2" in scores()[1]
    game.get_by_text("× 0", exact=True).first.click()
    game.evaluate(FRAME)
    assert game.get_by_role("button", name="Next").is_disabled(), "another strength is another round"
    candidates.nth(right).click()
    assert "1 of 1" in scores()[0]


def test_a_round_that_python_sets_waits_for_an_answer(game):
    game.locator(".sslw-candidates button").nth(partner(game)).click()
    game.evaluate("window.mounted[0].model.set('round', 5)")
    game.evaluate(FRAME)
    assert game.get_by_role("button", name="Next").is_disabled()
    assert game.locator(".sslw-game-verdict").inner_text() == ""
    game.locator(".sslw-candidates button").nth(partner(game, 5)).click()
    assert "2 of 2" in game.locator(".sslw-scores tbody tr").nth(1).inner_text()


def test_without_colour_changes_colour_finds_it_and_with_them_it_does_not(mount, images):
    plain = views.replace(AUGMENTATION, grey=0.0)
    for strength, low, high in ((0, 0.75, 1.0), (2, 0.0, 0.6)):
        page = mount(PartnerGame(images, plain, strength=strength))
        for _ in range(40):
            page.locator(".sslw-candidates button").first.click()
            page.get_by_role("button", name="Next").click()
        right = page.locator(".sslw-scores tbody tr").nth(strength).locator("td").nth(1).inner_text()
        assert low <= int(right.split(" of ")[0]) / 40 <= high, right


def test_bad_input_is_refused(images):
    with pytest.raises(ValueError, match="at least 4"):
        PartnerGame(images[:3], AUGMENTATION)
    with pytest.raises(ValueError, match="changes no colour"):
        PartnerGame(images, views.crop_views(32)[0])
    with pytest.raises(traitlets.TraitError):
        PartnerGame(images, AUGMENTATION, strength=3)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_is_labelled_and_leaves(mount, images, width, theme):
    page = mount(PartnerGame(images, AUGMENTATION), theme=theme, viewport={"width": width, "height": 900})
    page.locator(".sslw-candidates button").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0]
