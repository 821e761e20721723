"""Continual evaluation: learners on a Si-Blurry stream, asked at any time about all classes that came so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.checkpoint import describe
from ihomer.evaluation.exposed import ExposedTest, scores
from ihomer.evaluation.prequential import digest
from ihomer.evaluation.result import Result, Run
from ihomer.progress import NoProgress, Progress
from learners.base import Learner
from streams.batch import Batch, Prediction
from streams.siblurry.labelled import NO_LABEL, LabelledEvents, load_events
from streams.siblurry.scenario import SiBlurry
from streams.siblurry.source import ArrangedSource

TEST_SHARE = 0.2
"""Share of every class that is set aside where the data have no test part."""

EVERY, MANY = 1000, 20_000
"""Events between two any-time evaluations, and the length of a stream from which on this holds; a shorter one has
`MANY` / `EVERY` evaluations."""

Floats = NDArray[np.float64]


def evaluate_continual(
    data: Any,
    learners: Learner | Mapping[str, Learner],
    *,
    scenario: SiBlurry | None = None,
    seeds: int | Sequence[int] = 5,
    test_share: float = TEST_SHARE,
    labels: str | None = None,
    payload: str | None = None,
    batch_size: int = 256,
    prequential: bool = True,
    progress: Progress | None = None,
) -> Result:
    """Evaluate learners on Si-Blurry streams of labelled data, a stream a seed.

    Parameters
    ----------
    data
        As of `SiBlurry.stream`. Events for testing are those of its ``x_test`` and ``y_test``, or a share of each
        class, drawn anew with every seed.
    learners
        One learner or several by name, untrained; they stay so, because clones of them learn.
    scenario
        Its parameters but for the seed; by default half of the classes disjoint, 10 per cent blur, 5 sessions.
    seeds
        Which, or how many from the scenario's on. A seed sets the scenario, the events set aside, and every learner
        that has a parameter of this name.
    test_share
        Share of every class that is set aside, between 0 and 1.
    labels, payload
        As of `open_source`.
    batch_size
        Events learned at a time at most; changes no metric.
    prequential
        Whether each event is answered before it is learned. False: it is learned only, which costs less.
    progress
        Told how the evaluation gets on.

    Returns
    -------
    Result
        A run for each learner and seed, as `continual_runs` has them; its table and report show means over seeds.

    Examples
    --------
    >>> import numpy as np
    >>> import ihomer
    >>> x = np.repeat(np.eye(4), 50, axis=0)
    >>> result = evaluate_continual((x, x.argmax(1)), {"bayes": ihomer.GaussianNBClassifier()}, seeds=2)
    >>> [run.data["order"] for run in result.runs]
    ['siblurry:1', 'siblurry:2']
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    models = {type(learners).__name__: learners} if isinstance(learners, Learner) else dict(learners)
    if not models:
        raise ValueError("learners must name at least one, got none")
    scenario = scenario or SiBlurry()
    wanted = range(scenario.seed, scenario.seed + seeds) if isinstance(seeds, int) else seeds
    if not len(wanted):
        raise ValueError(f"seeds must be at least one, got {seeds!r}")
    events = load_events(data, labels=labels, payload=payload)

    def make(seed: int) -> dict[str, Callable[[], Learner]]:
        return {name: partial(seeded, model, seed) for name, model in models.items()}

    runs = continual_runs(
        events,
        make,
        scenario,
        wanted,
        test_share=test_share,
        batch_size=batch_size,
        prequential=prequential,
        progress=progress,
    )
    return Result(list(runs), started=started)


def seeded(model: Learner, seed: int) -> Learner:
    """An untrained copy of ``model``, with this seed if it draws random numbers."""
    clone: Learner = model.clone({"seed": seed} if "seed" in model._get_params() else None)
    return clone


