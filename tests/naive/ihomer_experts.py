"""Ridge, the labels' own past and the stack, event by event in plain Python over dense float64 arrays.

Label matrices have a row an event and a column a label in order of birth: 1 present, 0 absent, NaN unknown. ``born[i]``
is how many columns exist when event i is answered.
"""

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


def answer_losses(proba, average, y, asked):
    """Log loss of each answer as a share of log 1e6, and what the detector is told; ``average`` holds half logits."""
    told = []
    for i in range(len(y)):
        ours, theirs = [], []
        for p, half, present, counts in zip(proba[i], average[i], y[i], asked[i], strict=True):
            if counts and not np.isnan(present):
                rate = sigmoid(2 * half)
                ours.append(-math.log(max(p if present else 1 - p, 1e-6)) / math.log(1e6))
                theirs.append(-math.log(rate if present else 1 - rate) / math.log(1e6))
        own, rates = (sum(losses) / max(len(losses), 1) for losses in (ours, theirs))
        told.append((own, 0.5 + 0.5 * (own - rates)))
    return told


def sigmoid(value):
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))


def features(says, asked):
    """What the stack sees of the labels of an event; ``says`` maps an expert to its numbers, a label each."""
    n = len(says["past"])
    rows = np.zeros((n, 18))
    for label in range(n):
        prior = says["past"][label, 0]
        common = prior / 4 + 0.5
        rows[label, :2] = [1, prior]
        if "ridge" in says:
            score = says["ridge"][label]
            others = [says["ridge"][other] for other in range(n) if other != label and asked[other]]
            r = clip(4 * score, -2, 6)
            rows[label, [2, 6, 7]] = [r, 2 * clip(score - max(others, default=-math.inf), -1.5, 1.5), r * common]
        if "knn" in says:
            share = logit(clip(says["knn"][label], 0.02, 0.98)) / 2
            rows[label, [4, 8]] = [share, share * common]
        if "score_knn" in says:
            rows[label, 5] = logit(clip(says["score_knn"][label], 0.02, 0.98)) / 2
        rows[label, 9:14] = says["past"][label, 1:]
        for column, name in ((3, "logistic"), (14, "local"), (16, "shadow_logistic")):
            if name in says:
                rows[label, column] = clip(says[name][label], -8, 8) / 2
        if "trees" in says:
            rows[label, 17] = logit(clip(says["trees"][label], 0.02, 0.98)) / 2
        if "shadow_ridge" in says:
            rows[label, 15] = clip(4 * says["shadow_ridge"][label], -2, 6)
    return rows


def stack(says, asked, y, weight, born, taught, start, columns):
    """Probabilities by logistic stacking of the features ``columns``."""
    start, k = np.asarray(start)[columns], len(columns)
    w, curvature, gradient, n_taught = start.copy(), np.eye(k) / 0.09, np.zeros(k), 0
    own, positives = np.zeros((y.shape[1], k)), np.zeros(y.shape[1])
    covariance = np.array([0.01 * np.eye(k)] * y.shape[1])
    proba = np.zeros(y.shape)
    for i in range(len(y)):
        n = born[i]
        z = features({name: numbers[i, :n] for name, numbers in says.items()}, asked[i, :n])[:, columns]
        shared = sigmoid(z @ w)
        proba[i, :n] = sigmoid((z * (w + own[:n])).sum(1))
        if not taught[i] or n == 0:
            continue
        curvature = 0.999 * curvature + 0.001 * np.eye(k) / 0.09
        for label in range(n):
            target = y[i, label]
            if np.isnan(target):
                continue
            p = shared[label]
            curvature += weight[i] * max(p * (1 - p), 0.003) * np.outer(z[label], z[label])
            gradient += weight[i] * (target - p) * z[label]
            if target and positives[label] < 100:
                positives[label] += 1
                covariance[label] += 0.06 / 100 * np.eye(k)
            p = proba[i, label]
            h = weight[i] * max(p * (1 - p), 0.003)
            spread = covariance[label] @ z[label]
            total = 1 + h * (spread @ z[label])
            own[label] += weight[i] * (target - p) * spread / total
            covariance[label] -= h * np.outer(spread, spread) / total
        n_taught += 1
        if n_taught <= 400 or n_taught % 4 == 0:
            w += np.clip(np.linalg.solve(curvature, gradient), -0.5, 0.5)
            gradient[:] = 0
    return proba
