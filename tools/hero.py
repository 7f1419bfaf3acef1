"""Draw the pictures of the landing page, of the README, and of the card for a link: `python -m tools.hero`.

Both come from the last run of the SimCLR chapter (`make book`): its page holds, for 32 test pictures in two views, the
cosine of every two views before and after training. A picture is tied to the TIES others that are most like it.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tools import notebooks
from tools.browser import HELP, find_browser

RUN = notebooks.EXECUTED / "book/contrastive/simclr.ipynb"
STATIC = notebooks.BOOK / "_static"
STATE = "application/vnd.jupyter.widget-state+json"
TIES = 2
COLORS = ("#4f7cf0", "#f0803c", "#1fa187", "#d6518f", "#c9a227", "#8b7ae0", "#3aa6d0", "#d4574e")  # on white and black
SIDE, RING, TILE = 640, 272, 23  # of the picture, of the ring of pictures, and half a picture

CARD = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; width: 1200px; height: 630px; background: #12161d; color: #eef1f6; font-family: sans-serif;
  display: grid; grid-template: auto 1fr auto / 1fr auto 1fr; justify-items: center; align-items: center; }}
header {{ grid-column: 1 / 4; padding-top: 26px; text-align: center; }}
h1 {{ margin: 0; font-size: 54px; letter-spacing: -0.02em; }}
p {{ margin: 0; font-size: 24px; color: #b8c0cc; }}
div svg {{ width: 425px; height: 425px; display: block; }}
b {{ font-size: 64px; font-weight: 300; color: #b8c0cc; }}
footer {{ font-size: 22px; color: #b8c0cc; padding-bottom: 20px; }}
</style>
<header><h1>Learning Without Labels</h1><p>An interactive book on self-supervised learning</p></header>
<div>{before}</div><b>→</b><div>{after}</div>
<footer>random weights</footer><span></span><footer>trained, and no label was used</footer>"""


