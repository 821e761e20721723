"""Detectors with the whole series since the start at hand: every rule looks at all of it anew at every value."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import combinations

import numpy as np

QUIET, WARNING, ALARM = 0, 1, 2


def levels(rule, values):
    """Level after every value: a rule is told the series since the last alarm, without missing values."""
    series, found = [], []
    for value in values:
        if math.isnan(value):
            found.append(QUIET)
            continue
        series.append(float(value))
        found.append(rule(series))
        if found[-1] == ALARM:
            series = []
    return found


def graded(value, warning, alarm):
    return ALARM if value > alarm else WARNING if value > warning else QUIET


def ddm(series, warm_start=30, warning_threshold=2.0, drift_threshold=3.0):
    lowest = None
    for n in range(warm_start + 1, len(series) + 1):
        p = math.fsum(series[:n]) / n
        s = math.sqrt(max(p * (1 - p), 0) / n)
        if lowest is None or p + s <= sum(lowest) + 1e-12:
            lowest = p, s
    if lowest is None:
        return QUIET
    return graded(p + s, lowest[0] + warning_threshold * lowest[1], lowest[0] + drift_threshold * lowest[1])


def eddm(series, warm_start=30, alpha=0.95, beta=0.9):
    places = [i + 1 for i, value in enumerate(series) if value == 1]
    distances = np.diff([0, *places])
    highest, level = 0.0, QUIET
    for k in range(1, len(places) + 1):
        if places[k - 1] <= warm_start:
            continue
        reach = np.mean(distances[:k]) + 2 * (np.std(distances[:k], ddof=1) if k > 1 else 0.0)
        if reach > highest + 1e-12:
            highest = reach
        elif k > warm_start:
            level = ALARM if reach / highest < beta else WARNING if reach / highest < alpha else QUIET
    return level


def hddm_a(series, drift_confidence=0.001, warning_confidence=0.005, two_sided_test=False):
    n = len(series)
    means = np.cumsum(series) / np.arange(1, n + 1)
    bounds = np.sqrt(math.log(1 / drift_confidence) / (2 * np.arange(1, n + 1)))
    level = QUIET
    for sign in (1, -1) if two_sided_test else (1,):
        reach = sign * means + bounds
        best = 0
        for i in range(n):
            if reach[i] <= reach[best] + 1e-12:
                best = i
        m = best + 1
        if m < n:
            gap = sign * (means[-1] - means[best])
            for confidence, verdict in ((warning_confidence, WARNING), (drift_confidence, ALARM)):
                if gap >= math.sqrt((n - m) / (2 * m * n) * math.log(2 / confidence)):
                    level = max(level, verdict)
    return level


def weighted(series, weight):
    """Exponentially weighted mean, and the sum of squared weights on top of what the unit before the first leaves."""
    mean, squares = series[0], 1.0
    for value in series[1:]:
        mean = weight * value + (1 - weight) * mean
    for _ in series:
        squares = weight**2 + (1 - weight) ** 2 * squares
    return mean, squares


def hddm_w(series, drift_confidence=0.001, warning_confidence=0.005, lambda_val=0.05, two_sided_test=False):
    level = QUIET
    for sign in (1, -1) if two_sided_test else (1,):
        cut, lowest = 0, math.inf
        for i in range(1, len(series) + 1):
            mean, squares = weighted(series[:i], lambda_val)
            reach = sign * mean + math.sqrt(squares * math.log(1 / drift_confidence) / 2)
            if reach < lowest:
                cut, lowest = i, reach
        if cut == len(series):
            continue
        (old, old_squares), (new, new_squares) = weighted(series[:cut], lambda_val), weighted(series[cut:], lambda_val)
        for confidence, verdict in ((warning_confidence, WARNING), (drift_confidence, ALARM)):
            if sign * (new - old) > math.sqrt((old_squares + new_squares) * math.log(1 / confidence) / 2):
                level = max(level, verdict)
    return level


def fhddm(series, sliding_window_size=100, confidence_level=1e-6, short_window_size=None):
    for size in filter(None, (sliding_window_size, short_window_size)):
        ends = range(sliding_window_size, len(series) + 1)
        means = [math.fsum(series[end - size : end]) / size for end in ends]
        if means and max(means) - means[-1] > math.sqrt(math.log(1 / confidence_level) / (2 * size)):
            return ALARM
    return QUIET


def stepd(series, window=50, threshold=5.0, warning_threshold=2.0):
    newest, before = series[-window:], series[:-window]
    if len(before) < window or len(set(before)) == 1:
        return QUIET
    error = math.sqrt(np.var(before) * (1 / window + 1 / len(before)))
    statistic = (np.mean(newest) - np.mean(before)) / error
    return ALARM if statistic > threshold else WARNING if statistic > warning_threshold else QUIET


def page_hinkley(series, min_instances=30, delta=0.005, threshold=50.0, alpha=1 - 0.0001, mode="both"):
    means = np.cumsum(series) / np.arange(1, len(series) + 1)
    for sign, name in ((1, "up"), (-1, "down")):
        sums, total = [], 0.0
        for value, mean in zip(series, means, strict=True):
            total = alpha * total + sign * (value - mean) - delta
            sums.append(total)
        if mode in (name, "both") and len(series) >= min_instances and sums[-1] - min(sums) > threshold:
            return ALARM
    return QUIET


def cusum(series, warm_start=200, slack=0.5, threshold=10.0, mode="both"):
    n = warm_start
    while n < len(series) and len(set(series[:n])) == 1:
        n += 1
    if n >= len(series):
        return QUIET
    mean, deviation = np.mean(series[:n]), np.std(series[:n], ddof=1)
    for sign, name in ((1, "up"), (-1, "down")):
        total = 0.0
        for value in series[n:]:
            total = max(0.0, total + sign * (value - mean) / deviation - slack)
        if mode in (name, "both") and total > threshold:
            return ALARM
    return QUIET


def ecdd(series, average_run_length=400, lambda_val=0.2, warm_start=30, warning_share=0.5):
    n, p = len(series), math.fsum(series) / len(series)
    z = math.fsum(lambda_val * (1 - lambda_val) ** (n - 1 - i) * value for i, value in enumerate(series))
    terms = {100: (2.76, -6.23, 18.12, -312.45, 1002.18), 400: (3.97, -6.56, 48.73, -330.13, 848.18)}
    limit = sum(c * p**power for c, power in zip(terms[average_run_length], (0, 1, 3, 5, 7), strict=True))
    variance = max(p * (1 - p), 0) * lambda_val / (2 - lambda_val) * (1 - (1 - lambda_val) ** (2 * n))
    if n <= warm_start or z <= p:
        return QUIET
    return graded(z - p, warning_share * limit * math.sqrt(variance), limit * math.sqrt(variance))


def smirnov_p_value(one, other):
    """Exact p-value of the two-sample test for samples of one size: paths that stay within the distance are counted."""
    n = len(one)
    count = max(abs(sum(v <= at for v in one) - sum(v <= at for v in other)) for at in [*one, *other])
    ways = {0: 1}
    for step in range(2 * n):
        after = {}
        for gap, number in ways.items():
            for to in (gap - 1, gap + 1):
                if abs(to) < count and abs(to) <= 2 * n - step - 1:
                    after[to] = after.get(to, 0) + number
        ways = after
    return 1 - Fraction(ways.get(0, 0), math.comb(2 * n, n)), count / n


def kswin_levels(values, alpha=0.005, window_size=100, stat_size=30, seed=0, restart=True):
    window, numbers, found = [], random.Random(seed), []
    for value in values:
        found.append(QUIET)
        if math.isnan(value):
            continue
        window = [*window, float(value)][-window_size:]
        if len(window) < window_size:
            continue
        drawn = [window[i] for i in numbers.sample(range(window_size - stat_size), stat_size)]
        p_value, distance = smirnov_p_value(drawn, window[-stat_size:])
        if p_value <= alpha and distance > 0.1:
            found[-1] = ALARM
            window = [] if restart else window[-stat_size:]
            numbers = random.Random(seed) if restart else numbers
    return found


def label_dependency(reference, window, prior=2.0):
    """The statistic of label sets: pairs weighted by the even events, tested on the odd ones."""

    def counts(events, size):
        found = {}
        for event in events:
            for labels in combinations(sorted(event), size):
                found[labels] = found.get(labels, 0) + 1
        return found

    def excess(events, pair):
        single = counts(events, 1)
        expected = math.prod(single.get((label,), 0) for label in pair) / len(events)
        return math.log((counts(events, 2).get(pair, 0) + prior) / (expected + prior))

    pairs = counts([*reference[::2], *window[::2]], 2)
    weights = {pair: excess(window[::2], pair) - excess(reference[::2], pair) for pair in pairs}
    old, new = reference[1::2], window[1::2]
    labels = sorted(set().union(*old, *new))

    def rates(events):
        single = counts(events, 1)
        return {label: single.get((label,), 0) / len(events) + prior / len(old) for label in labels}

    old_rates, new_rates = rates(old), rates(new)

    def scaled(pair):
        return weights.get(pair, 0.0) * math.prod(new_rates[label] / old_rates[label] for label in pair)

    share = dict.fromkeys(labels, 0.0)
    for event in old:
        for pair in combinations(sorted(event), 2):
            for label in pair:
                share[label] += scaled(pair) / len(old)

    def effects(events, weight, its_rates):
        return [
            sum(map(weight, combinations(sorted(event), 2))) - sum(share[label] / its_rates[label] for label in event)
            for event in events
        ]

    def total(events, weight):
        return sum(weight(pair) for event in events for pair in combinations(sorted(event), 2)) / len(events)

    ours, theirs = effects(new, lambda pair: weights.get(pair, 0.0), new_rates), effects(old, scaled, old_rates)
    error = np.var(ours) / len(new) + np.var(theirs) / len(old)
    difference = total(new, lambda pair: weights.get(pair, 0.0)) - total(old, scaled)
    return difference / math.sqrt(error) if error > 0 else 0.0
