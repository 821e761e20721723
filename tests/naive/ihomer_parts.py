"""The parts of the iHOMER classifier, event by event in plain Python over dense float64 arrays.

Label matrices have a row an event and a column a label in order of birth: 1 present, 0 absent, NaN unknown. ``born[i]``
is how many columns exist when event i is answered.
"""

import itertools
import math

import numpy as np


def ridge(x, y, weight, born, taught):
    """Scores by recursive least squares from P = I, 100 for the intercept."""
    n, d = x.shape
    inverse, weights = np.eye(d), np.zeros((d, y.shape[1]))
    inverse[0, 0] = 100.0
    scores = np.zeros(y.shape)
    for i in range(n):
        score = x[i] @ weights
        scores[i, : born[i]] = score[: born[i]]
        if taught[i]:
            k = inverse @ x[i]
            gain = weight[i] / (1 + weight[i] * (x[i] @ k))
            weights += gain * np.outer(k, np.where(np.isnan(y[i]), 0, y[i] - score))
            inverse -= gain * np.outer(k, k)
    return scores


def batch_ridge(x, y, weight):
    """The ridge solution for all events at once."""
    penalty = np.eye(x.shape[1])
    penalty[0, 0] = 0.01
    return np.linalg.solve(x.T @ (weight[:, None] * x) + penalty, x.T @ (weight[:, None] * y))


def logit(p):
    return math.log(p / (1 - p))


def clip(value, low, high):
    return min(max(value, low), high)


def past(y, born, taught, complete):
    """Features of every label's own past; ``complete`` tells the events whose labels are all known."""
    features = np.zeros((*y.shape, 6))
    for label in range(y.shape[1]):
        n = t = unknown = 0.0
        before, chain, average = 0.0, {0: [0.0, 0.0], 1: [0.0, 0.0]}, [0.0, 0.0, 0.0]
        repeats = comparable = 0.0
        last = np.zeros(y.shape[1])
        for i in range(len(y)):
            if label < born[i]:
                prior = (n + 0.3) / (t - unknown + 1.3)
                zero, one = chain[int(before)]
                rate = repeats / comparable if comparable else 0.0
                stay = (one + 2 * prior) / (zero + one + 2)
                as_before = clip(rate * before + (1 - rate) * prior, 0.02, 0.98)
                averages = [logit(clip(a, 0.02, 0.98)) / 2 for a in average]
                features[i, label] = [logit(prior), logit(stay) / 2, logit(as_before) / 2, *averages]
            if not taught[i]:
                continue
            t += 1
            known = ~np.isnan(y[i])
            if complete[i]:
                same = float(np.array_equal(y[i], last))
                repeats, comparable = 0.98 * repeats + same, 0.98 * comparable + 1
            last = np.where(known, y[i], last)
            if label >= born[i + 1]:
                continue
            if not known[label]:
                unknown += 1
                continue
            chain[int(before)] = [0.998 * c for c in chain[int(before)]]
            chain[int(before)][int(y[i, label])] += 1
            n += y[i, label]
            before = y[i, label]
            average = [f * a + (1 - f) * y[i, label] for f, a in zip((0.5, 0.8, 0.97), average, strict=True)]
    return features


def sigmoid(value):
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))


def stack(past_features, ridge_scores, local, y, weight, born, taught, start, temporal=True):
    """Probabilities by logistic stacking."""
    k = len(start)
    w, curvature = np.array(start), np.eye(k) / 0.09
    if not temporal:
        w[6:] = 0
    own = np.zeros((y.shape[1], k))
    covariance = np.array([0.01 * np.eye(k)] * y.shape[1])
    positives = np.zeros(y.shape[1])
    proba = np.zeros(y.shape)
    for i in range(len(y)):
        z = np.zeros((born[i], k))
        for label in range(born[i]):
            score = ridge_scores[i, label]
            others = [s for other, s in enumerate(ridge_scores[i, : born[i]]) if other != label]
            prior = past_features[i, label, 0]
            r = clip(4 * score, -2, 6)
            margin = 2 * clip(score - max(others, default=-math.inf), -1.5, 1.5)
            z[label, :6] = [1, prior, r, clip(local[i, label], -8, 8) / 2, margin, r * (prior / 4 + 0.5)]
            if temporal:
                z[label, 6:] = past_features[i, label, 1:]
        shared = sigmoid(z @ w)
        proba[i, : born[i]] = sigmoid((z * (w + own[: born[i]])).sum(1))
        if not taught[i] or born[i] == 0:
            continue
        curvature = 0.999 * curvature + 0.001 * np.eye(k) / 0.09
        step = np.zeros(k)
        for label in range(born[i]):
            target = y[i, label]
            if np.isnan(target):
                continue
            p = shared[label]
            curvature += weight[i] * max(p * (1 - p), 0.003) * np.outer(z[label], z[label])
            step += weight[i] * (target - p) * z[label]
            if target and positives[label] < 100:
                positives[label] += 1
                covariance[label] += 0.03 / 100 * np.eye(k)
            p = proba[i, label]
            h = weight[i] * max(p * (1 - p), 0.003)
            spread = covariance[label] @ z[label]
            total = 1 + h * (spread @ z[label])
            own[label] += weight[i] * (target - p) * spread / total
            covariance[label] -= h * np.outer(spread, spread) / total
        step = np.clip(np.linalg.solve(curvature, step), -0.5, 0.5)
        if not temporal:
            step[6:] = 0
        w += step
    return proba


