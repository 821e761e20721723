"""Ensembles of trees, written out: members are learners of their own, each with its detectors.

The trees are `HoeffdingTreeClassifier`, which has a twin itself, and the detectors `drift.ADWIN`.
"""

from __future__ import annotations

import math

import numpy as np

from drift import ADWIN
from learners import HoeffdingTreeClassifier

MASK = 2**64 - 1


def scramble(z):
    z = z * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def poisson(seed, member, event, rate):
    """A Poisson number by its distribution function."""
    key = scramble((scramble(seed) + member) & MASK)
    u = (scramble((key + event) & MASK) >> 11) / 2**53
    p = total = math.exp(-rate)
    k = 0
    while u >= total and k < 1000:
        k += 1
        p *= rate / k
        total += p
    return k


class Watch:
    """ADWIN that alarms only where the mean has risen."""

    def __init__(self, delta):
        self.adwin = ADWIN(delta, restart=False)
        self.total = 0.0

    def rises(self, error):
        before = self.adwin.estimation
        self.adwin.update(error)
        return self.adwin.drift_detected and self.adwin.estimation > before


class Member:
    def __init__(self, tree):
        self.tree, self.background = tree, None
        self.right = self.seen = 0.0
        self.warning = self.drift = None

    def answer(self, event):
        """Label set and probabilities; None before anything was learned."""
        if not self.tree.schema_.n_labels or not len(self.tree.get_state()["nodes"]):
            return None
        answer = self.tree.predict_batch(event)
        return answer.labels.row(0).tolist(), np.asarray(answer.proba[0])


class Ensemble:
    """What forest and bagging share."""

    def __init__(self, n_models, rate, seed, **tree):
        self.rate, self.seed, self.tree = rate, seed, tree
        self.members = [self.fresh() for _ in range(n_models)]
        self.taught = 0
        self.events = []

    def fresh_tree(self):
        return HoeffdingTreeClassifier(**self.tree)

    def run(self, batch):
        """Probabilities for every event, each before it is learned."""
        n_labels = batch.schema.n_labels
        proba = np.zeros((len(batch), n_labels))
        for t in range(len(batch)):
            event = batch[t : t + 1]
            answers = [member.answer(event) for member in self.members]
            total = 0.0
            for member, answer in zip(self.members, answers, strict=True):
                if answer is not None:
                    share = self.share(member)
                    proba[t, : len(answer[1])] += share * answer[1]
                    total += share
            proba[t] /= total or 1.0
            truth = batch.y.row(t).tolist()
            self.learn(event, [answer is None or answer[0] != truth for answer in answers])
            self.taught += 1
        return proba

    def weighed(self, event, k):
        """The event with the weight that it has for a member, or None."""
        count = poisson(self.seed, k, self.taught, self.rate)
        weight = count * (1.0 if event.weight is None else event.weight[0])
        if weight == 0:
            return None
        return type(event)(event.schema, event.x, event.y, event.label_state, weight=np.array([weight]))

    def note(self, kind, k):
        entry = {"event": self.taught + 1, "kind": kind, "member": k, "n_seen": int(self.members[k].seen)}
        self.events.append(entry)


class Forest(Ensemble):
    def __init__(self, n_models, seed, warning_delta, drift_delta, weighted=True, **tree):
        self.warning_delta, self.drift_delta, self.weighted = warning_delta, drift_delta, weighted
        super().__init__(n_models, 6.0, seed, **tree)

    def fresh(self):
        member = Member(self.fresh_tree())
        self.watch(member)
        return member

    def watch(self, member):
        member.warning = self.warning_delta and Watch(self.warning_delta)
        member.drift = self.drift_delta and Watch(self.drift_delta)

    def share(self, member):
        if not self.weighted:
            return 1.0
        return max(member.right / member.seen, 0.01) if member.seen else 0.01

    def learn(self, event, wrong):
        weight = 1.0 if event.weight is None else float(event.weight[0])
        for k, member in enumerate(self.members):
            member.seen += weight
            member.right += 0.0 if wrong[k] else weight
            told = self.weighed(event, k)
            if told is None:
                continue
            if member.background is not None:
                member.background.learn_batch(told)
            member.tree.learn_batch(told)
            if member.warning and member.warning.rises(wrong[k]):
                self.note("warning", k)
                member.background, member.warning = self.fresh_tree(), Watch(self.warning_delta)
            if member.drift and member.drift.rises(wrong[k]):
                self.note("drift" if member.background is None else "replacement", k)
                member.tree, member.background = member.background or self.fresh_tree(), None
                member.right = member.seen = 0.0
                self.watch(member)


class Bagging(Ensemble):
    def __init__(self, n_models, seed, drift_delta, rate=1.0, **tree):
        self.drift_delta = drift_delta
        super().__init__(n_models, rate, seed, **tree)

    def fresh(self):
        member = Member(self.fresh_tree())
        member.drift = Watch(self.drift_delta)
        return member

    def share(self, member):
        return 1.0

    def learn(self, event, wrong):
        rose = False
        for k, member in enumerate(self.members):
            member.seen += 1.0 if event.weight is None else float(event.weight[0])
            told = self.weighed(event, k)
            if told is not None:
                member.tree.learn_batch(told)
            rose |= member.drift.rises(wrong[k])
        if rose:
            errors = [member.drift.adwin.estimation for member in self.members]
            worst = errors.index(max(errors))
            self.note("replacement", worst)
            self.members[worst] = self.fresh()
