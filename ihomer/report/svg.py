"""From matplotlib's SVG to one that a style sheet can colour: lines and texts, with classes in place of styles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup, escape

SETTINGS: Any = {
    "svg.fonttype": "none",
    "path.simplify": True,
    "path.simplify_threshold": 0.4,
    "figure.constrained_layout.use": False,
    "figure.autolayout": False,
}
"""What matplotlib has to be told before it draws; axes stay where they are put."""

_SPACE = "{http://www.w3.org/2000/svg}"


def stripped(drawing: str, size: tuple[float, float], description: str, kinds: Sequence[str]) -> Markup:
    """The lines and texts of a drawing, without styles, identifiers and spare digits.

    Parameters
    ----------
    drawing
        SVG that matplotlib wrote. The group identifier of an artist becomes its class; the first word is its kind.
    size
        Width and height in CSS pixels at which texts have the size of the page's small print.
    description
        What screen readers say.
    kinds
        Kinds of lines that are kept, from the back to the front.
    """
    paths: dict[str, list[str]] = {kind: [] for kind in kinds}
    texts = []
    for group in ElementTree.fromstring(drawing).iter(f"{_SPACE}g"):
        name = group.get("id", "")
        kind = name.partition(" ")[0]
        if kind in paths:
            for path in group.findall(f"{_SPACE}path"):
                paths[kind].append(f'<path class="{escape(name)}" d="{_rounded(path.get("d", ""))}"/>')
        for text in group.findall(f"{_SPACE}text"):
            found = re.search(r"text-anchor: (\w+)", text.get("style", ""))
            x, y = float(text.get("x", "0")), float(text.get("y", "0"))
            anchor = found.group(1) if found else "start"
            known = f' class="{escape(name)}"' if kind in paths else ""
            texts.append(
                f'<text{known} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text.text or "")}</text>'
            )
    content = "".join((*(path for found in paths.values() for path in found), *texts))
    width, height = size
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}">'
        f"<title>{escape(description)}</title>{content}</svg>"
    )


def _rounded(path: str) -> str:
    """A path with one decimal and no spare blanks."""
    numbers = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found.group()):.1f}".removesuffix(".0"), path)
    return re.sub(r"\s*([MLz])\s*", r"\1", numbers).strip()
