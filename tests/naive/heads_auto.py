"""The default head's sub-prototypes and scores, event by event and class by class, as its docstring defines them."""

from __future__ import annotations

from typing import Any

import numpy as np


class Subs:
    """Sub-prototypes of one class."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.members: list[list[Any]] = []

    def learn(self, x: Any) -> None:
        """Let a vector join the nearest mean, or begin one."""
        if len(self.members) < self.most and sum(map(len, self.members)) >= 15 * len(self.members):
            self.members.append([x])
            return
        far = [((x - np.mean(group, 0)) ** 2).sum() * (len(group) + 1) for group in self.members]
        self.members[int(np.argmin(far))].append(x)


def scores(x: Any, y: Any, query: Any, most: int, plain: bool) -> Any:
    """Scores of the queries for every class in order of first appearance, after all of ``x`` and ``y``."""
    classes = list(dict.fromkeys(y.tolist()))
    n = np.array([float((y == c).sum()) for c in classes])
    means = np.array([x[y == c].mean(0) for c in classes])
    scatter = sum(
        (row - means[classes.index(c)])[:, None] * (row - means[classes.index(c)]) for row, c in zip(x, y, strict=True)
    )
    total, k_classes = n.sum(), len(classes)
    warmth = n / (n + 5)
    centre = (warmth[:, None] * means).sum(0) / warmth.sum()
    trace = np.trace(scatter)
    if trace > 0:
        covariance = scatter / max(total - k_classes, 1)
        share = min(1.0, 2 * np.sqrt(trace**2 / (scatter**2).sum() / total))
        level = np.trace(covariance) / max(1, np.count_nonzero(np.diag(scatter)))
        metric = (1 - share) * covariance + share * level * np.eye(len(covariance))
    else:
        metric = np.eye(x.shape[1])

    def unit(vector: Any) -> Any:
        length = np.sqrt(max(vector @ metric @ vector, 0))
        return vector / length if length > 0 else vector

    own = [unit(np.linalg.solve(metric, mean - centre)) for mean in means]
    directions = []
    for k in range(k_classes):
        if k_classes == 1:
            directions.append(own[k])
            continue
        weights = np.zeros(k_classes)
        for j in range(k_classes):
            if j != k:
                weights[j] = n[j] * np.exp(16 * (own[k] @ metric @ own[j]))
        drawn = 0.3 * 20 / (20 + n[k])
        pull = sum(weight * vector for weight, vector in zip(weights / weights.sum(), own, strict=True))
        directions.append(unit((1 - drawn) * own[k] + drawn * pull))
    seen = np.array([[(row - centre) @ direction for direction in directions] for row in x])
    spread = np.sqrt(((seen - seen.mean(1, keepdims=True)) ** 2).mean()) or 1.0
    found = []
    for vector in query:
        row = []
        for k, c in enumerate(classes):
            score = (vector - centre) @ directions[k]
            if most:
                subs = Subs(most)
                for one in x[y == c]:
                    subs.learn(one)
                best = -np.inf
                for group in subs.members:
                    trust = len(group) / (len(group) + 10)
                    towards = unit(np.linalg.solve(metric, np.mean(group, 0) - centre))
                    best = max(best, (vector - centre) @ unit(trust * towards + (1 - trust) * directions[k]))
                score = (score + best) / 2
            score /= spread
            if plain:
                score += 0.25 * np.log(max(1.0, n[k] * k_classes / total))
            row.append(score)
        found.append(row)
    return np.array(found)
