"""Pictures of images and runs. What a picture says to those who can't see it stands in the metadata of its cell."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from torch import Tensor

from sslbook.history import History
from sslbook.views import ViewParameters

STYLE = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
}
COLORS = ("#0b6e99", "#d1603d", "#5b8c3a", "#8b5fbf", "#c79a00", "#7a7a7a")  # apart in hue and in brightness


PAPER, INK = "#181b20", "#e6e9ed"  # of the dark theme
DARK = ('html[data-theme="dark"]', 'html[theme="dark"]', 'body[data-jp-theme-light="false"]')  # book, Colab, Jupyter
SWITCH = (
    '<style>img.figure[data-on="dark"]{display:none}'
    + "".join(f'{dark} img.figure[data-on="dark"]{{display:inline}}' for dark in DARK)
    + "".join(f'{dark} img.figure[data-on="light"]{{display:none}}' for dark in DARK)
    + "</style>"
)


class Picture:
    """A drawn figure, on white and for a dark theme; the last line of a cell shows the one that fits.

    `tools/notebooks.py` puts the cell's alternative text in.
    """

    def __init__(self, figure: Figure):
        self.png = _png(figure, "white")
        _darken(figure)
        self.dark_png = _png(figure, PAPER)
        self.width = int(figure.get_figwidth() * STYLE["figure.dpi"])
        plt.close(figure)

    def _repr_html_(self) -> str:
        images = (
            f'<img class="figure" alt="" data-on="{theme}" width="{self.width}" '
            f'style="max-width:100%;height:auto" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            for theme, png in (("light", self.png), ("dark", self.dark_png))
        )
        return SWITCH + "".join(images)


def _png(figure: Figure, paper: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * STYLE["figure.dpi"], facecolor=paper)
    return buffer.getvalue()


def _darken(figure: Figure) -> None:
    """Black ink becomes light and white paper dark; what lies on a picture, such as numbers in its cells, stays."""
    kept = {text for ax in figure.axes if ax.images for text in ax.texts}
    for ax in figure.axes:
        ax.set_facecolor(PAPER)
        ax.tick_params(which="both", color=INK)
        for spine in ax.spines.values():
            spine.set_edgecolor(INK)
        if ax.get_legend():
            ax.get_legend().get_frame().set_facecolor(PAPER)
    for artist in [*figure.findobj(Text), *figure.findobj(Line2D)]:
        if artist not in kept and _is_dark(artist.get_color()):
            artist.set_color(INK)


def _is_dark(color: object) -> bool:
    """Nearly black, as text is by default; the colours of runs are not."""
    return color != "none" and max(colors.to_rgb(color)) < 0.25


def _panels(count: int, width: float, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """Panels of this size in inches, at most two beside each other: on a phone the letters of more would be dust."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    for empty in axes.flat[count:]:
        empty.remove()
    return figure, list(axes.flat[:count])


def image_grid(images: Tensor, titles: Sequence[str] | None = None, *, columns: int = 8) -> Picture:
    """Images (n, 3, H, W), uint8 or floats in [0, 1], row by row with crisp pixels."""
    n = len(images)
    columns = min(columns, n)
    rows = -(-n // columns)
    with matplotlib.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(0.98 * columns, (1.2 if titles else 1.0) * rows), squeeze=False
        )
        for ax in axes.flat:
            ax.axis("off")
        for i, (ax, image) in enumerate(zip(axes.flat, images.cpu())):
            ax.imshow(image.permute(1, 2, 0).numpy())
            if titles:
                ax.set_title(titles[i], fontsize=10)
        return Picture(figure)


