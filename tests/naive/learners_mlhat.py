"""A Hoeffding adaptive tree for many labels in objects: leaves keep their events and count everything anew."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace

import numpy as np

from streams.batch import COMPLETE, NOMINAL, PARTIAL
from tests.naive.drift_adwin import NaiveADWIN
from tests.naive.learners_inputs import events_of, scaled

SETTINGS = {
    "grace_period": 200, "mode": "default", "tau": 0.05, "cardinality_threshold": 750.0, "entropy_threshold": 0.3,
    "naive_bayes": True, "decay": 0.99, "drift_delta": 0.002, "warning_delta": 0.01, "background_weight": 200.0,
    "switch_delta": 0.05, "min_branch_fraction": 0.01, "max_share": 0.99, "max_depth": 20, "seed": 0,
}  # fmt: skip
IN_MODE = {
    "paper": {"n_neighbors": 4, "window": 170, "n_models": 10, "learning_rate": 0.3, "threshold": 0.5},
    "default": {"n_neighbors": 10, "window": 300, "n_models": 1, "learning_rate": 1.0, "threshold": 0.4},
}
DELTA = 1.6587784772850855e-7
CLASSIFIERS = ("majority", "neighbours", "linear", "bayes")


def answers(batch, **settings):
    """Probabilities of shape (n, L), each event answered before it is learned, and the tree at the end."""
    mode = settings.get("mode", "default")
    tree = Tree(batch.schema, SimpleNamespace(**{"delta": DELTA, **SETTINGS, **IN_MODE[mode], **settings}))
    proba = np.zeros((len(batch), batch.schema.n_labels))
    for t, cells in enumerate(events_of(batch)):
        event = tree.see(cells, batch, t)
        found = tree.answer(event)
        for label in tree.seen:
            proba[t, label] = found[label]
        if event.known:
            tree.learn(event)
    return proba, tree


# Numbers of the papers.


def entropy(weights, total, normalise):
    """Mean of the binary entropies of labels with these weights among ``total``, or their sum, then 0 of one label."""
    total = max([total, *weights])
    if not any(weights) or (sum(weight > 0 for weight in weights) == 1 and not normalise):
        return 0.0
    bits = 0.0
    for weight in weights:
        for p in (weight / total, 1 - weight / total):
            bits -= p * math.log2(p) if 0 < p < 1 else 0.0
    return bits / len(weights) if normalise else bits


def merit(before, left, least_share, normalise):
    """What a split takes from the entropy. ``before`` and ``left`` map "total", "empty" and labels to weights."""
    left = {key: min(max(left[key], 0.0), weight) for key, weight in before.items()}
    right = {key: weight - left[key] for key, weight in before.items()}
    on_both = sum(weight for key, weight in before.items() if key != "total")
    for side in (left, right):
        share = sum(weight for key, weight in side.items() if key != "total")
        if share <= least_share * on_both or side["total"] <= 0:
            return -math.inf

    def disorder(side):
        return entropy([weight for key, weight in side.items() if key != "total"], side["total"], normalise)

    after = (left["total"] * disorder(left) + right["total"] * disorder(right)) / before["total"]
    return disorder(before) - after


def hoeffding_bound(value_range, delta, n):
    return value_range * math.sqrt(math.log(1 / delta) / (2 * n))


def switch_bound(loss, weight, other_weight, delta):
    return math.sqrt(2 * loss * (1 - loss) * math.log(2 / delta) * (1 / weight + 1 / other_weight))


def poisson(seed, event, draw):
    """A Poisson(1) number by inversion; the uniform one is SplitMix64 of the three arguments."""
    bits = scramble(scramble(scramble(seed) + event) + draw)
    u, k, below = (bits >> 11) / 2**53, 0, math.exp(-1)
    while u >= below and k < 8:
        k += 1
        below += math.exp(-1) / math.factorial(k)
    return k


def scramble(z):
    z = z * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def moments(pairs):
    """Weight, mean and summed squared distance of (weight, value) pairs."""
    weight = sum(w for w, _ in pairs)
    mean = sum(w * v for w, v in pairs) / weight if weight else 0.0
    same = len({v for _, v in pairs}) < 2
    return weight, mean, 0.0 if same else sum(w * (v - mean) ** 2 for w, v in pairs)


def weight_below(pairs, threshold):
    """Weight of the values up to ``threshold``, were those between the least and the largest normally distributed."""
    weight, mean, squares = moments(pairs)
    if threshold < min((value for _, value in pairs), default=math.inf):
        return 0.0
    if threshold >= max(value for _, value in pairs) or weight <= 1 or squares <= 0:
        return weight
    return weight * 0.5 * math.erfc((mean - threshold) / math.sqrt(2 * squares / (weight - 1)))


# Parts of a tree.


class Mean:
    def __init__(self):
        self.sum = self.weight = 0.0

    def take(self, value, weight):
        self.sum += weight * value
        self.weight += weight

    @property
    def value(self):
        return self.sum / self.weight if self.weight else 0.0


class Detector:
    """ADWIN that tells by its 32nd values whether the mean has risen (1) or fallen (-1) since the 32nd before."""

    def __init__(self, delta):
        self.adwin, self.n, self.before = NaiveADWIN(delta), 0, 0.0

    def change(self, value):
        self.adwin.update(value)
        self.n += 1
        if self.n % 32:
            return 0
        before, window = self.before, self.adwin.window
        self.before = math.fsum(window) / len(window)
        if not self.adwin.drift_detected:
            return 0
        return 1 if self.before > before else -1


class Linear:
    """Logistic models for every label, in copies."""

    def __init__(self, n_models):
        self.weights = [defaultdict(float) for _ in range(n_models)]
        self.squares = [defaultdict(float) for _ in range(n_models)]
        self.born, self.lengths = set(), []

    def copy(self):
        other = Linear(0)
        other.weights = [w.copy() for w in self.weights]
        other.squares = [s.copy() for s in self.squares]
        other.born, other.lengths = set(self.born), list(self.lengths)
        return other

    def answer(self, copy, inputs, label):
        if label not in self.born:
            return 0.0
        margin = sum(value * self.weights[copy][name, label] for name, value in inputs.items())
        return 1 / (1 + math.exp(-margin)) if margin > -500 else 0.0

    def mean(self, inputs, label):
        n = len(self.weights)
        return sum(self.answer(copy, inputs, label) for copy in range(n)) / n

    def learn_adagrad(self, event, weight, turns, learning_rate):
        """One step of AdaGrad a copy, as heavy as the number of its turns says."""
        self.lengths.append(sum(value**2 for value in event.inputs.values()))
        rate = learning_rate / math.sqrt(sum(self.lengths) / len(self.lengths))
        prior = 0.5 / (1 + min(len(self.lengths) - 1, 100))
        for label in event.present - self.born:
            for weights in self.weights:
                weights["intercept", label] = math.log(prior / (1 - prior))
        p = {(c, y): self.answer(c, event.inputs, y) for c in range(len(turns)) for y in event.known}
        for label in event.present - self.born:
            p.update({(c, label): prior for c in range(len(turns))})
        self.born |= event.present
        for copy, label in p:
            for name, value in event.inputs.items():
                if label in self.born:
                    gradient = weight * turns[copy] * (p[copy, label] - (label in event.present)) * value
                    self.squares[copy][name, label] += gradient**2
                    step = rate / math.sqrt(0.1 + self.squares[copy][name, label])
                    self.weights[copy][name, label] -= step * gradient

    def learn_sgd(self, event, weight, turns, learning_rate):
        """As many plain steps a copy as it has turns."""
        self.born |= event.present
        for copy, n_turns in enumerate(turns):
            for label in event.known & self.born:
                for _ in range(n_turns):
                    gap = weight * (self.answer(copy, event.inputs, label) - (label in event.present))
                    for name, value in event.inputs.items():
                        rate = 0.01 if name == "intercept" else learning_rate
                        self.weights[copy][name, label] -= rate * gap * value


class Node:
    """A leaf, or once it has a ``test`` (column, category, threshold) a branch."""

    def __init__(self, depth, settings):
        self.depth, self.test, self.children, self.mass = depth, None, None, [0.0, 0.0]
        self.weight = self.last_attempt = self.total = self.empty = self.top = 0.0
        self.counts, self.losses, self.sets = defaultdict(float), defaultdict(float), defaultdict(float)
        self.majority, self.observed, self.window, self.linear = frozenset(), [], [], None
        self.detectors = [Detector(settings.drift_delta), Detector(settings.warning_delta)]
        self.loss, self.rival_loss, self.background = Mean(), Mean(), None

    def side_of(self, event, sparse):
        """Number of the child to which an event belongs."""
        column, category, threshold = self.test
        if column not in event.met and not sparse:
            return int(self.mass[0] < self.mass[1])
        value = event.met.get(column)
        if category is not None:
            return int(value != category)
        return int(value is None) if threshold is None else int(value > threshold)

    def keys(self):
        """For "total", "empty" and every label the events observed, as (weight, event)."""
        cases = {"total": self.observed}
        if any(event.empty for _, event in self.observed):
            cases["empty"] = [case for case in self.observed if case[1].empty]
        for label in sorted({label for _, event in self.observed for label in event.present}):
            cases[label] = [case for case in self.observed if label in case[1].present]
        return cases


def column_of(cases, column):
    """(weight, value) of the events that have a value in a column."""
    return [(weight, event.cells[column]) for weight, event in cases if column in event.cells]


def weight_of(cases, column, value):
    """Weight of the events with this value in a column, None for any."""
    return sum(w for w, v in column_of(cases, column) if value is None or v == value)


# Answers of the classifiers of a leaf; None is none.


def majority_answer(leaf, label):
    return min(leaf.counts[label] / leaf.total, 1.0) if leaf.total else None


def neighbours(leaf, event, n_neighbors, weigh):
    """(event, vote) of the nearest events of the window."""
    length = sum(value**2 for value in event.asked.values())
    found = []
    for age, other in enumerate(leaf.window):
        names = event.asked.keys() | other.held.keys()
        squared = sum((event.asked.get(name, 0.0) - other.held.get(name, 0.0)) ** 2 for name in names)
        found.append((0.0 if squared <= 1e-12 * length else squared, age))
    found = sorted(found)[:n_neighbors]
    copies = [pair for pair in found if pair[0] == 0]
    voters = []
    for squared, age in copies or found:
        vote = leaf.window[age].weight if weigh else 1.0
        voters.append((leaf.window[age], vote / math.sqrt(squared) if squared else vote))
    return voters


def neighbours_answer(voters, label):
    known = sum(vote for other, vote in voters if label in other.known)
    present = sum(vote for other, vote in voters if label in other.present)
    return present / known if known else None


def bayes_answer(leaf, event, label, schema, n_met):
    cases = [case for case in leaf.observed if label in case[1].present]
    others = [case for case in leaf.observed if label not in case[1].present]
    if not cases:
        return None
    n1, n0 = sum(w for w, _ in cases), sum(w for w, _ in others)
    logit = math.log((n1 + 0.5) / (n0 + 0.5))
    words1, words0 = (sum(w * len(e.cells) for w, e in side) for side in (cases, others))
    for column, value in event.cells.items():
        if schema.sparse:
            kind = value if schema.kinds[column] == NOMINAL else None
            c1, c0 = weight_of(cases, column, kind), weight_of(others, column, kind)
            if c1 + c0:
                share1 = (c1 + 0.5) / (words1 + 0.5 * n_met)
                share0 = (c0 + 0.5) / (words0 + 0.5 * n_met)
                logit += math.log(share1 / share0)
        elif schema.kinds[column] == NOMINAL:
            c1, c0 = weight_of(cases, column, value), weight_of(others, column, value)
            m1, m0 = weight_of(cases, column, None), weight_of(others, column, None)
            if c1 + c0:
                logit += math.log((c1 + 0.5) / (m1 + 1) / ((c0 + 0.5) / (m0 + 1)))
        else:
            logit += normal_evidence(column_of(cases, column), column_of(others, column), value)
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


def normal_evidence(pairs, others, value):
    """Logarithm of the ratio of two normal densities."""
    m1, mean1, squares1 = moments(pairs)
    m0, mean0, squares0 = moments(others)
    m, _, squares = moments(pairs + others)
    if m1 <= 1 or m0 <= 1 or squares <= 0:
        return 0.0
    floor = 0.01 * squares / m
    variance1, variance0 = max(squares1 / m1, floor), max(squares0 / m0, floor)
    first = -0.5 * math.log(variance1) - (value - mean1) ** 2 / (2 * variance1)
    second = -0.5 * math.log(variance0) - (value - mean0) ** 2 / (2 * variance0)
    return first - second


def mixed(single, losses, label):
    """Mean of the classifiers' answers, weighed by exp(-loss)."""
    there = [which for which in CLASSIFIERS if single[which, label] is not None]
    least = min((losses[which, label] for which in there), default=0.0)
    shares = {which: math.exp(least - losses[which, label]) for which in there}
    return sum(share * single[which, label] for which, share in shares.items()) / sum(shares.values()) if there else 0.0


