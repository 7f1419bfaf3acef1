from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from sslbook import views
from sslbook.views import Augmentation

GOLDEN = np.load(Path(__file__).parent / "golden" / "16_aug.npz")
IMAGES = torch.tensor(GOLDEN["images"], dtype=torch.float64)
N = len(IMAGES)
CROP = v2.RandomResizedCrop(32, scale=(0.08, 1))
ORDER = torch.arange(4).expand(N, 4)


def close(ours, name):
    np.testing.assert_allclose(ours, GOLDEN[name], rtol=0, atol=2e-6)


def factors(column, value):
    f = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64).repeat(N, 1)
    f[:, column] = value
    return f


@pytest.mark.parametrize("column, name", [(0, "brightness"), (1, "contrast"), (2, "saturation")])
@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_brightness_contrast_saturation_equal_torchvision(column, name, factor):
    close(views.color_jitter(IMAGES, factors(column, factor), ORDER), f"{name}_{factor}")


@pytest.mark.parametrize("turns", [-0.1, 0.1, 0.4])
def test_hue_equals_torchvision(turns):
    close(views.color_jitter(IMAGES, factors(3, turns), ORDER), f"hue_{turns}")


def test_grey_equals_torchvision():
    close(views.grey(IMAGES), "grayscale_1ch")


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("blur")])
def test_blur_equals_torchvision(name):
    kernel, sigma = name.removeprefix("blur_k").split("_s")
    sigmas = torch.full((N,), float(sigma), dtype=torch.float64)
    close(views.gaussian_blur(IMAGES, sigmas, int(kernel)), name)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("rrc") and name.endswith("aa1")])
def test_crop_equals_torchvision_with_antialiasing(name):
    box = torch.tensor(GOLDEN["boxes_top_left_h_w"][int(name[7])]).double().expand(N, 4)
    size = 16 if "to16" in name else 32
    close(views.resized_crop(IMAGES, box, torch.zeros(N, dtype=torch.bool), size), name)


@pytest.mark.parametrize("box", range(4))
def test_enlarging_needs_no_antialiasing(box):
    """We always antialias, as torchvision's default; without it only shrinking crops would differ."""
    boxes = torch.tensor(GOLDEN["boxes_top_left_h_w"][box]).double().expand(N, 4)
    close(views.resized_crop(IMAGES, boxes, torch.zeros(N, dtype=torch.bool), 32), f"rrc_box{box}_aa0")


def test_flip_equals_torchvision():
    whole = torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(N, 4)
    close(views.resized_crop(IMAGES, whole, torch.ones(N, dtype=torch.bool), 32), "hflip")


