"""How tests are shared out where several processes run them."""

from __future__ import annotations

import gc

import pytest

# Compilers leave a large heap behind, through all of which every full collection goes.
gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, which share what they set up, and all that share the broker."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == "kafka" else str(item.path)))
