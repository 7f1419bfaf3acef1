"""Pages for those who hear them or use a keyboard.

A build fails where a picture has no alternative text: `![what it shows](file)`, or `alt=` of `sslbook.figures`.
What Sphinx, MyST-NB and the theme get wrong is mended; tests/test_accessibility.py tells when something new comes up.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

from sphinx.errors import SphinxError

FILES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
DEFAULTS = ("<Figure", "Figure(", "<IPython")  # what tools write who know no better
MENDED = {
    # a list's children are items; doc-biblioentry is deprecated
    'role="doc-biblioentry"': 'role="listitem"',
    # a name that is not what the fold shows
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # wide tables scroll, with the arrow keys too
    '<div class="pst-scrollable-table-container">': '<div class="pst-scrollable-table-container" tabindex="0">',
}
# a formula and the mark behind it, between which a browser would begin a new line
BEFORE_A_MARK = re.compile(r'(<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)’”]+)')


class NoAlternativeText(SphinxError):
    category = "Alternative text"


class Pictures(HTMLParser):
    """Collects the sources of the pictures of a page that do not say what they show."""

    def __init__(self, html):
        super().__init__()
        self.mute = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            alt = (dict(attributes).get("alt") or "").strip()
            if not alt or alt.startswith(DEFAULTS) or alt.endswith(FILES):
                self.mute.append(dict(attributes).get("src") or "a picture without a source")


def look(app, pagename, templatename, context, doctree):
    body = context.get("body", "")
    mute = Pictures(body).mute
    if mute:
        names = ", ".join(s if len(s) < 80 else s[:40] + " …" for s in mute)
        raise NoAlternativeText(f"{pagename}: write what these pictures show, for those who can't see them: {names}")
    for wrong, right in MENDED.items():
        body = body.replace(wrong, right)
    context["body"] = BEFORE_A_MARK.sub(r'<span class="glued">\1</span>', body)


def add_templates(app, config):
    config.templates_path = [str(Path(__file__).parent / "templates"), *config.templates_path]


def setup(app):
    app.connect("config-inited", add_templates)
    app.connect("html-page-context", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
