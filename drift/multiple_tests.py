"""One verdict over many tests: p-values adjusted for their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONTROLS = ("bonferroni", "benjamini-hochberg")


def check_control(control: str) -> None:
    """Refuse what is none of `CONTROLS`."""
    if control not in CONTROLS:
        raise ValueError(f"control must be one of {', '.join(CONTROLS)}, got {control}")


def adjusted(p_values: NDArray[np.float64], control: str) -> NDArray[np.float64]:
    """P-values that are compared with one bound however many there are, at most 1.

    With ``bonferroni`` the bound is that on the probability of any false one, with ``benjamini-hochberg`` that on the
    expected share of false ones among those told. If all are false, both bound the probability of telling any.

    References
    ----------
    Benjamini, Hochberg: "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57, 1995.

    Examples
    --------
    >>> adjusted(np.array([0.01, 0.04, 0.02]), "benjamini-hochberg").round(3).tolist()
    [0.03, 0.04, 0.03]
    """
    scaled = p_values * len(p_values)
    if control == "benjamini-hochberg" and len(scaled):
        order = np.argsort(p_values, kind="stable")
        ranked = scaled[order] / np.arange(1, len(scaled) + 1)
        scaled[order] = np.minimum.accumulate(ranked[::-1])[::-1]
    return np.minimum(scaled, 1.0)