def test_a_whole_random_view_equals_torchvision_s_functions_in_the_drawn_order():
    view = replace(views.byol_views(24)[1], jitter=1.0, blur=0.5, solarize=0.5, hue=0.5)
    images = torch.rand(64, 3, 40, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p = view.sample(64, 40, 28, torch.Generator().manual_seed(2))
    ours = view.apply(images, p)
    f = v2.functional
    ops = [f.adjust_brightness, f.adjust_contrast, f.adjust_saturation, f.adjust_hue]
    for i in range(64):
        top, left, height, width = (int(v) for v in p.box[i])
        x = f.resized_crop(images[i], top, left, height, width, [24, 24], antialias=True)
        x = f.horizontal_flip(x) if p.flip[i] else x
        for op in p.order[i].tolist():
            x = ops[op](x, float(p.factors[i, op]))
        x = f.rgb_to_grayscale(x, num_output_channels=3) if p.grey[i] else x
        x = f.gaussian_blur(x, [3, 3], [float(p.sigma[i])] * 2) if p.sigma[i] > 0 else x
        x = f.solarize(x, 0.5) if p.solarize[i] else x
        if p.solarize[i]:  # a pixel within rounding of one half may fall either way
            sure = (ours[i] - x).abs() < 0.5
            assert sure.float().mean() > 0.999
            torch.testing.assert_close(ours[i][sure], x[sure], rtol=0, atol=1e-3)
        else:
            torch.testing.assert_close(ours[i], x, rtol=0, atol=1e-3)


def test_every_image_has_its_own_draw_and_the_same_seed_gives_the_same_views():
    view = views.simclr_views(32)[0]
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = image.repeat(16, 1, 1, 1)
    first, again = (view(batch, torch.Generator().manual_seed(7)) for _ in range(2))
    other = view(batch, torch.Generator().manual_seed(8))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.flatten(1).unique(dim=0).shape[0] == 16


def test_an_image_s_view_does_not_depend_on_its_batch():
    view = views.simclr_views(32)[0]
    images = torch.rand(12, 3, 32, 32, dtype=torch.float64)
    p = view.sample(12, 32, 32, torch.Generator().manual_seed(0))
    torch.testing.assert_close(view.apply(images, p)[3:5], view.apply(images[3:5], p[3:5]))


def test_drawn_numbers_keep_to_their_ranges():
    view = replace(views.byol_views(32)[1], blur=0.5, brightness=1.5)
    n, height, width = 20_000, 48, 64
    p = view.sample(n, height, width, torch.Generator().manual_seed(0))
    top, left, h, w = p.box.unbind(1)
    assert (p.box == p.box.round()).all() and (top >= 0).all() and (left >= 0).all()
    assert (top + h <= height).all() and (left + w <= width).all() and (h >= 1).all() and (w >= 1).all()
    area = h * w / (height * width)
    assert 0.07 < area.min() < 0.12 and area.max() == 1
    canvas = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # torchvision draws from the global generator
        boxes = [v2.RandomResizedCrop.make_params(crop, [canvas]) for crop in [CROP] * 4000]
    theirs = torch.tensor([box["height"] for box in boxes]).float()
    assert abs(h.mean() - theirs.mean()) < 0.5 and abs(h.std() - theirs.std()) < 0.5, "boxes as torchvision draws them"
    jittered = (p.factors != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(dim=1)
    assert abs(jittered.float().mean() - view.jitter) < 0.02
    drawn = p.factors[jittered]
    assert drawn[:, 0].min() >= 0 and 2.3 < drawn[:, 0].max() <= 2.5, "brightness is cut at 0"
    assert -0.1 <= drawn[:, 3].min() < -0.095 and 0.095 < drawn[:, 3].max() <= 0.1
    assert torch.equal(p.order.sort(dim=1).values, torch.arange(4).expand(n, 4))
    assert len(p.order.unique(dim=0)) == 24
    for flags, share in ((p.flip, 0.5), (p.grey, 0.2), (p.sigma > 0, 0.5), (p.solarize, 0.2)):
        assert abs(flags.float().mean() - share) < 0.02
    assert p.sigma[p.sigma > 0].min() >= 0.1 and p.sigma.max() <= 2


def test_a_box_that_never_fits_falls_back_to_the_centre():
    view = Augmentation(16, scale=(1, 1), ratio=(0.5, 0.5))
    p = view.sample(5, 32, 32, torch.Generator().manual_seed(0))
    assert p.box.tolist() == [[0, 8, 32, 16]] * 5


def test_nothing_drawn_changes_nothing():
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    unchanged = Augmentation(32, ratio=(1, 1))(images)
    assert unchanged.dtype == torch.float32
    torch.testing.assert_close(unchanged, images / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "recipe",
    [
        views.simclr_views,
        views.moco_v2_views,
        views.byol_views,
        views.cifar_views,
        views.shapes_views,
        views.crop_views,
        views.multi_crop_views,
    ],
)
def test_recipes_render(recipe):
    for view in recipe(32):
        x = view(torch.randint(0, 256, (6, 3, 40, 50), dtype=torch.uint8), torch.Generator().manual_seed(0))
        assert x.shape == (6, 3, view.size, view.size) and x.min() >= 0 and x.max() <= 1 and x.isfinite().all()


def test_the_recipes_are_the_papers():
    view = views.simclr_views(224)[0]
    assert (view.scale, view.brightness, view.hue, view.blur) == ((0.08, 1), 0.8, 0.2, 0.5)
    assert views.blur_kernel_size(224) == 23 and views.blur_kernel_size(32) == 3
    first, second = views.byol_views(224)
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)
    assert first.saturation == 0.2 and views.moco_v2_views(224)[0].saturation == 0.4
    small = views.cifar_views()[0]
    assert small.blur == 0 and (small.brightness, small.hue) == (0.4, 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(flip=1.5),
        dict(hue=0.7),
        dict(scale=(0.5, 0.2)),
        dict(scale=(0, 1)),
        dict(brightness=-1),
        dict(contrast=float("inf")),
        dict(saturation=float("nan")),
        dict(size=0),
        dict(ratio=(2, 0.5)),
        dict(ratio=(float("nan"), 1)),
        dict(sigma=(2, 0.1)),
        dict(sigma=(0.1, float("inf"))),
    ],
)
def test_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**{"size": 32, **wrong})


def test_refuses_images_of_another_shape():
    view = Augmentation(32)
    with pytest.raises(ValueError, match=r"\(n, 3, height, width\)"):
        view.apply(torch.zeros(2, 1, 32, 32), view.sample(2, 32, 32))
    with pytest.raises(ValueError, match="3 images but parameters of 2"):
        view.apply(torch.zeros(3, 3, 32, 32), view.sample(2, 32, 32))


