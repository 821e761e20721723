"""Nearest neighbours in a window, every distance anew from the events themselves."""

from __future__ import annotations

import math

import numpy as np

from streams.batch import COMPLETE, NOMINAL, UNLABELLED
from tests.naive.learners_inputs import events_of


def scales(event, history, schema, standardise):
    """Of every column in use its centre, its scale and what a missing cell costs, ``event`` being looked at too."""
    found = {}
    for column in range(schema.n_features):
        if column in schema.ignored:
            continue
        values = [e[column] for e in history if column in e]
        if schema.kinds[column] == NOMINAL:
            found[column] = 0.0, 1.0, float(len(values) > 0)
            continue
        values += [event[column]] if column in event else []
        variance = float(np.var(values)) if len(set(values)) > 1 else 0.0
        found[column] = 0.0, 1.0, 2 * variance
        if standardise:
            found[column] = (np.mean(values), variance**-0.5, 2.0) if variance else (0.0, 0.0, 0.0)
    return found


def euclidean(event, other, columns):
    """Distance of two dense events; a category is a string."""
    total = 0.0
    for column, (_, scale, cost) in columns.items():
        a, b = event.get(column), other.get(column)
        if isinstance(a, str) or isinstance(b, str):
            total += cost * (a != b)
        else:
            total += cost if a is None or b is None else (scale * (a - b)) ** 2
    return math.sqrt(total)


def cosine(event, other, columns, nominal):
    """Distance of two dense events at unit length."""
    dot = left = right = 0.0
    for column, (centre, scale, cost) in columns.items():
        a, b = event.get(column), other.get(column)
        if column in nominal:
            dot, left, right = dot + cost * (a is not None and a == b), left + cost, right + cost
            continue
        u = 0.0 if a is None else (a - centre) * scale
        v = 0.0 if b is None else (b - centre) * scale
        dot, left, right = dot + u * v, left + u * u, right + v * v
    if left == 0 or right == 0:
        return math.sqrt(2) if left != right else 0.0
    squared = 2 - 2 * dot / math.sqrt(left * right)
    return math.sqrt(squared) if squared > 1e-13 else 0.0


def weighed(event, history, unit, standardise):
    """A sparse event as it is held: input to value."""
    seen = [inputs_of(e) for e in [*history, event]]
    inputs = {}
    for name, value in inputs_of(event).items():
        values = [e[name] for e in seen if name in e]
        if standardise:
            rarity = math.log((len(seen) + 1) / (len(values) + 0.5))
            value *= rarity / math.sqrt(sum(v * v for v in values) / len(values))
        inputs[name] = float(np.float32(value))
    length = math.sqrt(sum(v * v for v in inputs.values())) if unit else 1.0
    if unit and not inputs:
        return {"nothing": 1.0}
    return {name: value / length for name, value in inputs.items()}


def inputs_of(event):
    return {(column, value) if isinstance(value, str) else column: 1.0 if isinstance(value, str) else value
            for column, value in event.items()}  # fmt: skip


def straight(one, other):
    """Distance of two sparse events as they are held."""
    return math.sqrt(sum((one.get(name, 0.0) - other.get(name, 0.0)) ** 2 for name in one.keys() | other.keys()))


def answers(batch, n_neighbors=10, window=1000, mode="labels", metric=None, weights="distance", standardise=True):
    """Probabilities of shape (n, L) and the label sets of mode "powerset", each event answered before it is learned."""
    schema, n_labels = batch.schema, batch.schema.n_labels
    proba, sets = np.zeros((len(batch), n_labels)), []
    history, held = [], []  # events learned; (row, present, known, weight, all known) of the last of them
    for t, event in enumerate(events_of(batch)):
        if schema.sparse:
            row = weighed(event, history, metric != "euclidean", standardise)
            distances = [straight(row, other[0]) for other in held]
            distances = [0.0 if d < 10**-6.5 else d for d in distances]
        else:
            row, columns = event, scales(event, history, schema, standardise)
            if metric == "cosine":
                distances = [cosine(row, other[0], columns, schema.categories) for other in held]
            else:
                distances = [euclidean(row, other[0], columns) for other in held]
        order = sorted(range(len(held)), key=lambda i: (round(distances[i], 9), i))[:n_neighbors]
        voters = []
        for i in order:
            if weights == "uniform":
                voters.append((held[i], held[i][3]))
            elif distances[order[0]] < 1e-9:
                voters += [(held[i], held[i][3])] if distances[i] < 1e-9 else []
            else:
                voters.append((held[i], held[i][3] / distances[i]))
        for label in range(n_labels):
            known = sum(vote for other, vote in voters if label in other[2])
            present = sum(vote for other, vote in voters if label in other[1])
            proba[t, label] = present / known if known else 0.0
        sets.append(elected(voters) if mode == "powerset" else None)

        state, known = batch.label_state[t], set()
        if state != UNLABELLED:
            known = set(range(n_labels)) if state == COMPLETE else set(batch.known.row(t).tolist())
        if known or state == COMPLETE:
            history.append(event)
            weight = 1.0 if batch.weight is None else batch.weight[t]
            held = [*held, (row, set(batch.y.row(t).tolist()), known, weight, state == COMPLETE)][-window:]
    return proba, sets


def elected(voters):
    """The label set that most of the votes do not contradict."""
    complete = [other for other, _ in voters if other[4]]
    best, most = set(), 0.0
    for candidate in complete or [other for other, _ in voters]:
        votes = 0.0
        for other, vote in voters:
            both = candidate[2] & other[2]
            votes += vote if candidate[1] & both == other[1] & both else 0.0
        if votes > most + 1e-9:
            best, most = candidate[1], votes
    return best
