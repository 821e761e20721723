"""MVP and its relatives by their formulas alone, an event at a time."""

from __future__ import annotations

import math

import numpy as np

H = 1e-6


def slope(loss, at):
    """Central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        moved = at.copy()
        moved[place] += H
        high = loss(moved)
        moved[place] -= 2 * H
        found[place] = (high - loss(moved)) / (2 * H)
    return found


def cosine(a, b):
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def far(a, b):
    return 1 - cosine(a, b)


def softmax(scores):
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def cross_entropy(scores, row):
    return -math.log(softmax(scores)[row])


def average(values, weight):
    return float(np.dot(values, weight) / np.sum(weight))


def nearest(queries, keys, counts, n):
    """Numbers of the ``n`` keys with the least distance times count and one."""
    return np.array(
        [
            np.argsort([far(q, k) * (c + 1) for k, c in zip(keys, counts, strict=True)], kind="stable")[:n]
            for q in queries
        ]
    )


def logits(feature, weights, offsets, mask, scale=1.0):
    """``scale`` is the compensation score, by which the feature is divided."""
    return (weights @ (feature / scale) + offsets) * 2 / (1 + np.exp(-mask))


def sample_gradient(feature, weights, offsets, mask, row):
    """Of the cross-entropy, by the weights of the event's own class, numerically."""

    def loss(own):
        moved = weights.copy()
        moved[row] = own
        return cross_entropy(logits(feature, moved, offsets, mask), row)

    return slope(loss, weights[row])


def ignore_scores(features, weights, offsets, masks, rows, weight):
    """One less the cosine between an event's gradient and that of the batch, each by its own class's weights."""
    found = []
    for i, row in enumerate(rows):

        def batch_loss(own, row=row):
            moved = weights.copy()
            moved[row] = own
            each = [
                cross_entropy(logits(f, moved, offsets, m), r) for f, m, r in zip(features, masks, rows, strict=True)
            ]
            return average(each, weight)

        found.append(
            far(sample_gradient(features[i], weights, offsets, masks[i], row), slope(batch_loss, weights[row]))
        )
    return np.array(found)


def compensation(features, weights, rows, margin):
    return np.array([far(weights[row], f) + margin for f, row in zip(features, rows, strict=True)])


def focal(losses, scores, weight, alpha, gamma, by_event):
    if by_event:
        return average([((1 - alpha) + alpha * s**gamma) * x for x, s in zip(losses, scores, strict=True)], weight)
    return average(losses, weight) * ((1 - alpha) + alpha * average(scores**gamma, weight))


def contrastive(queries, keys, which, counts, weight, others=None):
    """``others`` are the keys that are pushed away from, where they are constants."""
    others = keys if others is None else others
    found = []
    for query, own in zip(queries, which, strict=True):
        times = counts[own] + 1
        pull = math.exp(far(query, keys[own]) / times)
        push = sum(math.exp(far(keys[own], others[e]) / times) for e in range(len(keys)) if e != own)
        found.append(-math.log(push / (pull + push)))
    return average(found, weight)


def contrastive_as_published(queries, keys, which, counts):
    pull = np.mean([math.exp(far(q, keys[own]) / (counts[own] + 1)) for q, own in zip(queries, which, strict=True)])
    push = np.mean(
        [math.exp(far(keys[a], key) / (counts[b] + 1)) for a in which for b in which for key in keys],
    )
    return -math.log(push / (pull + push) + 1e-6)


class Adam:
    """Kingma and Ba, algorithm 1."""

    def __init__(self, value, rate):
        self.value, self.rate = np.array(value, float), rate
        self.first, self.second, self.step = 0 * self.value, 0 * self.value, 0

    def go(self, gradient):
        self.step += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first, second = self.first / (1 - 0.9**self.step), self.second / (1 - 0.999**self.step)
        self.value = self.value - self.rate * first / (np.sqrt(second) + 1e-8)