def test_floats_of_another_scale_are_refused():
    pictures = torch.rand(2, 3, 32, 32)
    for wrong in (255 * pictures, pictures - 2, pictures * float("nan"), (255 * pictures).long()):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            Augmentation(32)(wrong)
    Augmentation(32)(1.1 * pictures)  # what an interpolation overshoots


def test_a_view_stays_within_0_and_1():
    """White pictures: a crop's weights sum to 1 up to rounding, and solarised, 1.0000001 would be below 0."""
    white, everything = torch.ones(256, 3, 40, 56), views.byol_views(32)[1]
    for view in (Augmentation(24, scale=(0.1, 1)), everything, replace(everything, solarize=1.0, blur=1.0)):
        x = view(white, torch.Generator().manual_seed(0))
        assert x.min() >= 0 and x.max() <= 1
    p = everything.sample(256, 40, 56, torch.Generator().manual_seed(0))
    assert views.resized_crop(white, p.box, p.flip, 32).max() > 1, "without the clamp it would not"


def test_half_precision_pictures_give_the_views_of_whole_ones():
    """Grey pixels: 1e-12, which keeps the hue from dividing by 0, is 0 in half precision."""
    grey, view = torch.full((8, 3, 32, 32), 0.5), replace(views.shapes_views()[0], jitter=1.0)
    made = [view(x, torch.Generator().manual_seed(0)) for x in (grey, grey.half())]
    assert made[1].isfinite().all() and torch.equal(*made)


def test_parameters_can_be_taken_row_by_row():
    p = views.simclr_views(32)[0].sample(6, 32, 32, torch.Generator().manual_seed(0))
    assert all(len(getattr(p[1:3], f.name)) == 2 for f in fields(p))


def test_views_of_one_kind_are_made_together_and_each_from_its_own_numbers():
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    for recipe in (views.cifar_views(), views.byol_views(32), views.crop_views()):
        numbers = recipe.draw(8, torch.Generator().manual_seed(0))
        made = recipe.render(images, numbers)
        assert [view.shape for view in made] == [(8, 3, 32, 32)] * len(recipe)
        for view, u, x in zip(recipe, numbers, made):
            torch.testing.assert_close(x, view.apply(images, view.parameters(u, 32, 32)))
        assert len({view.sum().item() for view in made}) == len(recipe)


def test_multi_crop_is_swav_s_two_large_and_six_small_crops():
    made = views.multi_crop_views(224)
    assert [view.size for view in made] == [224, 224, 96, 96, 96, 96, 96, 96]
    assert [view.scale for view in made] == [(0.14, 1)] * 2 + [(0.05, 0.14)] * 6
    like = views.simclr_views(224)[0]
    assert all(replace(view, size=224, scale=like.scale) == like for view in made), "only crop and size differ"


def test_each_size_of_a_multi_crop_is_one_batch(monkeypatch):
    rendered = []
    apply = Augmentation.apply
    monkeypatch.setattr(Augmentation, "apply", lambda a, x, p: rendered.append((a.size, len(x))) or apply(a, x, p))
    many = views.multi_crop(views.shapes_views(24), small=16, number=4, scale=(0.1, 0.25))
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    numbers = many.draw(6, torch.Generator().manual_seed(1))
    made = many.render(images, numbers)
    assert rendered == [(24, 12), (16, 24)]
    assert [view.shape[2] for view in made] == [24, 24, 16, 16, 16, 16]
    for view, u, x in zip(many, numbers, made):
        torch.testing.assert_close(x, view.apply(images, view.parameters(u, 32, 32)))
    areas = [view.parameters(u, 32, 32).box[:, 2:].prod(dim=1) / 32**2 for view, u in zip(many, numbers)]
    assert torch.stack(areas[:2]).min() > 0.22 and torch.stack(areas[2:]).max() < 0.28
    assert all(view.hue == 0.5 for view in many), "the shapes' full turn of hue"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(views=views.Views()), "at least one; got none"),
        (dict(small=25), "at most the 24 px of the large crops; got 25"),
        (dict(small=0), "got 0"),
        (dict(number=-1), "must not be negative, got -1"),
        (dict(scale=(0.3, 0.1)), "scale"),
    ],
)
def test_multi_crop_refuses_nonsense(wrong, message):
    with pytest.raises(ValueError, match=message):
        views.multi_crop(**(dict(views=views.shapes_views(24), small=16) | wrong))


