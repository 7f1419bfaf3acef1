"""Pages that show their first line soon on a slow line: what can wait comes later.

Scripts run when the page has been read. Figures, which notebooks hold as text, become files that the browser fetches
when they are near; they say how large they are, so that nothing moves when they come. tools/first_paint.py measures it.
"""

import base64
import hashlib
import re
import struct
from pathlib import Path

INLINE = re.compile(r'<img ([^>]*?)src="data:image/png;base64,([^"]+)"([^>]*)>')
WIDTH = re.compile(r'\bwidth="(\d+)"')
FOLDER = "_images"
AT_ONCE = "documentation_options.js"  # small, and a line of the theme's in the head needs it
NO_SCRIPT = "<noscript><p>Formulas, widgets and the search need JavaScript, which is off.</p></noscript>"


def size_of(png: bytes) -> tuple[int, int]:
    """(width, height) in pixels, which stand at the head of a PNG file."""
    return struct.unpack(">II", png[16:24])


def picture(before: str, content: str, after: str, folder: Path, address: str) -> str:
    """The element of one inline picture, which becomes a file of `folder`; `address` leads there from the page."""
    png = base64.b64decode(content)
    name = f"{hashlib.sha256(png).hexdigest()[:16]}.png"
    (folder / name).write_bytes(png)
    width, height = size_of(png)
    attributes = f"{before}{after}"
    given = WIDTH.search(attributes)
    if given:
        attributes += f' height="{round(height * int(given[1]) / width)}"'
    else:
        attributes += f' width="{width}" height="{height}"'
    return f'<img {attributes} loading="lazy" src="{address}{name}">'


def lighten(app, pagename, templatename, context, doctree):
    for script in context.get("script_files", []):
        name = str(getattr(script, "filename", None) or "")
        if templatename == "search.html":
            script.attributes.pop("defer", None)  # a script in its body needs them; pages share these objects
        elif name and not name.endswith(AT_ONCE) and "async" not in script.attributes:
            script.attributes["defer"] = "defer"
    if "body" not in context:
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    address = context["pathto"](FOLDER, 1) + "/"
    body = INLINE.sub(lambda found: picture(*found.groups(), folder, address), context["body"])
    context["body"] = NO_SCRIPT + body


def setup(app):
    app.connect("html-page-context", lighten, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
