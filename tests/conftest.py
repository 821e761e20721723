"""How tests are shared out where several processes run them."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, which share what they set up, and all that share the broker.

    What takes longest begins first, so that no process waits for it at the end.
    """
    items.sort(key=lambda item: item.path.name != "test_wheel.py" and item.path.parent.name != "kafka")
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == "kafka" else str(item.path)))