def continual_runs(
    events: LabelledEvents,
    make: Callable[[int], Mapping[str, Callable[[], Learner]]],
    scenario: SiBlurry,
    seeds: Sequence[int],
    *,
    test_share: float = TEST_SHARE,
    batch_size: int = 256,
    prequential: bool = True,
    progress: Progress | None = None,
    stop: Event | None = None,
    is_done: Callable[[str, int], bool] = lambda learner, seed: False,
    payloads: LabelledEvents | None = None,
) -> Iterator[Run]:
    """The runs one after the other, each learner on one seed's stream before the next seed.

    Parameters
    ----------
    events, scenario, seeds, test_share, batch_size, prequential, progress
        As of `evaluate_continual`.
    make
        Gives, for a seed, what makes each learner by its name.
    stop
        Ends the evaluation after the batch in hand once it is set; the run in hand is lost.
    is_done
        Tells which learner on which seed is left out.
    payloads
        The same events with what ``events`` have their features from, for learners that take payloads (see
        `reads_payload`): they are in the same streams. None: all learners get ``events``.

    Notes
    -----
    Events are learned by ``test_then_train`` (or ``learn_batch``) in batches that are cut at the evaluations and at the
    ends of sessions, of which the learner is told nothing. At each evaluation it is asked about the held-out events of
    all classes that came so far, and only these classes count as answers; `exposed.scores` tells what is right. In
    ``metrics``:

    ``a_auc``
        Mean accuracy over the evaluations, every 1,000 events, or a twentieth of a stream below 20,000.
    ``a_avg``, ``a_last``
        Mean accuracy over the ends of the sessions, and that at the last one.
    ``f_last``
        How much lower the accuracy on a class is at the end than at the best end of an earlier session, mean over the
        classes that had any by then; below 0 where it rose.
    ``…_balanced``
        The same with the mean over classes in place of that over events. ``f_last`` is one already.
    ``prequential_accuracy``
        Of the stream itself, each event answered before it is learned.

    ``time["answer_s"]`` is the median time of one answer right after learning; if nothing is answered in between, what
    a head solves lazily is in it. ``time["wall_s"]`` is that of all learning, with its prequential answers if there are
    any. An empty session ends where the one before does, and does not count before the first class came. ``per_label``
    has for each class its events ``support`` and its accuracy at the end of every session; ``data["scenario"]`` the
    parameters, the ends of the sessions, and of each class home, kind and events a session.

    With several labels an event, the class of an event is its rarest label (`LabelledEvents.classes`), its score is
    the F1 of its label set, and all else is the same.

    References
    ----------
    Moon, Park, Kim, Park, ICCV 2023, section 5, for A_auc, A_last and F_last; Koh, Kim, Ha, Choi, ICLR 2022,
    section 4, for A_auc.
    """
    progress = progress or NoProgress()
    for turn, seed in enumerate(seeds):
        made = {name: build for name, build in make(seed).items() if not is_done(name, seed)}
        if not made:
            continue
        split = _split(events, test_share, seed)
        raw = split if payloads is None else _split(payloads, test_share, seed)
        placed = SiBlurry(**{**scenario.settings, "seed": seed})
        source = ArrangedSource(split, placed)
        progress.begin(f"{events.name}, seed {seed}", source.n_events * len(made))
        try:
            for number, (name, build) in enumerate(made.items()):
                stretch = _Stretch(progress, number * source.n_events)
                learner = build()
                chosen = raw if reads_payload(type(learner)) else split
                course = _Course(learner, ArrangedSource(chosen, placed), chosen, batch_size, prequential)
                found = course.go(stretch, stop)
                if found is None:
                    return
                found.learner = {"name": name, **found.learner}
                found.data |= {"repeat": turn}
                yield found
        finally:
            progress.end()


def reads_payload(cls: type) -> bool:
    """Whether learners of a class take payloads, and not features, as it says itself."""
    return bool(getattr(cls, "reads_payload", False))


def _split(events: LabelledEvents, test_share: float, seed: int) -> LabelledEvents:
    return events if events.test is not None else events.set_aside(test_share, seed)


class _Stretch:
    """The part of a progress that one learner is."""

    def __init__(self, progress: Progress, before: int) -> None:
        self._progress, self._before = progress, before

    def advance(self, n_events: int) -> None:
        self._progress.advance(self._before + n_events, dict)


