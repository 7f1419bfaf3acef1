"""Image sets: their parts fit together, loaders give the right pixels, and a folder of odd photos is read."""

import gzip
import hashlib
import io
import os
import pickle
import sys
import tarfile
import types
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from sslbook import download, photos, sets
from sslbook.images import ImageSet
from sslbook.photos import PhotoStream, from_folder
from sslbook.sets import load


def make(n=6, **changes):
    parts = {
        "images": torch.arange(n * 3 * 2 * 2).view(n, 3, 2, 2).to(torch.uint8),
        "labels": torch.arange(n) % 3,
        "classes": ["a", "b", "c"],
        "factors": {"hue": torch.rand(n), "place": torch.rand(n, 2)},
        "name": "made",
    }
    return ImageSet(**{**parts, **changes})


# ---- ImageSet


@pytest.mark.parametrize(
    "rows", [slice(1, 4), torch.tensor([1, 2, 3]), [1, 2, 3], torch.tensor([False, True, True, True, False, False])]
)
def test_rows_of_every_part(rows):
    whole = make()
    some = whole[rows]
    assert len(some) == 3 and some.classes == whole.classes and some.name == "made"
    assert torch.equal(some.images, whole.images[1:4]) and torch.equal(some.labels, whole.labels[1:4])
    for name, factor in whole.factors.items():
        assert torch.equal(some.factors[name], factor[1:4])


def test_no_rows_and_wrong_rows():
    assert len(make()[[]]) == 0
    with pytest.raises(TypeError, match=r"images\[i\]"):
        make()[2]
    with pytest.raises(IndexError):
        make()[torch.tensor([True, False])]


def test_repr_says_what_is_in_it():
    text = repr(make(skipped=[("a.jpg", "empty file")]))
    for part in ("made", "6 images 3x2x2", "3 classes", "cpu", "hue, place", "1 skipped"):
        assert part in text


def test_to_device():
    parts = make().to(torch.device("cpu"))
    assert torch.equal(parts.images, make().images) and parts.factors.keys() == make().factors.keys()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": torch.zeros(6, 3, 2, 2)}, TypeError, "uint8"),
        ({"images": np.zeros((6, 3, 2, 2), np.uint8)}, TypeError, "ndarray"),
        ({"images": torch.zeros(6, 2, 2, 3, dtype=torch.uint8)}, ValueError, r"\(N, 3, height, width\)"),
        ({"labels": torch.zeros(6)}, TypeError, "int64"),
        ({"labels": torch.zeros(5, dtype=torch.long)}, ValueError, "6 images"),
        ({"labels": torch.full((6,), 3)}, ValueError, r"\[-1, 3\)"),
        ({"labels": torch.full((6,), -2)}, ValueError, r"\[-1, 3\)"),
        ({"factors": {"hue": torch.zeros(5)}}, ValueError, "'hue'"),
        ({"factors": {"hue": torch.zeros(6, 2, 2)}}, ValueError, "'hue'"),
        ({"factors": {"hue": torch.zeros(6, device="meta")}}, ValueError, "one device"),
    ],
)
def test_parts_that_do_not_fit(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


# ---- load


def test_shapes_are_drawn_from_the_seed_and_the_halves_never_meet():
    train, test = load("shapes", train=64, test=48)
    again, other = load("shapes", train=64, test=48), load("shapes", train=64, test=48, seed=1)
    assert (len(train), len(test), train.images.shape[1:]) == (64, 48, (3, 32, 32))
    assert torch.equal(train.images, again[0].images) and torch.equal(test.images, again[1].images)
    assert not torch.equal(train.images, other[0].images)
    assert train.classes == list(sets.shapes.CLASSES) and train.factors
    seen = {image.numpy().tobytes() for image in train.images}
    assert not seen & {image.numpy().tobytes() for image in test.images}


def test_no_small_seed_of_torch_draws_the_labels():
    labels = load("shapes", test=8)[0].labels
    for seed in range(1000):
        for classes in (2, 4, 8):
            guess = torch.randint(classes, (len(labels),), generator=torch.Generator().manual_seed(seed))
            same = (guess == labels % classes).float().mean().item()
            assert abs(same - 1 / classes) < 0.05, (seed, classes)


def test_the_cover_is_where_the_ink_is():
    images, labels, factors = sets.shapes.draw(64, seed=3)
    inside = sets.shapes.cover(labels, factors)
    assert inside.shape == (64, 32, 32) and inside.min() >= 0 and inside.max() <= 1
    assert torch.equal(sets.shapes.cover(labels[5:6], {name: f[5:6] for name, f in factors.items()})[0], inside[5])
    dark = images.float().amin(dim=1) / 255  # paper is light in all colours
    for picture, cover in zip(dark, inside):
        assert picture[cover == 1].mean() < picture[cover == 0].mean() - 0.15


def test_default_numbers_of_shapes(monkeypatch):
    asked = []

    def draw(n, seed):
        asked.append((n, seed))
        return torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.long), {}

    monkeypatch.setattr(sets.shapes, "draw", draw)
    load("shapes", seed=7)
    assert asked == [(4096, 7), (1024, 7 + sets.TEST_SEED)]


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_that_would_meet_the_test_images(seed):
    with pytest.raises(ValueError, match="seed"):
        load("shapes", seed=seed)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="shapes, cifar10, stl10, stl10-unlabelled, fashion-mnist"):
        load("imagenet")