class Joint:
    """Tilted frequencies of label sets, mixed with independent labels."""

    def __init__(self, n_labels, n_sets, tilts=(0.35, 0.5, 0.7, 1.0)):
        self.n_sets, self.tilts = n_sets, tilts
        self.counts, self.first = {}, {}
        self.support = np.zeros(n_labels)
        self.logs = [0.0] * (len(tilts) + 1)
        self.novelty, self.n = 0.5, 0

    def answer(self, p, prior_logit):
        """Mass of each set seen, for the probabilities of the labels born."""
        evidence = [logit(clip(q, 1e-6, 1 - 1e-6)) - t for q, t in zip(p, prior_logit, strict=True)]
        open_sets = [s for s in self.counts if not s or p[self.first[s]] >= 0.01]
        model = np.exp(np.array(self.logs) - max(self.logs))
        model /= model.sum()
        self.parts = []
        mass = dict.fromkeys(open_sets, 0.0)
        for tilt, m in zip(self.tilts, model[:-1], strict=True):
            weights = {s: self.counts[s] * math.exp(tilt * sum(evidence[label] for label in s)) for s in open_sets}
            total = sum(weights.values())
            part = {s: value / total for s, value in weights.items()}
            self.parts.append(part)
            for s in open_sets:
                mass[s] += (1 - self.novelty) * m * part[s]
        self.alone = list(p)
        return mass

    def learn(self, labels, weight):
        labels = frozenset(labels)
        q = [self.alone[label] if label in labels else 1 - self.alone[label] for label in range(len(self.alone))]
        alone = math.prod(q)
        for b in range(len(self.logs)):
            likelihood = alone
            if b < len(self.tilts):
                likelihood = self.novelty * alone + (1 - self.novelty) * self.parts[b].get(labels, 0.0)
            self.logs[b] = 0.99 * self.logs[b] + math.log(max(likelihood, 1e-9))
        self.novelty += max(0.005, 1 / (self.n + 2)) * (float(labels not in self.counts) - self.novelty)
        self.n += 1
        for label in labels:
            self.support[label] += weight
        if labels not in self.counts:
            if len(self.counts) == self.n_sets:
                rarest = min(self.counts.values())
                slots = list(self.counts)
                place = next(i for i, s in enumerate(slots) if self.counts[s] == rarest)
                slots[place] = labels
                old = self.counts
                self.counts = {s: old.get(s, 0.0) for s in slots}
            else:
                self.counts[labels] = 0.0
            self.first[labels] = min(sorted(labels), key=lambda label: self.support[label]) if labels else None
        self.counts[labels] += weight


def f1(answer, truth):
    return 2 * len(answer & truth) / (len(answer) + len(truth)) if answer and truth else 0.0


def utility(answer, gain, p, sets, objective):
    """Expected utility of an answer by enumeration of every possible truth.

    ``gain`` is what each label adds on its own; ``sets`` maps likely sets to their mass, the rest being independent.
    """
    rest = 1 - sum(sets.values())
    total = sum(gain[label] for label in answer)
    for bits in itertools.product((0, 1), repeat=len(p)):
        truth = frozenset(np.flatnonzero(bits).tolist())
        mass = rest * math.prod(q if bit else 1 - q for q, bit in zip(p, bits, strict=True)) + sets.get(truth, 0.0)
        total += mass * (objective[4] * f1(answer, truth) + objective[0] * (answer == truth))
    return total
