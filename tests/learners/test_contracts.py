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


@pytest.mark.parametrize("make", [case for case in contracts.cases() if hasattr(case.values[0](), "merge")])
def test_merged_parts_equal_the_whole(make):
    contracts.check(contracts.merged_parts_equal_the_whole, make)