def test_none_or_too_few_images():
    with pytest.raises(ValueError, match="train is how many"):
        load("shapes", train=0)


def md5(content):
    return hashlib.md5(content).hexdigest()


def tar_gz(folder, files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """serve(archive name, bytes): put it on a mirror, here a file:// address; returns the Archive."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()

    def serve(name, content):
        (mirror / name).write_bytes(content)
        return download.Archive(name, md5(content), ((mirror / name).as_uri(),))

    serve.mirror = mirror
    return serve


@pytest.fixture
def fake_cifar10(serve, monkeypatch):
    """CIFAR-10 with 4 images a batch, on a mirror and nowhere else; returns (rows of the batches, labels)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 4, 3072), dtype=np.uint8)
    labels = rng.integers(0, 10, (6, 4)).tolist()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = {n: pickle.dumps({"data": p, "labels": y}) for n, p, y in zip(names, pixels, labels)}
    files["batches.meta"] = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, md5(files[n])] for n in names[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(files["batches.meta"])}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    archive = serve("cifar-10-python.tar.gz", tar_gz("cifar-10-batches-py", files))
    monkeypatch.setitem(sets.SOURCES, "cifar10", replace(sets.SOURCES["cifar10"], archives=(archive,)))
    return pixels, labels


def test_cifar10_from_an_empty_folder(fake_cifar10, tmp_path):
    pixels, labels = fake_cifar10
    train, test = load("cifar10", tmp_path / "root")
    assert (len(train), len(test), train.name) == (20, 4, "cifar10")
    assert np.array_equal(train.images.numpy(), pixels[:5].reshape(20, 3, 32, 32))  # stored as planes, red first
    assert np.array_equal(test.images.numpy(), pixels[5].reshape(4, 3, 32, 32))
    assert train.labels.tolist() == [y for batch in labels[:5] for y in batch] and test.labels.tolist() == labels[5]
    assert train.classes == [f"class {i}" for i in range(10)]
    assert train.images.is_contiguous()
    # and as torchvision itself gives them
    image, label = datasets.CIFAR10(tmp_path / "root")[7]
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), train.images[7].numpy()) and label == train.labels[7]


def test_nothing_is_downloaded_if_the_files_are_there(fake_cifar10, serve, tmp_path, monkeypatch):
    load("cifar10", tmp_path / "root")
    (tmp_path / "root" / "cifar-10-python.tar.gz").unlink()
    (serve.mirror / "cifar-10-python.tar.gz").unlink()
    monkeypatch.setenv("SSLBOOK_DATA", str(tmp_path / "root"))
    train, test = load("cifar10", train=7, test=2)
    assert (len(train), len(test)) == (7, 2)


