"""The page that an evaluation leaves behind: one HTML file that opens without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ihomer.evaluation.result import Result

__all__ = ["render"]


def render(result: Result) -> str:
    """The page of a result as HTML; the same result gives the same text."""
    from ihomer.report.page import page

    return page(result)
