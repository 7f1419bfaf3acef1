"""BYOL with linear networks: in each direction two numbers decide between learning and collapse. Move them."""

from __future__ import annotations

import anywidget
import traitlets

from sslbook.widgets._source import source

NOISE = 0.4  # sigma^2, how much two views of an image differ beside the variance 1 of the images
KINDS = ("complete", "no predictor", "no stop-gradient")
TIME, STEP = 40.0, 0.05


class LinearBYOL(anywidget.AnyWidget):
    """One direction of a linear BYOL: its eigenvalue p in the predictor and s in the features, from a start to the end.

    With W linear, a symmetric predictor W_p that shares its eigenvectors with W W^T, inputs of covariance 1 and
    views that differ by noise of variance `NOISE`, each direction goes its own way (Tian et al., 2021, section 3;
    here the target is the online network, tau = 1):

        p' = rate s (1 - (1 + noise) p) - decay p
        s' = 2 p s (1 - (1 + noise) p) - 2 decay s

    Without predictor p is 1 for ever. Without stop-gradient s follows the gradient of the whole loss instead.

    Args:
        p: the predictor's eigenvalue at the start, in [-1, 1.2].
        s: the features', in [0, 1].
        decay: weight decay, in [0, 0.3].
        rate: how many times as fast the predictor learns, in [0.1, 10].
        kind: one of `KINDS`.

    With a kernel all of them can be read and set.

    Raises:
        TraitError: a number outside its range, or no such kind.
    """

    _esm = source("page.js", "linear_byol.js")
    _css = source("widgets.css", "linear_byol.css")
    p = traitlets.Float(0.3, min=-1.0, max=1.2).tag(sync=True)
    s = traitlets.Float(0.3, min=0.0, max=1.0).tag(sync=True)
    decay = traitlets.Float(0.1, min=0.0, max=0.3).tag(sync=True)
    rate = traitlets.Float(1.0, min=0.1, max=10.0).tag(sync=True)
    kind = traitlets.Enum(KINDS, "complete").tag(sync=True)
    noise = traitlets.Float(NOISE, read_only=True).tag(sync=True)

    @staticmethod
    def course(
        p: float,
        s: float,
        *,
        decay: float,
        rate: float = 1.0,
        kind: str = "complete",
        noise: float = NOISE,
        time: float = TIME,
    ) -> list[tuple[float, float]]:
        """(p, s) at times 0, `STEP`, 2 `STEP`, ... up to `time`, by Runge and Kutta's fourth order."""

        def slope(p: float, s: float) -> tuple[float, float]:
            drive = 1 - (1 + noise) * p
            if kind == "no predictor":
                return 0.0, 2 * s * drive - 2 * decay * s
            if kind == "no stop-gradient":
                return rate * s * drive - decay * p, 2 * s * (2 * p - (1 + noise) * (1 + p * p) - decay)
            return rate * s * drive - decay * p, 2 * p * s * drive - 2 * decay * s

        if kind == "no predictor":
            p = 1.0
        path, h = [(p, s)], STEP
        for _ in range(round(time / STEP)):
            a = slope(p, s)
            b = slope(p + h / 2 * a[0], s + h / 2 * a[1])
            c = slope(p + h / 2 * b[0], s + h / 2 * b[1])
            d = slope(p + h * c[0], s + h * c[1])
            p, s = (x + h / 6 * (a[k] + 2 * b[k] + 2 * c[k] + d[k]) for k, x in enumerate((p, s)))
            path.append((p, s))
        return path

    @staticmethod
    def rests(decay: float, noise: float = NOISE) -> tuple[float, float] | None:
        """The predictor's eigenvalue where a direction of the complete method can rest: (unstable, stable).

        On the curve s = p^2 / rate, to which the weight decay brings every course, p grows between the two and falls
        below the first. None if the decay is too strong for any: then all collapses.
        """
        inside = 1 - 4 * decay * (1 + noise)
        if inside < 0:
            return None
        return (1 - inside**0.5) / (2 * (1 + noise)), (1 + inside**0.5) / (2 * (1 + noise))