def crops(image: Tensor, parameters: ViewParameters, views: Tensor) -> Picture:
    """One image (3, H, W) with the box of each of its views, and the views (n, 3, h, w) beside it."""
    n = len(views)
    with matplotlib.rc_context(STYLE):
        rows = -(-(n + 1) // 4)
        columns = -(-(n + 1) // rows)
        figure, grid = plt.subplots(rows, columns, figsize=(1.45 * columns, 1.7 * rows), squeeze=False)
        axes = grid.flat[: n + 1]
        for empty in grid.flat[n + 1 :]:
            empty.remove()
        axes[0].imshow(image.cpu().permute(1, 2, 0).numpy())
        axes[0].set_title("original")
        for i, (ax, view) in enumerate(zip(axes[1:], views.cpu())):
            color = COLORS[i % len(COLORS)]
            top, left, height, width = parameters.box[i].tolist()
            axes[0].add_patch(
                plt.Rectangle((left - 0.5, top - 0.5), width, height, fill=False, color=color, linewidth=1.8)
            )
            ax.imshow(view.permute(1, 2, 0).numpy())
            ax.set_title(f"view {i + 1}", color=color)
        for ax in axes:
            ax.set_xticks([])
            ax.set_yticks([])
        return Picture(figure)


def curves(histories: Mapping[str, History], columns: Sequence[str] = ("loss", "knn")) -> Picture:
    """One panel for each column of the histories, one line for each run."""
    labels = {
        "loss": "loss",
        "knn": "kNN accuracy (k=200, t=0.1)",
        "partners found": "partner is the nearest view",
        "spread": "spread of the features",
        "rankme": "RankMe",
    }
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(columns), 3.3, 2.7)
        for ax, column in zip(axes, columns):
            for color, (name, history) in zip(COLORS, histories.items()):
                rows = [row for row in history.epochs if column in row]
                ax.plot(
                    [row["epoch"] for row in rows], [row[column] for row in rows], color=color, label=name, marker="."
                )
            ax.set_xlabel("epoch")
            ax.set_ylabel(labels.get(column, column))
            if column in ("knn", "partners found"):
                ax.set_ylim(0, 1)
        if len(histories) > 1:
            axes[0].legend(frameon=False)
        return Picture(figure)


def panels(
    series: Mapping[str, Mapping[str, Sequence[float | None]]], *, xlabel: str, x: Sequence[float] | None = None
) -> Picture:
    """{panel: {line: values}}: one panel beside the other, from 0 on or at `x`; None leaves a gap."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(series), 3.0, 2.7)
        for ax, (label, lines_of_panel) in zip(axes, series.items()):
            for color, (name, values) in zip(COLORS, lines_of_panel.items()):
                places = range(len(values)) if x is None else x
                ax.plot(places, np.array(values, dtype=float), color=color, label=name)
            ax.set(xlabel=xlabel, ylabel=label)
        names = len(next(iter(series.values())))
        if names > 5:  # they would lie on the lines
            lines, labels = axes[0].get_legend_handles_labels()
            figure.legend(lines, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=min(4, names))
        elif names > 1:
            axes[0].legend(frameon=False, fontsize=8)
        return Picture(figure)


def spectra(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Picture:
    """{panel: {line: one row of values for each seed}}: values from the largest on, both axes logarithmic.

    Each seed has a thin line. Values below 1e-7, which are rounding errors of float32, are drawn there.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(panels), 2.9, 2.8, sharex=True, sharey=True)
        for ax, (title, spectra_of) in zip(axes, panels.items()):
            for color, (name, seeds) in zip(COLORS, spectra_of.items()):
                for seed, values in enumerate(seeds):
                    places, heights = np.arange(1, len(values) + 1), np.maximum(values, 1e-7)
                    ax.plot(places, heights, color=color, linewidth=1.1, label=None if seed else name)
            ax.set(xscale="log", yscale="log", title=title, ylim=(1e-12, 2))  # with room for the names
            ax.legend(frameon=False, fontsize=8, loc="lower left")
        figure.supxlabel("direction, from the strongest to the weakest", fontsize=9)
        figure.supylabel("singular value", fontsize=9)
        return Picture(figure)


def bars(values: Mapping[str, Mapping[str, float]], *, ylabel: str, chance: float | None = None) -> Picture:
    """Groups of bars: {group: {bar: value}}, every bar with its number on top."""
    names = list(next(iter(values.values())))
    with matplotlib.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(1.4 + 1.5 * len(values) * max(1, len(names) / 2.5), 3.0))
        width = 0.8 / len(names)
        for i, (color, name) in enumerate(zip(COLORS, names)):
            x = np.arange(len(values)) + (i - (len(names) - 1) / 2) * width
            drawn = ax.bar(x, [group[name] for group in values.values()], width * 0.94, color=color, label=name)
            ax.bar_label(drawn, fmt="%.2f", fontsize=8)
        if chance is not None:
            ax.axhline(chance, color="#7a7a7a", linestyle=":", label="chance")
        ax.set_xticks(np.arange(len(values)), list(values))
        ax.set_ylabel(ylabel)
        ax.set_ylim(0, 1.08)
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        return Picture(figure)


def lines(
    series: Mapping[str, Mapping[float, Sequence[float]]], *, xlabel: str, ylabel: str, log: bool = True
) -> Picture:
    """{line: {x: values}}: the mean of the values at each x, and a band from the lowest to the highest."""
    with matplotlib.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(5.6, 3.1))
        for color, (name, points) in zip(COLORS, series.items()):
            x, values = list(points), [np.asarray(v, dtype=float) for v in points.values()]
            ax.plot(x, [v.mean() for v in values], color=color, label=name, marker=".")
            ax.fill_between(
                x, [v.min() for v in values], [v.max() for v in values], color=color, alpha=0.2, linewidth=0
            )
        if log:
            ax.set_xscale("log")
        ticks = list(dict.fromkeys(x for points in series.values() for x in points))
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        return Picture(figure)


