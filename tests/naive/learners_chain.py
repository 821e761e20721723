"""Classifier chains, a chain, a label and a weight at a time."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from streams.batch import COMPLETE, PARTIAL
from tests.naive.learners_inputs import events_of, scaled
from tests.naive.learners_linear import soft


def sigmoid(margin):
    return 1 / (1 + math.exp(-margin))


def answers(
    batch,
    order="fixed",
    n_chains=1,
    feed="labels",
    link_rate=2.0,
    optimizer="adagrad",
    learning_rate=1.0,
    l1=0.0,
    l2=0.0,
    standardise=True,
    threshold=0.5,
    seed=0,
):
    """Probabilities of every chain, shape (n, chains, L), and thresholds (n,), each event answered before learned."""
    n_labels = batch.schema.n_labels
    chains, births = range(n_chains), []
    places = [np.random.default_rng([seed, chain]).random(100) for chain in chains]
    w, squares, z = ([defaultdict(float) for _ in chains] for _ in range(3))
    history, lengths = [], []
    hits, claims = 1.0, 2.0
    proba, thresholds = np.zeros((len(batch), n_chains, n_labels)), np.zeros(len(batch))

    def place(chain, label):
        number = births.index(label)
        return number if order == "fixed" else places[chain][number]

    for t, event in enumerate(events_of(batch)):
        x = scaled(history, event, batch.schema.sparse, standardise)
        thresholds[t] = hits / claims if threshold == "f1" else threshold

        def margin(chain, label, told, x=x):
            before = [other for other in births if place(chain, other) < place(chain, label)]
            features = sum(value * w[chain][name, label] for name, value in x.items())
            return features + sum(told[other] * w[chain]["is", other, label] for other in before)

        told = [{} for _ in chains]
        for chain in chains:
            for label in sorted(births, key=lambda label, chain=chain: place(chain, label)):
                p = proba[t, chain, label] = sigmoid(margin(chain, label, told[chain]))
                told[chain][label] = float(p > thresholds[t]) if feed == "labels" else p
        mean = proba[t].mean(0)

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
        predicted = {label for label in known if mean[label] > thresholds[t]}
        hits += len(predicted & present)
        claims += len(predicted) + len(present)
        for chain in chains:
            told[chain].update({label: float(label in present) for label in known})
        p = [{label: sigmoid(margin(chain, label, told[chain])) for label in births} for chain in chains]
        for label in sorted(present - set(births)):
            births.append(label)
            prior = 0.5 / (1 + min(len(history) - 1, 100))
            for chain in chains:
                p[chain][label] = prior
                w[chain]["intercept", label] = math.log(prior / (1 - prior))
                z[chain]["intercept", label] = -w[chain]["intercept", label] / rate
        weight = 1.0 if batch.weight is None else batch.weight[t]
        for chain in chains:
            for label in known & set(births):
                cells = [((name, label), value, rate) for name, value in x.items()]
                for other in births:
                    if place(chain, other) < place(chain, label) and told[chain][other] != 0:
                        cells.append((("is", other, label), told[chain][other], rate * link_rate))
                for cell, value, step in cells:
                    g = weight * (p[chain][label] - (label in present)) * value
                    penalties = (0.0, 0.0) if cell[0] == "intercept" else (l1, l2)
                    learn(w[chain], squares[chain], z[chain], cell, g, step, weight, optimizer, *penalties)
    return proba, thresholds


def learn(w, squares, z, cell, g, rate, weight, optimizer, l1, l2):
    """The step of an optimizer for one weight."""
    if optimizer == "ftrl":
        sigma = (math.sqrt(squares[cell] + g * g) - math.sqrt(squares[cell])) / rate
        z[cell] += g - sigma * w[cell]
        squares[cell] += g * g
        w[cell] = -soft(z[cell], l1) / ((1 + math.sqrt(squares[cell])) / rate + l2)
        return
    squares[cell] += g * g
    step = rate / math.sqrt(0.1 + squares[cell]) if optimizer == "adagrad" else rate
    w[cell] = soft(w[cell] - step * g, step * weight * l1) / (1 + step * weight * l2)
