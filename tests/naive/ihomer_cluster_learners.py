"""A learner for each cluster, an event and a label at a time, from the description of the protocol."""

from __future__ import annotations

import math


def margin(gaps, half_life, delta):
    """Decayed mean of the differences of losses, and what it may be for a label to move."""
    weights = [0.5 ** ((len(gaps) - 1 - i) / half_life) for i in range(len(gaps))]
    n = sum(weights)
    mean = sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / n
    variance = sum(w * (gap - mean) ** 2 for w, gap in zip(weights, gaps, strict=True)) / n
    return mean, math.sqrt(2 * variance * math.log(1 / delta) / n)


def log_loss(p, present):
    p = min(max(float(p), 0.001), 0.999)
    return -math.log(p if present else 1 - p)


class NaiveClusterLearners:
    """Events are dictionaries; a label's value is True, False or None (unknown)."""

    def __init__(self, make, replacement, min_events, half_life, delta):
        self.make, self.replacement = make, replacement
        self.min_events, self.half_life, self.delta = min_events, half_life, delta
        self.learners = {0: make()}
        self.labels_of = {0: set()}
        self.cluster_of = {0: set()}
        self.owner, self.heir, self.gaps = {}, {}, {}
        self.placed = set()
        self.made, self.n_events = 1, 0
        self.moves = []

    def answer(self, x):
        """Probability and decision of every label born."""
        told = {}
        for label, number in self.owner.items():
            p, is_in = self.says(number, label, x)
            told[label] = (p, is_in)
        return told

    def says(self, number, label, x):
        learner = self.learners[number]
        return learner.predict_proba_one(x)[label][True], learner.predict_one(x)[label]

    def learn(self, x, y):
        """``y`` None: an event without labels."""
        if y is None or all(value is None for value in y.values()):
            return
        self.n_events += 1
        for label in sorted(label for label, value in y.items() if value and label not in self.owner):
            counts = {number: list(self.owner.values()).count(number) for number in self.learners}
            number = min(counts, key=lambda number: (-counts[number], number))
            self.owner[label] = number
            self.labels_of[number].add(label)
            self.learners[number].schema_.label_id(label)
        said = {
            label: (self.says(self.owner[label], label, x)[0], self.says(heir, label, x)[0])
            for label, heir in self.heir.items()
        }
        for number, learner in self.learners.items():
            own = {label: y[label] for label in self.labels_of[number]}
            known = {label: value for label, value in own.items() if value is not None}
            if known or not own:
                learner.learn_one(x, own)
        for label, (by_owner, by_heir) in said.items():
            if y[label] is None:
                continue
            gaps = self.gaps[label]
            gaps.append(log_loss(by_heir, y[label]) - log_loss(by_owner, y[label]))
            if len(gaps) >= self.min_events:
                mean, allowed = margin(gaps, self.half_life, self.delta)
                if mean <= allowed:
                    self.move(label)
        self.retire()

    def move(self, label):
        new = self.heir.pop(label)
        self.moves.append((self.n_events, label, new, self.owner[label]))
        self.owner[label] = new
        del self.gaps[label]

    def retire(self):
        used = {*self.owner.values(), *self.heir.values()}
        for number in list(self.learners):
            if used and number not in used:
                del self.learners[number], self.labels_of[number], self.cluster_of[number]

    def restructure(self, clusters):
        placed = {label for cluster in clusters for label in cluster}
        passing = placed ^ self.placed  # labels that come from or go to no cluster
        targets = []
        for cluster in map(set, clusters):
            found = None
            for number in self.learners:
                same = self.labels_of[number] & placed == cluster
                core = self.cluster_of[number] - passing
                alike = core & placed & self.placed and core & placed == cluster - passing
                if number not in targets and (same or alike):
                    found = number
                    break
            targets.append(found)
        for label in list(self.heir):
            if self.heir[label] not in targets or label not in placed:
                del self.heir[label], self.gaps[label]
        self.retire()
        for cluster, target in zip(clusters, targets, strict=True):
            if target is None:
                target = self.made
                self.made += 1
                self.learners[target] = self.make()
                self.labels_of[target] = set()
            for label in cluster:
                if label not in self.labels_of[target]:
                    self.learners[target].schema_.label_id(label)
            self.labels_of[target] |= set(cluster)
            self.cluster_of[target] = set(cluster)
            for label in cluster:
                if self.owner[label] == target:
                    if label in self.heir:
                        del self.heir[label], self.gaps[label]
                elif self.heir.get(label) != target:
                    self.heir[label], self.gaps[label] = target, []
                if self.replacement == "immediate" and label in self.heir:
                    self.move(label)
            if self.replacement == "immediate":
                self.retire()
        self.placed = placed