@dataclass
class Watched:
    """What the chapter's page holds of its pictures: n names, one sheet of tiles, cosines (epochs, 2n, 2n)."""

    names: list[str]
    sheet: Image.Image
    columns: int
    cosines: np.ndarray
    epochs: list[str]

    @classmethod
    def of_run(cls, notebook: dict) -> "Watched":
        """From the state of the first similarity widget of an executed notebook."""
        state = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
        found = [v for v in state.values() if v.get("state", {}).get("_anywidget_id", "").endswith("SimilarityMatrix")]
        if not found:
            raise SystemExit(f"{RUN} holds no similarity widget: run `make book` first")
        widget = found[0]["state"]
        buffers = {b["path"][0]: base64.b64decode(b["data"]) for b in found[0]["buffers"]}
        n = widget["size"]
        upper = np.frombuffer(buffers["triangles"], np.float32).reshape(-1, n * (n - 1) // 2)
        cosines = np.tile(np.eye(n, dtype=np.float32), (len(upper), 1, 1))
        rows, columns = np.triu_indices(n, 1)
        cosines[:, rows, columns] = cosines[:, columns, rows] = upper
        sheet = Image.open(io.BytesIO(buffers["sheet"])).convert("RGB")
        return cls(widget["names"], sheet, widget["tiles"][1], cosines, widget["epochs"])


def ties(cosines: np.ndarray) -> list[tuple[int, int]]:
    """(2n, 2n) cosines of views -> pairs i < j of pictures of which one is among the TIES nearest of the other."""
    n = len(cosines) // 2
    alike = cosines.reshape(2, n, 2, n).mean((0, 2))  # over the views of both
    np.fill_diagonal(alike, -np.inf)
    nearest = (-alike).argsort(1, kind="stable")[:, :TIES]
    return sorted({(min(i, j), max(i, j)) for i in range(n) for j in nearest[i].tolist()})


def ring(n: int) -> np.ndarray:
    """(n, 2): places on a circle of radius one."""
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def colors(names: list[str]) -> list[str]:
    shapes = list(dict.fromkeys(names))
    return [COLORS[shapes.index(name) % len(COLORS)] for name in names]


def drawn_ties(watched: Watched, epoch: int) -> tuple[str, str]:
    """The ties after an epoch, those between equal shapes in the shape's colour; and how many there are, in words."""
    names, at = watched.names, ring(len(watched.names))
    color, joined = colors(names), ties(watched.cosines[epoch])
    joined.sort(key=lambda tie: names[tie[0]] == names[tie[1]])  # the coloured ones on top
    same = sum(names[i] == names[j] for i, j in joined)

    paths = []
    for i, j in joined:
        middle = (at[i] + at[j]) / 2
        bend = 0.2 + 0.45 * np.hypot(*middle)  # neighbours in a shallow arc, opposite ones almost straight
        (x0, y0), (x1, y1), (cx, cy) = (RING - TILE) * np.stack([at[i], at[j], bend * middle])
        look = (
            f'stroke="{color[i]}" stroke-width="4"' if names[i] == names[j] else 'stroke="#8a93a3" stroke-opacity=".6"'
        )
        paths.append(f'<path {look} d="M{x0:.1f} {y0:.1f}Q{cx:.1f} {cy:.1f} {x1:.1f} {y1:.1f}"/>')
    return "".join(paths), f"{len(joined)} ties, {same} of them between equal shapes"


def draw(watched: Watched, *epochs: int) -> str:
    """An SVG: the pictures in a ring, by shape, with their ties; several epochs' in a group each, to choose from."""
    n, color, at = len(watched.names), colors(watched.names), ring(len(watched.names))
    groups, said = zip(*(drawn_ties(watched, epoch) for epoch in epochs))
    if len(epochs) > 1:
        labels = [f'<g class="ties" data-epoch="{watched.epochs[e]}" data-said="{s}">' for e, s in zip(epochs, said)]
        groups = [f"{label}{group}</g>" for label, group in zip(labels, groups)]
    tiles = []
    width = watched.sheet.width
    side = width // watched.columns
    for i, (x, y) in enumerate(RING * at):
        column, row = i % watched.columns * side, i // watched.columns * side
        tiles.append(
            f'<g transform="translate({x:.1f} {y:.1f})"><g clip-path="url(#round)"><svg x="-{TILE}" y="-{TILE}" '
            f'width="{2 * TILE}" height="{2 * TILE}" viewBox="{column} {row} {side} {side}"><use href="#sheet"/></svg>'
            f'</g><circle r="{TILE}" stroke="{color[i]}" stroke-width="3"/></g>'
        )
    height = -(-n // watched.columns) * side  # the rest of the sheet are the second views
    buffer = io.BytesIO()
    watched.sheet.crop((0, 0, width, height)).save(buffer, "PNG", optimize=True)
    picture = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-SIDE / 2} {-SIDE / 2} {SIDE} {SIDE}" fill="none">'
        f"<desc>{n} pictures in a ring, {said[-1]}</desc>"
        f'<defs><clipPath id="round"><circle r="{TILE}"/></clipPath>'
        f'<image id="sheet" width="{width}" height="{height}" href="{picture}"/></defs>'
        f"{''.join(groups)}{''.join(tiles)}</svg>\n"
    )


def photograph(pages: list[str], width: int, height: int) -> list[Image.Image]:
    """What a browser of this size shows of each page."""
    from playwright.sync_api import sync_playwright

    path = find_browser()
    if path is None:
        raise SystemExit(HELP)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": height})
        shots = []
        for page in pages:
            tab.set_content(page)
            shots.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        browser.close()
    return shots


def film(watched: Watched) -> None:
    """The README's moving picture: the ring after every epoch that was kept, the last one longest."""
    pages = [
        f'<body style="margin: 0; background: #12161d; color: #b8c0cc; font: 20px sans-serif; text-align: center">'
        f'<div style="width: 480px; padding: 8px 0">{draw(watched, epoch)}epoch {watched.epochs[epoch]}</div>'
        for epoch in range(len(watched.epochs))
    ]
    first, *others = [shot.quantize(64) for shot in photograph(pages, 480, 520)]
    durations = [900] * len(others) + [2500]  # ms
    first.save(STATIC / "hero.gif", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


def main() -> None:
    if not RUN.is_file():
        raise SystemExit(f"{RUN} is missing: run `make book` first")
    watched = Watched.of_run(notebooks.load(RUN))
    before, after = draw(watched, 0), draw(watched, -1)
    (STATIC / "hero-before.svg").write_text(before)
    (STATIC / "hero-after.svg").write_text(after)
    (STATIC / "hero-live.svg").write_text(draw(watched, *range(len(watched.epochs))))
    (card,) = photograph([CARD.format(before=before, after=after.replace("sheet", "sheet-2"))], 1200, 630)
    card.save(STATIC / "card.png", optimize=True)
    film(watched)


if __name__ == "__main__":
    main()
