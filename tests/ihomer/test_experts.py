"""The ridge expert, the labels' own past and the stack against their twins, and the experts together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ihomer.classifier import CHUNK, WARY, IHOMERClassifier
from ihomer.events import Cells, Columns
from ihomer.experts import EXPERTS
from ihomer.ridge import HELD_BACK, WIDEST, RidgeExpert
from ihomer.stack import FEATURES, START, Evidence, Stack
from ihomer.temporal import LabelPast
from streams.batch import COMPLETE, UNLABELLED, Batch, Rows
from tests.naive import ihomer_experts as naive

NOTHING = np.zeros(0, np.float32)


def labelled(seed, n=300, n_labels=5, unknown=0.0, unlabelled=0.0, grouped=False):
    """A batch, its events, and the labels as a matrix in order of birth."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, n_labels)) < rng.uniform(0.05, 0.6, n_labels)).astype(float)
    y[:, -1] = y[:, 0]
    y[: n // 3, 1] = 0
    if grouped:
        y = y[np.sort(rng.integers(0, n // 10, n))]
    y[rng.random(y.shape) < unknown] = np.nan
    batch = Batch.from_arrays(rng.normal(size=(n, 4)), y)
    batch.weight = rng.choice([0.5, 1.0, 2.0], n)
    blank = rng.random(n) < unlabelled
    batch.label_state[blank] = UNLABELLED
    columns = Columns()
    batch.y = Rows.from_lists([[] if blank[i] else batch.y.row(i) for i in range(n)])
    if batch.known is not None:
        batch.known = Rows.from_lists([[] if blank[i] else batch.known.row(i) for i in range(n)])
    events = columns.admit(batch, batch.schema, True)
    return batch, events, y[:, columns.labels], events.state != UNLABELLED


def dense_rows(seed, n, d, density=1.0):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((n, d)) < density, rng.normal(size=(n, d)), 0).astype(np.float32)
    x[:, 0] = 1
    return x, Rows.from_dense(x, values=True)


def as_table(cells, values, shape):
    """Numbers of cells as a matrix, 0 where there is no cell."""
    table = np.zeros((*shape, *values.shape[1:]))
    event = np.repeat(np.arange(shape[0]), np.diff(cells.start))
    table[event, cells.label] = values
    return table


def without(cells, dropped):
    """The cells but for those ``dropped``."""
    ends = np.concatenate([[0], np.cumsum(~dropped)])
    return Cells(ends[cells.start], cells.label[~dropped], cells.target[~dropped], cells.asked[~dropped])


def part_of(rows, events, cells, low, high):
    """Rows, events and cells of the events from ``low`` to ``high``; labels are born when they were."""
    a, b = cells.start[low], cells.start[high]
    cut = Cells(cells.start[low : high + 1] - a, cells.label[a:b], cells.target[a:b], cells.asked[a:b])
    some = events._replace(
        present_start=events.present_start[low : high + 1], state=events.state[low:high],
        known_start=events.known_start[low : high + 1], weight=events.weight[low:high],
        born=events.born[low : high + 1], taught=events.taught[low:high],
    )  # fmt: skip
    return rows[low:high], some, cut, slice(a, b)


CUTS = (0, 1, 3, 40, 41, 120, 300)


# Ridge.


@pytest.mark.parametrize("unknown", [0.0, 0.3])
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_ridge_equals_its_twin(unknown, density):
    batch, events, y, taught = labelled(1, unknown=unknown, unlabelled=0.2)
    x, rows = dense_rows(2, len(y), 6, density)
    cells = Cells.all(events)
    scores = RidgeExpert().run(rows, 6, events, cells)
    expected = naive.ridge(x.astype(float), y, batch.weight, events.born, taught)
    asked = as_table(cells, np.where(cells.asked, scores, 0), y.shape)
    assert asked == pytest.approx(expected, abs=1e-6)


def test_ridge_is_the_ridge_solution_of_all_events_so_far():
    batch, events, y, _ = labelled(3)
    x, rows = dense_rows(4, len(y), 6)
    expert = RidgeExpert()
    expert.run(rows, 6, events, Cells.all(events))
    solution = naive.batch_ridge(x.astype(float), y, batch.weight)
    still = events._replace(born=np.full(len(y) + 1, y.shape[1]), taught=np.zeros(len(y), bool))
    cells = Cells.all(still)
    assert as_table(cells, expert.run(rows, 6, still, cells), y.shape) == pytest.approx(x @ solution, abs=1e-6)


def test_ridge_of_a_shortlist_is_that_of_all_labels():
    """Absent labels cost nothing and leave no trace, so whether they are listed does not matter."""
    _, events, y, _ = labelled(3)
    _, rows = dense_rows(4, len(y), 6)
    cells = Cells.all(events)
    dropped = (cells.target == 0) & (np.random.default_rng(1).random(len(cells.label)) < 0.7)
    whole = RidgeExpert().run(rows, 6, events, cells)
    some = RidgeExpert().run(rows, 6, events, without(cells, dropped))
    assert some.tobytes() == whole[~dropped].tobytes()


def test_ridge_stays_exact_over_a_long_stream_of_collinear_inputs():
    rng = np.random.default_rng(6)
    n = 60_000
    x = np.zeros((n, 10), np.float32)
    x[:, 0] = 1
    x[np.arange(n), 1 + rng.integers(0, 4, n)] = 1
    x[:, 5] = x[:, 1]
    x[:, 6:] = rng.normal(size=(n, 4))
    y = (rng.random((n, 2)) < 0.2 + 0.5 * x[:, 1:3]).astype(float)
    batch = Batch.from_arrays(x, y)
    events = Columns().admit(batch, batch.schema, True)
    rows, cells = Rows.from_dense(x, values=True), Cells.all(events)
    expert = RidgeExpert()
    expert.run(rows, 10, events, cells)
    solution = naive.batch_ridge(x.astype(float), y, np.ones(n))
    _, some, few, _ = part_of(rows, events, cells, n - 50, n)
    found = expert.run(rows[n - 50 :], 10, some._replace(taught=np.zeros(50, bool)), few)
    assert found.reshape(50, 2) == pytest.approx(x[n - 50 :] @ solution, abs=1e-6)


def test_ridge_folds_far_inputs_into_the_places_that_there_are():
    _, events, y, _ = labelled(5, n=40)
    expert = RidgeExpert()
    rows = Rows(np.arange(0, 81, 2), np.tile(np.array([0, 10**6], np.int32), 40), np.ones(80, np.float32))
    cells = Cells.all(events)
    scores = expert.run(rows, 10**6 + 1, events, cells)
    sums = expert.get_state()["sums"]
    assert sums.shape[1] == WIDEST + 1
    assert np.count_nonzero(sums.any(0)) == 2
    # A constant input beside the intercept changes only how fast the mean is found.
    assert as_table(cells, scores, y.shape)[-1] == pytest.approx(y[:-1].mean(0), abs=0.15)


def test_ridge_goes_on_where_it_was_saved_whatever_the_cut():
    _, events, y, _ = labelled(7, unknown=0.2, unlabelled=0.1)
    _, rows = dense_rows(8, len(y), 21)
    cells = Cells.all(events)
    whole = RidgeExpert()
    expected = whole.run(rows, 21, events, cells)
    assert len(whole.get_state()["gains"]) == np.count_nonzero(events.taught) % HELD_BACK > 0
    expert = RidgeExpert()
    for low, high in itertools.pairwise(CUTS):
        some_rows, some, few, where = part_of(rows, events, cells, low, high)
        assert expert.run(some_rows, 21, some, few).tobytes() == expected[where].tobytes()
        again = RidgeExpert()
        again.set_state(expert.get_state())
        expert = again
    assert all(array.tobytes() == expert.get_state()[name].tobytes() for name, array in whole.get_state().items())


# The labels' own past.


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_the_past_equals_its_twin(unknown, grouped):
    _, events, y, taught = labelled(6, unknown=unknown, unlabelled=0.1, grouped=grouped)
    cells = Cells.all(events)
    found = LabelPast().run(events, cells)
    twin = naive.past(y, events.born, taught, events.state == COMPLETE)
    asked = as_table(cells, np.where(cells.asked[:, None], found, 0), y.shape)
    assert asked == pytest.approx(twin, abs=1e-5)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_label_that_is_not_listed_was_absent(grouped):
    _, events, y, taught = labelled(6, n_labels=12, grouped=grouped)
    cells = Cells.all(events)
    dropped = (cells.target == 0) & (np.random.default_rng(2).random(len(cells.label)) < 0.8)
    some = without(cells, dropped)
    found = LabelPast().run(events, some)
    twin = naive.past(y, events.born, taught, events.state == COMPLETE)
    event = np.repeat(np.arange(len(y)), np.diff(some.start))
    assert found[some.asked] == pytest.approx(twin[event, some.label][some.asked], abs=1e-5)


def test_the_past_goes_on_where_it_was_saved_whatever_the_cut():
    _, events, y, _ = labelled(9, unknown=0.2, unlabelled=0.1, grouped=True)
    rows, cells = Rows.empty(len(y)), Cells.all(events)
    expected = LabelPast().run(events, cells)
    past = LabelPast()
    for low, high in itertools.pairwise(CUTS):
        _, some, few, where = part_of(rows, events, cells, low, high)
        unlearned = few._replace(target=np.full(len(few.target), np.nan, np.float32))
        past.run(some._replace(taught=np.zeros(high - low, bool)), unlearned)
        assert past.run(some, few).tobytes() == expected[where].tobytes()
        again = LabelPast()
        again.set_state(past.get_state())
        past = again


# The stack.


def said(seed, events, cells):
    """Evidence that knows something of the truth."""
    rng = np.random.default_rng(seed)
    truth, n = np.nan_to_num(cells.target), len(cells.label)
    ridge, shadow = (rng.normal(0.3 * truth, 0.5).astype(np.float32) for _ in range(2))
    logistic, local, shadow_logistic = ((2 * truth + rng.normal(-1, 3, n)).astype(np.float32) for _ in range(3))
    *votes, trees = (np.clip(0.4 * truth + rng.uniform(-0.1, 0.6, n), 0, 1).astype(np.float32) for _ in range(3))
    return Evidence(LabelPast().run(events, cells), ridge, logistic, *votes, local, shadow, shadow_logistic, trees)


@pytest.mark.parametrize(
    "absent", [(), ("local", "shadow_ridge", "shadow_logistic", "trees"), ("ridge", "knn", "score_knn")]
)
@pytest.mark.parametrize("temporal", [True, False])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_the_stack_equals_its_twin(absent, temporal, unknown):
    batch, events, y, taught = labelled(7, n=500, unknown=unknown, unlabelled=0.1)
    cells = Cells.all(events)
    evidence = said(8, events, cells)._replace(**dict.fromkeys(absent, NOTHING))
    stack = Stack(temporal)
    proba = stack.run(evidence, events, cells)
    says = {name: as_table(cells, part, y.shape) for name, part in evidence._asdict().items() if name not in absent}
    asked = as_table(cells, cells.asked, y.shape) > 0
    columns = evidence.columns(temporal)
    twin = naive.stack(says, asked, y, batch.weight, events.born, taught, START, columns)
    assert as_table(cells, np.where(cells.asked, proba, 0), y.shape) == pytest.approx(twin, abs=2e-4), "float32"
    assert stack.weights.keys() == {FEATURES[column] for column in columns}


def test_the_stack_goes_on_where_it_was_saved_whatever_the_cut():
    _, events, y, _ = labelled(9, unknown=0.2, unlabelled=0.1)
    rows, cells = Rows.empty(len(y)), Cells.all(events)
    evidence = said(3, events, cells)
    expected = Stack().run(evidence, events, cells)
    stack = Stack()
    for low, high in itertools.pairwise(CUTS):
        _, some, few, where = part_of(rows, events, cells, low, high)
        assert (
            stack.run(Evidence(*(part[where] for part in evidence)), some, few).tobytes() == expected[where].tobytes()
        )
        again = Stack()
        again.set_state(stack.get_state())
        stack = again


def test_contributions_add_up_to_the_logit():
    _, events, _, _ = labelled(9)
    cells = Cells.all(events)
    evidence = said(3, events, cells)
    stack = Stack()
    stack.run(evidence, events, cells)
    still = events._replace(taught=np.zeros(len(events.taught), bool))
    unlearned = cells._replace(target=np.full(len(cells.target), np.nan, np.float32))
    proba = stack.run(evidence, still, unlearned)
    total = stack.contributions(evidence, cells).sum(1)
    assert 1 / (1 + np.exp(-total)) == pytest.approx(proba, abs=1e-6)


def test_a_shadow_that_takes_over_is_believed_as_before():
    _, events, _, _ = labelled(9)
    cells = Cells.all(events)
    evidence = said(3, events, cells)
    stack = Stack()
    stack.run(evidence, events, cells)
    before = stack.weights
    stack.promote_shadow()
    after = stack.weights
    assert after["ridge"] == pytest.approx(before["ridge"] + before["shadow ridge"])
    assert after["logistic"] == pytest.approx(before["logistic"] + before["shadow logistic"])
    assert after["shadow ridge"] == after["shadow logistic"] == 0
    curvature = np.tril(stack.get_state()["curvature"])
    assert (np.linalg.eigvalsh(curvature + np.tril(curvature, -1).T) > 0).all()
    assert np.isfinite(stack.run(evidence, events, cells)).all()


def test_a_loosened_stack_forgets_how_sure_it_was_and_what_the_shadow_said():
    _, events, _, _ = labelled(9)
    cells = Cells.all(events)
    stack = Stack()
    stack.run(said(3, events, cells), events, cells)
    before = stack.get_state()
    stack.loosen()
    after = stack.get_state()
    shadow = np.array(["shadow" in name for name in FEATURES])
    assert after["shared"][~shadow].tolist() == before["shared"][~shadow].tolist()
    assert (after["shared"][shadow] == 0).all()
    assert (after["own"][:, shadow] == 0).all()
    assert (after["own"][:, ~shadow] == before["own"][:, ~shadow]).all()
    assert np.trace(after["covariance"][0]) > np.trace(before["covariance"][0])
    assert np.trace(after["curvature"]) < np.trace(before["curvature"])


# Together.


def changing(n=3000):
    """Two labels that follow the inputs, until in the middle they change places."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(n, 5))
    y = (x[:, :3] + rng.normal(0, 0.3, (n, 3)) > 0).astype(float)
    y[n // 2 :] = y[n // 2 :, [1, 2, 0]]
    return Batch.from_arrays(x, y)


def test_an_alarm_starts_shadows_that_take_over_in_time():
    batch = changing(4000)
    with_alarm, without_alarm = IHOMERClassifier(), IHOMERClassifier(detector=None)
    right = [
        (model.test_then_train(batch).labels.to_dense(3) == batch.y.to_dense(3)).all(1)[2000:2500].mean()
        for model in (with_alarm, without_alarm)
    ]
    (alarm,) = (event for event in with_alarm.events_ if event["kind"] == "loss")
    assert 2000 < alarm["event"] < 2040
    assert alarm["statistic"] > alarm["threshold"] == 4
    assert right[0] > right[1] + 0.05
    assert with_alarm.get_state()["experts/shadow_ridge/sums"].size > 0
    with_alarm.learn_batch(batch[2000:2300])
    assert with_alarm.get_state()["experts/shadow_ridge/sums"].size == 0, "has taken over"


def test_while_the_detector_warns_what_an_alarm_calls_for_is_done_sooner():
    """The drift comes 5 events before the end of a chunk, where there is a warning."""
    end, detector = 32 * CHUNK, "stepd:threshold=4,warning_threshold=1"
    batch = changing(2 * (end - 5))
    model, sooner = IHOMERClassifier(detector=detector), IHOMERClassifier(detector=detector)
    model.learn_batch(batch[: end + CHUNK - 1])
    alarm = next(event["event"] for event in model.events_ if event["kind"] == "loss")
    due = -(-alarm // WARY) * WARY
    assert end < due < end + CHUNK
    sooner.learn_batch(batch[: due - 1])
    assert not sooner._experts.has_shadow
    sooner.learn_batch(batch[due - 1 : due])
    assert sooner._experts.has_shadow


def test_a_stream_with_a_drift_goes_on_where_it_was_saved_whatever_the_cut():
    batch = changing(2000)
    whole = IHOMERClassifier()
    expected = whole.test_then_train(batch)
    model = IHOMERClassifier()
    for low, high in itertools.pairwise((0, 1, 900, 1010, 1023, 1100, 2000)):
        found = model.test_then_train(batch[low:high])
        assert found.proba.tobytes() == expected.proba[low:high].tobytes()
        again = IHOMERClassifier()
        again.set_state(model.get_state())
        model = again
    assert model.events_ == whole.events_
    assert any(event["kind"] == "loss" for event in whole.events_)


def test_classes_that_change_names_are_known_again_within_a_hundred_events():
    """From the alarm on neighbours by scores are those after it, which tell what the old scores speak for now."""
    rng, n_labels = np.random.default_rng(4), 15
    of = rng.integers(0, n_labels, 2400)
    x = rng.normal(size=(n_labels, 60))[of] + rng.normal(0, 2.5, (2400, 60))
    of[1200:] = (of[1200:] + 1) % n_labels
    batch = Batch.from_arrays(x, np.eye(n_labels)[of])
    answers = IHOMERClassifier().test_then_train(batch).labels.to_dense(n_labels)
    right = (answers == batch.y.to_dense(n_labels)).all(1)
    assert right[1250:1350].mean() > 0.6 * right[1000:1200].mean()


def many(n=600, n_labels=40):
    """Label sets of three neighbours on a circle, told by the inputs."""
    rng = np.random.default_rng(5)
    at = rng.integers(0, n_labels, n)
    x = np.stack([np.cos(2 * np.pi * at / n_labels), np.sin(2 * np.pi * at / n_labels)], 1) + rng.normal(
        0, 0.02, (n, 2)
    )
    return Batch.from_arrays(x, Rows.from_lists([sorted({k, (k + 1) % n_labels, (k + 2) % n_labels}) for k in at]))


def test_many_labels_are_answered_from_a_shortlist_whatever_the_cut():
    batch = many()
    whole = IHOMERClassifier(shortlist=20)
    expected = whole.test_then_train(batch)
    assert isinstance(expected.proba, Rows)
    asked = np.diff(expected.proba.indptr)[300:]
    assert asked.max() < 35
    right = [set(expected.labels.row(i)) & set(batch.y.row(i)) for i in range(300, 600)]
    assert np.mean([len(found) for found in right]) > 2
    model = IHOMERClassifier(shortlist=20)
    for low, high in itertools.pairwise((0, 5, 30, 31, 100, 600)):
        found = model.test_then_train(batch[low:high])
        assert found.labels.indices.tolist() == expected.labels[low:high].indices.tolist()
        again = IHOMERClassifier(shortlist=20)
        again.set_state(model.get_state())
        model = again
    assert [*map(len, model.clusters_)] == [*map(len, whole.clusters_)]


@pytest.mark.parametrize(
    "experts", [(), ("ridge",), ("logistic",), ("neighbours",), ("score-neighbours",), ("trees",), EXPERTS]
)
def test_any_expert_can_be_left_out(experts):
    batch = changing(600)
    model = IHOMERClassifier(experts=experts, joint=False)
    assert np.isfinite(model.test_then_train(batch).proba).all()


def test_trees_go_on_where_they_were_saved_whatever_the_cut():
    batch = changing(700)

    def make(seed=3):
        return IHOMERClassifier(experts=EXPERTS, seed=seed)

    expected = make().test_then_train(batch).proba
    model = make()
    for low, high in itertools.pairwise((0, 1, 5, 63, 200, 333, 700)):
        assert model.test_then_train(batch[low:high]).proba.tobytes() == expected[low:high].tobytes()
        again = make()
        again.set_state(model.get_state())
        model = again
    assert (make(4).test_then_train(batch).proba != expected).any()


def test_trees_tell_an_interval_among_many_columns():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1500, 12))
    y = np.stack([np.abs(x[:, 0]) < 0.7, x[:, 2] > 0], 1)
    batch = Batch.from_arrays(x, y)
    plain, with_trees = IHOMERClassifier(), IHOMERClassifier(experts=EXPERTS)
    right = [(model.test_then_train(batch).labels.to_dense(2) == y)[700:, 0].mean() for model in (plain, with_trees)]
    assert right[1] > right[0] + 0.15
    told = with_trees.explain_one({f"x{j}": float(value) for j, value in enumerate(x[0])})
    added = {one.label: one.contributions["trees"] for one in told.labels}
    assert (added["y1"] > 0) == y[0, 1]
    for one in told.labels:
        assert 1 / (1 + np.exp(-sum(one.contributions.values()))) == pytest.approx(one.proba, abs=1e-6)
    assert "trees" not in plain.explain_one({"x0": 1.0}).labels[0].contributions


def test_unknown_experts_are_refused():
    with pytest.raises(ValueError, match=r"experts must be among ridge, logistic, .*, got forest"):
        IHOMERClassifier(experts=["ridge", "forest"])
