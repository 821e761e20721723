"""Logistic regression per label, a weight at a time, from the papers of the three optimizers."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from streams.batch import COMPLETE, PARTIAL
from tests.naive.learners_inputs import events_of, scaled


def soft(value, by):
    return math.copysign(max(abs(value) - by, 0.0), value)


def answers(batch, optimizer="adagrad", learning_rate=1.0, l1=0.0, l2=0.0, standardise=True, threshold=0.5):
    """Probabilities of shape (n, L) and thresholds of shape (n,), each event answered before it is learned."""
    w, squares, z = defaultdict(float), defaultdict(float), defaultdict(float)
    n_labels = batch.schema.n_labels
    born, history, lengths = set(), [], []
    hits, claims = 1.0, 2.0
    proba, thresholds = np.zeros((len(batch), n_labels)), np.zeros(len(batch))
    for t, event in enumerate(events_of(batch)):
        x = scaled(history, event, batch.schema.sparse, standardise)

        def probability(label, x=x):
            return 1 / (1 + math.exp(-sum(value * w[name, label] for name, value in x.items())))

        p = {label: probability(label) for label in born}
        proba[t] = [p.get(label, 0.0) for label in range(n_labels)]
        thresholds[t] = hits / claims if threshold == "f1" else threshold
        present = set(batch.y.row(t).tolist())
        known = set()
        if batch.label_state[t] == COMPLETE:
            known = set(range(n_labels))
        elif batch.label_state[t] == PARTIAL:
            known = set(batch.known.row(t).tolist())
        if not known:
            continue

        history.append(event)
        lengths.append(sum(value**2 for value in x.values()))
        norm = sum(lengths) / len(lengths)
        rate = learning_rate / (max(norm, lengths[-1]) if optimizer == "sgd" else math.sqrt(norm))
        predicted = {label for label in known if p.get(label, 0.0) > thresholds[t]}
        hits += len(predicted & present)
        claims += len(predicted) + len(present)
        for label in present - born:
            born.add(label)
            prior = 0.5 / (1 + min(len(history) - 1, 100))
            w["intercept", label] = math.log(prior / (1 - prior))
            z["intercept", label] = -w["intercept", label] / rate
            p[label] = prior
        weight = 1.0 if batch.weight is None else batch.weight[t]
        for label in known & born:
            for name, value in x.items():
                cell = name, label
                g = weight * (p[label] - (label in present)) * value
                l1_here, l2_here = (0.0, 0.0) if name == "intercept" else (l1, l2)
                if optimizer == "ftrl":
                    sigma = (math.sqrt(squares[cell] + g * g) - math.sqrt(squares[cell])) / rate
                    z[cell] += g - sigma * w[cell]
                    squares[cell] += g * g
                    w[cell] = -soft(z[cell], l1_here) / ((1 + math.sqrt(squares[cell])) / rate + l2_here)
                    continue
                squares[cell] += g * g
                step = rate / math.sqrt(0.1 + squares[cell]) if optimizer == "adagrad" else rate
                shrink = step * weight
                w[cell] = soft(w[cell] - step * g, shrink * l1_here) / (1 + shrink * l2_here)
    return proba, thresholds
