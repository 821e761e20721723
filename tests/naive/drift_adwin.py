"""ADWIN with every value of the window at hand: buckets are lists of values, and all sums are taken anew."""

from __future__ import annotations

import math


class NaiveADWIN:
    def __init__(
        self,
        delta=0.002,
        clock=32,
        max_buckets=5,
        min_window_length=5,
        grace_period=10,
        restart=True,
        n_sizes=32,
    ):
        self.delta = delta
        self.clock = clock
        self.max_buckets = max_buckets
        self.min_window_length = min_window_length
        self.grace_period = grace_period
        self.restart = restart
        self.n_sizes = n_sizes
        self.n_detections = self.n_missing = 0
        self.drift_detected = self.must_restart = False
        self.begin()

    def begin(self):
        self.buckets = []  # oldest first; lengths are powers of two and never rise
        self.n_values = 0

    @property
    def window(self):
        return [value for bucket in self.buckets for value in bucket]

    def update(self, value):
        self.drift_detected = False
        if math.isnan(value):
            self.n_missing += 1
            return
        if self.must_restart and self.restart:
            self.begin()
        self.must_restart = False
        self.buckets.append([value])
        self.compress()
        self.n_values += 1
        if self.n_values % self.clock or len(self.window) <= self.grace_period:
            return
        while self.has_cut():
            del self.buckets[0]
            self.drift_detected = self.must_restart = True
        self.n_detections += self.drift_detected

    def compress(self):
        """Of the smallest size on: where there is one bucket too many, join the two oldest."""
        for exponent in range(self.n_sizes):
            alike = [i for i, bucket in enumerate(self.buckets) if len(bucket) == 2**exponent]
            if len(alike) > self.max_buckets:
                if exponent == self.n_sizes - 1:
                    del self.buckets[0]
                else:
                    first = alike[0]
                    self.buckets[first : first + 2] = [self.buckets[first] + self.buckets[first + 1]]

    def has_cut(self):
        """The bound of the paper for each cut between two buckets."""
        window = self.window
        width = len(window)
        mean = math.fsum(window) / width
        variance = math.fsum((value - mean) ** 2 for value in window) / width
        n_old = 0
        for bucket in self.buckets:
            n_old += len(bucket)
            old, new = window[:n_old], window[n_old:]
            if min(len(old), len(new)) < self.min_window_length:
                continue
            spare = self.min_window_length - 1
            m = 1 / (1 / (len(old) - spare) + 1 / (len(new) - spare))
            log_term = math.log(2 * math.log(width) / self.delta)
            bound = math.sqrt(2 / m * variance * log_term) + 2 / (3 * m) * log_term
            if abs(math.fsum(old) / len(old) - math.fsum(new) / len(new)) > bound:
                return True
        return False
