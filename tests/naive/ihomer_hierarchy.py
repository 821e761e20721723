"""A label hierarchy with dense counters and recursive nodes: slow and obvious."""

import math

import numpy as np


class DenseCounts:
    """Every pair of ``n_labels`` labels has a cell; the diagonal counts the labels themselves."""

    def __init__(self, n_labels, half_life=None):
        self.cells = np.zeros((n_labels, n_labels))
        self.decay = 1.0 if half_life is None else 0.5 ** (1 / half_life)

    def add(self, labels):
        self.cells *= self.decay
        for a in labels:
            for b in labels:
                self.cells[a, b] += 1

    def jaccard(self, a, b):
        either = self.cells[a, a] + self.cells[b, b] - self.cells[a, b]
        return self.cells[a, b] / either if either > 0 else math.nan


def distances(labels, jaccard):
    """Smallest, largest, second largest and mean distance, and the first pair at the largest."""
    found = []
    for i, a in enumerate(labels):
        for b in labels[i + 1 :]:
            j = jaccard(a, b)
            found.append((1.0 if math.isnan(j) else 1 - j, a, b))
    if not found:
        return None
    values = sorted((d for d, _, _ in found), reverse=True)
    pivots = next((a, b) for d, a, b in found if d == values[0])
    return values[-1], values[0], values[1] if len(values) > 1 else None, sum(values) / len(values), pivots


class Node:
    def __init__(self, number, labels, since):
        self.number, self.labels, self.since = number, set(labels), since
        self.children, self.parent, self.d1, self.bound = [], None, None, None

    def leaves(self):
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]

    def depth(self):
        return 0 if self.parent is None else 1 + self.parent.depth()


