"""Sub-prototypes and Loki from their definitions: every answer is computed anew from all events before it.

``x`` is a list of vectors, ``y`` a list of lists of labels, ``w`` a list of weights.
"""

from __future__ import annotations

import numpy as np

from tests.naive import heads
from tests.naive.heads_auto import Centroids


def unit(vector):
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def sub_prototypes(x, y, w, query, *, most):
    """Classes and their probabilities for ``query``."""
    seen = heads.classes(y)
    clouds = {label: Centroids(most) for label in seen}
    means = {label: np.zeros(len(query)) for label in seen}
    totals = dict.fromkeys(seen, 0.0)
    for vector, label, weight in heads.pairs(x, y, w):
        clouds[label].learn(unit(vector), weight)
        means[label] += weight * unit(vector)
        totals[label] += weight
    best = []
    for label in seen:
        mean = means[label] / totals[label]
        shares = [count / (count + 10) for _, _, count in clouds[label].held]
        leaning = [
            share * vector + (1 - share) * mean
            for share, (vector, _, _) in zip(shares, clouds[label].held, strict=True)
        ]
        best.append(max(unit(query) @ unit(vector) for vector in leaning))
    return seen, heads.softmax(16 * np.array(best))


def jaccard(y, w):
    """One less the weight of the events of both labels over that of the events of any of the two."""

    def distance(a, b):
        both = sum(weight for labels, weight in zip(y, w, strict=True) if a in labels and b in labels)
        either = sum(weight for labels, weight in zip(y, w, strict=True) if a in labels or b in labels)
        return 1 - both / either

    return distance


def loki(x, y, w, query, *, candidates, distance, largest, temperature=1.0, shrinkage=0.1):
    """Candidates and one less their expected squared distances over ``largest``, squared; the least comes first."""
    seen, proba = heads.slda(x, y, w, query, shrinkage=shrinkage, prior=0)
    shares = proba ** (1 / temperature)
    shares /= shares.sum()
    everyone = seen + [label for label in candidates if label not in seen]
    expected = [sum(p * distance(v, k) ** 2 for p, k in zip(shares, seen, strict=True)) for v in everyone]
    order = sorted(range(len(everyone)), key=lambda place: expected[place])
    return [everyone[place] for place in order], [1 - expected[place] / largest**2 for place in order]