def test_a_few_images_do_not_hold_the_memory_of_all():
    whole = sets.datasets.FakeData()
    whole.data, whole.targets, whole.classes = np.zeros((9, 3, 4, 4), np.uint8).transpose(0, 2, 3, 1), [0] * 9, ["a"]
    whole.size = 9
    some = sets._to_image_set(whole, "fake", "training", 2)
    assert not np.shares_memory(some.images.numpy(), whole.data)


def test_a_broken_file_is_unpacked_again(fake_cifar10, tmp_path):
    load("cifar10", tmp_path / "root")
    batch = tmp_path / "root" / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    train, _ = load("cifar10", tmp_path / "root")
    assert np.array_equal(train.images.numpy(), fake_cifar10[0][:5].reshape(20, 3, 32, 32))
    assert not list((tmp_path / "root").glob(".unpack*"))


def test_offline_and_not_there_says_where_to_put_it(fake_cifar10, serve, tmp_path):
    (serve.mirror / "cifar-10-python.tar.gz").unlink()
    with pytest.raises(download.DownloadError, match="by hand") as error:
        load("cifar10", tmp_path / "root")
    assert str(tmp_path / "root" / "cifar-10-python.tar.gz") in str(error.value)


def test_more_images_than_there_are(fake_cifar10, tmp_path):
    with pytest.raises(ValueError, match="cifar10 has 20 training images, 21 were asked for"):
        load("cifar10", tmp_path / "root", train=21)
    with pytest.raises(ValueError, match="4 test images, 5 were"):
        load("cifar10", tmp_path / "root", test=5)


def test_stl10(serve, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = {half: rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8) for half, n in ((0, 5), (1, 3), (2, 4))}
    files = {f"{n}_X.bin": images[i].tobytes() for i, n in enumerate(("train", "test", "unlabeled"))}
    files |= {"train_y.bin": bytes([1, 10, 2, 2, 5]), "test_y.bin": bytes([3, 4, 10])}
    files["class_names.txt"] = "\n".join(f"class {i}" for i in range(10)).encode()
    files["fold_indices.txt"] = b"0 1\n"
    lists = {"train_list": ["train_X.bin", "train_y.bin", "unlabeled_X.bin"], "test_list": ["test_X.bin", "test_y.bin"]}
    for name, members in lists.items():
        monkeypatch.setattr(datasets.STL10, name, [[m, md5(files[m])] for m in members])
    archive = serve("stl10_binary.tar.gz", tar_gz("stl10_binary", files))
    for name in ("stl10", "stl10-unlabelled"):
        monkeypatch.setitem(sets.SOURCES, name, replace(sets.SOURCES[name], archives=(archive,)))
    train, test = load("stl10", tmp_path / "root")
    assert train.labels.tolist() == [0, 9, 1, 1, 4] and test.labels.tolist() == [2, 3, 9]
    assert train.classes[9] == "class 9"
    assert np.array_equal(train.images.numpy(), images[0].swapaxes(2, 3))  # stored column by column
    train, test = load("stl10-unlabelled", tmp_path / "root", train=3)
    assert train.labels.tolist() == [-1, -1, -1] and test.labels.tolist() == [2, 3, 9]
    assert np.array_equal(train.images.numpy(), images[2][:3].swapaxes(2, 3))


