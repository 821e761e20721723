"""Heads on frozen features, from the definitions: every answer is computed anew from all events before it.

``x`` is a list of vectors, ``y`` a list of lists of labels, ``w`` a list of weights. An event with several labels is
one of each of their classes, unless a function is about several labels an event.
"""

from __future__ import annotations

import numpy as np


def classes(y):
    """Labels in the order in which they were first met."""
    seen = []
    for labels in y:
        seen += [label for label in labels if label not in seen]
    return seen


def pairs(x, y, w):
    """One vector, label and weight for every label that an event carries."""
    return [(x[i], label, w[i]) for i in range(len(x)) for label in y[i]]


def moments(x, y, w):
    """Weight and mean of every class in order of birth, and the scatter about these means."""
    seen, rows = classes(y), pairs(x, y, w)
    n = np.array([sum(weight for _, label, weight in rows if label == k) for k in seen])
    means = [sum(weight * vector for vector, label, weight in rows if label == k) for k in seen]
    means = np.array([mean / weight for mean, weight in zip(means, n, strict=True)])
    scatter = np.zeros((len(x[0]), len(x[0])))
    for vector, label, weight in rows:
        gap = vector - means[seen.index(label)]
        scatter += weight * np.outer(gap, gap)
    return seen, n, means, scatter


def softmax(scores):
    shares = np.exp(np.array(scores) - max(scores))
    return shares / shares.sum()


def ncm(x, y, w, query, *, cosine):
    """Classes and their probabilities for ``query``."""

    def unit(vector):
        length = np.linalg.norm(vector)
        return vector / length if length else vector

    if cosine:
        x, query = [unit(vector) for vector in x], unit(query)
    seen, n, means, scatter = moments(x, y, w)
    if cosine:
        means = np.array([unit(mean) for mean in means])
    free, squares = n.sum() - len(seen), np.trace(scatter)
    variance = squares / (free * len(query)) if free > 0 and squares > 0 else 1.0
    return seen, softmax([-np.sum((query - mean) ** 2) / (2 * variance) for mean in means])


def gaussian(x, y, w, query, *, prior):
    """Classes and their probabilities for ``query``."""
    seen, n, means, scatter = moments(x, y, w)
    squares = np.diag(scatter)
    scores = []
    for weight, mean in zip(n, means, strict=True):
        score = prior * np.log(weight / n.sum())
        for j in range(len(query)):
            if squares[j] > 0:
                variance = max(squares[j], 1e-9 * squares.max()) / max(n.sum() - len(seen), 1)
                score -= (query[j] - mean[j]) ** 2 / (2 * variance)
        scores.append(score)
    return seen, softmax(scores)


def gaussian_labels(x, y, w, query, *, prior):
    """Labels and their probabilities for ``query``, from events whose labels are all known."""
    seen, answers, total = classes(y), [], sum(w)
    for label in seen:
        present = [i for i in range(len(x)) if label in y[i]]
        absent = [i for i in range(len(x)) if label not in y[i]]
        n1, n0 = sum(w[i] for i in present), sum(w[i] for i in absent)
        odds = prior * np.log((n1 + 1) / (n0 + 1))
        if n0 > 0:
            m1 = sum(w[i] * x[i] for i in present) / n1
            m0 = sum(w[i] * x[i] for i in absent) / n0
            squares = sum(w[i] * (x[i] - m1) ** 2 for i in present) + sum(w[i] * (x[i] - m0) ** 2 for i in absent)
            everything = sum(w[i] * x[i] for i in range(len(x))) / total
            floor = 1e-9 * max(sum(w[i] * (x[i] - everything) ** 2 for i in range(len(x))))
            for j in range(len(query)):
                if max(squares[j], floor) > 0:
                    variance = max(squares[j], floor) / total
                    odds += ((query[j] - m0[j]) ** 2 - (query[j] - m1[j]) ** 2) / (2 * variance)
        answers.append(1 / (1 + np.exp(-max(odds, -700))))
    return seen, np.array(answers)


def slda(x, y, w, query, *, shrinkage, prior):
    """Classes and their probabilities for ``query``."""
    seen, n, means, scatter = moments(x, y, w)
    if np.trace(scatter) > 0:
        covariance = scatter / max(n.sum() - len(seen), 1)
        if shrinkage == "scheduled":
            effective = np.trace(covariance) ** 2 / np.sum(covariance**2)
            shrinkage = min(1, 2 * np.sqrt(effective / n.sum()))
        varied = np.count_nonzero(np.diag(covariance))
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / varied * np.eye(len(query))
    else:
        covariance = np.eye(len(query))
    precision = np.linalg.inv(covariance)
    scores = [-(query - mean) @ precision @ (query - mean) / 2 for mean in means]
    return seen, softmax(np.array(scores) + prior * np.log(n / n.sum()))


def regression(x, targets, w, penalty):
    """Ridge weights (K, d) and free intercepts (K,) of ``targets`` (n, K)."""
    x, targets, w = np.array(x), np.array(targets, float), np.array(w)
    mean, share = w @ x / w.sum(), w @ targets / w.sum()
    gram = (x - mean).T @ np.diag(w) @ (x - mean)
    vectors = np.linalg.solve(gram + penalty * np.eye(x.shape[1]), (x - mean).T @ np.diag(w) @ (targets - share)).T
    return vectors, share - vectors @ mean, gram


