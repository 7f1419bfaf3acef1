"""The notebooks' widgets on pages without a kernel: their state in a file of its own, drawn by scripts/widgets.js.

A page that holds all its widgets' data shows its first line only when they have arrived. So the state is a script
beside the page, which works for a page that is opened as a file too, and what is LARGE, such as a network, is a file
that the widget fetches when it is near. The widgets are anywidget's: a module that draws a model is all they need.
"""

import base64
import hashlib
import json
import re
from pathlib import Path

from sphinx.errors import SphinxError

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL)
LARGE = 200_000  # bytes of one value
SCRIPT = Path(__file__).parent / "scripts/widgets.js"


class NoAnywidget(SphinxError):
    category = "Widgets"


def views(body: str) -> list[str]:
    """The ids of the models that a page shows."""
    return [json.loads(found)["model_id"] for found in VIEW.findall(body)]


def packed(state: dict, ids: list[str], folder: Path) -> dict:
    """What scripts/widgets.js needs of these models of a notebook's state; large values become files of `folder`.

    Raises:
        NoAnywidget: a widget is of another kind, which only a kernel could draw.
    """
    sources, models = [], {}

    def place(text: str) -> int:
        if text not in sources:
            sources.append(text)
        return sources.index(text)

    for name in dict.fromkeys(ids):
        model = state.get(name)
        if model is None or "_esm" not in model["state"]:
            kind = model["model_name"] if model else "a model without a state"
            raise NoAnywidget(f"{kind} cannot be drawn on a page: use anywidget.AnyWidget")
        values = {k: v for k, v in model["state"].items() if not k.startswith("_")}
        binary, large = {}, {}
        for buffer in model.get("buffers", ()):
            (trait,) = buffer["path"]
            content = base64.b64decode(buffer["data"])
            if len(content) > LARGE:
                file = f"{hashlib.sha256(content).hexdigest()[:16]}.bin"
                (folder / file).write_bytes(content)
                large[trait] = {"file": f"{folder.name}/{file}", "bytes": len(content)}
            else:
                binary[trait] = buffer["data"]
        models[name] = {
            "esm": place(model["state"]["_esm"]),
            "css": place(model["state"].get("_css", "")),
            "plain": {k: v for k, v in values.items() if k not in ("layout", "tabbable", "tooltip")},
            "binary": binary,
            "large": large,
        }
    return {"sources": sources, "models": models}


def split(app, pagename, templatename, context, doctree):
    """Take the state out of the page's head, into a script that is loaded when the page is there."""
    files = context.get("script_files", [])
    found = [file for file in files if getattr(file, "attributes", {}).get("type") == STATE]
    for file in found:
        files.remove(file)
    ids = views(context.get("body", ""))
    if not ids:
        return
    static = Path(app.outdir) / "_static"
    folder = static / "widgets"
    folder.mkdir(parents=True, exist_ok=True)
    state = json.loads(found[0].attributes["body"])["state"]
    data = packed(state, ids, folder) | {"runtime": app.config.runtime_bytes}
    script = f"window.widgetStates = {json.dumps(data)};\n"
    name = f"widgets/{pagename.replace('/', '-')}.js"
    for path, text in ((name, script), (SCRIPT.name, SCRIPT.read_text(encoding="utf-8"))):
        (static / path).write_text(text, encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        context["body"] += f'<script defer src="{context["pathto"](f"_static/{path}", 1)}?v={digest}"></script>\n'


def sweep(app, exception):
    """Remove the large values of earlier runs, which no page names any more."""
    folder = Path(app.outdir) / "_static/widgets"
    named = "".join(script.read_text(encoding="utf-8") for script in folder.glob("*.js"))
    for file in folder.glob("*.bin"):
        if file.name not in named:
            file.unlink()


def setup(app):
    app.add_config_value("runtime_bytes", 0, "html")  # of onnxruntime-web, for a widget that says how much has come
    app.connect("html-page-context", split, priority=900)
    app.connect("build-finished", sweep)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