def test_fashion_mnist(serve, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    archives, grey, labels = [], {}, {}
    for half, n in (("train", 5), ("t10k", 3)):
        grey[half] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels[half] = rng.integers(0, 10, n, dtype=np.uint8)
        for kind, values in (("images-idx3", grey[half]), ("labels-idx1", labels[half])):
            header = bytes([0, 0, 8, values.ndim]) + b"".join(d.to_bytes(4, "big") for d in values.shape)
            archives.append(serve(f"{half}-{kind}-ubyte.gz", gzip.compress(header + values.tobytes())))
    source = replace(sets.SOURCES["fashion-mnist"], archives=tuple(archives))
    monkeypatch.setitem(sets.SOURCES, "fashion-mnist", source)
    train, test = load("fashion-mnist", tmp_path / "root")
    assert (train.images.shape, test.images.shape) == ((5, 3, 28, 28), (3, 3, 28, 28))
    assert all(np.array_equal(test.images[:, c].numpy(), grey["t10k"]) for c in range(3))
    assert train.labels.tolist() == labels["train"].tolist()
    assert train.classes[-1] == "Ankle boot"


@pytest.mark.parametrize("name", sorted(sets.SOURCES))
def test_sources_can_be_asked_of_torchvision(name, tmp_path):
    """The real classes take these arguments and, with nothing there, say so in the way that starts a download."""
    source = sets.SOURCES[name]
    for half in (source.train, source.test):
        with pytest.raises(RuntimeError, match="not found"):
            source.dataset(tmp_path, **half, download=False)


# ---- from_folder


def picture(width=90, height=60):
    """A picture that is red in the upper left, green in the upper right, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2, 0] = pixels[: height // 2, width // 2 :, 1] = pixels[height // 2 :, :, 2] = 255
    return Image.fromarray(pixels)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def corners(image):
    """The colours near the corners: upper left, upper right, lower left, lower right."""
    _, height, width = image.shape
    y, x = height // 8, width // 8
    return [tuple(image[:, i, j].tolist()) for i in (y, -y - 1) for j in (x, -x - 1)]


def close(colours, wanted, tolerance):
    return np.abs(np.array(colours, int) - np.array(wanted, int)).max() <= tolerance


def read(folder, size=32, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing may be left out
        return from_folder(folder, size, show_progress=False, **options)


KINDS = {
    "rgb.png": lambda p: picture().save(p),
    "UPPER.JPG": lambda p: picture().save(p, quality=95, subsampling=0),
    "progressive.jpeg": lambda p: picture().save(p, quality=95, subsampling=0, progressive=True),
    "cmyk.jpg": lambda p: picture().convert("CMYK").save(p, quality=95, subsampling=0),
    "photo.webp": lambda p: picture().save(p, lossless=True),
    "old.bmp": lambda p: picture().save(p),
    "still.gif": lambda p: picture().save(p),
    "scan.tiff": lambda p: picture().save(p),
    "scan-cmyk.TIF": lambda p: picture().convert("CMYK").save(p),
    "palette.png": lambda p: picture().convert("P", palette=Image.Palette.ADAPTIVE).save(p),
    "rgba.png": lambda p: picture().convert("RGBA").save(p),
    "packed.tif": lambda p: picture().save(p, compression="tiff_lzw"),
    "large.jpg": lambda p: picture(2400, 1600).save(p, quality=95, subsampling=0),  # decoded at a quarter
    "movie.gif": lambda p: picture().save(p, save_all=True, append_images=[Image.new("RGB", (90, 60))]),
    "renamed.jpe": lambda p: picture().save(p, "JPEG", quality=95, subsampling=0),
    "from the web.jfif": lambda p: picture().save(p, "JPEG", quality=95, subsampling=0),
    "plain.ppm": lambda p: picture().save(p),
    "scan.JP2": lambda p: picture().save(p),
    "texture.tga": lambda p: picture().save(p),
    "upright.jpg": lambda p: picture().save(p, quality=95, subsampling=0, exif=b"Exif\0\0broken"),
    "upright.png": lambda p: picture().save(p, exif=b"Exif\0\0broken"),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file(name, tmp_path):
    KINDS[name](tmp_path / name)
    before = (tmp_path / name).read_bytes()
    photos = read(tmp_path)
    assert photos.images.shape == (1, 3, 32, 32) and not photos.skipped
    assert close(
        corners(photos.images[0]), [RED, GREEN, BLUE, BLUE], 12 if "cmyk" in name or "jp" in name.lower() else 3
    )
    assert (tmp_path / name).read_bytes() == before


def test_a_large_jpeg_is_as_fine_as_its_png(tmp_path):
    """The shortcut, decoding at 1/2 to 1/8, must not cost resolution."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).resize((1024, 768))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.jpg", quality=98, subsampling=0)
    png, jpeg = read(tmp_path, 64).images.float()
    assert (png - jpeg).abs().mean() < 2


