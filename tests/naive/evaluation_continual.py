"""Continual evaluation event by event, from the definitions of its metrics; for single labels."""

from __future__ import annotations

from learners.base import Learner
from streams.batch import Batch, Prediction, Rows
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.source import ArrangedSource


def answer(prediction: Prediction, row: int, learner: Learner, names: list[object]) -> object:
    """The one class that a prediction comes to among ``names``."""
    held = [name for name in names if learner.schema_.find_label(name) >= 0]
    proba = prediction.proba
    if proba is not None and held:
        values = [proba[row, learner.schema_.find_label(name)] for name in held]
        if max(values) > 0:
            return held[values.index(max(values))]
    answered = [learner.schema_.label_names[label] for label in prediction.labels.row(row)]
    return answered[0] if answered else None


def course(learner: Learner, events: LabelledEvents, source: ArrangedSource, places: list[int]) -> dict[str, object]:
    """Prequential accuracy, and right and all held-out events of each class at each of some places."""
    assert events.test is not None
    names_of = events.batch.schema.label_names
    exposed: list[object] = []
    right, at = 0, {}
    for place in range(1, source.n_events + 1):
        batch = source.next_batch(1)
        assert batch is not None
        true = batch.schema.label_names[batch.y.indices[0]]
        if true not in exposed:
            exposed.append(true)
        right += answer(learner.test_then_train(batch), 0, learner, exposed) == true
        if place in places:
            counts: dict[object, list[int]] = {name: [0, 0] for name in exposed}
            for row in range(len(events.test)):
                name = names_of[events.test.y.indices[row]]
                if name not in exposed:
                    continue
                asked = _question(source, events.test[row : row + 1])
                counts[name][0] += answer(learner.predict_batch(asked), 0, learner, exposed) == name
                counts[name][1] += 1
            at[place] = counts
    return {"prequential": right / source.n_events, "at": at}


def _question(source: ArrangedSource, one: Batch) -> Batch:
    """A held-out event without its labels."""
    return Batch(source.schema, one.x, Rows.empty(1), one.label_state * 0)


def metrics(at: dict[int, dict[object, list[int]]], points: list[int], ends: list[int]) -> dict[str, float]:
    """The metrics of accuracies at the evaluations and at the ends of sessions."""
    found = {}
    for ending in ("", "_balanced"):

        def accuracy(place: int, ending: str = ending) -> float:
            classes = [pair for pair in at[place].values() if pair[1]]
            if ending:
                return sum(right / n for right, n in classes) / len(classes)
            return sum(right for right, _ in classes) / sum(n for _, n in classes)

        found[f"a_auc{ending}"] = sum(map(accuracy, points)) / len(points)
        sessions = [end for end in ends if end]
        found[f"a_avg{ending}"] = sum(map(accuracy, sessions)) / len(sessions)
        found[f"a_last{ending}"] = accuracy(ends[-1])
    falls = []
    for name, (right, n) in at[ends[-1]].items():
        earlier = [at[end][name][0] / n for end in ends[:-1] if end and n and name in at[end]]
        if earlier and max(earlier) > 0:
            falls.append(max(earlier) - right / n)
    if falls:
        found["f_last"] = sum(falls) / len(falls)
    return found
