"""The landing page's two pictures become one that the reader moves: the ring of pictures, epoch by epoch.

In a notebook they stay two pictures. tools/hero.py draws them all from one run.
"""

import re
from pathlib import Path

PICTURES = re.compile(r"<p>(<img [^>]*hero-before[^>]*>\s*<img [^>]*hero-after[^>]*>)</p>")
SCRIPT = Path(__file__).parent / "scripts/hero.js"
LIVE = """<figure class="hero">{drawing}<figcaption><label for="hero-epoch">Epoch <output></output></label>
<input id="hero-epoch" type="range" min="0" step="1"><button type="button">Train</button>
<span role="status"></span></figcaption></figure><script>{script}</script>
<noscript>{pictures}</noscript>"""


def enliven(app, pagename, templatename, context, doctree):
    if pagename != app.config.root_doc or "body" not in context:
        return
    drawing = (Path(app.srcdir) / "book/_static/hero-live.svg").read_text(encoding="utf-8")
    drawing = drawing.replace(
        "<svg ", '<svg role="img" aria-label="Pictures in a ring, tied to those most like them" ', 1
    )
    script = SCRIPT.read_text(encoding="utf-8")
    context["body"] = PICTURES.sub(
        lambda found: LIVE.format(drawing=drawing, script=script, pictures=found[1]), context["body"], count=1
    )


def setup(app):
    app.connect("html-page-context", enliven, priority=960)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
