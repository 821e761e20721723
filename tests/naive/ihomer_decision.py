"""The decision, by enumeration of every answer and every truth."""

import itertools
import math

import numpy as np

THRESHOLDS = [k / 20 for k in range(1, 20)]


def subsets(labels):
    return [frozenset(some) for size in range(len(labels) + 1) for some in itertools.combinations(labels, size)]


def f1(answer, truth):
    return 2 * len(answer & truth) / (len(answer) + len(truth)) if answer and truth else 0.0


def utility(answer, gain, p, sets, objective):
    """Expected utility of an answer by enumeration of every possible truth.

    ``p`` and ``gain`` map labels to their probabilities and to what each adds on its own; ``sets`` maps likely sets to
    their mass, the rest being independent.
    """
    rest = 1 - sum(sets.values())
    total = sum(gain[label] for label in answer)
    for truth in {*subsets(list(p)), *sets}:
        mass = sets.get(truth, 0.0)
        if truth <= p.keys():
            mass += rest * math.prod(q if label in truth else 1 - q for label, q in p.items())
        total += mass * (objective[4] * f1(answer, truth) + objective[0] * (answer == truth))
    return total


class Counts:
    """What happened so far, and from it what each label adds to an answer on its own."""

    def __init__(self, n_labels):
        self.learned = 0
        self.present, self.answered, self.best = np.zeros((3, n_labels))
        self.right, self.positive = np.zeros((2, n_labels, 19))

    def common(self):
        if self.present.sum() == 0:
            return 0.0
        return max(2 * self.right.sum(0) / (self.positive.sum(0) + self.present.sum()))

    def gain(self, p, n_born, objective):
        size = (self.present + self.answered + 1) / (self.learned + 1)
        overall = (self.present.sum() + self.answered.sum() + 1) / (self.learned + 1)
        return {
            label: objective[1] * (2 * q - self.common()) / overall
            + objective[2] * (2 * q - self.best[label]) / (n_born * size[label])
            + objective[3] * (2 * q - 1) / n_born
            for label, q in p.items()
        }

    def learn(self, p, answer, target):
        """Learn an event: probabilities of the labels asked about, and the labels whose truth is known."""
        common = self.common()
        self.learned += 1
        for label, y in target.items():
            q = p.get(label, 0.0)
            if y == 0 and label not in answer and q < 0.05:
                continue
            self.present[label] += y
            self.answered[label] += label in answer
            for k, threshold in enumerate(THRESHOLDS):
                self.positive[label, k] += q >= threshold
                self.right[label, k] += y * (q >= threshold)
            f = (2 * self.right[label] + 8 * common) / (self.positive[label] + self.present[label] + 8)
            self.best[label] = max(f)


def sizes(p):
    """Probabilities of the numbers of labels, these being independent."""
    of_size = np.ones(1)
    for q in p:
        of_size = np.convolve(of_size, [1 - q, q])
    return of_size


def expected_f1(p, n):
    """Expected example-F1 of an answer with the first ``n`` of independent labels."""
    total = 0.0
    for label in range(n):
        others = sizes([*p[:label], *p[label + 1 :]])
        total += p[label] * sum(2 * mass / (n + 1 + size) for size, mass in enumerate(others))
    return total
