"""Hoeffding trees of classes, fixed and adaptive, in objects: leaves keep their events and count everything anew."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from streams.batch import COMPLETE, NOMINAL, PARTIAL, Rows
from tests.naive.learners_mlhat import Detector, hoeffding_bound, poisson, switch_bound

SETTINGS = {
    "grace_period": 200, "delta": 1e-7, "split_criterion": "info_gain", "tau": 0.05, "leaf_prediction": "nba",
    "nb_threshold": 0, "n_splits": 10, "binary_split": False, "min_branch_fraction": 0.01, "max_share_to_split": 0.99,
    "merit_preprune": True, "max_depth": 1000, "max_classes": 1000, "threshold": None, "adaptive": False,
    "bootstrap_sampling": True, "drift_delta": 0.002, "drift_window_threshold": 300, "switch_significance": 0.05,
    "seed": 0,
}  # fmt: skip


def answers(batch, **settings):
    """Probabilities of shape (n, L), the label sets answered, and the tree at the end."""
    tree = Tree(batch.schema, SimpleNamespace(**{**SETTINGS, **settings}))
    proba, labels = np.zeros((len(batch), batch.schema.n_labels)), []
    for t in range(len(batch)):
        x = values(batch, t)
        shares = tree.answer(x)
        for key, share in shares.items():
            for label in tree.sets[key]:
                proba[t, label] += share
        threshold = tree.settings.threshold
        best = max(shares, key=shares.get, default=None)
        if threshold is None:
            labels.append(frozenset() if best is None else tree.sets[best])
        else:
            labels.append(frozenset(np.flatnonzero(proba[t] > threshold).tolist()))
        state, present = batch.label_state[t], frozenset(batch.y.row(t).tolist())
        known = frozenset(batch.known.row(t).tolist()) if batch.known is not None else frozenset()
        if state == COMPLETE or (state == PARTIAL and known):
            weight = 1.0 if batch.weight is None else batch.weight[t]
            tree.learn(x, present, known if state == PARTIAL else None, weight)
    return proba, labels, tree


def values(batch, t):
    """Column to value, a category by its number; of sparse rows, which lack nothing, only what is not 0."""
    schema = batch.schema
    if isinstance(batch.x, Rows):
        cells = zip(batch.x.row(t).tolist(), batch.x.data[batch.x.indptr[t] : batch.x.indptr[t + 1]], strict=True)
        cells = [(column, value) for column, value in cells if value != 0 and not np.isnan(value)]
    else:
        cells = [(column, value) for column, value in enumerate(batch.x[t]) if not np.isnan(value)]
    return {
        column: int(value) if schema.kinds[column] == NOMINAL else float(value)
        for column, value in cells
        if column not in schema.ignored
    }


def impurity(weights, gini):
    total = sum(weights)
    shares = [weight / total for weight in weights if weight > 0]
    return 1 - sum(p * p for p in shares) if gini else -sum(p * math.log2(p) for p in shares)


def merit(before, sides, settings):
    """What a split into sides, which map classes to weights, takes from the impurity of the classes before."""
    gini, totals = settings.split_criterion == "gini", [sum(side.values()) for side in sides]
    if sum(total > settings.min_branch_fraction * sum(totals) for total in totals) < 2:
        return -math.inf
    after = sum(t * impurity(side.values(), gini) for t, side in zip(totals, sides, strict=True) if t > 0)
    return (1.0 if gini else impurity(before, False)) - after / sum(totals)


class Leaf:
    def __init__(self, serial, depth, weights=()):
        self.serial, self.depth, self.weights = serial, depth, dict(weights)
        self.last_attempt = sum(self.weights.values())
        self.events, self.active, self.right = [], True, {"mc": 0.0, "nb": 0.0}
        self.judged, self.wrong = 0, 0

    @property
    def weight(self):
        return sum(self.weights.values())

    def seen(self, key, column):
        """Values of a column in the events of a class that have one, and their weights."""
        return [(x[column], w) for x, k, w in self.events if k == key and column in x]


class Branch:
    def __init__(self, leaf, kind, column, value):
        self.serial, self.depth = leaf.serial, leaf.depth
        self.kind, self.column, self.value = kind, column, value
        self.children, self.alternate, self.detector = {}, None, None
        self.judged, self.wrong = leaf.judged, leaf.wrong

    @property
    def weight(self):
        return sum(child.weight for child in self.children.values())


class Tree:
    def __init__(self, schema, settings):
        self.schema, self.settings, self.sets, self.log = schema, settings, [], []
        self.root, self.n_learned, self.serial = None, 0, 0

    # Classes.

    def number(self, labels):
        if labels in self.sets:
            return self.sets.index(labels)
        if len(self.sets) < self.settings.max_classes:
            self.sets.append(labels)
            return len(self.sets) - 1
        likeness = [len(held & labels) / max(len(held | labels), 1) for held in self.sets]
        return likeness.index(max(likeness))

    def key_of(self, leaf, x, event):
        """The class to learn of an event at a leaf."""
        key, present, known = event
        if known is None:
            return key
        agree = {k: p for k, p in self.shares(leaf, x).items() if self.sets[k] & known == present and p > 0}
        return max(agree, key=agree.get, default=key)

    # The way down.

    def branch_of(self, branch, x):
        """Which child an event belongs to, or None."""
        if branch.kind == "present":
            value = x.get(branch.column, 0)
            return "yes" if (value == branch.value if branch.value is not None else value != 0) else "no"
        if branch.column not in x:
            return None
        value = x[branch.column]
        if branch.kind == "categories":
            return value if value in branch.children else None
        return "yes" if (value <= branch.value if branch.kind == "number" else value == branch.value) else "no"

    def way(self, top, x, learns=False):
        """All nodes from ``top`` to the leaf, and whether the event's own values led there."""
        nodes, straight = [top], True
        while isinstance(nodes[-1], Branch):
            branch = nodes[-1]
            child = self.branch_of(branch, x)
            if child is None:
                straight = False
                if learns and branch.kind == "categories" and branch.column in x:
                    child = x[branch.column]
                    branch.children[child] = self.leaf(branch.depth + 1)
                else:
                    child = max(branch.children, key=lambda c: branch.children[c].weight)
            nodes.append(branch.children[child])
        return nodes, straight

    def leaf(self, depth, weights=()):
        self.serial += 1
        return Leaf(self.serial, depth, weights)

    # Answers.

    def answer(self, x):
        if self.root is None:
            return {}
        path, _ = self.way(self.root, x)
        shares = self.shares(path[-1], x)
        voters = [branch for branch in path[:-1] if branch.alternate and branch.alternate.judged > 30]
        if not voters:
            return shares
        trust = 1 / (voters[-1].wrong / voters[-1].judged + 0.01) ** 2
        votes, mass = {key: p * trust for key, p in shares.items()}, trust
        for branch in voters:
            found = self.shares(self.way(branch.alternate, x)[0][-1], x)
            trust = 1 / (branch.alternate.wrong / branch.alternate.judged + 0.01) ** 2
            mass += trust if found else 0.0
            for key, p in found.items():
                votes[key] = votes.get(key, 0.0) + p * trust
        return {key: votes[key] / mass for key in sorted(votes)}

    def shares(self, leaf, x):
        s = self.settings
        by_bayes = leaf.active and (
            (s.leaf_prediction == "nba" and leaf.right["nb"] >= leaf.right["mc"])
            or (s.leaf_prediction == "nb" and leaf.weight >= s.nb_threshold)
        )
        return self.bayes(leaf, x) if by_bayes else self.majority(leaf)

    def majority(self, leaf):
        return {key: weight / leaf.weight for key, weight in leaf.weights.items()} if leaf.weight else {}

    def bayes(self, leaf, x):
        logs = {}
        for key, weight in leaf.weights.items():
            logs[key] = math.log(weight / leaf.weight) + sum(
                self.evidence(leaf, key, column, value) for column, value in x.items()
            )
        top = max(logs.values(), default=0.0)
        total = sum(math.exp(bits - top) for bits in logs.values())
        return {key: math.exp(bits - top) / total for key, bits in logs.items()}

    def evidence(self, leaf, key, column, value):
        pairs = leaf.seen(key, column)
        nominal = self.schema.kinds[column] == NOMINAL
        if self.schema.sparse:
            total = sum(w for _, k, w in leaf.events if k == key)
            listed = sum(w for v, w in pairs if not nominal or v == value)
            return math.log((listed + 1) / (total + 2)) if total else 0.0
        if nominal:
            same = sum(w for v, w in pairs if v == value)
            return math.log(same / sum(w for _, w in pairs)) if same else 0.0
        _, mean, variance = moments(pairs)
        if not variance > 0:
            return 0.0
        return -((value - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)

    # Learning.

    def learn(self, x, present, known, weight):
        s = self.settings
        event = self.number(present), present, known
        if self.root is None:
            self.root = self.leaf(0)
        self.n_learned += 1
        if not s.adaptive:
            self.learn_below(None, x, event, weight)
            return
        answer, (path, _) = self.answer_of(self.root, x), self.way(self.root, x)
        wrong, place = answer != self.key_of(path[-1], x, event), None
        for k, branch in enumerate(path[:-1]):
            branch.judged, branch.wrong = branch.judged + 1, branch.wrong + wrong
            branch.detector = branch.detector or Detector(s.drift_delta)
            verdict = branch.detector.change(float(wrong))
            if branch.alternate is not None:
                if self.settle(branch, path[k - 1] if k else None):
                    place = k
                    break
            elif verdict > 0:
                self.note("background", branch, branch.judged)
                branch.alternate, branch.judged, branch.wrong = self.leaf(branch.depth), 0, 0
            elif verdict < 0:
                branch.judged = branch.wrong = 0
        for k, branch in enumerate(path[:-1] if place is None else path[:place]):
            if branch.alternate is None:
                continue
            top = branch.alternate
            found = self.way(top, x)[0][-1]
            top.wrong += self.answer_of(top, x) != self.key_of(found, x, event)
            top.judged += 1
            self.learn_below(branch, x, event, weight * self.times(k + 1))
        self.learn_below(None, x, event, weight * self.times(0))

    def times(self, draw):
        return max(1, poisson(self.settings.seed, self.n_learned, draw)) if self.settings.bootstrap_sampling else 1

    def answer_of(self, top, x):
        """The class that the leaf below a node answers alone."""
        shares = self.shares(self.way(top, x)[0][-1], x)
        return max(shares, key=shares.get, default=None)

    def settle(self, branch, parent):
        s, rival = self.settings, branch.alternate
        if min(branch.judged, rival.judged) <= s.drift_window_threshold:
            return False
        error, other = branch.wrong / branch.judged, rival.wrong / rival.judged
        bound = switch_bound(error, branch.judged, rival.judged, s.switch_significance)
        if other - error > bound:
            self.note("drop", branch, rival.judged)
            branch.alternate = None
        if error - other > bound:
            self.note("switch", branch, rival.judged)
            self.put(parent, branch, rival)
            return True
        return False

    def put(self, parent, old, new):
        """Let a node stand where another one stood: below a branch, as the alternate of one, or as the root."""
        if parent is None:
            self.root = new
        elif parent.alternate is old:
            parent.alternate = new
        else:
            for child, node in parent.children.items():
                if node is old:
                    parent.children[child] = new

    def learn_below(self, host, x, event, weight):
        """Let the tree learn, or the alternate one of ``host``."""
        s = self.settings
        path, straight = self.way(self.root if host is None else host.alternate, x, learns=True)
        leaf, parent = path[-1], path[-2] if len(path) > 1 else host
        key = self.key_of(leaf, x, event)
        if leaf.active and s.leaf_prediction == "nba":
            for name, shares in (("mc", self.majority(leaf)), ("nb", self.bayes(leaf, x))):
                best = max(shares, key=shares.get, default=None)
                if best == key or (best is None and name == "mc"):
                    leaf.right[name] += weight
        leaf.weights[key] = leaf.weights.get(key, 0.0) + weight
        if not leaf.active:
            return
        leaf.events.append((x, key, weight))
        due = leaf.weight - leaf.last_attempt >= s.grace_period - 1e-9
        if (straight or s.adaptive) and (due or not s.adaptive):
            if leaf.depth >= s.max_depth:
                leaf.active, leaf.events = False, []
            elif due:
                weight_seen = leaf.weight
                self.try_split(leaf, parent)
                leaf.last_attempt = weight_seen

    def note(self, kind, node, weight, **more):
        entry = {"event": self.n_learned, "kind": kind, "node": node.serial, "depth": node.depth, "weight": int(weight)}
        self.log.append({**entry, **more})

    # Splits.

    def candidates(self, leaf):
        """For every column that the leaf has seen: kind, column, value, and the weights of classes on each side."""
        schema, found = self.schema, []
        keys = list(dict.fromkeys(k for _, k, _ in leaf.events))
        for column in range(schema.n_features):
            pairs = {key: leaf.seen(key, column) for key in keys}
            seen = [value for key in keys for value, _ in pairs[key]]
            if not seen:
                continue
            options = []
            if schema.sparse:
                codes = sorted(set(seen)) if schema.kinds[column] == NOMINAL else [None]
                for code in codes:
                    sides = [{}, {}]
                    for x, key, w in leaf.events:
                        there = column in x and (code is None or x[column] == code)
                        sides[not there][key] = sides[not there].get(key, 0.0) + w
                    options.append(("present", column, code, dict(zip(("yes", "no"), sides, strict=True))))
            elif schema.kinds[column] == NOMINAL:
                weights = {
                    code: {key: sum(w for v, w in pairs[key] if v == code) for key in keys}
                    for code in sorted(set(seen))
                }
                if not self.settings.binary_split:
                    options.append(("categories", column, None, weights))
                for code, yes in weights.items():
                    no = {key: sum(w for v, w in pairs[key] if v != code) for key in keys}
                    options.append(("category", column, code, {"yes": yes, "no": no}))
            else:
                low, high, n = min(seen), max(seen), self.settings.n_splits
                for i in range(1, n + 1):
                    at = low + (high - low) / (n + 1) * i
                    if low < at < high:
                        yes = {key: weight_below(pairs[key], at) for key in keys}
                        no = {key: sum(w for _, w in pairs[key]) - yes[key] for key in keys}
                        options.append(("number", column, at, {"yes": yes, "no": no}))
            found.append(options)
        return found

    def try_split(self, leaf, parent):
        s, before = self.settings, list(leaf.weights.values())
        if sum(weight > 0 for weight in before) < 2:
            return
        if max(before) / sum(before) > s.max_share_to_split:
            leaf.events = []
            return
        ranked = [(-math.inf, None)] if s.merit_preprune else []
        for options in self.candidates(leaf):
            best = (-math.inf, None)
            for option in options:
                gain = merit(before, list(option[3].values()), s)
                if gain > best[0] + 1e-12:
                    best = (gain, option)
            ranked.append(best)
        ranked.sort(key=lambda one: one[0])
        if not ranked:
            return
        if len(ranked) > 1:
            value_range = 1.0 if s.split_criterion == "gini" else math.log2(max(len(before), 2))
            bound = hoeffding_bound(value_range, s.delta, sum(before))
            if not (ranked[-1][0] - ranked[-2][0] > bound or bound < s.tau):
                return
        option = ranked[-1][1]
        if option is None:
            leaf.events = []
            return
        kind, column, value, sides = option
        branch = Branch(leaf, kind, column, value)
        name = self.schema.feature_names[column]
        of = kind in ("category", "present") and self.schema.kinds[column] == NOMINAL
        self.note("split", leaf, leaf.weight, feature=f"{name}={self.schema.categories[column][value]}" if of else name)
        for side, weights in sides.items():
            branch.children[side] = self.leaf(leaf.depth + 1, {k: w for k, w in weights.items() if w > 0})
        self.put(parent, leaf, branch)


def moments(pairs):
    """Weight, mean and variance (by the weight less 1) of weighted values."""
    n = sum(w for _, w in pairs)
    mean = sum(v * w for v, w in pairs) / n if n else 0.0
    squares = sum(w * (v - mean) ** 2 for v, w in pairs)
    alike = len({v for v, _ in pairs}) < 2
    return n, mean, 0.0 if alike or n <= 1 else squares / (n - 1)


def weight_below(pairs, at):
    """The weight of values up to a threshold, were those between the least and the largest normal."""
    n, mean, variance = moments(pairs)
    if not pairs or at < min(v for v, _ in pairs):
        return 0.0
    if at >= max(v for v, _ in pairs):
        return n
    return n * 0.5 * (1 + math.erf((at - mean) / math.sqrt(2 * variance))) if variance > 0 else 0.0