def test_grey_bilevel_and_deep_pictures_keep_their_brightness(tmp_path):
    ramp = np.linspace(0, 1, 64)[None].repeat(64, 0)
    Image.fromarray((ramp * 255).astype(np.uint8)).save(tmp_path / "0 grey.png")
    Image.fromarray((ramp * 65535).astype(np.uint16)).save(tmp_path / "1 deep.png")
    Image.fromarray((ramp * 65535).astype(np.uint16)).save(tmp_path / "2 deep.tif")
    Image.fromarray((ramp * 65535).astype(">u2")).save(tmp_path / "3 deep, other order.tif")
    Image.fromarray((ramp * 65535).astype(np.int32)).save(tmp_path / "4 deeper.tif")
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "5 float.tif")
    Image.fromarray((ramp * 255).astype(np.float32)).save(tmp_path / "6 float.tif")
    Image.fromarray((ramp * 255).astype(np.uint8)).convert("LA").save(tmp_path / "7 with alpha.png")
    Image.fromarray(ramp > 0.5).save(tmp_path / "8 bilevel.png")
    images = read(tmp_path, 64).images.int()
    assert (images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all()
    for i in range(1, 8):
        assert (images[i] - images[0]).abs().max() <= 1, i
    assert images[8, 0, 5].tolist() == [0] * 32 + [255] * 32


def test_a_dark_16_bit_picture_stays_dark(tmp_path):
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / "night.png")  # 200 of 65535
    assert read(tmp_path, 8).images.max() <= 1


def test_fewer_bits_in_a_16_bit_file_keep_their_grey_levels(tmp_path):
    ramp = np.linspace(0, 1, 64)[None].repeat(64, 0)
    for bits in (8, 10, 12, 14):
        Image.fromarray((ramp * (2**bits - 1)).astype(np.uint16)).save(tmp_path / f"{bits:02}.png")
        Image.fromarray((ramp * (2**bits - 1)).astype(np.uint16)).save(tmp_path / f"{bits:02}.tif")
    narrow = 1000 + 900 * ramp  # a part of 12 bits, as in an X-ray
    Image.fromarray(narrow.astype(np.uint16)).save(tmp_path / "narrow.png")
    *whole, part = read(tmp_path, 64).images[:, 0].int()
    for image in whole:
        assert (image - torch.tensor(ramp * 255)).abs().max() <= 1
    assert len(part.unique()) > 50 and (part - torch.tensor(narrow / 4095 * 255)).abs().max() <= 1


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.05), (0, 3000), (2000, 2100), (-1000, 3000), (-0.5, 0.5), (0, 1e-9), (1e20, 2e20)]
)
def test_float_pictures_of_any_scale_keep_their_grey_levels(low, high, tmp_path):
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    Image.fromarray(low + (np.float32(high) - low) * ramp).save(tmp_path / "a.tif")
    image = read(tmp_path, 64).images[0, 0].int()
    assert (image - torch.tensor(ramp * 255)).abs().max() <= 1


@pytest.mark.parametrize("wild", [np.inf, -np.inf, np.nan, 1e30, -3.4e38, 1e6])
@pytest.mark.parametrize("white", [1, 255, 0.01, 2000])
def test_one_wild_pixel_does_not_change_the_others(white, wild, tmp_path):
    values = white * np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    Image.fromarray(values).save(tmp_path / "a.tif")
    values[20, 20] = wild
    Image.fromarray(values).save(tmp_path / "b.tif")
    clean, spoilt = read(tmp_path, 64).images[:, 0].int()
    assert clean.max() == 255
    assert (clean - spoilt)[torch.arange(64) != 20].abs().max() <= 1


def test_one_hot_pixel_does_not_darken_a_12_bit_picture(tmp_path):
    values = np.linspace(0, 4095, 64)[None].repeat(64, 0).astype(np.uint16)
    values[20, 20] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    assert (read(tmp_path, 64).images[0, 0, 0] - torch.linspace(0, 255, 64)).abs().max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0, -7, 0.5, 3e38])
def test_a_picture_of_one_float_is_one_grey(value, tmp_path):
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "a.tif")
    image = read(tmp_path, 8).images
    assert len(image.unique()) == 1
    assert value != 0.5 or image[0, 0, 0, 0] in (127, 128)