class NaiveHierarchy:
    """The rules of ``ihomer.LabelHierarchy`` over dense counts, for a label set known beforehand."""

    def __init__(self, n_labels, mode, n_min, delta, half_life, support, max_size, tau=0.05, min_size=2):
        self.mode, self.n_min, self.delta, self.tau = mode, n_min, delta, tau
        self.support, self.min_size, self.max_size = support, min_size, max_size
        self.counts = DenseCounts(n_labels, None if mode == "paper" else half_life)
        self.n_events, self.next_number, self.root, self.cold, self.born = 0, 0, None, set(), set()
        self.splits_and_merges = []

    def new(self, labels, parent):
        node = Node(self.next_number, labels, self.n_events)
        node.parent = parent
        self.next_number += 1
        return node

    def update(self, labels):
        labels = sorted(labels)
        for label in labels:
            if label not in self.born:
                self.born.add(label)
                if self.mode == "default":
                    self.cold.add(label)
                    continue
                self.root = self.root or self.new([], None)
                max(self.root.leaves(), key=lambda leaf: len(leaf.labels)).labels.add(label)
        if self.mode == "default":
            self.counts.add(labels)
        else:
            for leaf in self.root.leaves() if self.root else []:
                self.counts.add([label for label in labels if label in leaf.labels])
        self.n_events += 1
        if self.n_events % self.n_min == 0:
            self.paper_round() if self.mode == "paper" else self.default_round()

    # The published rules.

    def paper_round(self):
        gone = set()
        for leaf in self.root.leaves() if self.root else []:
            seen = [label for label in sorted(leaf.labels) if self.counts.cells[label, label] > 0]
            found, n = distances(seen, self.counts.jaccard), self.n_events - leaf.since
            if leaf in gone or found is None or n == 0:
                continue
            d0, d1, d2, mean, (p, q) = found
            epsilon = math.sqrt(math.log(1 / self.delta) / (2 * n))
            parent = leaf.parent
            if parent is not None and d1 - parent.d1 > max(parent.bound, epsilon):
                gone.update(parent.leaves())
                parent.labels = set().union(*(below.labels for below in parent.leaves()))
                parent.children, parent.since = [], self.n_events
                self.forget(parent.labels)
                self.splits_and_merges.append(("merge", self.n_events, sorted(parent.labels), (d0, d1, d2, mean)))
            elif (
                len(seen) >= 3
                and (d1 - d2 > epsilon or self.tau > epsilon)
                and (d1 - d0) * abs((d1 - mean) - (mean - d0)) > epsilon
            ):
                first = {x for x in leaf.labels if x == p or (x != q and self.near(x, p) > self.near(x, q))}
                leaf.children = [self.new(half, leaf) for half in (first, leaf.labels - first)]
                leaf.d1, leaf.bound = d1, epsilon
                self.forget(leaf.labels)
                self.splits_and_merges.append(("split", self.n_events, sorted(first), (d0, d1, d2, mean)))

    def near(self, a, b):
        similarity = self.counts.jaccard(a, b)
        return 0.0 if math.isnan(similarity) else similarity

    def forget(self, labels):
        for label in labels:
            self.counts.cells[label, :] = 0
            self.counts.cells[:, label] = 0

    # Ours.

    def support_of(self, label):
        # The store gives the latest event weight 1 / decay relative to the next one; so does this.
        return self.counts.cells[label, label] * self.counts.decay

    def mean_between(self, ones, others):
        return sum(self.near(a, b) for a in ones for b in others) / (len(ones) * len(others))

    def gain_and_bound(self, halves):
        pairs = [[(a, b) for half in halves for a in half for b in half if a < b]]
        pairs.append([(a, b) for a in halves[0] for b in halves[1]])
        similarity, scale = [], []
        for group in pairs:
            similarity.append(sum(self.near(a, b) for a, b in group) / max(len(group), 1))
            scales = [(self.support_of(a) * self.support_of(b)) ** -0.25 for a, b in group]
            scale.append(sum(scales) / max(len(group), 1))
        return similarity[0] - similarity[1], math.sqrt(math.log(1 / self.delta) / 2) * sum(scale)

    def halve(self, labels):
        forced = len(labels) > self.max_size
        least = max(self.min_size, len(labels) // 4) if forced else self.min_size
        order = sorted(labels, key=lambda label: (-round(self.support_of(label), 9), label))
        other = min(order[1:], key=lambda label: round(self.near(label, order[0]), 9))
        halves = [[order[0]], [other]]
        tie = 1e-9

        def linkage(label, half):
            rest = [x for x in half if x != label]
            return sum(self.near(label, x) for x in rest) / len(rest)

        for label in order:
            if label in (order[0], other):
                continue
            preference = linkage(label, halves[1]) - linkage(label, halves[0])
            if abs(preference) <= tie:
                to = int(len(halves[1]) < len(halves[0]))
            else:
                to = int(preference > 0)
            halves[to].append(label)
        for _ in range(4):
            for label in order:
                own = int(label in halves[1])
                if len(halves[own]) > 1 and linkage(label, halves[1 - own]) > linkage(label, halves[own]) + tie:
                    halves[own].remove(label)
                    halves[1 - own].append(label)
        for to in (0, 1):
            while len(halves[to]) < least and len(halves[1 - to]) > least:
                rest = [label for label in order if label in halves[1 - to]]
                loss = [linkage(label, halves[1 - to]) - linkage(label, halves[to]) for label in rest]
                label = next(x for x, value in zip(rest, loss, strict=True) if value <= min(loss) + tie)
                halves[1 - to].remove(label)
                halves[to].append(label)
        return sorted(map(sorted, halves))

    def default_round(self):
        for leaf in self.root.leaves() if self.root else []:
            weak = {label for label in leaf.labels if self.support_of(label) < self.support / 4}
            leaf.labels -= weak
            self.cold |= weak
            if not leaf.labels:
                self.remove(leaf)
        strong = [label for label in self.cold if self.support_of(label) >= self.support]
        for label in sorted(strong, key=lambda label: (-round(self.support_of(label), 9), label)):
            self.root = self.root or self.new([], None)
            leaves = self.root.leaves()
            mean = [round(self.mean_between([label], leaf.labels), 9) if leaf.labels else 0.0 for leaf in leaves]
            best = min(range(len(leaves)), key=lambda i: (-mean[i], len(leaves[i].labels), leaves[i].number))
            leaves[best].labels.add(label)
            self.cold.remove(label)
        self.move_round()
        fresh = self.merge_round()
        waiting = [] if self.root is None else self.root.leaves()
        waiting = [leaf for leaf in waiting if leaf not in fresh or len(leaf.labels) > self.max_size]
        while waiting:
            leaf = waiting.pop(0)
            forced = len(leaf.labels) > self.max_size
            if len(leaf.labels) < 2 * self.min_size:
                continue
            halves = self.halve(leaf.labels)
            gain, bound = self.gain_and_bound(halves)
            if forced or gain - bound > self.tau:
                self.splits_and_merges.append(("split", self.n_events, halves[0], self.four(leaf.labels)))
                leaf.children = [self.new(half, leaf) for half in halves]
                waiting += [child for child in leaf.children if len(child.labels) > self.max_size]

    def move_round(self):
        leaves = self.root.leaves() if self.root else []
        placed = [label for leaf in leaves for label in leaf.labels]
        for label in sorted(placed, key=lambda label: (-round(self.support_of(label), 9), label)):
            own = next(leaf for leaf in leaves if label in leaf.labels)
            rest = own.labels - {label}
            others = [leaf for leaf in leaves if leaf is not own]
            if len(rest) < self.min_size or not others:
                continue
            mean = {leaf: self.mean_between([label], leaf.labels) for leaf in others}
            best = min(others, key=lambda leaf: (-round(mean[leaf], 9), leaf.number))
            if mean[best] > self.mean_between([label], rest) + self.tau + 1e-9:
                own.labels.remove(label)
                best.labels.add(label)

    def four(self, labels):
        return distances(sorted(labels), self.counts.jaccard)[:4]

    def merge_round(self):
        inner, fresh, blocked = [], [], []

        def collect(node):
            if node is not None and node.children:
                inner.append(node)
                for child in node.children:
                    collect(child)

        collect(self.root)
        for node in sorted(inner, key=lambda node: (-node.depth(), node.number)):
            if node in blocked:
                continue
            halves = [sorted(set().union(*(leaf.labels for leaf in child.leaves()))) for child in node.children]
            labels = sorted(halves[0] + halves[1])
            gain, bound = self.gain_and_bound(halves)
            if min(map(len, halves)) >= self.min_size and not (len(labels) <= self.max_size and gain < self.tau):
                best_gain, best_bound = self.gain_and_bound(self.halve(labels))
                if best_gain - gain <= max(best_bound, bound):
                    continue
            self.splits_and_merges.append(("merge", self.n_events, labels, self.four(labels)))
            node.labels, node.children = set(labels), []
            fresh.append(node)
            while node.parent is not None:
                node = node.parent
                blocked.append(node)
        return fresh

    def remove(self, leaf):
        parent = leaf.parent
        if parent is None:
            self.root = None
            return
        sibling = next(child for child in parent.children if child is not leaf)
        sibling.parent = parent.parent
        if parent.parent is None:
            self.root = sibling
        else:
            parent.parent.children = [sibling if child is parent else child for child in parent.parent.children]

    def clusters(self):
        leaves = [] if self.root is None else [sorted(leaf.labels) for leaf in self.root.leaves()]
        return leaves + ([sorted(self.cold)] if self.cold else [])
