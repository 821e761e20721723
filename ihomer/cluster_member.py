"""A learner of one cluster of labels: which labels it has, what it is taught of an event, and how it is saved."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from learners.base import Learner
from streams.batch import Batch, Rows, Schema

Said = tuple[NDArray[np.bool_], NDArray[np.float32] | None]
"""Answers and probabilities of n events, shape (n, labels)."""


@dataclass
class Member:
    """A learner, the columns in the common schema that its labels have, and those of the cluster that it is for."""

    learner: Learner
    columns: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    cluster: frozenset[int] = frozenset()

    def take(self, columns: Iterable[int], schema: Schema) -> None:
        """Take in labels that are not there yet."""
        held = set(self.columns.tolist())
        new = [column for column in columns if column not in held]
        for column in new:
            self.learner.schema_.label_id(schema.label_names[column])
        self.columns = np.concatenate([self.columns, np.array(new, np.int32)])

    def places(self, n_labels: int) -> NDArray[np.int32]:
        """The learner's own column of each of so many labels, or -1."""
        places = np.full(n_labels, -1, np.int32)
        places[self.columns] = np.arange(len(self.columns))
        return places

    def run(self, batch: Batch, n_labels: int, learn: bool) -> Said:
        """What the learner says of its labels in events whose labels are ``n_labels`` common columns."""
        places = self.places(n_labels)
        part = replace(
            batch,
            schema=self.learner.schema_,
            y=batch.y.renumbered(places),
            known=None if batch.known is None else batch.known.renumbered(places),
        )
        said = self.learner.test_then_train(part) if learn else self.learner.predict_batch(part)
        proba = said.proba.to_dense(len(self.columns)) if isinstance(said.proba, Rows) else said.proba
        return said.labels.to_dense(len(self.columns)) > 0, proba


def pack(members: Mapping[int, Member]) -> NDArray[np.uint8]:
    """Learners and all that they have learned as bytes: what they are for and the names of their arrays as JSON, then
    the arrays in NumPy's format."""
    states = [member.learner.get_state() for member in members.values()]
    heads = [
        {"number": number, "cluster": sorted(member.cluster), "arrays": list(arrays)}
        for (number, member), arrays in zip(members.items(), states, strict=True)
    ]
    file = io.BytesIO()
    np.lib.format.write_array(file, np.frombuffer(json.dumps(heads).encode(), np.uint8))
    for array in (array for arrays in states for array in arrays.values()):
        np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    return np.frombuffer(file.getvalue(), np.uint8)


def unpack(packed: NDArray[np.uint8], fresh: Callable[[], Learner], schema: Schema) -> dict[int, Member]:
    """The learners that ``pack`` wrote, each put into one that ``fresh`` makes; ``schema`` names the common columns."""
    file = io.BytesIO(packed.tobytes())
    heads = json.loads(np.lib.format.read_array(file).tobytes())
    members = {}
    for head in heads:
        learner = fresh()
        learner.set_state({name: np.lib.format.read_array(file, allow_pickle=False) for name in head["arrays"]})
        columns = [schema.find_label(name) for name in learner.schema_.label_names]
        members[head["number"]] = Member(learner, np.array(columns, np.int32), frozenset(head["cluster"]))
    return members
