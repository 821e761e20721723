"""``ihomer show --history``: the changes of the label clusters of a checkpoint."""

import json
import re

import numpy as np
import pytest

import ihomer
from ihomer.cli.show import history_of
from ihomer.hierarchy import LabelHierarchy
from streams.batch import Batch, Rows
from tests.ihomer.test_hierarchy import REWIRED, block_stream


@pytest.fixture
def command(command):
    """Runs ``ihomer show``; gives exit code and standard output."""
    return lambda *words: command("show", *words)[:2]


@pytest.fixture
def model(tmp_path):
    y = Rows.from_lists(block_stream(1, 600)).to_dense(8)
    model = ihomer.IHOMERClassifier(seed=1)
    model.learn_batch(Batch.from_arrays(y[:, :2] + np.arange(600)[:, None] % 3, y))
    ihomer.save(model, tmp_path / "m.ckpt")
    return model


def test_every_structural_event_is_a_line(command, model):
    code, out = command("m.ckpt", "--history")
    assert code == 0
    told = out[out.index("evidence") :]
    kinds = [event["kind"] for event in model.hierarchy_.events]
    assert kinds == ["join", "split"]
    assert re.findall(r"^ +[\d,]+ +(\w+) ", told, re.M) == kinds
    assert re.search(r"split +0 +y0, y1, y2, y3 \| y4, y5, y6, y7 +evidence: gain 0\.\d{3}, bound 0\.\d{3}", told)
    assert "evidence" not in command("m.ckpt")[1]


def test_as_json_the_tree_can_be_replayed_from_it(command, model):
    learner = json.loads(command("m.ckpt", "--history", "--json")[1])["learners"][0]
    tree = LabelHierarchy.replay(learner["history"], model.hierarchy_.n_events)
    assert [child["labels"] for child in tree["children"]] == [
        child["labels"] for child in learner["hierarchy"]["children"]
    ]
    assert "history" not in json.loads(command("m.ckpt", "--json")[1])["learners"][0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({}, {"better: gain ", " of 0.", "evidence: gain "}), ({"mode": "paper", "delta": 0.3}, {"diameter 0.", "bound"})],
)
def test_the_evidence_is_told_in_either_mode(settings, words):
    hierarchy = LabelHierarchy(**settings)
    hierarchy.update_many(Rows.from_lists(block_stream(3, 1500) + block_stream(4, 2500, REWIRED)))
    table = history_of(hierarchy.named_events([f"y{i}" for i in range(8)]))
    assert table.row_count == len(hierarchy.events)
    told = " ".join(str(cell) for cell in table.columns[-1].cells)
    assert all(word in told for word in words)