def evaluation_places(n_events: int) -> list[int]:
    """After how many events a stream of this length is evaluated."""
    if n_events >= MANY:
        return list(range(EVERY, n_events + 1, EVERY))
    n_points = MANY // EVERY
    return sorted({turn * n_events // n_points for turn in range(1, n_points + 1)} - {0})


class _Course:
    """One learner's way through one stream."""

    def __init__(
        self, learner: Learner, source: ArrangedSource, events: LabelledEvents, batch_size: int, prequential: bool
    ) -> None:
        self._learner, self._source, self._events = learner, source, events
        self._batch_size, self._is_prequential = batch_size, prequential
        self._test = ExposedTest(events, source)
        self._at: dict[int, tuple[Floats, NDArray[np.int64]]] = {}
        self._prequential: dict[int, float] = {}
        self._right = 0.0
        self._wall_s = self._cpu_s = 0.0
        self._answers_s: list[float] = []

    def go(self, stretch: _Stretch, stop: Event | None) -> Run | None:
        """Go to the end; None if stopped before it."""
        n, done = self._source.n_events, 0
        ends = self._source.arrangement.ends
        for place in sorted({*evaluation_places(n), *ends} - {0}):
            while done < place:
                batch = self._source.next_batch(min(self._batch_size, place - done))
                assert batch is not None, "the stream is as long as it says"
                self._learn(batch)
                done += len(batch)
                stretch.advance(done)
                if stop is not None and stop.is_set():
                    return None
            self._evaluate(place)
        return self._run(ends)

    def _learn(self, batch: Batch) -> None:
        began, began_cpu = time.perf_counter(), time.thread_time()
        answers = None
        if self._is_prequential:
            answers = self._learner.test_then_train(batch)
        else:
            self._learner.learn_batch(batch)
        self._wall_s += time.perf_counter() - began
        self._cpu_s += time.thread_time() - began_cpu
        if answers is not None:
            self._right += float(self._scores(answers, batch).sum())

    def _scores(self, answers: Prediction, batch: Batch) -> Floats:
        names = self._source.schema.label_names
        return scores(answers, batch.y, names, self._learner.schema_, self._test.single_label)

    def _evaluate(self, place: int) -> None:
        test = self._test
        n_exposed = test.n_exposed(place)
        self._prequential[place] = self._right / place
        if not n_exposed:
            return
        began = time.perf_counter()
        self._learner.predict_batch(test.batch[:1])
        self._answers_s.append(time.perf_counter() - began)
        answers = self._learner.predict_batch(test.batch[:n_exposed])
        names = self._source.schema.label_names
        right = scores(answers, test.truth[:n_exposed], names, self._learner.schema_, test.single_label)
        self._at[place] = test.by_class(right)

    def _run(self, ends: Sequence[int]) -> Run:
        test, n = self._test, self._source.n_events
        points = [place for place in evaluation_places(n) if place in self._at]
        matrix = np.array([_by_class(*self._at[end]) if end in self._at else _none(test) for end in ends])
        sessions = [end for end in ends if end in self._at]
        described = describe(self._learner)
        params = described["params"]
        data = self._data()
        return Run(
            data=data,
            learner={"class": described["class"], "params": params, "seed": params.get("seed")},
            metrics=self._metrics(points, sessions, matrix),
            counts={"read": n, "scored": n, "learned": n, "unlabelled": 0, "pending": 0, "dead": 0},
            time={
                "wall_s": self._wall_s,
                "cpu_s": self._cpu_s,
                "events_per_s": n / self._wall_s if self._wall_s else 0.0,
                "answer_s": float(np.median(self._answers_s)) if self._answers_s else 0.0,
            },
            model_bytes=self._learner.nbytes,
            restructures=list(self._learner.events_),
            per_label=self._per_label(matrix, data["scenario"]["counts"]),
            curve=[self._point(place) for place in sorted(self._at)],
        )

    def _metrics(self, points: Sequence[int], sessions: Sequence[int], matrix: Floats) -> dict[str, float]:
        n = self._source.n_events
        found = {"prequential_accuracy": self._right / max(1, n)} if self._is_prequential else {}
        for ending, take in (("", _plain), ("_balanced", _balanced)):
            curve = [take(*self._at[place]) for place in points]
            at_ends = [take(*self._at[place]) for place in sessions]
            if curve:
                found[f"a_auc{ending}"] = float(np.mean(curve))
            if at_ends:
                found[f"a_avg{ending}"] = float(np.mean(at_ends))
                found[f"a_last{ending}"] = at_ends[-1]
            forgotten = forgetting(matrix)
            if forgotten is not None:
                found[f"f_last{ending}"] = forgotten
        return found

    def _point(self, place: int) -> dict[str, Any]:
        point = {
            "anytime_accuracy": _plain(*self._at[place]),
            "anytime_accuracy_balanced": _balanced(*self._at[place]),
            "n_exposed": float((self._test.births < place).sum()),
        }
        if self._is_prequential:
            point["prequential_accuracy"] = self._prequential[place]
        return {"event": place, "cumulative": point}

    def _data(self) -> dict[str, Any]:
        source, test, arranged = self._source, self._test, self._source.arrangement
        place_of = self._arranged_row()
        counts = arranged.counts()
        return {
            "name": self._events.name,
            "sha256": digest(source),
            "n_events": source.n_events,
            "n_test": len(test.batch),
            "n_features": source.schema.n_features,
            "n_labels": len(source.label_order),
            "cardinality": len(self._events.batch.y.indices) / max(1, len(self._events.batch)),
            "order": f"siblurry:{source.scenario.seed}",
            "scenario": {
                **source.scenario.settings,
                "ends": arranged.ends,
                "home": [int(arranged.home[row]) if row >= 0 else -1 for row in place_of],
                "kind": [arranged.kind[row] if row >= 0 else "dropped" for row in place_of],
                "counts": [counts[row].tolist() if row >= 0 else [0] * arranged.n_sessions for row in place_of],
                "n_dropped": len(arranged.dropped),
            },
        }

    def _arranged_row(self) -> list[int]:
        """Row of the arrangement of each class of the test, -1 for one that no event has as its class."""
        rows = {column: row for row, column in enumerate(self._source.arrangement.classes)}
        columns = [*self._source.label_order.tolist(), NO_LABEL][: len(self._test.classes)]
        return [rows.get(column, -1) for column in columns]

    def _per_label(self, matrix: Floats, counts: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        support = [sum(row) for row in counts]
        entries = []
        for number, name in enumerate(self._test.classes):
            by_session = [None if np.isnan(value) else float(value) for value in matrix[:, number]]
            last = {} if by_session[-1] is None else {"accuracy": by_session[-1]}
            entries.append({"label": name, "support": support[number], **last, "accuracy_by_session": by_session})
        return entries


def forgetting(matrix: Floats) -> float | None:
    """F_last of accuracies of shape (sessions, classes), NaN for what is not known; None where no class counts."""
    if len(matrix) < 2:
        return None
    best = np.where(np.isnan(matrix[:-1]), 0.0, matrix[:-1]).max(0)
    counted = (best > 0) & ~np.isnan(matrix[-1])
    return float((best - matrix[-1])[counted].mean()) if counted.any() else None


def _plain(right: Floats, n: NDArray[np.int64]) -> float:
    """Mean over the events."""
    return float(right.sum() / n.sum())


def _balanced(right: Floats, n: NDArray[np.int64]) -> float:
    """Mean over the classes."""
    return float(np.mean(right[n > 0] / n[n > 0]))


def _by_class(right: Floats, n: NDArray[np.int64]) -> Floats:
    """Accuracy on each class, NaN where there is no event."""
    found: Floats = np.divide(right, n, out=np.full(len(n), np.nan), where=n > 0)
    return found


def _none(test: ExposedTest) -> Floats:
    return np.full(len(test.classes), np.nan)
