"""Online bagging an event and a member at a time, from the description of the method."""

from __future__ import annotations

import hashlib
import math

MASK = 2**64 - 1


def scramble(z):
    """SplitMix64."""
    z = z * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def name_number(name):
    text = name.encode() if isinstance(name, str) else f"\0{hash(name)}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def share(bits):
    return (bits >> 11) / 2**53


def lot(seed, number, name):
    return share(scramble(scramble((scramble(seed) + number) & MASK) ^ name_number(name)))


def times(seed, number, event, rate):
    """Poisson number of an event, the smallest k with P(X <= k) above a uniform number."""
    u = share(scramble((scramble((scramble(seed) + number) & MASK) + event) & MASK))
    k, p = 0, math.exp(-rate)
    below = p
    while u >= below:
        k += 1
        p *= rate / k
        below += p
    return k


class Decayed:
    """Sum in which a value counts half after ``half_life`` later ones, and that sum of ones."""

    def __init__(self, half_life):
        self.half_life, self.total, self.mass = half_life, 0.0, 0.0

    def add(self, value):
        fade = 0.5 ** (1 / self.half_life)
        self.total, self.mass = self.total * fade + value, self.mass * fade + 1


class Voter:
    def __init__(self, number, learner, began):
        self.number, self.learner, self.began = number, learner, began
        self.losses, self.gaps, self.at, self.all = Decayed(500), Decayed(200), {}, []
        self.losses.add(1.0)

    @property
    def recent(self):
        return self.losses.total / self.losses.mass

    @property
    def is_worse(self):
        return bool(self.all) and self.recent > sum(self.all) / len(self.all)

    def weight(self, label):
        errors = self.at.get(label, Decayed(500))
        loss = (errors.total + 20 * self.recent) / (errors.mass + 20)
        return (loss + 0.001) ** -8


class NaiveBagging:
    """Events are dictionaries; a label's value is True, False or None (unknown)."""

    def __init__(self, make, n_members, rate, features, labels, threshold, detector, background, seed):
        self.make, self.detector = make, detector
        self.rate, self.features, self.labels, self.threshold = rate, features, labels, threshold
        self.background, self.seed = background, seed
        self.members = [Voter(k, make(k), 0) for k in range(n_members)]
        self.waiting = [None] * n_members
        self.detectors = [detector and detector() for _ in range(n_members)]
        self.alarmed = [False] * n_members
        self.n_taught, self.n_made = 0, n_members
        self.born, self.hits, self.claims = set(), 1.0, 2.0
        self.events = []

    def sees(self, voter, place, x):
        return {f: v for f, v in x.items() if place == 0 or lot(self.seed, voter.number, f) < self.features}

    def has(self, place, label):
        return place == 0 or lot(self.seed, place, label) < self.labels

    def says(self, voter, place, x):
        mine = self.sees(voter, place, x)
        try:
            told = {label: p[True] for label, p in voter.learner.predict_proba_one(mine).items()}
        except NotImplementedError:
            told = voter.learner.predict_one(mine)
        return {label: float(told.get(label, 0.0)) for label in self.born if self.has(place, label)}

    def answer(self, x):
        """Probability and decision of every label born."""
        limit = self.hits / self.claims if self.threshold == "f1" else self.threshold
        said = [self.says(voter, place, x) for place, voter in enumerate(self.members)]
        told = {}
        for label in self.born:
            votes = [(v.weight(label), s[label]) for v, s in zip(self.members, said, strict=True) if label in s]
            p = sum(weight * p for weight, p in votes) / sum(weight for weight, _ in votes)
            told[label] = (p, p > limit)
        return told

    def learn(self, x, y, w=1.0):
        """``y`` None: an event without labels."""
        known = {} if y is None else {label: value for label, value in y.items() if value is not None}
        if not known:
            return
        for label, (_, is_in) in self.answer(x).items():
            if label in known:
                self.hits += is_in and known[label]
                self.claims += is_in
        self.claims += sum(known.values())
        for place, voter in enumerate(self.members):
            loss = self.judge(voter, place, x, known)
            if loss is not None and self.detectors[place] is not None:
                self.detectors[place].update(loss)
                self.alarmed[place] |= self.detectors[place].drift_detected
            if self.waiting[place] is not None:
                other = self.judge(self.waiting[place], place, x, known)
                if other is not None:
                    self.waiting[place].gaps.add(other - loss)
        for voters in (self.members, self.waiting):
            for place, voter in enumerate(voters):
                if voter is not None:
                    self.teach(voter, place, x, known, w)
        self.born |= {label for label, value in known.items() if value}
        self.n_taught += 1
        if self.n_taught % 64 == 0:
            self.renew()

    def judge(self, voter, place, x, known):
        errors = {label: (p - known[label]) ** 2 for label, p in self.says(voter, place, x).items() if label in known}
        for label, error in errors.items():
            voter.at.setdefault(label, Decayed(500)).add(error)
        if not errors:
            return None
        loss = sum(errors.values()) / len(errors)
        voter.losses.add(loss)
        voter.all.append(loss)
        return loss

    def teach(self, voter, place, x, known, w):
        k = 1
        if self.rate is not None and place > 0:
            k = times(self.seed, voter.number, self.n_taught, self.rate)
        mine = {label: value for label, value in known.items() if self.has(place, label)}
        if k > 0 and mine:
            voter.learner.learn_one(self.sees(voter, place, x), mine, w=k * w)

    def renew(self):
        worse = [alarmed and voter.is_worse for alarmed, voter in zip(self.alarmed, self.members, strict=True)]
        self.alarmed = [False] * len(self.members)
        if not self.background:
            if any(worse):
                place = max((p for p in range(len(worse)) if worse[p]), key=lambda p: self.members[p].recent)
                self.settle(place, self.fresh())
            return
        for place in range(len(self.members)):
            rival = self.waiting[place]
            if rival is None:
                if worse[place]:
                    self.waiting[place] = self.fresh()
                    self.events.append((self.n_taught, "background", place, self.waiting[place].number))
            elif self.n_taught - rival.began >= 128 and (worse[place] or rival.gaps.total < 0):
                self.waiting[place] = None
                self.settle(place, rival)
            elif self.n_taught - rival.began >= 2048:
                self.waiting[place] = None
                self.events.append((self.n_taught, "dropped", place, rival.number))

    def fresh(self):
        self.n_made += 1
        return Voter(self.n_made - 1, self.make(self.n_made - 1), self.n_taught)

    def settle(self, place, voter):
        self.members[place], self.detectors[place] = voter, self.detector()
        self.events.append((self.n_taught, "replacement", place, voter.number))
