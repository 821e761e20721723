"""Names behind the column numbers of a stream, which grow with it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Name = str | int | float | bool
"""A feature's or a label's name: whatever JSON can carry as a scalar, so that a checkpoint can."""

UNDECIDED, NUMERIC, NOMINAL = 0, 1, 2
"""Kind of a feature; undecided until its first value."""


class Keys(NamedTuple):
    """Names of the features of an event, and their columns, -1 for one not held.

    ``numeric``: all are held and numeric; ``in_order``: and they are columns 0, 1, 2, ...
    """

    names: tuple[Any, ...]
    columns: NDArray[np.int32]
    numeric: bool
    in_order: bool


ABSENT = ""
"""Category number 0 of a nominal feature met in sparse rows, which mean it by leaving the feature out."""


class Schema:
    """Names behind the column numbers of a stream; grows, and never gives a number another meaning.

    Parameters
    ----------
    features, labels
        Names known from the start, in column order.
    sparse
        True: rows list their non-zero cells and an absent cell is 0. False: rows are dense and an absent cell is
        missing (NaN).

    Notes
    -----
    ``kinds[column]`` is ``UNDECIDED``, ``NUMERIC`` or ``NOMINAL``. A nominal feature holds the number of its category
    as a float and ``categories[column]`` has the names. ``ignored`` columns are loaded (a row identifier, say) and no
    learner looks at them. Nothing is ever removed, and ``version`` is another one whenever anything was added.
    """

    def __init__(self, features: Iterable[Name] = (), labels: Iterable[Name] = (), *, sparse: bool = False) -> None:
        self.sparse = sparse
        self.feature_names: list[Name] = []
        self.label_names: list[Name] = []
        self.kinds: list[int] = []
        self.categories: dict[int, list[str]] = {}
        self.ignored: set[int] = set()
        self._feature_ids: dict[Hashable, int] = {}
        self._label_ids: dict[Hashable, int] = {}
        self._category_ids: dict[int, dict[str, int]] = {}
        self._changes = 0
        self.keys = Keys((), np.zeros(0, np.int32), True, True)
        self._label_keys: tuple[tuple[Any, ...], list[int]] = ((), [])
        for name in features:
            if name in self._feature_ids:
                raise ValueError(f"feature names must differ, got {name!r} twice")
            self.feature_id(name)
        for name in labels:
            if name in self._label_ids:
                raise ValueError(f"label names must differ, got {name!r} twice")
            self.label_id(name)

    @property
    def n_features(self) -> int:
        """Features met so far, ignored ones too."""
        return len(self.feature_names)

    @property
    def n_labels(self) -> int:
        """Labels met or declared so far."""
        return len(self.label_names)

    @property
    def version(self) -> tuple[int, int]:
        """Another value after every addition; says nothing across schemas or processes."""
        return self._changes, len(self.ignored)

    def feature_id(self, name: Name) -> int:
        """Column of a feature; a new name gets the next one."""
        number = self._feature_ids.get(name)
        if number is None:
            number = self._feature_ids[_checked(name, "feature")] = len(self.feature_names)
            self.feature_names.append(name)
            self.kinds.append(UNDECIDED)
            self._changes += 1
        return number

    def label_id(self, name: Name) -> int:
        """Column of a label; a new name gets the next one."""
        number = self._label_ids.get(name)
        if number is None:
            number = self._label_ids[_checked(name, "label")] = len(self.label_names)
            self.label_names.append(name)
            self._changes += 1
        return number

    def find_feature(self, name: Name) -> int:
        """Column of a feature, or -1 if it has never been met."""
        return self._feature_ids.get(name, -1)

    def find_label(self, name: Name) -> int:
        """Column of a label, or -1 if it has never been met."""
        return self._label_ids.get(name, -1)

    def feature_keys(self, x: Mapping[Any, Any], grow: bool) -> Keys:
        """Columns of the names of an event, kept for the next event, which mostly has the same."""
        names = tuple(x)
        if names == self.keys.names:
            return self.keys
        columns = [self.feature_id(name) if grow else self.find_feature(name) for name in names]
        numeric = all(column >= 0 and self.kinds[column] == NUMERIC for column in columns)
        in_order = numeric and columns == list(range(len(columns)))
        keys = Keys(names, np.array(columns, np.int32), numeric, in_order)
        if keys.numeric:
            self.keys = keys
        return keys

    def label_columns(self, y: Mapping[Any, Any], grow: bool) -> list[int]:
        """Columns of the names of an event's labels, kept for the next event; -1 for one not held."""
        names = tuple(y)
        if names == self._label_keys[0]:
            return self._label_keys[1]
        labels = [self.label_id(name) if grow else self.find_label(name) for name in names]
        if min(labels, default=0) >= 0:
            self._label_keys = names, labels
        return labels

    def make_nominal(self, feature: int, categories: Iterable[str] = ()) -> None:
        """Declare a feature nominal, with the categories known so far in the order of their numbers."""
        self.decide(feature, NOMINAL)
        names = self.categories.setdefault(feature, [])
        ids = self._category_ids.setdefault(feature, {})
        for name in categories:
            if name not in ids:
                ids[name] = len(names)
                names.append(name)
                self._changes += 1

    def decide(self, feature: int, kind: int) -> None:
        """Settle the kind of a feature; ValueError if it has another one already."""
        if self.kinds[feature] not in (UNDECIDED, kind):
            words = {NUMERIC: "numeric", NOMINAL: "nominal"}
            name = self.feature_names[feature]
            raise ValueError(f"feature {name!r} must stay {words[self.kinds[feature]]}, got a {words[kind]} value")
        if self.kinds[feature] != kind:
            self.kinds[feature] = kind
            self._changes += 1

    def category_id(self, feature: int, name: str) -> int:
        """Number of a category of a nominal feature; a new name gets the next one."""
        ids = self._category_ids[feature]
        if name not in ids:
            self.make_nominal(feature, [name])
        return ids[name]

    def find_category(self, feature: int, name: str) -> int:
        """Number of a category of a nominal feature, or -1 if it has never been met."""
        return self._category_ids[feature].get(name, -1)

    def extend(self, other: Schema) -> None:
        """Take in the names, categories and marks that ``other`` has and this one lacks."""
        for column, name in enumerate(other.feature_names):
            mine = self.feature_id(name)
            if other.kinds[column] == NOMINAL:
                self.make_nominal(mine, other.categories[column])
            elif other.kinds[column] == NUMERIC:
                self.decide(mine, NUMERIC)
            if column in other.ignored:
                self.ignored.add(mine)
        for name in other.label_names:
            self.label_id(name)
        self.sparse = self.sparse or other.sparse

    def copy(self) -> Schema:
        """An equal schema that grows on its own."""
        return Schema.from_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON objects; ``from_json`` turns it back."""
        return {
            "features": list(self.feature_names),
            "labels": list(self.label_names),
            "kinds": list(self.kinds),
            "categories": {str(column): list(names) for column, names in self.categories.items()},
            "ignored": sorted(self.ignored),
            "sparse": self.sparse,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """The schema that ``to_json`` wrote down."""
        schema = cls(value["features"], value["labels"], sparse=value["sparse"])
        for column, names in value["categories"].items():
            schema.make_nominal(int(column), names)
        schema.kinds[:] = value["kinds"]
        schema.ignored.update(value["ignored"])
        return schema

    def to_array(self) -> NDArray[np.uint8]:
        """``to_json`` as the bytes of a UTF-8 text, for states that hold arrays alone."""
        return np.frombuffer(json.dumps(self.to_json(), ensure_ascii=False).encode(), np.uint8)

    @classmethod
    def from_array(cls, value: NDArray[np.uint8]) -> Schema:
        """The schema that ``to_array`` wrote down."""
        return cls.from_json(json.loads(value.tobytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kind = "sparse" if self.sparse else "dense"
        return f"Schema({self.n_features} features, {self.n_labels} labels, {kind})"


def _checked(name: Name, what: str) -> Name:
    if not isinstance(name, (str, int, float)):
        raise TypeError(f"{what} name must be a string or a number, got {name!r}")
    return name
