"""Background trees of the Hoeffding adaptive tree, its state in the midst of them, and its limit of memory."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from learners.trees.backgrounds import switch_bound
from learners.trees.mlhat import MLHATClassifier
from learners.trees.nodes import BRANCH, FREE, ROOT
from learners.trees.storage import PER_NODE, PER_SLOT, PER_WINDOW
from streams.batch import Batch, Rows
from tests import contracts
from tests.learners.test_mlhat import DRIFTS, LOOSE, PAPER, regions


def live_nodes(state):
    """Records of the live nodes by the sides taken to them from the root."""
    nodes, found, waiting = state["nodes"], {}, [((), state["totals"][ROOT])]
    while waiting:
        path, number = waiting.pop()
        found[path] = nodes[number]
        if nodes[number]["kind"] == BRANCH:
            waiting += [((*path, side), nodes[number][name]) for side, name in enumerate(("left", "right"))]
    return found


def passes(loss, rival_loss, weight, rival_weight, delta):
    return loss - rival_loss > switch_bound(loss, weight, rival_weight, delta)


DEEP = [("default", False, 1), ("default", True, 5), ("bayes", False, 1), ("paper", False, 0), ("paper", True, 5)]
"""Streams in which a branch below the root is replaced."""


@pytest.mark.parametrize(("name", "sparse", "seed"), DEEP)
def test_no_branch_is_replaced_but_by_a_background_tree_that_passed_the_test(name, sparse, seed):
    settings, batch = DRIFTS[name], regions(seed, sparse=sparse)
    model, switches = MLHATClassifier(**settings), []
    model.learn_batch(batch[:1])
    before, state = live_nodes(model.get_state()), model.get_state()
    for t in range(1, len(batch)):
        n_events, records = len(model.events_), state["nodes"]
        model.learn_batch(batch[t : t + 1])
        state = model.get_state()
        now, switched = live_nodes(state), [e for e in model.events_[n_events:] if e["kind"] == "switch"]
        others = [path for path in before if path not in now or now[path]["serial"] != before[path]["serial"]]
        assert bool(others) == bool(switched)
        if switched:
            top = min(others, key=len)
            old, new = before[top], now[top]
            assert [event["depth"] for event in switched] == [len(top)]
            assert all(path[: len(top)] == top for path in others)
            rival = records[old["background"]]
            assert new["serial"] == rival["serial"]
            weight = new["loss_weight"] - rival["loss_weight"]
            total = old["rival_weight"] + weight
            losses = [(old["rival_weight"] * old["rival_loss"] + weight * k / 3) / total for k in range(4)]
            assert any(passes(e, new["loss"], total, new["loss_weight"], settings["switch_delta"]) for e in losses)
            switches.append(len(top))
        hosts = {int(node["background"]) for node in now.values() if node["background"] >= 0}
        nodes = state["nodes"]
        assert hosts == set(nodes["background"][(nodes["kind"] != FREE) & (nodes["background"] >= 0)].tolist())
        for host in now.values():
            rival = nodes[host["background"]]
            if host["background"] < 0 or rival["loss_weight"] <= settings["background_weight"]:
                continue
            numbers = host["rival_loss"], rival["loss"], host["rival_weight"], rival["loss_weight"]
            assert not passes(*numbers, settings["switch_delta"])
        before = {path: node.copy() for path, node in now.items()}
    assert max(switches) > 0


@pytest.mark.parametrize(("name", "sparse", "seed"), DEEP)
def test_saved_at_any_change_it_goes_on(name, sparse, seed):
    """After every change of the structure, and at events between."""
    batch, settings = regions(seed, sparse=sparse), DRIFTS[name]
    straight = MLHATClassifier(**settings)
    expected = straight.test_then_train(batch).proba
    places = sorted({event["event"] for event in straight.events_} | {0, 1, 200, 450})
    assert len(places) > 6
    model = MLHATClassifier(**settings)
    for low, high in itertools.pairwise([0, *places]):
        model.learn_batch(batch[low:high])
        restored = MLHATClassifier(**settings)
        restored.set_state(model.get_state())
        for other in (restored, pickle.loads(pickle.dumps(model))):
            assert (other.test_then_train(batch[high:]).proba == expected[high:]).all()
            contracts.assert_same_state(straight, other)


def test_the_seed_alone_makes_a_difference():
    batch = regions(0)
    answers = []
    for seed in (1, 1, 2):
        model = MLHATClassifier(**{**DRIFTS["paper"], "seed": seed})
        answers.append((model.test_then_train(batch).proba.tobytes(), str(model.events_)))
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


POOLS = {
    "free_nodes": (*PER_NODE, *PER_WINDOW), "free_rows": ("rows",), "free_events": ("stored", "codes"),
    "free_slots": PER_SLOT,
}  # fmt: skip


def in_use(state):
    """Bytes of all records that are not free."""
    total = float(state["sets"].nbytes)
    for free, names in POOLS.items():
        n = len(state[names[0]])
        total += sum(state[name].nbytes for name in names) * (1 - len(state[free]) / n) if n else 0
    if state["rows"].shape[1] == 1:
        return total + 8 * state["stored"]["length"].sum()
    return total + (len(state["stored"]) - len(state["free_events"])) * 4 * state["cells"].shape[1]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", [LOOSE, PAPER, DRIFTS["default"]], ids=["loose", "paper", "slow"])
def test_memory_stays_below_its_limit(settings, sparse):
    """3 % are for what is not counted: a few numbers for each node and each linear model. ``nbytes`` may have records
    on top of it that are free again."""
    rng = np.random.default_rng(50)
    x = rng.normal(size=(900, 12)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0, (x[:, 2] > 0) ^ (np.arange(900) > 500)], 1)
    x = Rows.from_dense(np.maximum(x, 0), values=True) if sparse else x
    free, batch, needed, peaks = MLHATClassifier(**settings), Batch.from_arrays(x, y), 0.0, []
    for i in range(0, 900, 50):
        free.learn_batch(batch[i : i + 50])
        needed = max(needed, in_use(free.get_state()))
    for share in (0.6, 0.4):
        limit = share * needed
        model = MLHATClassifier(**settings, max_bytes=limit)
        peaks.append(0.0)
        for i in range(0, 900, 9):
            proba = model.test_then_train(batch[i : i + 9]).proba
            assert np.isfinite(proba).all()
            assert ((proba >= 0) & (proba <= 1)).all()
            state = model.get_state()
            peaks[-1] = max(peaks[-1], in_use(state))
            assert in_use(state) <= 1.03 * limit
            assert model.nbytes <= 1.3 * limit + state["schema"].nbytes + state["events"].nbytes + 2_000
        assert peaks[-1] > 0.75 * limit
        assert proba.any()


def test_label_sets_without_end_do_not_fill_the_memory():
    rng = np.random.default_rng(55)
    batch = Batch.from_arrays(rng.normal(size=(3000, 3)), rng.random((3000, 14)) < 0.5)
    model, sizes = MLHATClassifier(window=50, max_bytes=60_000), []
    for i in range(0, 3000, 500):
        model.learn_batch(batch[i : i + 500])
        assert in_use(model.get_state()) <= 1.03 * 60_000
        sizes.append((model.nbytes, len(model.get_state()["sets"])))
    assert len(set(sizes[1:])) == 1
    assert sizes[-1][0] < 70_000
    assert sizes[-1][1] == 60_000 // 8 // 24


@pytest.mark.parametrize("settings", [LOOSE, DRIFTS["paper"]], ids=["loose", "paper"])
def test_a_limit_binds_alike_before_and_after_saving(settings):
    batch = regions(3)
    straight = MLHATClassifier(**settings, max_bytes=70_000)
    expected = straight.test_then_train(batch).proba
    assert straight.events_
    model = MLHATClassifier(**settings, max_bytes=70_000)
    for low, high in itertools.pairwise(range(0, 601, 60)):
        model.learn_batch(batch[low:high])
        restored = MLHATClassifier(**settings, max_bytes=70_000)
        restored.set_state(model.get_state())
        assert (restored.test_then_train(batch[high:]).proba == expected[high:]).all()
        contracts.assert_same_state(straight, restored)


def test_without_room_for_anything_it_still_answers():
    batch = contracts.stream(51, n=200)
    model = MLHATClassifier(**LOOSE, max_bytes=0)
    proba = model.test_then_train(batch).proba
    assert model.events_ == []
    assert len(model.get_state()["stored"]) == len(model.get_state()["weights"]) == 0
    counts = np.cumsum(batch.weight[:, None] * batch.y.to_dense(5), 0) / np.cumsum(batch.weight)[:, None]
    np.testing.assert_allclose(proba[1:], counts[:-1], rtol=1e-6)


@pytest.mark.parametrize("settings", [LOOSE, PAPER], ids=["default", "paper"])
def test_rows_turn_sparse_with_the_schema(settings):
    """Dense rows, splits and windows that were there before are asked as if they had come sparse."""
    dense, sparse = contracts.stream(52, n=150, nominal=False), contracts.stream(53, n=150, sparse=True, nominal=False)
    model = MLHATClassifier(**settings)
    model.learn_batch(dense)
    assert model.events_
    model.learn_batch(sparse[:70])
    assert model.schema_.sparse
    restored = MLHATClassifier(**settings)
    restored.set_state(model.get_state())
    answers = [other.test_then_train(sparse[70:]).proba for other in (model, restored)]
    assert (answers[0] == answers[1]).all()
    assert np.isfinite(answers[0]).all()
    contracts.assert_same_state(model, restored)


@pytest.mark.parametrize("sparse", [False, True])
def test_features_and_labels_may_grow(sparse):
    """Whether a stream is cut into batches does not show where its names are only met on the way."""
    rng = np.random.default_rng(54)
    xs = [
        {f"x{j}": float(v) for j, v in enumerate(rng.normal(size=1 + i // 8)) if not sparse or v > 0}
        | {"kind": "abc"[i % (1 + i // 40)]}
        for i in range(120)
    ]
    ys = [{f"y{i // 30}": bool(i % 2), "y0": x.get("x0", -1.0) > 0} for i, x in enumerate(xs)]
    whole, single = MLHATClassifier(**LOOSE), MLHATClassifier(**LOOSE)
    whole.schema_.sparse = single.schema_.sparse = sparse
    batch = Batch.from_dicts(xs, ys, schema=whole.schema_)
    whole.learn_batch(batch)
    for x, y in zip(xs, ys, strict=True):
        single.learn_batch(Batch.from_dicts([x], [y], schema=single.schema_))
    assert single.events_ == whole.events_ != []
    for x in xs:
        assert single.predict_proba_one(x) == whole.predict_proba_one(x)