def test_transparency_lies_on_white(tmp_path):
    rgba = picture().convert("RGBA")
    rgba.putalpha(Image.fromarray(np.repeat([[255, 0]], 60, 0).repeat(45, 1).astype(np.uint8)))  # right half clear
    rgba.save(tmp_path / "a.png")
    rgba.save(tmp_path / "b.webp", lossless=True)
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE)
    green = palette.getpixel((80, 5))
    palette.save(tmp_path / "c.png", transparency=green)
    palette.save(tmp_path / "d.gif", transparency=green)
    picture().save(tmp_path / "e.png", transparency=(0, 255, 0))  # RGB with one clear colour
    images = read(tmp_path).images
    white = (255, 255, 255)
    for i in range(2):
        assert close(corners(images[i]), [RED, white, BLUE, white], 3)
    for i in range(2, 5):
        assert close(corners(images[i]), [RED, white, BLUE, BLUE], 3)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, ending, tmp_path):
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    stored = picture() if orientation == 1 else picture().transpose(photos.UPRIGHT[undo])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(ending, {})
    stored.save(tmp_path / f"turned.{ending}", exif=exif, **options)
    assert close(corners(read(tmp_path).images[0]), [RED, GREEN, BLUE, BLUE], 12)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (20000, 40), (3, 2000), (33, 31), (700, 500)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_any_size(width, height, ending, tmp_path):
    Image.new("RGB", (width, height), (200, 100, 50)).save(tmp_path / f"x.{ending}", quality=95)
    image = read(tmp_path, 24).images[0]
    assert image.shape == (3, 24, 24)
    assert close([tuple(image[:, 12, 12].tolist())], [(200, 100, 50)], 3)


@pytest.mark.parametrize(("width", "height"), [(150, 100), (100, 150), (97, 64), (640, 480)])
def test_scaled_and_cropped_as_torchvision_does(width, height, tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    image.save(tmp_path / "x.png")
    bicubic = v2.InterpolationMode.BICUBIC
    wanted = v2.Compose([v2.Resize(48, bicubic, antialias=True), v2.CenterCrop(48), v2.PILToTensor()])(image)
    difference = (read(tmp_path, 48).images[0].int() - wanted.int()).abs().float()
    assert difference.mean() < 3  # torchvision rounds the crop to a pixel


def test_folders_are_classes_and_the_order_is_that_of_the_names(tmp_path):
    colours = {"dog/b.png": 1, "dog/a.png": 2, "cat/deep/er/c.png": 3, "cat/z.png": 4, "alone.png": 5}
    for name, value in colours.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (value, value, value)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    for hidden in ("dog/._a.png", ".hidden/a.png"):
        (tmp_path / hidden).write_bytes(b"not a picture")
    photos = read(tmp_path, 4)
    assert photos.images[:, 0, 0, 0].tolist() == [5, 3, 4, 2, 1]
    assert photos.classes == ["cat", "dog"]
    assert photos.labels.tolist() == [-1, 0, 0, 1, 1]
    assert photos.name == tmp_path.name
    assert torch.equal(photos.images, read(tmp_path, 4).images)


def test_photos_without_folders_have_no_labels(tmp_path):
    """They were a class of their own once, and a kNN was right in all cases."""
    (tmp_path / "unlabelled").mkdir()
    for name in ("a.png", "unlabelled/b.png"):
        picture().save(tmp_path / name)
    photos = read(tmp_path)
    assert photos.classes == [] and photos.labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", ".Trash-1000", ".Trashes", "__MACOSX", "#recycle"],
)
def test_folders_of_the_system_are_passed_over(folder, tmp_path):
    for name in ("cat", f"cat/{folder}", folder):
        (tmp_path / name).mkdir()
        picture().save(tmp_path / name / "a.png")
    for found in (read(tmp_path), PhotoStream(tmp_path)):
        assert len(found) == 1 and found.classes == ["cat"] and not found.skipped
    assert len(read(tmp_path / folder)) == 1  # unless it is the one that was named


