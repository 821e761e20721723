"""Naive Bayes per label: every mean, variance and share counted anew from the events so far."""

from __future__ import annotations

import math

import numpy as np

from streams.batch import COMPLETE, PARTIAL
from tests.naive.learners_inputs import events_of


def answers(batch, factor):
    """Probabilities of shape (n, L), each event answered before it is learned.

    ``factor(column, value, cases, seen)`` is the probability of a value, None for absent from a sparse row, in the
    ``cases`` [(weight, event), ...] of a class; ``seen`` are all the events learned.
    """
    sparse, n_labels = batch.schema.sparse, batch.schema.n_labels
    columns = [column for column in range(batch.schema.n_features) if column not in batch.schema.ignored]
    cases = {(label, present): [] for label in range(n_labels) for present in (False, True)}
    seen, proba = [], np.zeros((len(batch), n_labels))
    for t, event in enumerate(events_of(batch)):
        for label in range(n_labels):
            total = {present: sum(w for w, _ in cases[label, present]) for present in (False, True)}
            if not total[False] or not total[True]:
                proba[t, label] = 1.0 if total[True] else 0.0
                continue
            likelihood = {}
            for present in (False, True):
                likelihood[present] = math.log(total[present])
                for column in columns:
                    if column in event or sparse:
                        p = factor(column, event.get(column), cases[label, present], seen)
                        likelihood[present] += math.log(p)
            proba[t, label] = 1 / (1 + math.exp(likelihood[False] - likelihood[True]))
        present = set(batch.y.row(t).tolist())
        known = set()
        if batch.label_state[t] == COMPLETE:
            known = set(range(n_labels))
        elif batch.label_state[t] == PARTIAL:
            known = set(batch.known.row(t).tolist())
        weight = 1.0 if batch.weight is None else batch.weight[t]
        for label in known:
            cases[label, label in present].append((weight, event))
        if known:
            seen.append(event)
    return proba


def share(column, value, cases, seen, alpha, sparse):
    """Smoothed share of a category among those seen; 1 for a category never seen."""
    values = {event[column] for event in seen if column in event}
    if value is not None and value not in values:
        return 1.0
    hits = sum(w for w, event in cases if event.get(column) == value)
    total = sum(w for w, event in cases if sparse or column in event)
    of = total + alpha * (len(values) + sparse)
    return (hits + alpha) / of if of else 1 / (len(values) + sparse)


def gaussian(batch, density_floor=1e-9, alpha=1.0):
    sparse, nominal = batch.schema.sparse, batch.schema.categories

    def factor(column, value, cases, seen):
        if column in nominal:
            return density_floor + share(column, value, cases, seen, alpha, sparse)
        pairs = [(w, event.get(column, 0.0)) for w, event in cases if sparse or column in event]
        total = sum(w for w, _ in pairs)
        if not pairs or len({v for _, v in pairs}) == 1:
            return density_floor
        mean = sum(w * v for w, v in pairs) / total
        variance = sum(w * (v - mean) ** 2 for w, v in pairs) / total
        gap = (0.0 if value is None else value) - mean
        return density_floor + math.exp(-(gap**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    return answers(batch, factor)


def bernoulli(batch, alpha=1.0, true_threshold=0.0):
    sparse, nominal = batch.schema.sparse, batch.schema.categories

    def factor(column, value, cases, seen):
        if column in nominal:
            return 1e-9 + share(column, value, cases, seen, alpha, sparse)
        if not any(column in event for event in seen):
            return 1.0
        pairs = [(w, event.get(column, 0.0) > true_threshold) for w, event in cases if sparse or column in event]
        of = sum(w for w, _ in pairs) + 2 * alpha
        p = (sum(w for w, true in pairs if true) + alpha) / of if of else 0.5
        return 1e-9 + (p if value is not None and value > true_threshold else 1 - p)

    return answers(batch, factor)