def test_colours_that_nobody_changes_stay_bit_for_bit():
    view = replace(views.cifar_views()[0], jitter=0.5, grey=0.0)
    p = view.sample(64, 32, 32, torch.Generator().manual_seed(0))
    images = torch.rand(64, 3, 32, 32)
    same = (p.factors == torch.tensor(views.NEUTRAL)).all(dim=1)
    out = views.color_jitter(images, p.factors, p.order)
    assert 0 < same.sum() < 64
    assert torch.equal(out[same], images[same]) and (out[~same] != images[~same]).any(dim=(1, 2, 3)).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (1, 1, 1), (0.2, 0.7, 0.7), (0.7, 0.2, 0.2), (0, 1, 1), (0.4, 0.4, 0.4)])
@pytest.mark.parametrize("turns", [-0.5, -0.1, 0, 0.25, 0.5])
def test_hue_of_ties_and_greys_equals_torchvision(colour, turns):
    image = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
    ours = views.adjust_hue(image, torch.tensor([turns], dtype=torch.float64))
    torch.testing.assert_close(ours, v2.functional.adjust_hue(image, turns), atol=1e-6, rtol=0)


def test_the_fast_jitter_is_the_plain_one():
    view = views.cifar_views()[0]
    images = torch.rand(256, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    p = view.sample(256, 16, 16, torch.Generator().manual_seed(1))
    fast, plain = (f(images, p.factors, p.order) for f in (views.color_jitter, views.plain_color_jitter))
    torch.testing.assert_close(fast, plain, rtol=0, atol=2e-6)


def drawn_columns(view, n=20_000):
    """What is drawn for n views, as columns of numbers that should not know of each other."""
    height, width = 64, 48
    p = view.sample(n, height, width, torch.Generator().manual_seed(0))
    top, left, h, w = p.box.unbind(1)
    columns = {"flip": p.flip, "grey": p.grey, "blur": p.sigma > 0, "solarize": p.solarize, "area": h * w}
    columns |= {"shape": (w / h).log(), "top": top / (height - h + 1), "left": left / (width - w + 1)}
    if view.jitter < 1:
        columns["jitter"] = (p.factors != torch.tensor(views.NEUTRAL)).any(dim=1)
    else:  # then every image has factors of its own
        columns |= {f"factor {i}": p.factors[:, i] for i in range(4)} | {"first change": p.order[:, 0]}
        columns |= {f"change {i} comes first": p.order[:, 0] == i for i in range(3)}
    if view.blur == 1:
        columns["sigma"] = p.sigma
    columns = {name: column.double() for name, column in columns.items()}
    return {name: column for name, column in columns.items() if column.std() > 0}


@pytest.mark.parametrize("always", [dict(), dict(jitter=1.0, blur=1.0)], ids=["whether", "how much"])
def test_what_is_drawn_for_a_view_is_independent_of_the_rest(always):
    some = dict(flip=0.5, jitter=0.5, grey=0.5, blur=0.5, solarize=0.5)
    strength = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4)
    columns = drawn_columns(Augmentation(32, scale=(0.2, 0.4), **some | always, **strength))
    assert len(columns) >= 9
    together = torch.corrcoef(torch.stack(list(columns.values())))
    own = [name.startswith(("change", "first")) for name in columns]  # which comes first: of one draw
    for i, one in enumerate(columns):
        for j, other in enumerate(list(columns)[:i]):
            if not (own[i] and own[j]):
                assert abs(together[i, j]) < 0.035, f"{one} follows {other}"  # five standard errors


def test_boxes_reach_every_edge():
    p = Augmentation(32, scale=(0.2, 0.4)).sample(2000, 20, 20, torch.Generator().manual_seed(0))
    top, left, height, width = p.box.unbind(1)
    for start, length in ((top, height), (left, width)):
        assert (start == 0).any() and (start + length == 20).any()


def test_two_views_of_an_image_are_independent():
    both = views.byol_views(32)
    one, two = both.draw(20_000, torch.Generator().manual_seed(0)).unbind()
    together = torch.corrcoef(torch.cat([one, two], dim=1).T)
    assert (together - torch.eye(2 * views.DRAWS)).abs().max() < 0.035
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).expand(64, -1, -1, -1)
    made = views.Views([both[0]] * 2).render(images, torch.Generator().manual_seed(0))
    assert torch.cat(made).flatten(1).unique(dim=0).shape[0] == 128


def test_views_come_in_the_order_of_their_augmentations():
    small, large = Augmentation(8, flip=0.5), Augmentation(16, flip=0.5)
    mixed = views.Views([large, small, large])
    images = torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    draws = mixed.draw(4, torch.Generator().manual_seed(1))
    for view, u, x in zip(mixed, draws, mixed.render(images, draws)):
        torch.testing.assert_close(x, view.apply(images, view.parameters(u, 20, 20)))
