"""Train a small encoder without labels in the page, watch it learn, and take away what keeps it from collapsing."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anywidget
import traitlets

from sslbook import playground
from sslbook.widgets._source import source

PAGE = ("page.js", "ball.js", "runtime.js", "playground.js")
WORKER = ("draws.js", "views.js", "shapes.js", "trainer.js")


class Playground(anywidget.AnyWidget):
    """A training that runs in the reader's page: pictures on a sphere, the loss, what the nearest neighbours know.

    The page gets graphs of whole training steps, traced from the package's own methods (`sslbook.in_page`), and draws
    its pictures and its first weights itself. They run where the book's site has onnxruntime-web; elsewhere, such as in
    Jupyter, the widget says that it trains on the site.

    Args:
        method: the one that is shown first, of `playground.playable()`; else the first of these.
        tour: steps of a guided tour, each {"title", "text", "ask", "answers", "right", "then", "set", "after"}: a
            question with answers to choose from, what is said once one is chosen, and settings (names of traits) that
            are made when the step begins and when it is answered.
        brief: folds away all that a first look does not need.

    Raises:
        ValueError: the method is not playable.
    """

    _esm = source(*PAGE) + f"\nexport const WORKER = {json.dumps(source(*WORKER))};\n"
    _css = source("widgets.css", "playground.css")
    graphs = traitlets.Bytes().tag(sync=True)  # gzipped pieces
    index = traitlets.Dict().tag(sync=True)  # where the pieces of each graph lie
    about = traitlets.Dict().tag(sync=True)  # of the methods
    order = traitlets.List().tag(sync=True)  # of the methods: a page sorts a dict
    tour = traitlets.List().tag(sync=True)
    brief = traitlets.Bool(False).tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    part = traitlets.Unicode("").tag(sync=True)  # which is removed; "" is none
    seed = traitlets.Int(0).tag(sync=True)
    lr = traitlets.Float(0.0).tag(sync=True)  # 0: the method's own
    dial = traitlets.Float(-1.0).tag(sync=True)  # of the method's own number; -1: its own value
    crop = traitlets.Float(0.0).tag(sync=True)  # the smallest share of a picture that a view shows; 0: the method's own
    color = traitlets.Float(1.0).tag(sync=True)  # times the views' changes of colour

    def __init__(self, method: str | None = None, tour: Sequence[dict] = (), *, brief: bool = False, **kwargs):
        names = playground.playable()
        method = method or names[0]
        if method not in names:
            raise ValueError(f"the playground has {', '.join(names)}; got {method!r}")
        graphs, index = playground.stored()
        about = playground.about(names)
        shown = dict(method=method, tour=list(tour), brief=brief)
        super().__init__(graphs=graphs, index=index, about=about, order=names, **shown, **kwargs)
