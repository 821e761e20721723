"""Every public learner obeys every law, and none is forgotten."""

from __future__ import annotations

import pytest

from tests import contracts


def test_every_learner_is_listed():
    listed = contracts.SETTINGS.keys() | contracts.EXEMPT.keys()
    assert contracts.discovered().keys() == listed


@pytest.mark.parametrize("make", contracts.cases())
@pytest.mark.parametrize("law", contracts.LAWS, ids=lambda law: law.__name__)
def test_law(law, make):
    contracts.check(law, make)
