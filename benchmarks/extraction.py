"""What a pool of encoders costs, what workers and batching bring, and what a sentence encoder is worth to a learner."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.extras import SENTENCES, have
from benchmarks.frame import Cell, Clock, Contestant, PeerMissingError, Quality, Setting
from benchmarks.targets import Below, Growth, Ratio
from streams.extraction.encoders.hashing import HashingEncoder
from streams.extraction.pool import ExtractionPool

BLOCK = 32
ENCODER_S = 0.02
WIDTH = 768
DATA = "goemotions-train"

_F1 = ("micro_f1", "macro_f1")
_KILL_EVERY_S = 3.0


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
            "minilm_goemotions_v2",
            _build_batching,
            targets=[Ratio("blocks of 32", "one at a time", at_least=2)],
            repeats=3,
        ),
        Cell(
            "rows",
            "minilm_goemotions_v1",
            _build_rows,
            metrics=("rows", "largest_difference"),
            agreement=0.0,
            repeats=1,
        ),
        Cell(
            "kills",
            "numbers50k_v1",
            _build_kills,
            metrics=("rows", "wrong_rows"),
            agreement=0.0,
            repeats=1,
        ),
        Cell(
            "end-to-end",
            "minilm_goemotions_v1",
            _build_end_to_end,
            metrics=_F1,
            repeats=2,
        ),
        Cell(
            "features",
            "goemotions_v1",
            _build_features,
            metrics=_F1,
            repeats=1,
        ),
        Cell(
            "gpu",
            "minilm_goemotions_v1",
            _build_gpu,
            repeats=1,
        ),
    ]


# The pool, without any network.


def sleeping(payloads: list[int]) -> NDArray[np.float32]:
    """An encoder that takes 20 ms a block and no processor."""
    time.sleep(ENCODER_S)
    return np.ones((len(payloads), WIDTH), np.float32)


def numbers(payloads: list[int]) -> NDArray[np.float32]:
    """Rows that tell their payload, a millisecond each."""
    time.sleep(0.001 * len(payloads))
    return np.array([[payload, payload % 97] for payload in payloads], np.float32)


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
    through_ray = f"the same; {n_blocks // 5} blocks, actors of Ray"
    return [
        Contestant("processes", partial(attempt, "process", n_blocks), note=note),
        Contestant("ray", partial(attempt, "ray", n_blocks // 5), partial(have, "ray"), through_ray),
    ]


def _build_kills(setting: Setting) -> Sequence[Contestant]:
    n = 5_000 if setting.quick else 50_000
    payloads = list(range(n))
    expected = np.array([[payload, payload % 97] for payload in payloads], np.float32)

    def attempt(every_s: float | None, clock: Clock) -> Quality:
        with ExtractionPool(numbers, 2, batch_size=BLOCK) as pool, _killing(pool, every_s), clock:
            rows = []
            for row in pool.map(payloads):
                rows.append(row)
                clock.count(1)
            found = np.array(rows)
            deaths = {} if every_s is None else {"deaths": pool.metrics()["deaths"]}
        wrong = int((found != expected).any(1).sum()) if len(found) == n else n
        return {"rows": len(found), "wrong_rows": wrong, **deaths}

    return [
        Contestant("left alone", partial(attempt, None), note=f"{n:,} payloads of 1 ms, 2 workers"),
        Contestant(
            f"a worker killed every {_KILL_EVERY_S:.0f} s",
            partial(attempt, _KILL_EVERY_S),
            note="the same, SIGKILL",
        ),
    ]


@contextmanager
def _killing(pool: ExtractionPool, every_s: float | None) -> Iterator[None]:
    """Kill one worker after the other while the block lasts, each once something has been encoded since the one before:
    on a busy machine workers need longer to start than there is between two kills."""
    done = threading.Event()

    def kill() -> None:
        number, before = 0, 0
        while every_s is not None and not done.wait(every_s):
            workers = [child for child in _children() if b"spawn_main" in _read(f"/proc/{child}/cmdline")]
            encoded = sum(worker.n_blocks for worker in pool.load.workers)
            if workers and encoded > before:
                os.kill(workers[number % len(workers)], signal.SIGKILL)
                number, before = number + 1, encoded

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        done.set()
        killer.join()


def _children() -> list[int]:
    """Processes that the threads of this one have begun, by number."""
    told = [_read(f"/proc/self/task/{task}/children") for task in os.listdir("/proc/self/task")]
    return sorted(int(number) for line in told for number in line.split())


def _read(file: str) -> bytes:
    """What a file holds; nothing where what it tells of has ended."""
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""


# The sentence encoder on the processor.


def _build_batching(setting: Setting) -> Sequence[Contestant]:
    n = 128 if setting.quick else 512
    texts = _texts(n)

    def attempt(size: int, clock: Clock) -> Quality:
        with ExtractionPool(_sentence_encoder(), 1, batch_size=size) as pool:
            pool.wait(pool.submit(texts[:size]))
            with clock:
                for _ in pool.map(texts):
                    clock.count(1)
        return {}

    note = f"{n} comments of goemotions, all-MiniLM-L6-v2 by NumPy; 1 worker, which has 1 thread"
    return [
        Contestant("one at a time", partial(attempt, 1), partial(have, "sentence"), note),
        Contestant("blocks of 32", partial(attempt, 32), note="the same"),
        Contestant("blocks of 256", partial(attempt, 256), note="the same"),
    ]


def _build_rows(setting: Setting) -> Sequence[Contestant]:
    n = 128 if setting.quick else 512
    texts = _texts(n)
    have("sentence")
    with ExtractionPool(_sentence_encoder(), batch_size=BLOCK) as pool:
        expected = np.array(list(pool.map(texts)))

    def attempt(workers: int, backend: Any, clock: Clock) -> Quality:
        with ExtractionPool(_sentence_encoder(), workers, backend, batch_size=BLOCK) as pool, clock:
            rows = []
            for row in pool.map(texts):
                rows.append(row)
                clock.count(1)
        return {"rows": len(rows), "largest_difference": float(np.abs(np.array(rows) - expected).max())}

    note = f"{n} comments, beside the rows of this process; loading the model counts"
    return [
        Contestant("this process", partial(attempt, 0, None), note=note),
        Contestant("1 worker", partial(attempt, 1, None)),
        Contestant("2 workers", partial(attempt, 2, None)),
        Contestant("2 actors of Ray", partial(attempt, 2, "ray"), partial(have, "ray")),
    ]


def _build_end_to_end(setting: Setting) -> Sequence[Contestant]:
    n = 500 if setting.quick else 2000
    have("sentence")

    def attempt(encoder: Any, workers: int, clock: Clock) -> Quality:
        with ExtractionPool(encoder(), workers) as pool:
            pool.wait(pool.submit(["warm"] * BLOCK * max(workers, 1)))
            return _learned(_extracted(pool), n, clock)

    note = f"text to features to iHOMER, the first {n:,} comments, prequential"
    warm = partial(attempt, HashingEncoder, 0, Clock())
    return [
        Contestant("hashed words", partial(attempt, HashingEncoder, 0), warm, note),
        Contestant("sentences, the engine encodes", partial(attempt, _sentence_encoder, 0), note="the same"),
        Contestant("sentences, 1 worker", partial(attempt, _sentence_encoder, 1), note="the same"),
        Contestant("sentences, 2 workers", partial(attempt, _sentence_encoder, 2), note="the same"),
    ]


def _build_features(setting: Setting) -> Sequence[Contestant]:
    from ihomer.config import resolve
    from ihomer.dumping import run_extraction
    from ihomer.plans import ExtractPlan
    from ihomer.progress import NoProgress

    n = 2000 if setting.quick else None
    have("sentence")
    dump = setting.folder / "features.npz"
    settings = {"source": DATA, "encoder": f"sentence:{SENTENCES}", "workers": 2, "out": str(dump), "max_events": n}
    begun = time.perf_counter()
    told = run_extraction(resolve(ExtractPlan, settings), NoProgress())
    assert told is not None, "nothing has stopped it"
    seconds = time.perf_counter() - begun
    extracted = f"embeddings made before by ihomer extract, 2 workers: {told['events'] / seconds:,.0f} comments/s"

    def hashed(clock: Clock, *, idf: bool = False, n: int | None = n) -> Quality:
        with ExtractionPool(HashingEncoder(idf=idf), 1) as pool:
            pool.wait(pool.submit(["warm"]))
            return _learned(_extracted(pool), n, clock)

    def embedded(clock: Clock) -> Quality:
        from ihomer import open_source

        return _learned(open_source(str(dump)), n, clock)

    note = f"{'all' if n is None else f'the first {n:,}'} comments to iHOMER, prequential; 1 worker hashes"
    return [
        Contestant("hashed words", hashed, partial(hashed, Clock(), n=300), note),
        Contestant("hashed words, idf", partial(hashed, idf=True)),
        Contestant("sentence encoder", embedded, note=extracted),
    ]


# A GPU, where there is one.


def _build_gpu(setting: Setting) -> Sequence[Contestant]:
    n = 2_000 if setting.quick else 43_410
    texts = _texts(n)

    def attempt(workers: int, half: bool, clock: Clock) -> Quality:
        size = 4096
        with ExtractionPool(_sentence_encoder(device="cuda", half=half), workers, batch_size=size) as pool:
            pool.wait(pool.submit(texts[: size * workers]))
            before = pool.metrics()["workers"]
            with clock:
                for _ in pool.map(texts):
                    clock.count(1)
            after = pool.metrics()["workers"]
        busy_s = sum(now["device_s"] - then["device_s"] for then, now in zip(before, after, strict=True))
        return {"gpu_busy_share": busy_s / clock.seconds}

    def processor(clock: Clock) -> Quality:
        _gpu()
        with ExtractionPool(_sentence_encoder(), batch_size=BLOCK) as pool, clock:
            for _ in pool.map(texts[:512]):
                clock.count(1)
        return {}

    def learned(clock: Clock) -> Quality:
        with ExtractionPool(_sentence_encoder(device="cuda", half=True), 2, batch_size=4096) as pool:
            pool.wait(pool.submit(texts[:8192]))
            return _learned(_extracted(pool), n, clock, batch_size=4096)

    note = f"{n:,} comments of goemotions, blocks of 4,096, half precision; the share is that of one GPU's time"
    return [
        Contestant("GPU, 1 worker", partial(attempt, 1, True), _gpu, note),
        Contestant("GPU, 2 workers", partial(attempt, 2, True), _gpu, note="the same"),
        Contestant("GPU, 2 workers, float32", partial(attempt, 2, False), _gpu, note="the same in full precision"),
        Contestant(
            "GPU, 2 workers, and iHOMER learns", learned, _gpu, note="text to features to learner, blocks of 1,000"
        ),
        Contestant("processor, 1 thread", processor, _gpu, note="512 of them, by NumPy"),
    ]


def _gpu() -> None:
    have("sentence")
    if importlib.util.find_spec("torch") is None:
        raise PeerMissingError("needs a GPU and torch (extra 'deep')")
    import torch

    if not torch.cuda.is_available():
        raise PeerMissingError("needs a GPU that PyTorch can use, found none")


# What they share.


def _extracted(pool: ExtractionPool) -> Any:
    from ihomer import open_source
    from streams.extraction.source import ExtractedSource

    return ExtractedSource(open_source(DATA), pool)


def _learned(source: Any, n: int | None, clock: Clock, *, batch_size: int = 256) -> Quality:
    """F1 of iHOMER over a source, the clock running."""
    from ihomer import IHOMERClassifier, evaluate

    with clock:
        result = evaluate(source, IHOMERClassifier(seed=1), baselines=False, max_events=n, batch_size=batch_size)
    run = result.runs[0]
    clock.count(run.counts["read"])
    return {name: run.metrics[name] for name in _F1}


def _sentence_encoder(**settings: Any) -> Any:
    from streams.extraction.encoders.sentence import SentenceEncoder

    return SentenceEncoder(SENTENCES, **settings)


def _texts(n: int) -> list[str]:
    from ihomer import open_source

    batch = open_source(DATA).next_batch(n)
    assert batch is not None, "the set is longer"
    assert batch.payload is not None, "its text is a payload"
    return batch.payload
