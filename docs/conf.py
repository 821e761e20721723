"""How the documentation site is made; `make docs` builds it into docs/_build."""

from __future__ import annotations

import importlib
import os
import re
import sys
from importlib.metadata import version as installed
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode

HERE = Path(__file__).parent

project = "iHOMER"
author = "The iHOMER authors"
copyright = "the iHOMER authors"
version = release = installed("ihomer")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = "py:obj"
language = "en"

# References are a list at the end of a docstring, which need not be cited; what a template calls cannot be kept between
# builds.
suppress_warnings = ["ref.footnote", "config.cache"]

# Guides are notebooks in Markdown. They are run whenever a page is read, in a folder of their own; a cell that fails
# fails the build. The figures of all look alike by docs/matplotlibrc.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_text_lexer = "text"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
os.environ["MATPLOTLIBRC"] = str(HERE / "matplotlibrc")
os.environ["PYTHONSTARTUP"] = str(HERE / "startup.py")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["COLUMNS"] = "110"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
toc_object_entries = False

html_theme = "furo"
html_title = f"iHOMER {version}"
html_static_path = ["_static"]
html_css_files = ["ihomer.css"]
html_copy_source = False
html_show_sourcelink = False
highlight_language = "text"
pygments_style = "tango"
pygments_dark_style = "monokai"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Of classes of others, and of learners, members are told where these are and not again with what inherits them.
_FOREIGN = ("object", "dict", "tuple", "Exception", "ABC", "Protocol", "Generic", "Learner", "MultiLabelClassifier")
autosummary_context = {"foreign": ", ".join((*_FOREIGN, "Classifier", "Estimator", "Base")), "is_learner": None}


def plain(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Make a docstring that people read in terminals one that reStructuredText takes as it is meant."""
    if lines:
        lines[0] = re.sub(r" ?\[\d+\]_", "", lines[0])
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line) for line in lines]
    lines[:] = [re.sub(r"^:ivar (\w+)_:", r":ivar \1\\_:", line) for line in lines]


def is_learner(name: str) -> bool:
    """Whether a public name is that of a learner with the methods of all learners."""
    from learners import Learner

    room, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(room), last)
    return isinstance(thing, type) and issubclass(thing, Learner) and thing is not Learner


class Cells(SphinxTransform):
    """What begins with ``%%sh`` or ``%%writefile`` is for the notebook; a reader sees a command, or a file."""

    default_priority = 5

    def apply(self) -> None:
        """Take the line away and say what the rest is."""
        for block in list(self.document.findall(nodes.literal_block)):
            first, _, rest = block.rawsource.partition("\n")
            if first == "%%sh":
                block.replace_self(nodes.literal_block(rest, rest, language="bash"))
            elif first.startswith("%%writefile "):
                name = first.split()[1]
                shown = nodes.literal_block(rest, rest, language="python3" if name.endswith(".py") else "json")
                caption = nodes.caption(name, name)
                wrapped = nodes.container("", caption, shown, classes=["literal-block-wrapper"], literal_block=True)
                block.replace_self(wrapped)


def link(app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Element) -> nodes.Element | None:
    """A link to a public name, or a method of one, from wherever only its last part is said, as docstrings do."""
    if node.get("refdomain") != "py":
        return None
    objects = env.domains.python_domain.objects
    pages = [doc.removeprefix("api/names/") for doc in env.found_docs if doc.startswith("api/names/")]
    public = {page.rpartition(".")[2]: page for page in pages}
    *_, owner, name = ["", *node["reftarget"].split(".")]
    for full in (public.get(name), f"{public.get(owner)}.{name}"):
        if full in objects:
            entry = objects[full]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, full)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.config.autosummary_context["is_learner"] = is_learner
    app.connect("autodoc-process-docstring", plain)
    app.add_transform(Cells)
    app.connect("missing-reference", link)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
