"""The default head, event by event and class by class, as its docstring and those of its parts define it."""

from __future__ import annotations

import numpy as np


class Lift:
    """Random Fourier features beside the vector, by scales from ``opening``; directions are given by column."""

    def __init__(self, opening, directions, phases):
        self.rooted = all(value >= 0 for row in opening for value in row)
        rows = [self.root(row) for row in opening]
        apart = [np.sqrt(((a - b) ** 2).sum()) for a in rows for b in rows]
        pairs = [np.sqrt(((rows[i] - rows[j]) ** 2).sum()) for i in range(len(rows)) for j in range(i)]
        self.q = np.median(pairs) if pairs and np.median(pairs) > 0 else 1.0
        variance = 1 - np.mean([np.exp(-(gap**2) / (2 * (2 * self.q) ** 2)) for gap in apart])
        self.s = np.sqrt(variance) if variance > 0 else 1.0
        self.directions, self.phases = directions, phases

    def root(self, row):
        return np.sign(row) * np.sqrt(np.abs(row)) if self.rooted else row

    def __call__(self, row):
        row, m = self.root(row), len(self.phases)
        waves = [
            np.sqrt(2 / m) * np.cos(self.directions[j] @ row / (2 * self.q) + self.phases[j]) / self.s for j in range(m)
        ]
        return np.concatenate([waves, row * np.sqrt(2) / self.q])


class Centroids:
    """Centroids of one class; each is [vector, half, weight]."""

    def __init__(self, most):
        self.most = most
        self.held = []

    def learn(self, x, weight=1.0):
        if not self.held:
            self.held.append([x.copy(), np.zeros(len(x)), 0.0])
        nearest = min(self.held, key=lambda one: ((one[0] - x) ** 2).sum())
        vector, half, count = nearest
        gap = x - vector
        sign = 1 if half @ gap >= 0 else -1
        share = weight / (count + weight)
        nearest[:] = [vector + share * gap, half + share * (sign * gap - half), count + weight]
        total = sum(one[2] for one in self.held)
        if len(self.held) < self.most and total >= 15 * len(self.held):
            largest = max(self.held, key=lambda one: one[2])
            vector, half, count = largest
            largest[:] = [vector + half, np.zeros(len(x)), count / 2]
            self.held.append([vector - half, np.zeros(len(x)), count / 2])


def scores(z, y, query, most, plain):
    """Scores of lifted queries for every class in order of first appearance, after all of ``z`` and ``y``."""
    classes = list(dict.fromkeys(y))
    groups = [np.array([row for row, label in zip(z, y, strict=True) if label == c]) for c in classes]
    n = np.array([float(len(group)) for group in groups])
    means = [group.mean(0) for group in groups]
    k_classes, total, d = len(classes), n.sum(), len(z[0])
    scatter = sum(np.outer(row - mean, row - mean) for group, mean in zip(groups, means, strict=True) for row in group)
    covariance = scatter / max(total - k_classes, 1)
    trace = np.trace(scatter)
    if trace > 0:
        share = min(1.0, 2 * np.sqrt(trace**2 / (scatter**2).sum() / total))
        level = np.trace(covariance) / max(1, np.count_nonzero(np.diag(scatter)))
        metric = (1 - share) * covariance + share * level * np.eye(d)
    else:
        metric = np.eye(d)
    reliance = n / (n + 5)
    centre = sum(r * mean for r, mean in zip(reliance, means, strict=True)) / reliance.sum()
    inverse = np.linalg.inv(np.linalg.cholesky(metric))

    def white(vector):
        return inverse @ (vector - centre)

    def unit(vector):
        length = np.linalg.norm(vector)
        return vector / length if length > 0 else vector

    own = [unit(white(mean)) for mean in means]
    prototypes = []
    for k in range(k_classes):
        pull = [n[j] * np.exp(16 * (own[k] @ own[j])) for j in range(k_classes)]
        lean = 0.3 * 20 / (20 + n[k])
        drawn = sum(w * v for w, v in zip(pull, own, strict=True)) / sum(pull)
        prototypes.append(unit((1 - lean) * own[k] + lean * drawn))

    def spread(vectors, constants):
        vectors, constants = vectors - np.mean(vectors, 0), constants - np.mean(constants)
        found = 0.0
        for vector, constant in zip(vectors, constants, strict=True):
            about = [vector @ white(mean) + constant for mean in means]
            found += vector @ vector + sum(size / total * value**2 for size, value in zip(n, about, strict=True))
        return np.sqrt(found / k_classes) or 1.0

    sub_prototypes = []
    for k, group in enumerate(groups):
        centroids = Centroids(most)
        for row in group:
            centroids.learn(row)
        sub_prototypes.append(
            [unit(c / (c + 10) * unit(white(v)) + 10 / (c + 10) * prototypes[k]) for v, _, c in centroids.held]
            if most
            else []
        )
    similar = spread(np.array(prototypes), np.zeros(k_classes)) * (2 if most else 1)

    weight = np.maximum(1, n * k_classes / total)
    weight /= weight.sum()
    middle = sum(w * white(mean) for w, mean in zip(weight, means, strict=True))
    between = [white(mean) - middle for mean in means]
    gram = np.eye(d) + sum(w * np.outer(b, b) for w, b in zip(weight, between, strict=True))
    regression = np.array([np.linalg.solve(gram, w * b) for w, b in zip(weight, between, strict=True)])
    constants = weight - regression @ middle
    frequent = spread(regression, constants)

    found = []
    for row in query:
        y_row = white(row)
        line = []
        for k in range(k_classes):
            score = prototypes[k] @ y_row + max((sub @ y_row for sub in sub_prototypes[k]), default=0.0)
            score /= similar
            if plain:
                score += 0.4 * (regression[k] @ y_row + constants[k]) / frequent
            line.append(1.5 * score)
        found.append(line)
    return np.array(found)
