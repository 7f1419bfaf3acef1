"""Serve every script that a page needs from the site itself, so that the book works offline.

MathJax and onnxruntime-web come from node_modules (`npm ci`, or just `make book`). Missing ones are an error: the pages
never fall back to a public CDN. The widgets need no more than _ext/scripts/widgets.js.
"""

import shutil
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from sphinx.errors import ConfigError
from sphinx.transforms import SphinxTransform

# It runs on the processor, in one thread; the module contains its loader and finds the other file beside it.
ORT = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
# Badges that a notebook loads from elsewhere on Colab and GitHub, and their twins in the site
LOCAL_IMAGES = {"https://colab.research.google.com/assets/colab-badge.svg": "/book/_static/colab-badge.svg"}


def vendor_scripts(app, config):
    """Copy the scripts into a static folder of their own and point MathJax and myst-nb at it."""
    source = Path(app.srcdir)
    modules = next((d / "node_modules" for d in (source, *source.parents) if (d / "node_modules").is_dir()), None)
    if modules is None:
        raise ConfigError("offline_assets: there is no node_modules folder; run `npm ci` in the repository first")
    static = Path(app.doctreedir).parent / "vendor_static"
    vendor = static / "vendor"
    shutil.rmtree(static, ignore_errors=True)
    vendor.mkdir(parents=True)

    (vendor / "ort").mkdir()
    for name in ORT:
        shutil.copy(modules / "onnxruntime-web/dist" / name, vendor / "ort")
    config.runtime_bytes = (vendor / "ort" / ORT[1]).stat().st_size
    config.nb_ipywidgets_js = {}  # myst-nb would take them from elsewhere

    mathjax = modules / "mathjax"
    for folder in ("input/tex/extensions", "a11y", "ui"):
        shutil.copytree(mathjax / folder, vendor / "mathjax" / folder)
    font = "mathjax-newcm-font/chtml"
    shutil.copytree(modules / "@mathjax" / font, vendor / "mathjax" / font)
    shutil.copy(mathjax / "tex-mml-chtml.js", vendor / "mathjax")
    config.mathjax_path = "vendor/mathjax/tex-mml-chtml.js"

    config.html_static_path = [*config.html_static_path, str(static)]


def drop_repeated_scripts(app, pagename, templatename, context, doctree):
    """Sphinx 7 writes the theme's inline scripts twice, and a second `const` of a name is a SyntaxError."""
    seen = set()

    def is_first(script):
        body = getattr(script, "attributes", {}).get("body")
        return not body or (body not in seen and not seen.add(body))

    context["script_files"][:] = filter(is_first, context.get("script_files", []))


class LocalImages(SphinxTransform):
    """Show the site's own copy of a badge."""

    default_priority = 100  # before Sphinx collects the images

    def apply(self):
        for image in self.document.findall(nodes.image):
            image["uri"] = LOCAL_IMAGES.get(image["uri"], image["uri"])


def alt_from_output(render_image):
    """Let an output bring its own alternative text: `display(Image(png, alt="…"))`."""

    def render(self, data):
        images = render_image(self, data)
        alt = data.output_metadata.get(data.mime_type, {}).get("alt")
        if alt:
            for image in images:
                image["alt"] = alt
        return images

    return render


def setup(app):
    NbElementRenderer.render_image = alt_from_output(NbElementRenderer.render_image)
    app.add_transform(LocalImages)
    app.connect("config-inited", vendor_scripts, priority=10)
    app.connect("html-page-context", drop_repeated_scripts, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
