"""What is left of a label's past after events in which it was not looked at."""

import numpy as np
import pytest
from numba import njit

from ihomer.events import Cells
from ihomer.temporal import _AVERAGE, _CHAIN_DECAY, _N_POWERS, _POWERS, LabelPast, _left
from tests.ihomer.test_experts import labelled, part_of, without


@njit
def raised(base, n):
    return base**n


@pytest.mark.parametrize("which", range(4))
def test_the_table_of_powers_is_what_the_compiler_makes_of_them(which):
    base = (*_AVERAGE, _CHAIN_DECAY)[which]
    found = [raised(base, n) for n in range(_N_POWERS)]
    if hasattr(raised, "py_func"):
        assert _POWERS[:, which].tolist() == found
    assert np.allclose(_POWERS[:, which], found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [0, 1, _N_POWERS - 1, _N_POWERS, 3 * _N_POWERS])
def test_what_is_left_goes_on_beyond_the_table(n):
    for which, base in enumerate((*_AVERAGE, _CHAIN_DECAY)):
        assert _left(which, n) == pytest.approx(base**n, rel=1e-11)


@pytest.mark.parametrize("listed", [1.0, 0.4])
def test_how_often_labels_occur_is_counted_anew_once_it_is_forgotten(listed):
    """From then on the prior is that of a past which begins there; all else stays."""
    _, events, _, _ = labelled(5)
    cells = Cells.all(events)
    cells = without(cells, (cells.target == 0) & (np.random.default_rng(2).random(len(cells.label)) > listed))
    _, *early, _ = part_of(events.taught, events, cells, 0, 150)
    _, *late, _ = part_of(events.taught, events, cells, 150, 300)
    forgetful, steady = LabelPast(), LabelPast()
    for past in (forgetful, steady):
        past.run(*early)
    forgetful.forget()
    found = forgetful.run(*late)
    prior = LabelPast().run(*late)[:, 0]
    assert found[:, 0].tolist() == prior.tolist()
    assert found[:, 3:].tolist() == steady.run(*late)[:, 3:].tolist()