class Tree:
    def __init__(self, schema, settings):
        self.schema, self.settings, self.paper = schema, settings, settings.mode == "paper"
        self.root, self.seen, self.history = None, set(), []
        self.log, self.switches = [], []

    def see(self, cells, batch, t):
        """The event of row ``t`` as everything looks at it."""
        sparse, standardise = self.schema.sparse, not self.paper
        inputs = scaled(self.history, cells, sparse, standardise)
        inputs = {name: float(np.float32(value)) for name, value in inputs.items()}
        unmet = {
            (column, value) if isinstance(value, str) else column
            for column, value in cells.items()
            if (sparse or isinstance(value, str)) and not self.was_met(column, value)
        }
        held = {name: value for name, value in inputs.items() if name != "intercept"}
        if standardise:
            held = {name: round(value * 4096) / 4096 for name, value in held.items()}
        asked = {name: value for name, value in held.items() if name not in unmet}
        met = {c: v for c, v in cells.items() if c not in unmet and (c, v) not in unmet}
        present, state = frozenset(batch.y.row(t).tolist()), batch.label_state[t]
        known = set(range(self.schema.n_labels)) if state == COMPLETE else set()
        if state == PARTIAL:
            known = set(batch.known.row(t).tolist())
        return SimpleNamespace(
            cells=cells, met=met, inputs=inputs, held=held, asked=asked, present=present, known=known,
            complete=state == COMPLETE, empty=state == COMPLETE and not present,
            weight=1.0 if batch.weight is None else float(batch.weight[t]),
        )  # fmt: skip

    def was_met(self, column, value):
        return any(column in old and (old[column] == value or not isinstance(value, str)) for old in self.history)

    # The way down.

    def leaf_below(self, node, event):
        while node.children:
            node = node.children[node.side_of(event, self.schema.sparse)]
        return node

    def watched(self, event):
        """The root and the live branches on the way of an event."""
        node, path = self.root, [self.root]
        while node.children:
            node = node.children[node.side_of(event, self.schema.sparse)]
            path += [node] if node.children else []
        return path

    # Answers.

    def answer(self, event):
        if self.root is None:
            return defaultdict(float)
        own = self.answer_at(self.leaf_below(self.root, event), event)[0]
        hosts = [host for host in self.watched(event) if self.votes(host)]
        if not hosts:
            return own
        voters = [(1 / (hosts[-1].rival_loss.value + 0.01) ** 2, own)]
        for host in hosts:
            theirs = self.answer_at(self.leaf_below(host.background, event), event)[0]
            voters.append((1 / (host.background.loss.value + 0.01) ** 2, theirs))
        mass = sum(share for share, _ in voters)
        return {label: sum(share * p[label] for share, p in voters) / mass for label in own}

    def votes(self, host):
        return host.background is not None and host.background.loss.weight > self.settings.background_weight

    def answer_at(self, leaf, event):
        """Probabilities by label, and those of every classifier by (classifier, label)."""
        settings, labels = self.settings, range(self.schema.n_labels)
        single = {(which, label): None for which in CLASSIFIERS for label in labels}
        voters = neighbours(leaf, event, settings.n_neighbors, not self.paper)
        for label in labels:
            single["majority", label] = majority_answer(leaf, label)
            single["neighbours", label] = neighbours_answer(voters, label)
            single["linear", label] = leaf.linear and leaf.linear.mean(event.inputs, label)
            if settings.naive_bayes and label in self.seen and not self.paper:
                single["bayes", label] = bayes_answer(leaf, event, label, self.schema, self.n_met())
        if self.paper:
            return {label: self.paper_answer(leaf, single, label) for label in labels}, single
        return {label: mixed(single, leaf.losses, label) if label in self.seen else 0.0 for label in labels}, single

    def paper_answer(self, leaf, single, label):
        """By the classifier that the weight and the disorder of the leaf call for."""
        if len(leaf.sets) <= 1:
            return float(label in leaf.majority)
        weights = [w for w in [leaf.empty, *leaf.counts.values()] if w > 0]
        simple = leaf.weight < self.settings.cardinality_threshold
        simple = simple or entropy(weights, leaf.total, False) < self.settings.entropy_threshold
        if leaf.linear and not simple:
            return single["linear", label]
        return single["neighbours", label] or 0.0

    def n_met(self):
        return len({(c, v) if isinstance(v, str) else c for cells in self.history for c, v in cells.items()})

    def loss(self, answer, event):
        """Share of the known labels that are answered wrongly."""
        known = event.known & (self.seen | event.present)
        wrong = sum((answer[y] > self.settings.threshold) != (y in event.present) for y in known)
        return wrong / len(known) if known else 0.0

    # Learning.

    def learn(self, event):
        settings = self.settings
        self.root = self.root or Node(0, settings)
        weight, turns, number = event.weight, [1] * settings.n_models, len(self.history) + 1
        if self.paper:
            weight *= max(1, poisson(settings.seed, number, 0))
        if settings.n_models > 1:
            turns = [poisson(settings.seed, number, 1 + copy) for copy in range(settings.n_models)]

        path = self.watched(event)
        tops = [self.root] + [host.background for host in path if host.background]
        leaves = [self.leaf_below(top, event) for top in tops]
        found = [self.answer_at(leaf, event) for leaf in leaves]
        losses = [self.loss(answer, event) for answer, _ in found]
        for node in path:
            node.loss.take(losses[0], weight)
            if node.background:
                node.rival_loss.take(losses[0], weight)
        for top, loss in zip(tops[1:], losses[1:], strict=True):
            top.loss.take(loss, weight)
        self.seen |= event.present
        self.history.append(event.cells)
        for top, leaf, (_, single) in zip(tops, leaves, found, strict=True):
            self.learn_at(leaf, event, weight, turns, single)
            self.mark(top, event, weight)
        gone = self.adapt(path, losses[0])
        event.met = event.cells
        for leaf in leaves:
            if any(self.within(part, leaf) for part in gone):
                continue
            self.try_split(leaf)
            if leaf.children and self.paper:
                child = self.leaf_below(leaf, event)
                self.learn_at(child, event, weight, turns, {})

    def learn_at(self, leaf, event, weight, turns, single):
        settings = self.settings
        if not self.paper:
            for which in CLASSIFIERS:
                for label in event.known & self.seen:
                    p = single[which, label]
                    p = 0.5 if p is None else min(max(p, 0.02), 0.98)
                    loss = -math.log(p if label in event.present else 1 - p)
                    leaf.losses[which, label] = settings.decay * leaf.losses[which, label] + weight * loss
        leaf.weight += weight
        leaf.total += weight
        leaf.empty += weight if event.empty else 0.0
        for label in event.present:
            leaf.counts[label] += weight
        if event.complete:
            leaf.sets[event.present] += weight
            if leaf.sets[event.present] > leaf.top:
                leaf.top, leaf.majority = leaf.sets[event.present], event.present
        leaf.observed.append((weight, event))
        leaf.linear = leaf.linear or Linear(settings.n_models)
        if self.paper:
            leaf.linear.learn_sgd(event, weight, turns, settings.learning_rate)
        else:
            leaf.linear.learn_adagrad(event, weight, turns, settings.learning_rate)
        leaf.window = [*leaf.window, event][-settings.window :]

    def mark(self, node, event, weight):
        while node.children:
            side = node.side_of(event, self.schema.sparse)
            node.mass[side] += weight
            node = node.children[side]

    # Splits.

    def try_split(self, leaf):
        settings = self.settings
        if leaf.weight - leaf.last_attempt < settings.grace_period:
            return
        leaf.last_attempt = leaf.weight
        cases = leaf.keys()
        if len(leaf.sets) <= 1 or leaf.depth >= settings.max_depth or len(cases) < 2:
            return
        if max(leaf.empty, *leaf.counts.values()) > settings.max_share * leaf.total:
            return
        found = [self.best_test(cases, column) for column in range(self.schema.n_features)]
        found = [pair for pair in found if pair[0] > 0]
        if not found:
            return
        best = max(found, key=lambda pair: pair[0])
        second = max([0.0, *(pair[0] for pair in found if pair is not best)])
        value_range = max(1.0, math.log2(len(leaf.sets))) if self.paper else 1.0
        bound = hoeffding_bound(value_range, settings.delta, leaf.weight)
        if best[0] - second > bound or bound < settings.tau:
            self.split(leaf, best[1], cases)

    def best_test(self, cases, column):
        """The best merit that a column offers, as (merit, test)."""
        if column in self.schema.ignored:
            return -math.inf, None
        if self.schema.kinds[column] == NOMINAL:
            tests = [(column, category, None) for category in self.schema.categories[column]]
        elif self.schema.sparse:
            tests = [(column, None, None)]
        else:
            values = [value for _, value in column_of(cases["total"], column)]
            least, most = min(values, default=0.0), max(values, default=0.0)
            step = (most - least) / 11
            tests = [(column, None, least + k * step) for k in range(1, 11)] if step > 0 else []
        best = -math.inf, None
        for test in tests:
            before, left = self.parts(cases, test)
            if before["total"] <= 0:
                continue
            share = before["total"] / sum(w for w, _ in cases["total"])
            found = share * merit(before, left, self.settings.min_branch_fraction, not self.paper)
            best = (found, test) if found > best[0] else best
        return best

    def parts(self, cases, test):
        """Of every key the weight that has a value to test, and that of it which a test sends to the left."""
        column, category, threshold = test
        before, left = {}, {}
        for key, events in cases.items():
            before[key] = sum(w for w, _ in events) if self.schema.sparse else weight_of(events, column, None)
            if threshold is None:
                left[key] = weight_of(events, column, category)
            else:
                left[key] = weight_below(column_of(events, column), threshold)
        return before, left

    def split(self, leaf, test, cases):
        settings = self.settings
        before, left = self.parts(cases, test)
        leaf.test, leaf.children = test, [Node(leaf.depth + 1, settings) for _ in range(2)]
        for side, child in enumerate(leaf.children):
            for key, everything in before.items():
                below = min(max(left[key], 0.0), everything)
                part = everything - below if side else below
                if key == "total":
                    child.total = leaf.mass[side] = part
                elif key == "empty":
                    child.empty = part
                else:
                    child.counts[key] = part
            if not self.paper:
                child.losses, child.window = leaf.losses.copy(), list(leaf.window)
                child.linear = leaf.linear and leaf.linear.copy()
        column, category, _ = test
        name = self.schema.feature_names[column]
        self.note("split", leaf.depth, leaf.weight, feature=name if category is None else f"{name}={category}")
        leaf.observed, leaf.window, leaf.linear = [], [], None

    def note(self, kind, depth, weight, **more):
        event = len(self.history)
        self.log.append({"event": event, "kind": kind, "depth": depth, "weight": int(weight), **more})

    # Drift.

    def adapt(self, path, loss):
        """Start, drop and switch background trees; the subtrees that are gone."""
        gone = []
        for node in path:
            main, sensitive = (detector.change(loss) for detector in node.detectors)
            if node.background:
                gone += self.settle(node)
                if gone and gone[-1] is node:
                    break
            elif max(main, sensitive) > 0:
                if self.paper and not node.children:
                    continue
                node.background, node.rival_loss = Node(node.depth, self.settings), Mean()
                self.note("background", node.depth, node.loss.weight)
            elif main < 0:
                node.loss = Mean()
        return gone

    def settle(self, node):
        rival, settings = node.background, self.settings
        weight, other_weight = node.rival_loss.weight, rival.loss.weight
        if min(weight, other_weight) <= settings.background_weight:
            return []
        gap = node.rival_loss.value - rival.loss.value
        bound = switch_bound(node.rival_loss.value, weight, other_weight, settings.switch_delta)
        if gap < -bound:
            self.note("drop", node.depth, other_weight)
            node.background = None
            return [rival]
        if gap > bound:
            self.note("switch", node.depth, other_weight)
            self.switches.append((gap, bound))
            self.replace(node, rival)
            node.background = None
            return [node]
        return []

    def replace(self, node, rival):
        """Put a background tree in the place of its host."""
        if node is self.root:
            self.root = rival
            return
        waiting = [self.root]
        while waiting:
            parent = waiting.pop()
            if parent.children:
                parent.children = [rival if child is node else child for child in parent.children]
                waiting += parent.children

    def within(self, top, leaf):
        """Whether a leaf is in a subtree or in a background of it."""
        parts = [*(top.children or ()), *([top.background] if top.background else ())]
        return top is leaf or any(self.within(part, leaf) for part in parts)
