"""What other sites show for a link to a page: its title, its first sentences, and the book's card."""

from html import escape

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


def add_tags(app, pagename, templatename, context, doctree):
    if doctree is None:
        return
    site = address_of_site(app.config)
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": app.env.titles[pagename].astext(),
        "og:description": first_words(doctree),
        "og:url": site + app.builder.get_target_uri(pagename),
        "og:image": site + "_static/card.png",
        "og:image:alt": app.config.social_card_alt,
        "twitter:card": "summary_large_image",
    }
    lines = [f'<meta property="{k}" content="{escape(v)}">' for k, v in tags.items() if v]
    lines.append(f'<meta name="description" content="{escape(tags["og:description"])}">')
    context["metatags"] = "\n".join([context.get("metatags", ""), *lines])


def setup(app):
    app.add_config_value("social_card_alt", "", "html")
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
