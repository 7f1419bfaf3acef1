"""Damaged pictures, 500 of every format and many kinds of damage: each is read or skipped, none stops the folder."""

import io
import json
import random
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from sslbook.photos import PHOTOS, from_folder

WIDTH, HEIGHT = 61, 47  # odd, and seldom a byte of something else
HUGE = 60_000
ENDINGS = sorted(PHOTOS - {".heic", ".heif"})


def picture():
    """Smooth colours with some noise, so that every compression has something to do."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([4 * x, 5 * y, 2 * (x + y)], 2) + np.random.default_rng(0).integers(0, 9, (HEIGHT, WIDTH, 3))
    return Image.fromarray(smooth.clip(0, 255).astype(np.uint8))


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced(image):
    """An Adam7 PNG, which Pillow reads and doesn't write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    pixels = np.asarray(image)
    rows = [row for y, x, down, right in passes for row in pixels[y::down, x::right]]
    head = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def good_pictures():
    """Name -> content of a small picture of every kind."""
    rgb = picture()
    grey, rgba = rgb.convert("L"), rgb.convert("RGBA")
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "a camera", "2020:02:02 20:20:20"
    more = dict(save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)])
    photos = {
        "baseline.jpg": saved(rgb, "JPEG", quality=90),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "grey.jpeg": saved(grey, "JPEG"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "restart.jpg": saved(rgb, "JPEG", restart_marker_rows=1),
        "exif.jpg": saved(rgb, "JPEG", exif=exif),
        "rgb.png": saved(rgb, "PNG"),
        "palette.png": saved(palette, "PNG", transparency=3),
        "deep.png": saved(deep, "PNG"),
        "alpha.png": saved(rgba, "PNG"),
        "interlaced.png": interlaced(rgb),
        "exif.png": saved(rgb, "PNG", exif=exif),
        "moving.png": saved(rgb, "PNG", **more),
        "lossy.webp": saved(rgb, "WEBP"),
        "lossless.webp": saved(rgba, "WEBP", lossless=True),
        "exif.webp": saved(rgb, "WEBP", exif=exif),
        "moving.webp": saved(rgb, "WEBP", **more),
        "still.gif": saved(rgb, "GIF"),
        "moving.gif": saved(rgb, "GIF", **more),
        "rgb.bmp": saved(rgb, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "deep.tif": saved(deep, "TIFF"),
        "float.tif": saved(real, "TIFF"),
        "alpha.tif": saved(rgba, "TIFF", compression="tiff_lzw"),
        "fax.tif": saved(grey.convert("1"), "TIFF", compression="group4"),
        "exif.tif": saved(rgb, "TIFF", exif=exif),
        "pages.tif": saved(rgb, "TIFF", **more),
    }
    for name, form in {
        "plain.ppm": "PPM",
        "texture.tga": "TGA",
        "lossless.jp2": "JPEG2000",
        "web.jfif": "JPEG",
    }.items():
        photos[name] = saved(rgb, form)
    photos["grey.pgm"] = saved(grey, "PPM")
    for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        photos[f"{name}.tiff"] = saved(rgb, "TIFF", compression=name)
    if features.check("avif"):
        photos["photo.avif"] = saved(rgb, "AVIF", speed=10)
    return photos


# ---- kinds of damage: (random, content, another picture's content) -> content


def cut(r, photo, other):
    return photo[: r.randrange(len(photo))]


def flip(many):
    def flip(r, photo, other):
        photo = bytearray(photo)
        for _ in range(many):
            photo[r.randrange(len(photo))] = r.randrange(256)
        return bytes(photo)

    return flip


def block(r, photo):
    """Where a block of at most a third starts and ends."""
    start = r.randrange(len(photo))
    return start, min(len(photo), start + r.randint(1, len(photo) // 3))


def zero(r, photo, other):
    start, end = block(r, photo)
    return photo[:start] + bytes(end - start) + photo[end:]


def repeat(r, photo, other):
    start, end = block(r, photo)
    return photo[:end] + photo[start:end] * r.randint(1, 3) + photo[end:]


def remove(r, photo, other):
    start, end = block(r, photo)
    return photo[:start] + photo[end:]


def mix(r, photo, other):
    """The first part of one picture, the last of another."""
    return photo[: r.randrange(len(photo))] + other[r.randrange(len(other)) :]


def number(r, photo, other):
    """A 2 or 4 byte number of the header (a TIFF may have it at the end) is 0, the largest, or just large."""
    size, order = r.choice([2, 4]), r.choice(["big", "little"])
    value = r.choice([0, 1, HUGE, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1])
    at = r.randrange(max(1, min(len(photo) - size, 200)))
    at = r.choice([at, len(photo) - size - at])
    return photo[:at] + value.to_bytes(size, order) + photo[at + size :]


def claim(photo, width, height):
    """The picture whose header says that it has another size."""
    old, new = (WIDTH, HEIGHT), (width, height)
    for form in (">II", "<II", ">HH", "<HH"):  # PNG and AVIF, BMP, JPEG (height first), GIF and WebP
        for turn in (1, -1):
            if max(new) < 256 ** struct.calcsize(form[1]):
                photo = photo.replace(struct.pack(form, *old[::turn]), struct.pack(form, *new[::turn]))
    for tag, value in zip((b"\0", b"\1"), new):  # TIFF's ImageWidth and ImageLength
        as_long = tag + b"\1\4\0\1\0\0\0" + struct.pack("<I", value)
        photo = re.sub(tag + rb"\x01[\x03\x04]\0\x01\0\0\0....", lambda _, new=as_long: new, photo, flags=re.DOTALL)
    return with_right_sums(photo)


def size(r, photo, other):
    sizes = [0, 1, WIDTH - 1, WIDTH + 1, 1000, 0x3FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]
    width, height = r.choice([(r.choice(sizes), HEIGHT), (WIDTH, r.choice(sizes)), (HUGE, HUGE), (0, 0)])
    return claim(photo, width, height)


def exif(r, photo, other):
    """Some of the first 60 bytes after the name of the block are others."""
    found = re.search(rb"Exif\0\0|eXIf|EXIF|II\*\0|MM\0\*", photo)
    start = found.end() if found else 0
    photo = bytearray(photo)
    for _ in range(r.randint(1, 8)):
        photo[min(len(photo) - 1, start + r.randrange(60))] = r.choice([0, 1, 255, r.randrange(256)])
    return bytes(photo)


def with_right_sums(photo):
    """A PNG whose chunks have the checksums of what is in them: the damage gets past the first look."""
    at = 8
    while photo.startswith(b"\x89PNG") and at + 12 <= len(photo):
        end = at + 8 + int.from_bytes(photo[at : at + 4], "big")
        if end + 4 > len(photo):
            break
        photo = photo[:end] + struct.pack(">I", zlib.crc32(photo[at + 4 : end])) + photo[end + 4 :]
        at = end + 4
    return photo


DAMAGE = {
    "cut": cut,
    "one byte": flip(1),
    "tens": flip(30),
    "hundreds": flip(300),
    "zeros": zero,
    "repeated": repeat,
    "removed": remove,
    "mixed": mix,
    "number": number,
    "size": size,
    "exif": exif,
    "glued": lambda r, photo, other: photo + other,
    "other ending": lambda r, photo, other: photo,
    "empty": lambda r, photo, other: b"",
    "random": lambda r, photo, other: photo[: r.choice([0, 4, 16])] + r.randbytes(r.randint(1, 3000)),
    "text": lambda r, photo, other: b"<!DOCTYPE html>\n<title>404</title>\n" * r.randint(1, 50),
}


def damaged(n, seed=0):
    """n times (name, content): every kind of damage to every kind of picture, in turn."""
    r, photos = random.Random(seed), good_pictures()
    for i in range(n):
        kind, name = list(DAMAGE)[i % len(DAMAGE)], r.choice(list(photos))
        content = DAMAGE[kind](r, photos[name], photos[r.choice(list(photos))])
        if r.random() < 0.5:
            content = with_right_sums(content)
        ending = r.choice(ENDINGS) if kind == "other ending" else Path(name).suffix
        yield f"{i:05} {kind} {Path(name).stem}{ending}", content


def write(folder, photos):
    folder.mkdir(exist_ok=True)
    for name, content in photos:
        (folder / name).write_bytes(content)
    return folder


def read(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photos = from_folder(folder, 32, show_progress=False)
    assert len(caught) == bool(photos.skipped), "one warning, if anything is skipped"
    return photos


# ---- tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """500 damaged files in one sub-folder, good ones in another."""
    folder = tmp_path_factory.mktemp("photos")
    write(folder / "damaged", damaged(500))
    write(folder / "good", good_pictures().items())
    return folder


@pytest.fixture(scope="module")
def photos(folder):
    return read(folder)


def test_every_kind_of_picture_is_read_undamaged(tmp_path):
    photos = read(write(tmp_path, good_pictures().items()))
    assert len(photos) == len(good_pictures()) and not photos.skipped
    assert photos.images.float().std((1, 2, 3)).min() > 20  # and none is blank


def test_every_file_is_read_or_skipped(folder, photos):
    there = [file.relative_to(folder).as_posix() for file in folder.rglob("*.*")]
    skipped = [Path(file).relative_to(folder).as_posix() for file, _ in photos.skipped]
    assert len(there) == 500 + len(good_pictures())
    assert sorted(photos.files + skipped) == sorted(there)
    damage = [name for name in photos.files if name.startswith("damaged")]
    assert min(len(damage), len(skipped)) > 100, "too weak or too strong a damage shows little"


def test_what_is_read_has_its_form(photos):
    assert photos.images.shape == (len(photos.files), 3, 32, 32) and photos.images.dtype == torch.uint8
    assert photos.classes == ["damaged", "good"]
    assert [photos.classes[i] for i in photos.labels] == [name.split("/")[0] for name in photos.files]


def test_a_good_picture_among_them_is_what_it_is_alone(photos, tmp_path):
    rows = {name: i for i, name in enumerate(photos.files)}
    for i, (name, content) in enumerate(good_pictures().items()):
        alone = read(write(tmp_path / str(i), [(name, content)]))
        assert torch.equal(alone.images[0], photos.images[rows[f"good/{name}"]]), name


def test_every_reason_is_a_line_for_people(photos):
    for file, reason in photos.skipped:
        assert isinstance(reason, str) and reason.strip() and len(reason) < 200, file
        assert reason.isprintable(), (file, reason)  # no line break either
        assert " at 0x" not in reason, (file, reason)


def test_an_empty_file_is_skipped_and_an_ending_is_not_believed(photos):
    reasons = {Path(file).name: reason for file, reason in photos.skipped}
    empty = [reason for name, reason in reasons.items() if " empty " in name]
    assert len(empty) > 20 and set(empty) == {"empty file"}
    assert not [name for name in reasons if " other ending " in name]


@pytest.mark.parametrize("name", ["exif.jpg", "exif.png", "exif.webp"])
def test_a_damaged_exif_block_loses_no_photo(name, tmp_path):
    r, photo = random.Random(0), good_pictures()[name]
    start = re.search(rb"Exif\0\0|eXIf|EXIF....", photo, re.DOTALL).end()
    photos = []
    for i in range(60):
        changed = bytearray(photo)
        for _ in range(r.randint(1, 12)):
            changed[start + r.randrange(40)] = r.choice([0, 1, 255, r.randrange(256)])
        photos.append((f"{i}{Path(name).suffix}", with_right_sums(bytes(changed))))
    assert len(read(write(tmp_path, photos))) == 60


MEASURE = """
import json, re, sys, warnings
from sslbook.photos import from_folder
warnings.simplefilter("ignore")
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
from_folder(sys.argv[1], 32, show_progress=False)
before = peak()
photos = from_folder(sys.argv[2], 32, show_progress=False)
print(json.dumps(dict(grown=peak() - before, skipped=dict(photos.skipped), files=photos.files)))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of a process is read from /proc")
def test_a_header_that_claims_many_pixels_takes_no_memory(folder, tmp_path):
    """Everything above, and of every kind a picture that says it has 60,000 x 60,000 pixels: 14 GB if believed."""
    liars = {f"liar {name}": claim(content, HUGE, HUGE) for name, content in good_pictures().items()}
    write(tmp_path / "lies", [*damaged(500), *liars.items(), *good_pictures().items()])
    command = [sys.executable, "-c", MEASURE, folder / "good", tmp_path / "lies"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["grown"] < 1500, "MB"  # WebP has room for 16,383 pixels, which Pillow lets pass
    reasons = [reason for file, reason in seen["skipped"].items() if Path(file).name.startswith("liar")]
    assert sum("decompression bomb" in reason for reason in reasons) > 15
    assert set(good_pictures()) <= set(seen["files"])
