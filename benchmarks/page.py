"""A suite's result as one page for a browser, that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ suite }} · iHOMER benchmarks</title>
<style>
{{ style }}
main section { overflow-x: auto; }
main svg { max-width: 100%; height: auto; background: #fff; }
main td, main th { text-align: left; }
main td[style*="right"] { white-space: nowrap; }
</style>
</head>
<body>
<header>
<p class="kicker">iHOMER benchmarks</p>
<h1>{{ suite }}</h1>
<p class="lede">{{ about }}</p>
<pre>python -m benchmarks {{ suite }}{% if quick %} --quick{% endif %}</pre>
<div class="small">{{ provenance }}</div>
</header>
<main>
<nav aria-label="Contents"><ol class="contents">
{% for name in tables %}<li><a href="#{{ name }}">{{ name }}</a></li>
{% endfor %}</ol></nav>
{% for name, drawing in pictures.items() %}<figure aria-label="{{ name }}">{{ drawing }}</figure>
{% endfor %}
{% for name, table in tables.items() %}<section id="{{ name }}">
<h2>{{ name }}</h2>
{{ table }}
</section>
{% endfor %}
</main>
</body>
</html>
"""


def page(
    suite: str, about: str, provenance: str, tables: Mapping[str, str], pictures: Mapping[str, str], *, quick: bool
) -> str:
    """The page.

    Parameters
    ----------
    suite, about
        Its name, and a sentence about it.
    provenance, tables
        Where the figures come from, and the tables by name, in Markdown.
    pictures
        SVG files by name.
    quick
        Whether the result is of a quick run.
    """
    # What stands in Markdown as HTML stays text.
    read = MarkdownIt("commonmark", {"html": False}).enable("table").render
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    return template.render(
        suite=suite,
        about=about,
        quick=quick,
        style=Markup(resources.files("ihomer.report").joinpath("style.css").read_text(encoding="utf-8")),
        provenance=Markup(read(provenance)),
        tables={name: Markup(read(text)) for name, text in tables.items()},
        pictures={name: Markup(text[text.index("<svg") :]) for name, text in pictures.items()},
    )