def ridge(x, y, w, query, *, penalty, relative, balanced=False):
    """Classes and their probabilities for ``query``."""
    seen, rows = classes(y), pairs(x, y, w)
    vectors = [vector for vector, _, _ in rows]
    targets = [[float(label == k) for k in seen] for _, label, _ in rows]
    weights = [weight for _, _, weight in rows]
    total = sum(weights)
    if relative:
        _, _, gram = regression(vectors, targets, weights, 1.0)
        penalty *= np.trace(gram) / max(1, np.count_nonzero(np.diag(gram)))
        penalty = penalty or total
    w_k, b_k, _ = regression(vectors, targets, weights, penalty)
    fit = np.array(vectors) @ w_k.T + b_k
    residual = np.mean(np.array(weights) @ (np.array(targets) - fit) ** 2 / total)
    return seen, softmax((w_k @ query + b_k) / max(residual, 1e-6))


def ridge_labels(x, y, w, query, *, penalty):
    """Labels and their probabilities for ``query``, from events whose labels are all known."""
    seen = classes(y)
    targets = [[float(k in labels) for k in seen] for labels in y]
    w_k, b_k, _ = regression(x, targets, w, penalty)
    residual = np.array(w) @ (np.array(targets) - np.array(x) @ w_k.T - b_k) ** 2 / sum(w)
    odds = (w_k @ query + b_k - 0.5) / np.maximum(residual, 1e-6)
    return seen, 1 / (1 + np.exp(-odds))


def balanced_ridge(x, y, w, query, *, penalty):
    """Classes and their probabilities for ``query``: the Gram matrix of equal classes that share the pooled scatter."""
    seen, n, means, scatter = moments(x, y, w)
    k, mean = len(seen), means.mean(axis=0)
    gram = scatter / max(n.sum() - k, 1) + sum(np.outer(m - mean, m - mean) for m in means) / k
    level = penalty * np.trace(gram) / max(1, np.count_nonzero(np.diag(gram)))
    vectors = np.linalg.solve(gram + (level or 1.0) * np.eye(len(query)), (means - mean).T / k).T
    residuals = []
    for row in range(k):
        fit = vectors[row] @ gram @ vectors[row] - 2 * vectors[row] @ (means[row] - mean) / k
        residuals.append(max(1 / k * (1 - 1 / k) + fit, 1e-6))
    return seen, softmax((vectors @ (query - mean) + 1 / k) / np.mean(residuals))


def recursive(x, targets, w, *, penalty, forgetting):
    """Ridge weights without an intercept: event i of n weighs ``forgetting ** (n - 1 - i)``.

    The penalty fades alike, and is brought back after every 4 / (1 - forgetting) events, rounded up.
    """
    n = len(x)
    period = int(np.ceil(4 / (1 - forgetting))) if forgetting < 1 else n + 1
    penalty *= forgetting ** (n % period)
    fading = np.array(w) * forgetting ** np.arange(n - 1, -1, -1)
    x, targets = np.array(x), np.array(targets, float)
    gram = x.T @ np.diag(fading) @ x + penalty * np.eye(x.shape[1])
    return np.linalg.solve(gram, x.T @ np.diag(fading) @ targets).T


def frozen_at(n_taught, births, refresh):
    """After which of ``n_taught`` vectors, counted from 1, moments are frozen; ``births`` are numbers of vectors."""
    times, last, block = [], 0, max(64, refresh)
    for t in range(1, n_taught + 1):
        if t in births or t % block == 0 or t - last >= min(refresh, max(1, last // 8)):
            times.append(t)
            last = t
    return times


def normalised(kind, x, taught):
    """Every vector on its new scale, by moments of the vectors up to and including it that were taught."""
    answers, kept = [], []
    for vector, keep in zip(x, taught, strict=True):
        rows = [*kept, vector]
        if kind == "l2":
            length = np.linalg.norm(vector)
            answers.append(vector / length if length else vector)
        elif kind == "layer":
            answers.append((vector - vector.mean()) / np.sqrt(vector.var() + 1e-5))
        elif kind == "quadratic":
            answers.append(vector / np.sqrt(_fading(np.square(rows)) + 1e-5))
        else:
            early = np.array(rows[:640])
            source, target = early.var(axis=0), _fading(np.square(rows)) - _fading(rows) ** 2
            mean = 0.9 * early.mean(axis=0) + 0.1 * _fading(rows)
            scale = np.sqrt((source + 1e-5) / (0.9 * source + 0.1 * target + 1e-5))
            answers.append((vector - mean) * scale + early.mean(axis=0))
        if keep:
            kept.append(vector)
    return np.array(answers)


def _fading(rows):
    """Mean of the first 640 rows, to which every later one gets nearer by one part in 640."""
    mean = np.mean(rows[:640], axis=0)
    for row in rows[640:]:
        mean = mean + (row - mean) / 640
    return mean
