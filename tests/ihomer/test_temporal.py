"""What is left of a label's past after events in which it was not looked at."""

import numpy as np
import pytest
from numba import njit

from ihomer.temporal import _AVERAGE, _CHAIN_DECAY, _N_POWERS, _POWERS, _left


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
