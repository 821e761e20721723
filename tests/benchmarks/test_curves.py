"""Cost curves: their workloads, their floor, and what a reader sees of a part of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import curves, time_spent
from benchmarks.frame import Clock, Contestant, measure
from streams.batch import Rows


@pytest.mark.parametrize("n_words", curves.WORDS)
def test_words_are_as_many_as_the_axis_says(n_words: int) -> None:
    batch = curves._words(n_words)
    assert isinstance(batch.x, Rows)
    lengths = np.diff(batch.x.indptr)
    # Each of about three labels adds three words of its own; a word that is drawn twice counts once.
    assert 0.75 * n_words < lengths.mean() < n_words + 12
    assert batch.x.indices.max() < curves._VOCABULARY


def test_events_have_about_as_many_labels_as_the_axis_says() -> None:
    for n in curves.CARDINALITIES:
        batch = curves._dense(100, 50, float(n))
        assert 0.6 * n < len(batch.y.indices) / len(batch) < 1.6 * n


def test_the_floor_grows_with_the_weights() -> None:
    few, many = Clock(), Clock()
    curves._floor(1e3, Clock())
    curves._floor(1e3, few)
    curves._floor(1e6, many)
    # A multiply-add takes between a tenth of a nanosecond and a hundred.
    assert 1e3 * 1e-10 < few.cost < 1e3 * 1e-7
    assert many.cost > 100 * few.cost


def test_tables_and_picture_show_what_is_done() -> None:
    def contestant(name: str, cost: float, quality: dict[str, float]) -> Contestant:
        def attempt(clock: Clock) -> dict[str, float]:
            clock.report(cost, 1)
            return quality

        return Contestant(name, attempt)

    sides = [contestant(curves.FLOOR, 1e-6, {}), contestant("ihomer", 0.25e-3, {"micro_f1": 0.5})]
    cells = [cell for cell in curves.cells() if cell.group == "words"][:2]
    records = [{**measure(cell_of(cell, sides)), "group": "words"} for cell in cells]
    made = curves.tables({"cells": records})
    assert list(made) == ["words"]
    assert made["words"].splitlines()[-2:] == [
        "| 10 | 1 | 250 (0.50) |  |  |  |  |",
        "| 30 | 1 | 250 (0.50) |  |  |  |  |",
    ]
    (drawn,) = curves.pictures({"cells": records}).values()
    lines = {line.get_label(): line for line in drawn.axes[0].lines}
    assert lines["ihomer"].get_xydata().tolist() == [[10.0, 250.0], [30.0, 250.0]]
    assert curves.tables({"cells": []}) == {}
    assert curves.pictures({"cells": []}) == {}


def test_trees_go_on_from_what_they_have_learned() -> None:
    cell = next(cell for cell in curves.cells() if cell.group == "learned")
    (few,) = (sides for at, sides in curves._points({"cells": [measure(cell, quick=True)]}, "learned"))
    assert list(few) == list(curves.TREES)
    for side in few.values():
        assert side["events"] == curves._EVENTS
        assert side["quality"]["micro_f1"] > 0.6
        assert side["quality"]["kilobytes"] > 1
    assert curves._text(few["tree"]).endswith(" kB)")


def test_the_time_is_that_of_the_parts_and_the_rest() -> None:
    whole = time_spent._repeating(6, 72)[:400]
    shares = time_spent._attempt(whole, Clock())
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[part] > 0 for part in time_spent.WHERE if part != "short list")
    side = {"name": "ihomer", "status": "ok", "best": 5e-5, "quality": shares}
    made = time_spent.tables({"cells": [{"group": "parts", "workload": "some", "contestants": [side]}]})
    assert made["parts"].splitlines()[-1].startswith("| some | 50 | ")
    assert time_spent.tables({"cells": []}) == {}


def cell_of(cell: curves.Cell, sides: list[Contestant]) -> curves.Cell:
    return curves.Cell(cell.group, cell.workload, lambda setting: sides, repeats=1)
