"""Encoders for tests, which workers import by name."""

import os
import signal
import time

import numpy as np
from threadpoolctl import threadpool_info

from streams.rows import Rows

WIDTH = 3


def numbers(payloads):
    """A row that tells its payload, a number."""
    return np.array([[payload, payload * payload % 97, 1] for payload in payloads], np.float32)


def slow_numbers(payloads):
    """The same, 2 ms a payload."""
    time.sleep(0.002 * len(payloads))
    return numbers(payloads)


def leisurely_numbers(payloads):
    """The same, 20 ms a block, however large it is."""
    time.sleep(0.02)
    return numbers(payloads)


def picky(payloads):
    """Raises at what is no number, and gives NaN for -1 and infinity for -2."""
    rows = numbers([float(payload) for payload in payloads])
    rows[[payload == -1 for payload in payloads], 1] = np.nan
    rows[[payload == -2 for payload in payloads], 1] = np.inf
    return rows


def deadly(payloads):
    """Its process is killed by a payload of "die", and raises at "raise"."""
    if "die" in payloads:
        os.kill(os.getpid(), signal.SIGKILL)
    if "raise" in payloads:
        raise ValueError("told to")
    return numbers(payloads)


def hanging(payloads):
    """Never returns where a payload is "hang"."""
    while "hang" in payloads:
        time.sleep(3600)
    return numbers(payloads)


def hopeless(payloads):
    """Its process is left with every block."""
    os._exit(3)


def narrow(payloads):
    """One row too few."""
    return numbers(payloads[1:])


def uneven(payloads):
    """Rows of another width each time."""
    return np.zeros((len(payloads), int(payloads[0]) + 1))


class Stillborn:
    """Its process is left before it is ready."""

    def warm_up(self):
        os._exit(4)

    def __call__(self, payloads):
        return numbers(payloads)


class Asleep:
    """Is never ready."""

    def warm_up(self):
        time.sleep(3600)

    def __call__(self, payloads):
        return numbers(payloads)


class Lacking:
    """Something is missing."""

    def warm_up(self):
        raise ImportError("an encoder of this kind needs the extra 'deep': pip install ihomer[deep]")

    def __call__(self, payloads):
        return numbers(payloads)


class Sparse:
    """The cells of numbers that are not 0, of four columns."""

    n_features, sparse = 4, True

    def __call__(self, payloads):
        dense = np.array([[payload % 2, 0, payload, 0] for payload in payloads], np.float32)
        return Rows.from_dense(dense, values=True)


class Marked:
    """Its rows tell how warm it is and how many payloads stood together."""

    def __init__(self):
        self.warm = 0

    def warm_up(self):
        self.warm += 1

    def __call__(self, payloads):
        return np.tile(np.float32([self.warm, len(payloads)]), (len(payloads), 1))


class Threads:
    """Its rows tell how many threads numerical libraries may have."""

    def __call__(self, payloads):
        told = os.environ.get("OMP_NUM_THREADS", "0"), os.environ.get("OPENBLAS_NUM_THREADS", "0")
        return np.array([[float(value) for value in told]] * len(payloads))


class Devices:
    """Its rows tell which GPU it sees and which process it is; 20 ms each, so that every worker has some."""

    def __call__(self, payloads):
        time.sleep(0.02)
        return np.array([[float(os.environ.get("CUDA_VISIBLE_DEVICES", "-1")), os.getpid()]] * len(payloads))


class Places:
    """Its rows tell the payload and the machine of a cluster that it is on; 20 ms each."""

    def __call__(self, payloads):
        import ray

        time.sleep(0.02)
        node = int(ray.get_runtime_context().get_node_id()[:5], 16)
        return np.array([[payload, node] for payload in payloads], np.float32)


def lengths(texts):
    """Rows of a text's length and its first character."""
    return np.array([[len(text), ord(text[0])] for text in texts], np.float32)


def slow_lengths(texts):
    """The same, 0.3 ms a text."""
    time.sleep(0.0003 * len(texts))
    return lengths(texts)


def threads():
    """How many threads each numerical library of this process may have."""
    return [library["num_threads"] for library in threadpool_info()]


def most_threads(payloads):
    """The most threads that a numerical library has while these are encoded, a row a payload."""
    return np.full((len(payloads), 1), max(threads()), np.float32)
