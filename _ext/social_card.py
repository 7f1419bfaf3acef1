"""What other sites show for a link to a page: its title, its first sentences, and the book's card."""

import re
from html import escape
from pathlib import Path

from docutils import nodes

LONGEST = 200  # characters of a description


def first_words(doctree):
    """The start of the first paragraph that has words of its own; a Colab badge has none."""
    for paragraph in doctree.findall(nodes.paragraph):
        words = " ".join(paragraph.astext().split())
        if len(words) > 40 and not paragraph.get("classes"):
            return words if len(words) <= LONGEST else words[:LONGEST].rsplit(" ", 1)[0] + " …"
    return ""


def address_of_site(config):
    """`html_baseurl`, or where GitHub Pages serves the repository that the theme's buttons name."""
    repository = config.html_theme_options.get("repository_url", "")
    owner, _, name = repository.removeprefix("https://github.com/").partition("/")
    return config.html_baseurl or f"https://{owner}.github.io/{name}/"


def tags_of(app, pagename, doctree, address) -> str:
    """The lines of a page's head that say what it is to other sites."""
    site = address_of_site(app.config)
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": app.env.titles[pagename].astext(),
        "og:description": first_words(doctree),
        "og:url": address,
        "og:image": site + "_static/card.png",
        "og:image:alt": app.config.social_card_alt,
        "twitter:card": "summary_large_image",
    }
    lines = [f'<meta property="{k}" content="{escape(v)}">' for k, v in tags.items() if v]
    lines.append(f'<meta name="description" content="{escape(tags["og:description"])}">')
    return "\n".join(lines)


def add_tags(app, pagename, templatename, context, doctree):
    if doctree is None:
        return
    site = address_of_site(app.config)
    if pagename == app.config.root_doc:
        context["docstitle"] = None  # its title is the book's
    tags = tags_of(app, pagename, doctree, site + app.builder.get_target_uri(pagename))
    context["metatags"] = "\n".join([context.get("metatags", ""), tags])


FRONT = """\
<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="canonical" href="{site}{first}">
<link rel="icon" href="{base}_static/favicon.svg">
{tags}
<script>location.replace("{base}{first}" + location.hash);</script>
<noscript><meta http-equiv="refresh" content="0; url={base}{first}"></noscript>
</head>
<body><h1>{title}</h1><p>{words} <a href="{base}{first}">{link}</a></p></body>
</html>
"""
LOST = "There is no such page in this book."


def write_front(app, exception):
    """The site's address shows the landing page and its card; what is not there leads to it, and robots get a list."""
    if exception or app.builder.name != "html":
        return
    root, out, site = app.config.root_doc, Path(app.outdir), address_of_site(app.config)
    doctree = app.env.get_doctree(root)
    front = {
        "language": app.config.language, "title": app.config.html_title, "site": site,
        "first": app.builder.get_target_uri(root), "link": "Read the book",
    }  # fmt: skip
    words, tags = escape(first_words(doctree)), tags_of(app, root, doctree, site)
    (out / "index.html").write_text(FRONT.format(base="", words=words, tags=tags, **front), encoding="utf-8")
    lost = FRONT.format(base=site, words=LOST, tags='<meta name="robots" content="noindex">', **front)
    stays = re.sub("<script>.*</script>\n<noscript>.*</noscript>\n", "", lost)
    (out / "404.html").write_text(stays, encoding="utf-8")
    pages = [root, *sorted(app.env.all_docs.keys() - {root})]
    urls = "".join(f"<url><loc>{site}{app.builder.get_target_uri(page)}</loc></url>\n" for page in pages)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    (out / "sitemap.xml").write_text(f"{head}{urls}</urlset>\n", encoding="utf-8")


def setup(app):
    app.add_config_value("social_card_alt", "", "html")
    app.connect("html-page-context", add_tags)
    app.connect("build-finished", write_front)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
