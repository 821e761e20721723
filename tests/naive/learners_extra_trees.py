"""Extremely randomised trees over a window in plain Python, each event a dictionary and every sum taken anew."""

from __future__ import annotations

import math

import numpy as np

from streams.batch import COMPLETE, NOMINAL, PARTIAL
from tests.naive.learners_bagging import name_number

MASK = 2**64 - 1
TIE = 1e-9


def mixed(z):
    """SplitMix64 of a counter."""
    z = z * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


class Draws:
    """The random numbers of the tree that is grown as number ``serial``."""

    def __init__(self, seed, serial):
        self.key, self.turn = mixed(mixed(seed) + serial & MASK), 0

    def bits(self):
        self.turn += 1
        return mixed(self.key + self.turn & MASK)

    def uniform(self):
        return (self.bits() >> 11) / 2**53

    def below(self, n):
        return int(self.uniform() * n)


def key(schema, column):
    name = schema.feature_names[column]
    return name_number(name)


class Event:
    """A row as trees see it, its labels, and its weight."""

    def __init__(self, batch, i):
        schema = batch.schema
        if schema.sparse:
            row = zip(batch.x.row(i).tolist(), batch.x.data[batch.x.indptr[i] : batch.x.indptr[i + 1]], strict=True)
        else:
            row = enumerate(batch.x[i])
        row = sorted(row, key=lambda cell: key(schema, cell[0]))
        row = {column: float(value) for column, value in row if column not in schema.ignored}
        self.row = {
            column: value for column, value in row.items() if not (math.isnan(value) or (schema.sparse and not value))
        }
        self.present = set(batch.y.row(i).tolist())
        self.complete = batch.label_state[i] == COMPLETE
        self.known = None if self.complete or batch.known is None else set(batch.known.row(i).tolist())
        self.taught = self.complete or bool(batch.label_state[i] == PARTIAL and self.known)
        self.weight = 1.0 if batch.weight is None else float(batch.weight[i])

    def knows(self, label):
        return self.complete or label in self.known


def shares(events, n_labels, otherwise):
    """Of the events that know a label, the share that have it, by weight."""
    found = []
    for label in range(n_labels):
        known = math.fsum(event.weight for event in events if event.knows(label))
        present = math.fsum(event.weight for event in events if label in event.present)
        found.append(present / known if known else otherwise[label])
    return found


def variance(events, mean):
    """Weight times variance, summed over labels; an unknown label has the value ``mean``."""
    weight = math.fsum(event.weight for event in events)
    total = 0.0
    for label, expected in enumerate(mean):
        values = [float(label in event.present) if event.knows(label) else expected for event in events]
        centre = math.fsum(e.weight * v for e, v in zip(events, values, strict=True)) / weight
        total += math.fsum(e.weight * (v - centre) ** 2 for e, v in zip(events, values, strict=True))
    return total


def goes_right(event, split, sparse):
    column, category, threshold, missing_right = split
    value = event.row.get(column, 0.0 if sparse else math.nan)
    if category:
        return value == threshold
    return missing_right if math.isnan(value) else value > threshold


def dense_splits(events, columns, schema, wanted, draws):
    """Candidates; ``columns`` changes its order."""
    found = []
    for i in range(min(len(columns), 4 * wanted)):
        if len(found) == wanted:
            break
        j = i + draws.below(len(columns) - i)
        columns[i], columns[j] = columns[j], columns[i]
        column = columns[i]
        if schema.kinds[column] == NOMINAL:
            category = events[draws.below(len(events))].row.get(column)
            if category is not None:
                found.append((column, True, category, False))
            continue
        values = {event.row[column] for event in events if column in event.row}
        if len(values) > 1:
            bits = draws.bits()
            threshold = min(values) + (bits >> 11) / 2**53 * (max(values) - min(values))
            found.append((column, False, threshold, bool(bits & 1)))
    return found


def sparse_splits(events, schema, wanted, draws):
    """Candidates, in columns of cells that some of the events have."""
    drawn = {}
    for _ in range(4 * wanted):
        if len(drawn) == wanted:
            break
        cells = list(events[draws.below(len(events))].row.items())
        if cells:
            column, value = cells[draws.below(len(cells))]
            drawn.setdefault(column, value)
    found = []
    for column, value in drawn.items():
        if schema.kinds[column] == NOMINAL:
            found.append((column, True, value, False))
            continue
        values = {event.row.get(column, 0.0) for event in events}
        found.append((column, False, min(values) + draws.uniform() * (max(values) - min(values)), False))
    return found


def grown(events, schema, n_labels, base, wanted, min_leaf, max_depth, draws):
    """A tree: (split, left, right), or the answers of a leaf."""
    columns = [column for column in range(schema.n_features) if column not in schema.ignored]
    columns.sort(key=lambda column: key(schema, column))

    def branch(here, depth):
        known = shares(here, n_labels, [0.0] * n_labels)
        best, top = None, -1.0
        impurity = sum(p * (1 - p) for p in known)
        if len(here) >= 2 * min_leaf and depth < max_depth and impurity > TIE:
            if schema.sparse:
                splits = sparse_splits(here, schema, wanted, draws)
            else:
                splits = dense_splits(here, columns, schema, wanted, draws)
            scale = impurity * math.fsum(event.weight for event in here)
            for split in splits:
                sides = [[], []]
                for event in here:
                    sides[goes_right(event, split, schema.sparse)].append(event)
                if min(map(len, sides)) < min_leaf:
                    continue
                score = (variance(here, known) - sum(variance(side, known) for side in sides)) / scale
                if score > top + TIE:
                    best, top = (split, sides), score
        if best is None:
            return shares(here, n_labels, base)
        split, (left, right) = best
        right = branch(right, depth + 1)
        return split, branch(left, depth + 1), right

    return branch(events, 0)


def answer(tree, event, sparse):
    while isinstance(tree, tuple):
        split, left, right = tree
        tree = right if goes_right(event, split, sparse) else left
    return tree


def answers(
    batch, n_trees=20, window=2000, refit=1.0, max_features="sqrt", min_leaf=1, max_depth=math.inf, seed=0
):  # fmt: skip
    """Probabilities of shape (n, L), each event answered before it is learned."""
    schema, n_labels = batch.schema, batch.schema.n_labels
    n_columns = schema.n_features - len(schema.ignored)
    wanted = math.sqrt(n_columns) if max_features == "sqrt" else max_features
    wanted = max(1, min(math.ceil(wanted), n_columns))
    proba, held, trees = np.zeros((len(batch), n_labels)), [], []
    taught, due, serial = 0, 1, 0
    for i in range(len(batch)):
        event = Event(batch, i)
        if trees:
            proba[i] = np.mean([answer(tree, event, schema.sparse) for tree in trees], axis=0)
        if not event.taught:
            continue
        held = [*held, event][-window:]
        taught += 1
        if taught == due:
            base = shares(held, n_labels, [0.0] * n_labels)
            draws = Draws(seed, serial)
            tree = grown(held, schema, n_labels, base, wanted, min_leaf, max_depth, draws)
            trees = [*trees, tree][-n_trees:]
            serial += 1
            due += max(1, math.ceil(refit * min(taught, window) / n_trees))
    return proba
