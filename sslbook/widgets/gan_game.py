"""The game of a GAN on a plane: a generator moves points, a discriminator tells them from real ones."""

from __future__ import annotations

import anywidget
import traitlets

from sslbook.widgets._source import source

DATA = ("ring", "grid")
LOSSES = ("non-saturating", "minimax")


class GanGame(anywidget.AnyWidget):
    """Two small networks that learn in the page: the generator from a normal of 2 numbers, the discriminator from both.

    The discriminator's loss is the paper's (Goodfellow et al., 2014, equation 1). The generator's is -log D(G(z)),
    "non-saturating", or log(1 - D(G(z))), "minimax" (section 3). Both learn with Adam; the generator's rate is .003.

    Args:
        data: "ring", 8 narrow heaps of points in a circle, or "grid", 9 in a square.
        loss: one of `LOSSES`.
        rate: the discriminator's learning rate, in [0.0001, 0.03].
        steps: its steps to each of the generator's while the game plays, in 1..5.
        seed: of weights and points: one seed is one game, if the moves are the same.

    With a kernel all of them can be read and set.

    Raises:
        TraitError: a number outside its range, or no such data or loss.
    """

    _esm = source("page.js", "draws.js", "plane_networks.js", "gan_game.js")
    _css = source("widgets.css", "gan_game.css")
    data = traitlets.Enum(DATA, "ring").tag(sync=True)
    loss = traitlets.Enum(LOSSES, "non-saturating").tag(sync=True)
    rate = traitlets.Float(0.003, min=0.0001, max=0.03).tag(sync=True)
    steps = traitlets.Int(1, min=1, max=5).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=99).tag(sync=True)
