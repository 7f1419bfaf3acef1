"""`{method-map} FILE`: the methods of a YAML file as a map of lines and stations, linked to the chapters that exist.

Two drawings of the same map, for a wide and a narrow page, of which the style sheet shows one. Beneath it the same in
words, with the papers. The directive's content is the caption.
"""

from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

KEYS = {"family": str, "question": str, "hue": int, "methods": list}


class method_map(nodes.General, nodes.Element):
    """The drawing; `families` as the file has them, each method with `page`, the chapter's document or None."""


def read(path, pages):
    """The families of the file; a method's chapter is looked up by name among the table of contents' pages."""
    families = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = {page.rsplit("/", 1)[-1]: page for page in pages}
    for family in families:
        if {k: type(v) for k, v in family.items()} != KEYS:
            raise ExtensionError(f"{path}: a family needs {', '.join(KEYS)}, got {family}")
        for method in family["methods"]:
            if not {"name", "chapter"} <= set(method) <= {"name", "chapter", "year", "paper"}:
                raise ExtensionError(f"{path}: a method needs name and chapter, may have year and paper, got {method}")
            method["page"] = named.get(method["chapter"])
    return families


def station(method, address, x, y, name, note):
    """A dot with the method's name and year, in a link if its chapter exists."""
    words = [str(method["year"])] if "year" in method else []
    words += [] if method["page"] else ["coming"]
    drawn = (
        f'<circle cx="{x}" cy="{y}" r="7"/><text {name}>{escape(method["name"])}'
        f'<tspan class="note" {note}> {" · ".join(words)}</tspan></text>'
    )
    if not method["page"]:
        return f'<g class="coming">{drawn}</g>'
    return f'<a href="{escape(address(method["page"]))}">{drawn}</a>'


def wide(top, family, n):
    """Stations from left to right, the name under the dot.

    Returns what `drawing` puts together: the bottom, the line's path, the headline, and n places of a station, which
    are x, y and the attributes of its name and its note.
    """
    y, xs = top + 36, range(72, 72 + 168 * n, 168)
    line = f"M12 {max(0, top - 66)}V{y - 14}q0 14 14 14H{xs[-1]}"  # from the branch above
    headline = (
        f'<text x="36" y="{y - 18}" class="family">{family["family"]}<tspan dx="10">{family["question"]}</tspan></text>'
    )
    places = [(x, y, f'x="{x}" y="{y + 26}" text-anchor="middle"', f'x="{x}" dy="1.35em"') for x in xs]
    return y + 52, line, headline, places


def narrow(top, family, n):
    """Stations from top to bottom, the name beside the dot."""
    ys = range(top + 72, top + 72 + 34 * n, 34)
    headline = (
        f'<text x="32" y="{top + 24}" class="family">{family["family"]}'
        f'<tspan x="32" dy="1.4em">{family["question"]}</tspan></text>'
    )
    places = [(12, y, f'x="32" y="{y + 5}"', 'dx="4"') for y in ys]
    return ys[-1] + 16, f"M12 {top + 16}V{ys[-1]}", headline, places


def drawing(families, address, layout, width):
    """One SVG: a line for each family, and its stations."""
    parts, bottom = [], 0
    for family in families:
        safe = {k: escape(v) for k, v in family.items() if isinstance(v, str)}
        bottom, line, headline, places = layout(bottom, safe, len(family["methods"]))
        stations = (station(m, address, *place) for m, place in zip(family["methods"], places))
        parts.append(f'<g style="--hue: {family["hue"]}"><path d="{line}"/>{headline}{"".join(stations)}</g>')
    return (
        f'<svg class="{layout.__name__}" viewBox="0 0 {width} {bottom}" role="group" aria-label="Map of methods">'
        f"{''.join(parts)}</svg>"
    )


def visit_html(self, node):
    builder = self.builder

    def address(page):
        return builder.get_relative_uri(builder.current_docname, page)

    drawn = drawing(node["families"], address, wide, 736) + drawing(node["families"], address, narrow, 343)
    self.body.append(f'<figure class="method-map">{drawn}<figcaption>')


def depart_html(self, node):
    self.body.append("</figcaption></figure>")


def visit_other(self, node):
    """Other builders show the caption and the words."""


class MethodMap(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        path = Path(self.env.relfn2path(self.arguments[0])[1])
        self.env.note_dependency(str(path))
        self.env.note_reread()
        families = read(path, self.env.external_site_map)
        drawn = method_map(families=families)
        drawn += self.parse_content_to_nodes()
        lines = []
        for family in families:
            methods = []
            for m in family["methods"]:
                name = f"{{doc}}`{m['name']} </{m['page']}>`" if m["page"] else m["name"]
                methods.append(name + (f" {{cite:p}}`{m['paper']}`" if "paper" in m else ""))
            lines.append(f"- **{family['family']}.** {family['question']} {', '.join(methods)}.")
        box = ["::::{admonition} The map in words", ":class: dropdown", "", *lines, "::::"]
        return [drawn, *self.parse_text_to_nodes("\n".join(box))]


def setup(app):
    app.add_node(method_map, html=(visit_html, depart_html), **dict.fromkeys(("latex", "text"), (visit_other,) * 2))
    app.add_directive("method-map", MethodMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
