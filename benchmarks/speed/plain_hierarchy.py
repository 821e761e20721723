"""The default rules of `ihomer.LabelHierarchy` over dictionaries, in plain Python: the same algorithm, not compiled."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

N_MIN, DELTA, TAU, HALF_LIFE, SUPPORT, MIN_SIZE, MAX_SIZE = 100, 0.05, 0.05, 1000.0, 5.0, 2, 8
"""The default parameters."""

_TIE, _SWEEPS, _PAIRS_PER_EVENT = 1e-9, 4, 256

_FACTOR = math.sqrt(math.log(1 / DELTA) / 2)


class Node:
    """A leaf with labels, or an inner node with two children."""

    def __init__(self, number: int, labels: Iterable[int], parent: Node | None) -> None:
        self.number, self.labels, self.parent = number, set(labels), parent
        self.children: list[Node] = []

    def leaves(self) -> list[Node]:
        """All leaves below, first child first."""
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]

    def inner(self) -> list[Node]:
        """All nodes with children, this one included."""
        return [self, *(node for child in self.children for node in child.inner())] if self.children else []

    def above(self) -> list[Node]:
        """The nodes above."""
        return [] if self.parent is None else [self.parent, *self.parent.above()]

    def all_labels(self) -> set[int]:
        """The labels of all leaves below."""
        return set().union(*(leaf.labels for leaf in self.leaves()))


class PlainHierarchy:
    """Sparse counts of labels and pairs, and the structural tests on them."""

    def __init__(self) -> None:
        self.occurrence: dict[int, float] = defaultdict(float)
        self.joint: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        self.scale, self.growth = 1.0, 2.0 ** (1.0 / HALF_LIFE)
        self.n_events, self.n_pairs, self.next_test, self.next_number = 0, 0, N_MIN, 0
        self.root: Node | None = None
        self.cold: set[int] = set()

    def update(self, labels: Sequence[int]) -> None:
        """Take in the label set of one event, ascending."""
        occurrence, joint, scale = self.occurrence, self.joint, self.scale
        for i, a in enumerate(labels):
            if a not in occurrence:
                self.cold.add(a)
            occurrence[a] += scale
            row = joint[a]
            for b in labels[i + 1 :]:
                self.n_pairs += b not in row
                row[b] += scale
                joint[b][a] += scale
        self.scale *= self.growth
        self.n_events += 1
        if self.n_events == self.next_test:
            self.next_test += max(N_MIN, self.n_pairs // _PAIRS_PER_EVENT)
            self._test()

    def clusters(self) -> list[list[int]]:
        """Labels of every cluster, the cold bucket last."""
        leaves = [] if self.root is None else [sorted(leaf.labels) for leaf in self.root.leaves()]
        return leaves + ([sorted(self.cold)] if self.cold else [])

    def _jaccard(self, a: int) -> list[tuple[int, float]]:
        own = self.occurrence[a]
        return [(b, n / (own + self.occurrence[b] - n)) for b, n in self.joint[a].items()]

    def _test(self) -> None:
        support = {label: n / self.scale for label, n in self.occurrence.items()}
        self.order = sorted(support, key=lambda label: (-support[label], label))
        self.similar = {label: self._jaccard(label) for label in self.occurrence}
        self.weight = {label: n**-0.25 for label, n in support.items()}
        for leaf in [] if self.root is None else self.root.leaves():
            weak = {label for label in leaf.labels if support[label] < SUPPORT / 4}
            leaf.labels -= weak
            self.cold |= weak
            if not leaf.labels:
                self._remove(leaf)
        self._warm([label for label in self.order if label in self.cold and support[label] >= SUPPORT])
        if self.root is not None:
            self._move(self.root)
            self._split(self.root, self._merge(self.root))

    def _warm(self, strong: Sequence[int]) -> None:
        if strong and self.root is None:
            self.root = self._new((), None)
        for label in strong:
            assert self.root is not None
            home = {member: leaf for leaf in self.root.leaves() for member in leaf.labels}
            linkage: dict[Node, float] = defaultdict(float)
            for other, similarity in self.similar[label]:
                if other in home:
                    linkage[home[other]] += similarity
            best = min(
                self.root.leaves(),
                key=lambda leaf: (
                    -round(linkage[leaf] / max(len(leaf.labels), 1), 9), len(leaf.labels), leaf.number,
                ),
            )  # fmt: skip
            best.labels.add(label)
            self.cold.remove(label)

    def _move(self, root: Node) -> None:
        home = {member: leaf for leaf in root.leaves() for member in leaf.labels}
        for label in self.order:
            own = home.get(label)
            if own is None or len(own.labels) <= MIN_SIZE:
                continue
            linkage: dict[Node, float] = defaultdict(float)
            for other, similarity in self.similar[label]:
                if other in home:
                    linkage[home[other]] += similarity
            least = linkage.pop(own, 0.0) / (len(own.labels) - 1) + TAU
            mean = {leaf: total / len(leaf.labels) for leaf, total in linkage.items()}
            best = max(mean, key=lambda leaf: (round(mean[leaf], 9), -leaf.number), default=None)
            if best is not None and mean[best] > least + _TIE:
                own.labels.remove(label)
                best.labels.add(label)
                home[label] = best

    def _merge(self, root: Node) -> set[Node]:
        fresh: set[Node] = set()
        blocked: set[Node] = set()
        for node in sorted(root.inner(), key=lambda node: (-len(node.above()), node.number)):
            if node in blocked:
                continue
            halves = [child.all_labels() for child in node.children]
            labels = halves[0] | halves[1]
            gain, bound, most = self._judge(labels, halves[1])
            if min(map(len, halves)) >= MIN_SIZE and not (len(labels) <= MAX_SIZE and gain < TAU):
                if most - gain <= bound:
                    continue
                best_gain, best_bound, _ = self._judge(labels, self._second_half(labels))
                if best_gain - gain <= max(best_bound, bound):
                    continue
            node.labels, node.children = labels, []
            fresh.add(node)
            blocked.update(node.above())
        return fresh

    def _split(self, root: Node, fresh: set[Node]) -> None:
        waiting = [leaf for leaf in root.leaves() if leaf not in fresh or len(leaf.labels) > MAX_SIZE]
        while waiting:
            leaf = waiting.pop(0)
            if len(leaf.labels) < 2 * MIN_SIZE:
                continue
            second = self._second_half(leaf.labels)
            gain, bound, _ = self._judge(leaf.labels, second)
            if len(leaf.labels) > MAX_SIZE or gain - bound > TAU:
                halves = sorted((leaf.labels - second, second), key=min)
                leaf.children = [self._new(half, leaf) for half in halves]
                waiting += [child for child in leaf.children if len(child.labels) > MAX_SIZE]

    def _second_half(self, labels: set[int]) -> set[int]:
        least = max(MIN_SIZE, len(labels) // 4) if len(labels) > MAX_SIZE else MIN_SIZE
        order = [label for label in self.order if label in labels]
        near = {a: [(b, s) for b, s in self.similar[a] if b in labels] for a in order}
        linkage = [dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0)]
        side, size = dict.fromkeys(order, -1), [0, 0]

        def join(label: int, to: int) -> None:
            if side[label] >= 0:
                size[1 - to] -= 1
                for other, similarity in near[label]:
                    linkage[1 - to][other] -= similarity
            side[label] = to
            size[to] += 1
            for other, similarity in near[label]:
                linkage[to][other] += similarity

        join(order[0], 0)
        farthest = order[1]
        for label in order[2:]:
            if linkage[0][label] < linkage[0][farthest] - _TIE:
                farthest = label
        join(farthest, 1)
        for label in order[1:]:
            if label != farthest:
                lean = linkage[1][label] / size[1] - linkage[0][label] / size[0]
                join(label, int(size[1] < size[0]) if abs(lean) <= _TIE else int(lean > 0))
        for _ in range(_SWEEPS):
            moved = False
            for label in order:
                own, to = side[label], 1 - side[label]
                rest = size[own] - 1
                if rest and linkage[to][label] / size[to] > linkage[own][label] / rest + _TIE:
                    join(label, to)
                    moved = True
            if not moved:
                break
        for to in (0, 1):
            while size[to] < least and size[1 - to] > least:
                best, best_loss = -1, math.inf
                for label in order:
                    if side[label] != to:
                        loss = linkage[1 - to][label] / (size[1 - to] - 1) - linkage[to][label] / size[to]
                        if loss < best_loss - _TIE:
                            best, best_loss = label, loss
                join(best, to)
        return {label for label in order if side[label] == 1}

    def _judge(self, labels: set[int], second: set[int]) -> tuple[float, float, float]:
        within, across = 0.0, 0.0
        total, square, size = [0.0, 0.0], [0.0, 0.0], [0, 0]
        for a in labels:
            own = a in second
            size[own] += 1
            total[own] += self.weight[a]
            square[own] += self.weight[a] ** 2
            for b, similarity in self.similar[a]:
                if b > a and b in labels:
                    if own == (b in second):
                        within += similarity
                    else:
                        across += similarity
        n_across = size[0] * size[1]
        n_within = len(labels) * (len(labels) - 1) // 2 - n_across
        fewest_within = (len(labels) - 1) ** 2 // 4
        most = (within + across) / fewest_within if fewest_within else 0.0
        scale = total[0] * total[1] / n_across
        if n_within:
            within /= n_within
            scale += (total[0] ** 2 - square[0] + total[1] ** 2 - square[1]) / (2 * n_within)
        return within - across / n_across, _FACTOR * scale, most

    def _new(self, labels: Iterable[int], parent: Node | None) -> Node:
        self.next_number += 1
        return Node(self.next_number, labels, parent)

    def _remove(self, leaf: Node) -> None:
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
