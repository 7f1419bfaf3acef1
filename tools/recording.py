"""Record the playground as it trains, for the README and for the card of a link: `python -m tools.recording`.

A browser trains SimCLR in the page for SECONDS, on this machine; what it showed is what the pictures show.
"""

import base64
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tools import notebooks
from tools.browser import HELP, find_browser
from tools.playground import begin, site

STATIC = notebooks.BOOK / "_static"
SECONDS, FRAMES = 90, 24
WIDTH, COLORS = 560, 128  # of the moving picture

CARD = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; width: 1200px; height: 630px; background: #12161d; color: #eef1f6; font-family: sans-serif;
  display: grid; grid-template: auto 1fr auto / 1fr auto 1fr; justify-items: center; align-items: center; }}
header {{ grid-column: 1 / 4; padding-top: 26px; text-align: center; }}
h1 {{ margin: 0; font-size: 54px; letter-spacing: -0.02em; }}
p {{ margin: 0; font-size: 24px; color: #b8c0cc; }}
img {{ width: 425px; height: 425px; display: block; }}
b {{ font-size: 64px; font-weight: 300; color: #b8c0cc; }}
footer {{ font-size: 22px; color: #b8c0cc; padding-bottom: 20px; }}
</style>
<header><h1>Learning Without Labels</h1><p>An interactive book on self-supervised learning</p></header>
<img src="{before}"><b>→</b><img src="{after}">
<footer>random weights</footer><span></span><footer>a minute and a half later, and no label was used</footer>"""


def picture_of(page: Page, selector: str) -> bytes:
    return page.locator(selector).first.screenshot()


def film(page: Page) -> tuple[list[bytes], bytes, bytes]:
    """Frames of the first stage of the figure while it trains, and the sphere at the start and at the end."""
    page.wait_for_timeout(500)
    frames, before = [], picture_of(page, ".sslw-ball")
    for _ in range(FRAMES):
        frames.append(picture_of(page, ".sslw-play-stage"))
        page.wait_for_timeout(1000 * SECONDS / FRAMES)
    return frames, before, picture_of(page, ".sslw-ball")


def moving(frames: list[bytes]) -> bytes:
    """A GIF of them, the last one longest."""
    pictures = []
    for frame in frames:
        picture = Image.open(io.BytesIO(frame)).convert("RGB")
        height = round(picture.height * WIDTH / picture.width)
        pictures.append(picture.resize((WIDTH, height)).quantize(COLORS, Image.Quantize.MAXCOVERAGE))
    first, *others = pictures
    durations = [250] * len(others) + [2500]  # ms
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
    return out.getvalue()


def card(browser: Browser, before: bytes, after: bytes) -> bytes:
    page = browser.new_page(viewport={"width": 1200, "height": 630})
    urls = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in (before, after)]
    page.set_content(CARD.format(before=urls[0], after=urls[1]))
    return page.screenshot()


def main() -> None:
    from tests.conftest import serve

    path = find_browser()
    if path is None:
        raise SystemExit(HELP)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        site(Path(folder), theme="dark")
        with serve(Path(folder) / "vendor_static") as address:
            browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 880, "height": 1000}, device_scale_factor=2)
            begin(page, address, "SimCLR")
            frames, before, after = film(page)
            (STATIC / "playground.gif").write_bytes(moving(frames))
            (STATIC / "card.png").write_bytes(card(browser, before, after))
            browser.close()


if __name__ == "__main__":
    main()