def test_names_that_differ_only_in_their_unicode_form_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for name in ("bar", composed, decomposed):
        (tmp_path / name).mkdir(exist_ok=True)
        picture().save(tmp_path / name / f"{len(name)}.png")
    photos, stream = read(tmp_path), PhotoStream(tmp_path)
    assert photos.classes == stream.classes == ["bar", composed]
    assert photos.labels.tolist() == stream.labels.tolist() == [0, 1, 1]
    assert all((tmp_path / file).is_file() for file in photos.files)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    picture().save(tmp_path / "photos" / "cat" / "a.png")
    picture().save(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "cat" / "back").symlink_to(tmp_path / "photos")
    photos = read(tmp_path / "photos")
    assert photos.classes == ["cat", "dog"] and len(photos) == 2


def whole(suffix, **options):
    out = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(out, suffix, **options)
    return out.getvalue()


BROKEN = {
    "empty.jpg": b"",
    "text.jpg": b"this is not a picture",
    "page.png": b"<!DOCTYPE html><html>404</html>",
    "cut.jpg": whole("jpeg")[:2000],
    "cut.png": whole("png")[:9000],
    "cut.webp": whole("webp")[:2000],
    "cut.gif": whole("gif")[:3000],
    "cut.tif": whole("tiff")[:3000],
    "cut.bmp": whole("bmp")[:3000],
    "head only.jpg": whole("jpeg")[:20],
    "head only.png": whole("png")[:16],
    "flipped.png": whole("png")[:5000] + bytes(200) + whole("png")[5200:],
    "no.heic": b"\0\0\0\x18ftypheic" + bytes(40),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_skipped_with_its_reason(name, tmp_path):
    (tmp_path / name).write_bytes(BROKEN[name])
    picture().save(tmp_path / "good.png")
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        photos = from_folder(tmp_path, 32, show_progress=False)
    assert len(photos) == 1 and close(corners(photos.images[0]), [RED, GREEN, BLUE, BLUE], 3)
    ((path, reason),) = photos.skipped
    assert path == str(tmp_path / name) and reason
    assert "0x" not in reason  # no address of some object in a message for people


def test_broken_files_in_one_warning_and_labels_still_right(tmp_path):
    for folder, value in (("a", 10), ("b", 20), ("c", 30)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8), (value, 0, 0)).save(tmp_path / folder / "5.png")
        for name, content in BROKEN.items():
            (tmp_path / folder / name).write_bytes(content)
    (tmp_path / "all broken").mkdir()
    (tmp_path / "all broken" / "x.png").write_bytes(b"")
    with pytest.warns(UserWarning) as caught:
        photos = from_folder(tmp_path, 8, show_progress=False)
    assert len(caught) == 1 and f"{3 * len(BROKEN) + 1} of {3 * len(BROKEN) + 4} pictures" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert photos.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert photos.classes == ["a", "b", "c"] and photos.labels.tolist() == [0, 1, 2]
    assert len(photos.skipped) == 3 * len(BROKEN) + 1


def test_a_decompression_bomb_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")  # above the limit: Pillow only warns
    Image.new("RGB", (60, 60)).save(tmp_path / "bomb.png")  # above twice the limit: it refuses
    with pytest.warns(UserWarning) as caught:
        photos = from_folder(tmp_path, 8, show_progress=False)
    assert len(caught) == 1 and len(photos) == 1
    assert photos.skipped == [(str(tmp_path / "bomb.png"), "too large: it may be a decompression bomb")]


def test_pictures_that_are_not_read_are_listed_and_not_passed_over(tmp_path):
    endings = [".CR2", ".nef", ".dng", ".svg", ".psd", ".xcf", ".jxl", ".dcm"]
    for ending in endings:
        (tmp_path / f"a{ending}").write_bytes(b"a picture")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "film.mp4").write_text("no picture")
    with pytest.raises(ValueError, match=r"none of the 8 pictures in .* can be read"):
        from_folder(tmp_path, show_progress=False)
    with pytest.raises(ValueError, match=r"no pictures in .* that can be read .*export"):
        PhotoStream(tmp_path)
    picture().save(tmp_path / "b.png")
    with pytest.warns(UserWarning, match="8 of 9 pictures"):
        photos = from_folder(tmp_path, show_progress=False)
    with pytest.warns(UserWarning, match="8 files or folders"):
        stream = PhotoStream(tmp_path)
    assert len(photos) == len(stream) == 1
    assert photos.skipped == stream.skipped
    reasons = {Path(file).suffix: reason for file, reason in photos.skipped}
    assert set(reasons) == set(endings)
    assert "raw file" in reasons[".CR2"] and "drawing" in reasons[".svg"] and "editor" in reasons[".psd"]


HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_2.heif", "IMG_3.jpg"])
def test_heic_is_read_by_its_plugin_or_the_message_names_it(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(HEIC)
    registered = []
    monkeypatch.setattr(photos, "_has_heic_plugin", photos._has_heic_plugin.__wrapped__)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with pytest.raises(ValueError, match="HEIC photo: it is read after `pip install pillow-heif`"):
        from_folder(tmp_path, show_progress=False)
    plugin = types.SimpleNamespace(register_heif_opener=lambda: registered.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    monkeypatch.setattr(photos.Image, "open", lambda file, wraps=Image.open: picture() if registered else wraps(file))
    assert close(corners(read(tmp_path).images[0]), [RED, GREEN, BLUE, BLUE], 3)


def test_a_bomb_below_pillows_limit_is_refused_and_large_pictures_come_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MOST_PIXELS", 50_000)
    monkeypatch.setattr(photos, "LARGE", 20_000)
    Image.new("RGBA", (300, 200)).save(tmp_path / "bomb.png")
    Image.new("RGB", (300, 200)).save(tmp_path / "bomb.jpg", progressive=True)  # takes its memory at any scale
    Image.new("RGB", (300, 200)).save(tmp_path / "good.jpg")  # is decoded at a part of its size
    for i in range(4):
        Image.new("RGB", (200, 150)).save(tmp_path / f"large {i}.png")
    at_once = []

    def square(image, size, whole=photos._square):
        large = image.size == (200, 150)
        assert photos._one_large.locked() or not large
        at_once.append(large)
        return whole(image, size)

    monkeypatch.setattr(photos, "_square", square)
    with pytest.warns(UserWarning, match="2 of 7"):
        images = from_folder(tmp_path, 16, show_progress=False)
    assert [Path(file).name for file, _ in images.skipped] == ["bomb.jpg", "bomb.png"] and sum(at_once) == 4
    assert all(reason.startswith("too large") for _, reason in images.skipped)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")
def test_pipes_and_dead_links_do_not_hang_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "gone.jpg")
    picture().save(tmp_path / "good.png")
    with pytest.warns(UserWarning, match="2 of 3"):
        photos = from_folder(tmp_path, show_progress=False)
    assert [reason for _, reason in photos.skipped] == ["not a file"] * 2


def test_folders_that_give_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        from_folder(tmp_path / "no-such-folder")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"a\.jpg is a file: give the folder"):
        from_folder(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"none of the 1 pictures in .* can be read.*empty file"):
        from_folder(tmp_path, show_progress=False)
    (tmp_path / "a.jpg").rename(tmp_path / "a.doc")
    with pytest.raises(ValueError, match=r"no pictures in .*found 1 \.doc.*\.png"):
        from_folder(tmp_path)
    (tmp_path / "a.doc").unlink()
    with pytest.raises(ValueError, match="found nothing"):
        from_folder(tmp_path)
    with pytest.raises(ValueError, match="size"):
        from_folder(tmp_path, 0)


def test_progress_is_shown_only_if_asked(tmp_path, capfd):
    picture().save(tmp_path / "a.png")
    from_folder(tmp_path, show_progress=False)
    assert capfd.readouterr() == ("", "")
    from_folder(tmp_path)
    assert "1/1" in capfd.readouterr().err


def test_photos_keep_their_names_in_any_selection(tmp_path):
    for name in ("b/2.png", "a/1.png", "a/0.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    photos = from_folder(tmp_path, 8, show_progress=False)
    assert photos.files == ["a/0.png", "a/1.png", "b/2.png"]
    assert photos[torch.tensor([2, 0])].files == ["b/2.png", "a/0.png"]
    assert photos[1:].files == ["a/1.png", "b/2.png"] and photos[photos.labels == 0].files == ["a/0.png", "a/1.png"]
    with pytest.raises(ValueError, match="3 images need as many files or none, got 2"):
        replace(photos, files=photos.files[:2])
