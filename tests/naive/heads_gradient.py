"""Cosine softmax and MVP-light by their losses alone, whose gradients are taken numerically."""

from __future__ import annotations

import numpy as np

from learners.heads.reservoir import draw, uniform

H = 1e-5


def unit(vector):
    length = np.sqrt(vector @ vector)
    return vector / length if length > 0 else vector


def slope(loss, at):
    """Central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        moved = at.copy()
        moved[place] += H
        high = loss(moved)
        moved[place] -= 2 * H
        found[place] = (high - loss(moved)) / (2 * H)
    return found


def softmax(scores):
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


class Adam:
    """Values and how they go on."""

    def __init__(self, value):
        self.value, self.first, self.second, self.step = value.copy(), 0 * value, 0 * value, 0

    def go(self, gradient, rate, step):
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first, second = self.first / (1 - 0.9**step), self.second / (1 - 0.999**step)
        self.value = self.value - rate * first / (np.sqrt(second) + 1e-8)


class CosineSoftmax:
    """Classes by label, each a vector; a block of (x, label, weight)."""

    def __init__(self, rate, steps, temperature, size):
        self.rate, self.steps, self.temperature, self.size = rate, steps, temperature, size
        self.classes, self.block, self.taught = {}, [], 0

    def learn(self, x, labels, weight):
        x = unit(x)
        for label in sorted(labels):
            if label not in self.classes:
                self.born(label, x)
        for label in sorted(labels, key=list(self.classes).index):
            self.block.append((x, label, weight))
            self.taught += 1
            if len(self.block) == self.size:
                self.finish()
                self.block = []

    def born(self, label, x):
        self.classes[label] = Adam(x)

    def finish(self):
        for _ in range(self.steps):
            self.go_down(self.block)

    def present(self, part):
        return [label for label in self.classes if any(label == other for _, other, _ in part)]

    def go_down(self, part):
        present = self.present(part)
        if len(present) < 2:
            return
        total = sum(weight for _, _, weight in part)

        def loss(vectors):
            found = 0.0
            for x, label, weight in part:
                logits = np.array([unit(vector) @ x for vector in vectors]) / self.temperature
                found -= weight / total * np.log(softmax(logits)[present.index(label)])
            return found

        gradient = slope(loss, np.array([self.classes[label].value for label in present]))
        for label, by_vector in zip(present, gradient, strict=True):
            self.classes[label].step += 1
            self.classes[label].go(by_vector, self.rate, self.classes[label].step)

    def predict(self, x):
        """Shares by label."""
        if not self.classes:
            return {}
        x = unit(x)
        scores = np.array([unit(one.value) @ x for one in self.classes.values()]) / self.temperature
        return dict(zip(self.classes, softmax(scores), strict=True))


class MVPLight(CosineSoftmax):
    """The same with masks by key, feature scaling, a focal loss and replay."""

    def __init__(self, rate, steps, temperature, size, buffer, replay, n_keys, seed):
        super().__init__(rate, steps, temperature, size)
        self.replay, self.n_keys, self.seed = replay, n_keys, seed
        self.masks, self.keys, self.times = {}, [], []
        self.kept = Reservoir(buffer, seed)

    def born(self, label, x):
        super().born(label, x)
        self.masks[label] = Adam(np.full(self.n_keys, -1.0))

    def learn(self, x, labels, weight):
        for label in sorted(labels):
            if label not in self.classes:
                self.born(label, unit(x))
        for label in sorted(labels, key=list(self.classes).index):
            if len(self.keys) < self.n_keys:
                self.keys.append(Adam(unit(x)))
                self.times.append(0)
            super().learn(x, [label], weight)

    def finish(self):
        for step in range(self.steps):
            drawn = []
            if self.kept.items:
                for place in range(min(self.replay, self.kept.size)):
                    number = 2 + step * min(self.replay, self.kept.size) + place
                    drawn.append(self.kept.items[draw(self.seed, self.taught, number, len(self.kept.items))])
            self.go_down(self.block + drawn)
        for place, (x, label, weight) in enumerate(self.block):
            self.kept.offer(x, label, weight, self.taught - self.size + place)

    def nearest(self, x):
        distances = [(1 - unit(key.value) @ x) * (times + 1) for key, times in zip(self.keys, self.times, strict=True)]
        return int(np.argmin(distances))

    def logits(self, x, e, labels, vectors, masks):
        return np.array(
            [
                2 / (1 + np.exp(-mask[e])) * (unit(vector) @ x) / self.temperature
                for vector, mask in zip(vectors, masks, strict=True)
            ]
        )

    def go_down(self, part):
        present = self.present(part)
        if len(present) < 2:
            return
        total = sum(weight for _, _, weight in part)
        which = [self.nearest(x) for x, _, _ in part]
        vectors = np.array([self.classes[label].value for label in present])
        masks = np.array([self.masks[label].value for label in present])
        scale = [1 - unit(self.classes[label].value) @ x + 0.5 for x, label, _ in part]

        # The gradient of every vector by the weights of the true class, were the head linear.
        def by_logit(x, label, e):
            mu = 2 / (1 + np.exp(-masks[:, e]))
            errors = softmax(self.logits(x, e, present, vectors, masks))
            errors[present.index(label)] -= 1
            return mu * errors

        own = [by_logit(x, label, e) for (x, label, _), e in zip(part, which, strict=True)]
        importance = []
        for (x, label, _), mine in zip(part, own, strict=True):
            place = present.index(label)
            whole = sum(w * other[place] * z for (z, _, w), other in zip(part, own, strict=True))
            s = 1 - unit(mine[place] * x) @ unit(whole)
            importance.append(0.5 + 0.5 * s**2)

        def loss(both):
            found = 0.0
            for i, (x, label, weight) in enumerate(part):
                logits = self.logits(x, which[i], present, both[:, : len(x)], both[:, len(x) :]) / scale[i]
                found -= weight / total * importance[i] * np.log(softmax(logits)[present.index(label)])
            return found

        gradient = slope(loss, np.concatenate([vectors, masks], axis=1))
        self.move_keys(part, which, total)
        for label, row in zip(present, gradient, strict=True):
            self.classes[label].step += 1
            width = len(self.classes[label].value)
            self.classes[label].go(row[:width], self.rate, self.classes[label].step)
            self.masks[label].go(row[width:], self.rate, self.classes[label].step)

    def move_keys(self, part, which, total):
        units = [unit(key.value) for key in self.keys]
        taken = [which.count(e) for e in range(len(self.keys))]
        for e, key in enumerate(self.keys):
            if not taken[e] or len(self.keys) == 1:
                continue

            def loss(value, e=e):
                found, times = 0.0, self.times[e] + 1
                others = sum(np.exp((1 - unit(value) @ other) / times) for f, other in enumerate(units) if f != e)
                for (x, _, weight), chosen in zip(part, which, strict=True):
                    if chosen == e:
                        near = np.exp((1 - unit(value) @ x) / times)
                        found -= weight / total * np.log(others / (near + others))
                return found

            gradient = slope(loss, key.value)
            key.step += 1
            key.go(gradient, self.rate, key.step)
        self.times = [times + more for times, more in zip(self.times, taken, strict=True)]

    def predict(self, x):
        if not self.classes:
            return {}
        x = unit(x)
        e = self.nearest(x)
        vectors = [one.value for one in self.classes.values()]
        masks = [one.value for one in self.masks.values()]
        return dict(zip(self.classes, softmax(self.logits(x, e, list(self.classes), vectors, masks)), strict=True))


class Reservoir:
    """Class-balancing reservoir sampling, algorithm 1 of Chrysakis and Moens."""

    def __init__(self, size, seed):
        self.size, self.seed, self.items, self.seen, self.full = size, seed, [], {}, set()

    def offer(self, x, label, weight, number):
        if self.size == 0:
            return
        self.seen[label] = self.seen.get(label, 0) + 1
        if len(self.items) < self.size:
            self.items.append((x, label, weight))
            return
        stored = {other: sum(one == other for _, one, _ in self.items) for other in self.seen}
        most = max(stored.values())
        self.full |= {other for other, count in stored.items() if count == most}
        giving = label
        if label not in self.full:
            giving = next(other for other, count in stored.items() if count == most)
        elif uniform(self.seed, number, 0) * self.seen[label] >= stored[label]:
            return
        places = [place for place, (_, one, _) in enumerate(self.items) if one == giving]
        self.items[places[draw(self.seed, number, 1, len(places))]] = (x, label, weight)
