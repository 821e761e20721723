"""Synthetic events one by one from the words that define them, in plain Python.

What is fixed for a stream (splits, centroids, weights, groups) is taken from the source; what is drawn for an event is
drawn here anew.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

WORD = 2**64


def mixed(value):
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % WORD
    return value ^ (value >> 31)


def split_mix(key, n):
    """The first ``n`` words that SplitMix64 gives from this state."""
    words = []
    for _ in range(n):
        key = (key + 0x9E3779B97F4A7C15) % WORD
        words.append(mixed(key))
    return words


def derived_key(*numbers):
    key = 0
    for number in numbers:
        key = mixed(split_mix(key, 1)[0] ^ (number * 0x9E3779B97F4A7C15) % WORD)
    return key


def uniforms(key, n):
    """The first 52 bits of each word, and a half so that none is 0."""
    return [(word // 2**12 + 0.5) / 2**52 for word in split_mix(key, n)]


def normal(share):
    return NormalDist().inv_cdf(share)


class NaiveSynthetic:
    """The events of ``source``, which was made with the ``parameters``."""

    def __init__(self, source, **parameters):
        defaults = {"events": 100_000, "seed": 1, "features": 20, "labels": 10, "noise": 0.2, "dependence": 0.7}
        defaults |= {"sparse": 0.0, "nominal": 0, "categories": 5, "drift": "none"}
        self.source, self.concepts = source, source._concepts
        self.parameters = defaults | parameters

    def event(self, number):
        """Features (column to value), probabilities and the labels present."""
        p = self.parameters
        n_labels, n_features = p["labels"], p["features"]
        # A gap to the next present cell, for each column at most, comes after the values.
        row = uniforms(derived_key_of(derived_key(p["seed"], 0), number), 2 + 2 * n_labels + 2 * n_features + 1)
        coin, place = row[:2]
        own, shared = row[2 : 2 + n_labels], row[2 + n_labels : 2 + 2 * n_labels]
        values, gaps = row[2 + 2 * n_labels :][:n_features], row[2 + 2 * n_labels + n_features :]
        before, after, share, grouping = self.stage(number, coin)
        if p["concept"] == "rbf":
            x, proba = self.rbf(place, values, before, after, share)
        else:
            x = {}
            for column in self.present(gaps):
                if column >= n_features - p["nominal"]:
                    x[column] = math.floor(values[column] * p["categories"])
                else:
                    x[column] = float(np.float32(values[column] if p["concept"] == "tree" else normal(values[column])))
            if p["concept"] == "tree":
                proba = self.tree(x, before, after, share)
            else:
                proba = self.hyperplane(x, before, after, share)
        groups, link = self.source.groups[grouping], math.sqrt(p["dependence"])
        together = [
            shared[groups[j]] if number < link else (number - link) / (1 - link) for j, number in enumerate(own)
        ]
        return x, proba, [j for j in range(n_labels) if together[j] < proba[j]]

    def stage(self, number, coin):
        """Concept before, concept after, how far it is between them, and grouping of the labels."""
        begun = [drift for drift in self.source.drifts if drift.event <= number]
        if not begun:
            return 0, 0, 0.0, 0
        drift = begun[-1]
        gone = min(1.0, (number - drift.event + 1) / drift.width)
        if gone < 1 and drift.kind == "incremental":
            return drift.before, drift.after, gone, 0
        now = drift.after if gone == 1 or coin < gone else drift.before
        return (0, 0, 0.0, now) if drift.kind == "labels" else (now, now, 0.0, 0)

    def present(self, gaps):
        sparse, n_features = self.parameters["sparse"], self.parameters["features"]
        if sparse == 0:
            return range(n_features)
        columns, column = [], -1
        for gap in gaps:
            column += 1 + math.floor(math.log(gap) / math.log(sparse))
            if column >= n_features:
                break
            columns.append(column)
        return columns

    def tree(self, x, before, after, share):
        tables = self.concepts
        tree = before if len(tables._proba) > 1 else 0
        splits, limits = tables._split_feature[tree], tables._split_at[tree]
        node = 0
        while node < len(splits):
            column = splits[node]
            value = x.get(column, 0.0)
            if column >= self.parameters["features"] - self.parameters["nominal"]:
                left = value == limits[node]
            else:
                if column in x:
                    value += (1 - share) * tables._shift[before, column] + share * tables._shift[after, column]
                    value -= math.floor(value)
                left = value <= limits[node]
            node = 2 * node + 1 if left else 2 * node + 2
        return list(tables._proba[tree, node - len(splits)])

    def rbf(self, place, values, before, after, share):
        tables = self.concepts
        chosen = sum(end <= place for end in tables._ends)
        x = {}
        for column, here, there, value in zip(
            tables._columns[before, chosen],
            tables._centre[before, chosen],
            tables._centre[after, chosen],
            values,
            strict=False,
        ):
            centre = (1 - share) * here + share * there
            x[int(column)] = float(np.float32(centre + tables._spread[chosen] * normal(value)))
        return x, list(tables._proba[before, chosen])

    def hyperplane(self, x, before, after, share):
        noise, proba = self.parameters["noise"], []
        for j, asked in enumerate(self.source.label_shares):
            weights = [
                (1 - share) * self.concepts._weights[before, f, j] + share * self.concepts._weights[after, f, j]
                for f in x
            ]
            score = sum(weight * value for weight, value in zip(weights, x.values(), strict=True))
            length = math.sqrt(sum(weight**2 for weight in weights))
            on = asked if not x else float(score > normal(1 - asked) * length)
            proba.append(noise * asked + (1 - noise) * on)
        return proba


def derived_key_of(key, number):
    return mixed(split_mix(key, 1)[0] ^ (number * 0x9E3779B97F4A7C15) % WORD)
