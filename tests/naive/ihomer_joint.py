"""The label-set joint, event by event in plain Python over dictionaries and sets."""

import math


def logit(p):
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


class Joint:
    """Tilted frequencies of label sets, mixed with independent labels."""

    def __init__(self, n_sets, longest=32, tilts=(0.35, 0.5, 0.7, 1.0)):
        self.n_sets, self.longest, self.tilts = n_sets, longest, tilts
        self.sets = [None] * n_sets
        self.counts, self.filed = {}, {}
        self.support, self.turn = {}, 0
        self.logs = [0.0] * (len(tilts) + 1)
        self.novelty, self.learned = 0.5, 0.0

    def answer(self, p, prior_logit):
        """Mass of each set that is possible, for the probabilities of the labels asked about."""
        evidence = {label: logit(q) - prior_logit[label] for label, q in p.items()}
        possible = [
            labels
            for labels, count in self.counts.items()
            if labels <= p.keys() and (not labels or p[self.filed[labels]] >= 0.01) and count > 0
        ]
        total = sum(math.exp(log - max(self.logs)) for log in self.logs)
        self.parts, mass = [], dict.fromkeys(possible, 0.0)
        for tilt, log in zip(self.tilts, self.logs[:-1], strict=True):
            weights = {s: self.counts[s] * math.exp(tilt * sum(evidence[label] for label in s)) for s in possible}
            self.parts.append({s: weight / sum(weights.values()) for s, weight in weights.items()})
            for labels in possible:
                model = math.exp(log - max(self.logs)) / total
                mass[labels] += (1 - self.novelty) * model * self.parts[-1][labels]
        return mass

    def learn(self, p, labels, overlooked, weight):
        """Learn a set, of which ``overlooked`` are labels that were there before and that nobody asked about."""
        labels = frozenset(labels)
        sure = {label: min(max(q, 1e-6), 1 - 1e-6) for label, q in p.items()}
        alone = math.prod(q if label in labels else 1 - q for label, q in sure.items()) * 1e-6 ** len(overlooked)
        for b in range(len(self.logs)):
            likelihood = alone
            if b < len(self.tilts):
                likelihood = self.novelty * alone + (1 - self.novelty) * self.parts[b].get(labels, 0.0)
            self.logs[b] = 0.99 * self.logs[b] + math.log(max(likelihood, 1e-9))
        self.novelty += max(0.005, 1 / (self.learned + 2)) * (float(labels not in self.counts) - self.novelty)
        self.learned += 1
        for label in labels:
            self.support[label] = self.support.get(label, 0.0) + weight
        if len(labels) > self.longest:
            return
        if labels not in self.counts:
            place = len(self.counts)
            if place == self.n_sets:
                turns = [(self.turn + j) % self.n_sets for j in range(self.n_sets)]
                place = min(turns, key=lambda j: self.counts[self.sets[j]])
                self.turn = (place + 1) % self.n_sets
                del self.counts[self.sets[place]]
            self.sets[place], self.counts[labels] = labels, 0.0
        self.filed[labels] = min(sorted(labels), key=self.support.__getitem__, default=None)
        self.counts[labels] += weight

    def forget(self, share):
        for values in (self.counts, self.support):
            for key in values:
                values[key] *= 1 - share
        self.logs = [(1 - share) * log for log in self.logs]
        self.learned *= 1 - share
        self.novelty = (1 - share) * self.novelty + share * 0.5
