"""Learners inside a learner, as one array of its state."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.base import Learner, State

Head = Mapping[str, Any] | None
"""What is kept beside a learner, as a JSON object; None where there is no learner."""


def pack(heads: Sequence[Head], learners: Sequence[Learner | None]) -> NDArray[np.uint8]:
    """Learners and all that they have learned as bytes: what is beside them and the names of their arrays as JSON, then
    the arrays in NumPy's format."""
    states = [{} if learner is None else learner.get_state() for learner in learners]
    told = [
        None if head is None else {**head, "arrays": list(arrays)} for head, arrays in zip(heads, states, strict=True)
    ]
    file = io.BytesIO()
    np.lib.format.write_array(file, np.frombuffer(json.dumps(told).encode(), np.uint8))
    for array in (array for arrays in states for array in arrays.values()):
        np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    return np.frombuffer(file.getvalue(), np.uint8)


def unpack(packed: NDArray[np.uint8]) -> Iterator[tuple[dict[str, Any] | None, State]]:
    """What ``pack`` was given: what was beside each learner, and its state."""
    file = io.BytesIO(packed.tobytes())
    for head in json.loads(np.lib.format.read_array(file).tobytes()):
        names = [] if head is None else head.pop("arrays")
        yield head, {name: np.lib.format.read_array(file, allow_pickle=False) for name in names}