def dots(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Picture:
    """{panel: {row: values}}, the same rows in all panels: a dot for each value in [0, 1]."""
    rows = list(next(iter(panels.values())))
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(panels), 2.9, 0.7 + 0.26 * len(rows), sharey=True)
        for ax, (title, values_of) in zip(axes, panels.items()):
            for place, name in enumerate(rows):  # of one colour: there are more rows than colours
                values = values_of[name]
                ax.plot(values, [place] * len(values), "o", color=COLORS[0], alpha=0.7)
            ax.set(xlim=(0, 1.04), xticks=(0, 0.5, 1), title=title)
            ax.grid(axis="x", alpha=0.3)
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].invert_yaxis()
        return Picture(figure)


def scatter(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]], *, xlabel: str, ylabel: str
) -> Picture:
    """{panel: {name: courses}}: each course is points (x, y), joined in their order, with a large dot at its end.

    A name has one colour and mark in all panels.
    """
    names = list(dict.fromkeys(name for courses_of in panels.values() for name in courses_of))
    with matplotlib.rc_context(STYLE):
        figure, axes = _panels(len(panels), 3.1, 3.0)
        for ax, (title, courses_of) in zip(axes, panels.items()):
            for name, courses in courses_of.items():
                place = names.index(name)
                color, mark = COLORS[place % len(COLORS)], "os^D"[place // len(COLORS) % 4]
                for course in courses:
                    x, y = zip(*course)
                    ax.plot(x, y, color=color, linewidth=1, alpha=0.5)
                    ax.plot(x[-1], y[-1], mark, color=color, markersize=5)
            ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
        marks = [
            Line2D([], [], color=COLORS[i % len(COLORS)], marker="os^D"[i // len(COLORS) % 4], linestyle="none")
            for i in range(len(names))
        ]
        figure.legend(marks, names, frameon=False, fontsize=8, loc="outside lower center", ncols=min(4, len(names)))
        return Picture(figure)


def heat_map(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], *, reference: str) -> Picture:
    """{panel: {row: {column: values}}}: mean, lowest and highest in each cell, the panels below each other.

    A panel has its own rows and columns, and all have the row `reference`. The colour says how far the mean lies above
    (purple) or below (orange) that row's, up to 0.4. A cell for which a row has nothing stays empty.
    """
    heights = [0.5 + 0.44 * len(cells) for cells in panels.values()]
    most = max(len(cells[reference]) for cells in panels.values())
    with matplotlib.rc_context(STYLE):
        size = (1.5 + 0.82 * most, sum(heights) + 0.3)
        figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False, height_ratios=heights)
        for ax, (title, cells) in zip(axes[:, 0], panels.items()):
            rows, columns = list(cells), list(cells[reference])
            values = [[np.asarray(cells[row].get(column, ()), dtype=float) for column in columns] for row in rows]
            means = np.array([[v.mean() if v.size else np.nan for v in line] for line in values])
            apart = means - means[rows.index(reference)]
            image = ax.imshow(apart, cmap="PuOr", vmin=-0.4, vmax=0.4, aspect="auto")
            for i, line in enumerate(values):
                for j, v in enumerate(line):
                    if not v.size:
                        continue
                    ink = "white" if abs(apart[i, j]) > 0.22 else "black"
                    ax.text(j, i - 0.14, _short(v.mean()), ha="center", va="center", fontsize=9, color=ink)
                    ends = f"{_short(v.min())} to {_short(v.max())}" if len(v) > 1 else ""
                    ax.text(j, i + 0.27, ends, ha="center", va="center", fontsize=8, color=ink)
            ax.set_yticks(range(len(rows)), rows)
            ax.set_xticks(range(len(columns)), columns)
            ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
            ax.spines[:].set_visible(False)
            ax.set_title(title, loc="left", fontweight="bold")
        figure.colorbar(image, ax=axes[:, 0], label=f"above or below “{reference}”", shrink=0.6)
        return Picture(figure)


def _short(value: float) -> str:
    """Two decimals and no nought before the point: .52, -.03, 1.00."""
    value = round(float(value), 2) + 0.0  # no minus before .00
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


class Table:
    """The growing table: one row for each encoder, one column for each question asked of it."""

    def __init__(self, rows: Sequence[Mapping[str, object]], caption: str):
        self.rows, self.caption = [dict(row) for row in rows], caption

    def _cells(self) -> list[list[str]]:
        columns = list(dict.fromkeys(column for row in self.rows for column in row))

        def text(value) -> str:
            return f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value)

        return [columns, *([text(row.get(column)) for column in columns] for row in self.rows)]

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        th = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in head)
        trs = "".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(c)}</td>" for c in row[1:])
            + "</tr>"
            for row in body
        )
        return (
            f'<table class="growing-table table"><caption>{html.escape(self.caption)}</caption>'
            f"<thead><tr>{th}</tr></thead><tbody>{trs}</tbody></table>"
        )

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in cells]
        return "\n".join([self.caption, *lines])
