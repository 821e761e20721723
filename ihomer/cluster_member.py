"""A learner of one cluster of labels: which labels it has, what it is taught of an event, and how it is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from learners import packing
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
    """Members and all that they have learned as bytes."""
    heads = [{"number": number, "cluster": sorted(member.cluster)} for number, member in members.items()]
    return packing.pack(heads, [member.learner for member in members.values()])


def unpack(packed: NDArray[np.uint8], fresh: Callable[[], Learner], schema: Schema) -> dict[int, Member]:
    """The members that ``pack`` wrote, each learner put into one that ``fresh`` makes; ``schema`` names the common
    columns."""
    members = {}
    for head, state in packing.unpack(packed):
        assert head is not None
        learner = fresh()
        learner.set_state(state)
        columns = [schema.find_label(name) for name in learner.schema_.label_names]
        members[head["number"]] = Member(learner, np.array(columns, np.int32), frozenset(head["cluster"]))
    return members
