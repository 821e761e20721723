"""Learners behind arrays, as scikit-learn has them, and models with partial_fit as learners."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import polars
import pytest
import scipy.sparse
from river import preprocessing

import ihomer
from drift.pickled import PickleRefusedError, UntrustedPickleError, trusting_pickle
from learners.array_style import ArrayLearner
from learners.baselines import NoChangeClassifier
from learners.linear import LinearClassifier
from learners.naive_bayes import GaussianNBClassifier
from learners.partial_fit import PartialFitClassifier, PartialFitMultiLabel, from_partial_fit
from learners.river_model import RiverClassifier
from streams.batch import Batch, Rows, Schema
from tests import contracts


def events(n=200, seed=0):
    """Numbers, one of three classes, and three labels."""
    x = np.random.default_rng(seed).normal(size=(n, 4))
    classes = np.array(["red", "green", "blue"])[np.where(x[:, 0] > 0.4, 0, np.where(x[:, 1] > 0, 1, 2))]
    return x, classes, np.column_stack([x[:, 0] > 0, x[:, 1] > 0.3, x[:, 2] > 0.5]).astype(int)


# Arrays.


@pytest.mark.parametrize("cls", [LinearClassifier, GaussianNBClassifier])
def test_labels_are_those_that_the_learner_answers(cls):
    x, _, y = events()
    model = ArrayLearner(cls()).partial_fit(x[:100], y[:100], sample_weight=np.arange(1.0, 101))
    learner = cls()
    learner.learn_batch(Batch.from_arrays(x[:100], y[:100], weight=np.arange(1.0, 101)))
    answer = learner.predict_batch(Batch.from_arrays(x[100:]))
    assert np.array_equal(model.predict(x[100:]), answer.labels.to_dense(3))
    assert np.array_equal(model.predict_proba(x[100:]), answer.proba)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(x[100:], y[100:]) == (answer.labels.to_dense(3) == y[100:]).all(1).mean() > 0.5


def test_classes_are_those_of_the_single_label_classifier():
    x, y, _ = events()
    arrays = ArrayLearner(LinearClassifier()).partial_fit(x[:100], y[:100])
    single = ihomer.SingleLabel(LinearClassifier())
    dictionaries = [dict(enumerate(row)) for row in x.astype(np.float32).tolist()]
    for row, name in zip(dictionaries[:100], y[:100].tolist(), strict=True):
        single.learn_one(row, name)
    assert arrays.predict(x[100:]).tolist() == [single.predict_one(row) for row in dictionaries[100:]]
    likely = [single.predict_proba_one(row) for row in dictionaries[100:]]
    expected = [[row[name] for name in arrays.classes_.tolist()] for row in likely]
    assert np.allclose(arrays.predict_proba(x[100:]), expected, atol=1e-12)
    assert arrays.score(x[100:], y[100:]) > 0.75
    assert arrays.predict(x).shape == (200,)
    assert arrays.predict_proba(x).shape == (200, 3)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("declared", [False, True])
def test_one_call_equals_many(several, declared):
    x, one, many = events()
    y = many if several else one
    classes = np.unique(one) if declared and not several else None
    whole = ArrayLearner(LinearClassifier()).partial_fit(x, y, classes)
    cut = ArrayLearner(LinearClassifier())
    for a, b in [(0, 1), (1, 2), (2, 50), (50, 50), (50, 200)]:
        cut.partial_fit(x[a:b], y[a:b], classes)
    assert whole.classes_.tolist() == cut.classes_.tolist()
    contracts.assert_same_state(whole.learner_, cut.learner_)
    assert whole.predict_proba(x).tobytes() == cut.predict_proba(x).tobytes()


def test_columns_are_in_the_order_of_the_classes():
    x, y, _ = events()
    assert ArrayLearner(LinearClassifier()).fit(x, y).classes_.tolist() == ["blue", "green", "red"]
    assert ArrayLearner(LinearClassifier()).partial_fit(x, y).classes_.tolist() == list(dict.fromkeys(y.tolist()))
    order = ["green", "blue", "never", "red"]
    model = ArrayLearner(LinearClassifier(), classes=order).fit(x, y)
    assert model.classes_.tolist() == order
    proba = model.predict_proba(x)
    assert proba.shape == (200, 4)
    assert (proba[:, 2] == 0).all()
    assert np.allclose(proba.sum(1), 1)
    assert (model.classes_[proba.argmax(1)] == model.predict(x)).all()


@pytest.mark.parametrize("classes", [[3, 1, 2], [True, False], [0.0, 1.0], ["a", "b"]], ids=str)
def test_classes_keep_their_kind(classes):
    x = np.arange(60.0)[:, None]
    y = np.array(classes)[np.arange(60) % len(classes)]
    predicted = ArrayLearner(LinearClassifier()).fit(x, y).predict(x)
    assert predicted.dtype == y.dtype
    assert set(predicted.tolist()) <= set(classes)


def test_all_kinds_of_rows_are_the_same_events():
    x, y, _ = events()
    x = x.astype(np.float32).astype(np.float64)
    expected = ArrayLearner(LinearClassifier(standardise=False)).fit(x, y).predict_proba(x)
    names = ["a", "b", "c", "d"]
    for kind in (
        x.tolist(),
        x.astype(object),
        pd.DataFrame(x, columns=names),
        polars.DataFrame(x, schema=names),
        scipy.sparse.csr_matrix(x),
        scipy.sparse.coo_array(x),
    ):
        model = ArrayLearner(LinearClassifier(standardise=False)).fit(kind, list(y))
        assert np.allclose(model.predict_proba(kind), expected, atol=1e-6)
    series = ArrayLearner(LinearClassifier(standardise=False)).fit(pd.DataFrame(x), pd.Series(y))
    assert np.array_equal(series.predict_proba(pd.DataFrame(x)), expected)


def test_text_and_missing_cells_of_a_frame():
    frame = pd.DataFrame({"size": [1.0, None, 3.0, 4.0] * 30, "colour": ["red", "blue", None, "blue"] * 30})
    y = np.array(["warm", "cold", "warm", "cold"] * 30)
    model = ArrayLearner(LinearClassifier()).fit(frame, y)
    assert model.learner_.schema_.categories == {1: ["red", "blue"]}
    assert model.score(frame, y) > 0.9
    stranger = pd.DataFrame({"size": [2.0], "colour": ["never seen"]})
    assert model.predict(stranger)[0] in ("warm", "cold")
    with pytest.raises(ValueError, match=r"X must have the columns \['size', 'colour'\], got \['colour', 'size'\]"):
        model.predict(frame[["colour", "size"]])


def test_a_cell_of_labels_may_be_unknown():
    x, _, y = events()
    unknown = y.astype(float)
    unknown[::3, 1] = np.nan
    model = ArrayLearner(LinearClassifier()).fit(x, unknown)
    learner = LinearClassifier()
    learner.learn_batch(Batch.from_arrays(x, unknown))
    assert np.array_equal(model.predict_proba(x), learner.predict_batch(Batch.from_arrays(x)).proba)
    named = ArrayLearner(LinearClassifier()).fit(x, pd.DataFrame(unknown, columns=["a", "b", "c"]))
    assert named.classes_.tolist() == ["a", "b", "c"]


def test_events_of_no_weight_are_passed_over():
    x, y, _ = events()
    keep = np.arange(200) % 2
    some = ArrayLearner(LinearClassifier()).fit(x, y, np.unique(y), keep)
    half = ArrayLearner(LinearClassifier()).fit(x[keep == 1], y[keep == 1], np.unique(y))
    contracts.assert_same_state(some.learner_, half.learner_)


def test_without_probabilities_the_predicted_label_is_the_class():
    x, y, _ = events(50)
    model = ArrayLearner(NoChangeClassifier()).fit(x, y)
    assert model.predict(x).tolist() == [y[-1]] * 50
    with pytest.raises(NotImplementedError, match="NoChangeClassifier has no probabilities"):
        model.predict_proba(x)


def test_before_anything_was_learned():
    x, _, many = events(20)
    with pytest.raises(ValueError, match="fit or partial_fit must come before an answer where classes is None"):
        ArrayLearner(LinearClassifier()).predict(x)
    model = ArrayLearner(LinearClassifier(), classes=["a", "b"])
    assert model.predict(x).tolist() == ["a"] * 20
    assert model.predict_proba(x).tolist() == [[0.5, 0.5]] * 20
    several = ArrayLearner(LinearClassifier(), classes=["a", "b", "c"], multilabel=True)
    assert several.predict(x).tolist() == [[0, 0, 0]] * 20
    contracts.assert_same_state(several.partial_fit(x, many).learner_, fitted(x, many, ["a", "b", "c"]).learner_)
    model.reset().set_params(classes=None)
    with pytest.raises(ValueError, match="fit or partial_fit must come before"):
        model.predict(x)


def fitted(x, y, classes):
    return ArrayLearner(LinearClassifier(), classes=classes).fit(x, y)


def test_fit_forgets_and_the_prototype_learns_nothing():
    x, y, _ = events()
    prototype = LinearClassifier()
    model = ArrayLearner(prototype).fit(x[:50], y[:50]).fit(x[50:], y[50:])
    contracts.assert_same_state(model.learner_, ArrayLearner(LinearClassifier()).fit(x[50:], y[50:]).learner_)
    contracts.assert_same_state(prototype, LinearClassifier())


def test_a_saved_model_goes_on():
    x, y, _ = events()
    straight = ArrayLearner(LinearClassifier()).partial_fit(x[:100], y[:100])
    for other in (pickle.loads(pickle.dumps(straight)), copy.deepcopy(straight)):
        other.partial_fit(x[100:], y[100:])
        expected = copy.deepcopy(straight).partial_fit(x[100:], y[100:])
        assert other.predict_proba(x).tobytes() == expected.predict_proba(x).tobytes()


def test_input_is_unchanged():
    x, y, _ = events()
    sparse = scipy.sparse.csr_matrix((np.ones(3), [2, 0, 0], [0, 3, 3]), shape=(2, 4))[np.zeros(200, int)]
    before = copy.deepcopy((x, y, sparse.indices, sparse.data))
    ArrayLearner(LinearClassifier()).fit(x, y).predict(x)
    ArrayLearner(LinearClassifier()).fit(sparse, y).predict(sparse)
    for mine, old in zip((x, y, sparse.indices, sparse.data), before, strict=True):
        assert np.array_equal(mine, old)


WRONG = {
    "three-axes": (lambda m, x, y, Y: m.fit(x, Y[None]), r"y must have shape \(n,\) or \(n, L\), got \(1, 200, 3\)"),
    "flat-x": (lambda m, x, y, Y: m.fit(x[0], y), r"X must have shape \(n, d\), got \(4,\)"),
    "narrow-x": (lambda m, x, y, Y: m.fit(x, y).predict(x[:, :3]), r"X must have shape \(n, 4\), got \(200, 3\)"),
    "short-y": (lambda m, x, y, Y: m.fit(x, y[:9]), "y must have 200 rows, as X has, got 9"),
    "other-y": (lambda m, x, y, Y: m.fit(x, y).partial_fit(x, Y), r"y must have shape \(n,\), got \(200, 3\)"),
    "narrow-y": (
        lambda m, x, y, Y: m.fit(x, Y).partial_fit(x, Y[:, :2]),
        r"y must have shape \(n, 3\), got \(200, 2\)",
    ),
    "no-labels": (lambda m, x, y, Y: m.fit(x, Y + 1), r"y must be 0, 1 or NaN, got \[1, 2\]"),
    "new-class": (
        lambda m, x, y, Y: m.partial_fit(x, y, ["red", "green"]),
        r"y must hold classes of \['red', 'green'\], got 'blue'",
    ),
    "sparse": (
        lambda m, x, y, Y: m.fit(x, y).predict(scipy.sparse.csr_matrix(x)),
        "X must be dense, as the first was",
    ),
    "infinite": (lambda m, x, y, Y: m.fit(x / 0.0, y), "x must be finite or NaN, got infinity in row 0"),
    "weights": (
        lambda m, x, y, Y: m.fit(x, y, sample_weight=[1.0]),
        r"sample_weight must have shape \(200,\), got \(1,\)",
    ),
    "negative": (lambda m, x, y, Y: m.fit(x, y, sample_weight=-np.ones(200)), "weight must be positive and finite"),
    "score": (lambda m, x, y, Y: m.fit(x, y).score(x, Y), r"y must have shape \(200,\), got \(200, 3\)"),
    "parameter": (
        lambda m, x, y, Y: m.set_params(rate=3),
        r"a parameter must be one of \['classes', 'learner', .*\], got 'rate'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_does_not_fit_is_refused(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call(ArrayLearner(LinearClassifier()), *events())


def test_a_first_call_that_is_refused_leaves_nothing_behind():
    x, y, _ = events()
    model = ArrayLearner(LinearClassifier())
    with pytest.raises(ValueError, match="y must have 200 rows"):
        model.partial_fit(x, y[:9])
    assert vars(model).keys() == vars(ArrayLearner(LinearClassifier())).keys()
    assert model.partial_fit(x[:, :2], y).n_features_in_ == 2


def test_what_is_no_learner_is_refused():
    with pytest.raises(TypeError, match="learner must be a multi-label learner, got 'linear'"):
        ArrayLearner("linear")
    x, y, _ = events()
    with pytest.raises(ValueError, match=re.escape("y must have shape (n, L), got (200,)")):
        ArrayLearner(LinearClassifier(), multilabel=True).fit(x, y)


def test_parameters():
    model = ArrayLearner(LinearClassifier(l2=0.5), classes=["a", "b"])
    assert model.get_params(deep=False).keys() == {"learner", "classes", "multilabel"}
    assert model.get_params()["learner__l2"] == 0.5
    assert model.set_params(learner__l2=0.25, multilabel=True) is model
    assert (model.learner.l2, model.multilabel) == (0.25, True)


def test_neither_library_is_imported():
    code = (
        "import sys, ihomer; ihomer.ArrayLearner, ihomer.from_partial_fit, ihomer.from_skmultiflow_stream;"
        "print([m for m in ('sklearn', 'skmultiflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# In scikit-learn.


def test_scikit_learn_takes_it():
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, many = events()
    for target in (y, many):
        pipeline = make_pipeline(StandardScaler(), ArrayLearner(LinearClassifier()))
        assert is_classifier(pipeline)
        assert clone(pipeline).fit(x, target).score(x, target) > 0.7
        assert pipeline.fit(x, target).predict(x).shape == target.shape
        assert cross_val_score(pipeline, x, target, cv=3, error_score="raise").min() > 0.5
        assert cross_val_predict(pipeline, x, target, cv=3, method="predict_proba").shape == (200, 3)
    search = GridSearchCV(ArrayLearner(LinearClassifier()), {"learner__l2": [0.0, 100.0]}, cv=2).fit(x, y)
    assert search.best_params_ == {"learner__l2": 0.0}
    assert search.best_estimator_.learner_.l2 == 0.0


def test_scikit_learn_takes_it_behind_sparse_text():
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.pipeline import make_pipeline

    texts, y = ["good day", "bad day", "good night", "bad night"] * 10, ["+", "-", "+", "-"] * 10
    pipeline = make_pipeline(HashingVectorizer(n_features=64), ArrayLearner(LinearClassifier()))
    assert pipeline.fit(texts, y).predict(["a good one", "a bad one"]).tolist() == ["+", "-"]


# Models with partial_fit.


class Centroids:
    """The nearest mean, of class numbers or of each column of labels; picklable, and all its own."""

    def __init__(self):
        self.sums, self.counts, self.weights, self.rows = {}, {}, 0.0, 0

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        self.weights += len(X) if sample_weight is None else sample_weight.sum()
        self.rows = max(self.rows, len(X))
        for x, cell in zip(X, y, strict=True):
            keys = [int(cell)] if np.ndim(cell) == 0 else list(enumerate(cell.tolist()))
            for key in keys:
                self.sums[key] = self.sums.get(key, 0.0) + x
                self.counts[key] = self.counts.get(key, 0) + 1
            self.n_outputs = None if np.ndim(cell) == 0 else len(cell)
        return self

    def _closeness(self, x, key):
        if key not in self.sums:
            return 0.0
        return float(np.exp(-np.square(self.sums[key] / self.counts[key] - x).sum()))

    def predict_proba(self, X):
        if self.n_outputs is None:
            return np.array([[self._closeness(x, c) for c in range(max(self.sums) + 1)] for x in X])
        shares = [[[self._closeness(x, (j, v)) for v in (0, 1)] for j in range(self.n_outputs)] for x in X]
        return np.array([[q[1] / (sum(q) or 1.0) for q in row] for row in shares])

    def predict(self, X):
        proba = self.predict_proba(X)
        return proba.argmax(1) if self.n_outputs is None else (proba > 0.5).astype(int)


def batch_of(kind, n=150):
    x, one, many = events(n)
    y = many if kind == "labels" else np.array(["red", "green", "blue"])[:, None] == one
    y = y if kind == "labels" else y.T
    return Batch(Schema(["a", "b", "c", "d"], ["red", "green", "blue"]), x.astype(np.float32), Rows.from_dense(y),
                 np.full(n, 2, np.uint8), weight=np.tile([1.0, 2.0], n // 2)), y  # fmt: skip


NAMES = ["red", "green", "blue"]


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_answers_are_those_of_the_models_own_loop(kind):
    batch, y = batch_of(kind)
    answers = from_partial_fit(Centroids(), classes=NAMES, multilabel=kind == "labels").test_then_train(batch)
    model, born = Centroids(), np.zeros(3, bool)
    for i, x in enumerate(batch.x.astype(np.float64)):
        if i:
            proba = np.zeros(3)
            said = model.predict_proba(x[None])[0]
            proba[: len(said)] = said
            assert answers.proba[i].tolist() == np.where(born, proba, 0).tolist()
            chosen = model.predict(x[None])[0]
            row = chosen.astype(bool) if kind == "labels" else np.arange(3) == chosen
            assert answers.labels.to_dense(3)[i].astype(bool).tolist() == (row & born).tolist()
        target = y[i].astype(int) if kind == "labels" else y[i].argmax()
        born |= y[i].astype(bool)
        model.partial_fit(x[None], target[None])
    assert (answers.labels.to_dense(3) == y)[50:].mean() > 0.7


def test_a_model_is_told_an_event_at_a_time_with_its_weight():
    batch, _ = batch_of("classes")
    learner = from_partial_fit(Centroids())
    learner.learn_batch(batch)
    model = learner._model._model
    assert (model.rows, model.weights) == (1, 225.0)


LAWS = [
    law
    for law in contracts.LAWS
    if law.__name__ not in ("river_accepts_it", "the_state_is_all_there_is", "a_foreign_state_is_refused")
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, monkeypatch):
    """Behind a step that takes the numbers alone."""
    monkeypatch.setitem(contracts.NOT_CANONICAL, "RiverClassifier", {"pickle"})

    def make():
        labels = ["y0", "y1", "y2", "y3", "y4", "a", "b", "p", "q", "r", "only", "late", "never", "x", "y", "z"]
        last = PartialFitMultiLabel(Centroids(), classes=labels, n_features=40)
        return RiverClassifier(contracts.compose.FuncTransformer(contracts._numbers) | last)

    make.exempt = dict(contracts.EXEMPT_FROM)
    contracts.check(law, make)


def test_features_have_columns_as_they_come():
    model = from_partial_fit(Centroids(), n_features=2)
    model.learn_one({"a": 1.0}, {"p": True})
    model.learn_one({"b": 5.0}, {"p": True})
    model.learn_one({"c": 9.0, "a": 3.0}, {"p": True})
    assert model._model._model.sums[0].tolist() == [4.0, 5.0]
    assert model.predict_one({"never": 1.0}) == {"p": True}


def test_a_pipeline_of_river_stands_in_front():
    batch, y = batch_of("classes")
    model = ihomer.from_river(preprocessing.StandardScaler() | PartialFitClassifier(Centroids()))
    assert (model.test_then_train(batch).labels.to_dense(3) == y)[50:].mean() > 0.7


def test_a_state_goes_on_where_it_is_trusted_and_of_the_same_version(monkeypatch):
    pytest.importorskip("sklearn")
    from sklearn.linear_model import SGDClassifier
    from sklearn.multioutput import MultiOutputClassifier

    batch, _ = batch_of("labels")
    make = functools.partial(
        from_partial_fit,
        MultiOutputClassifier(SGDClassifier(loss="log_loss", random_state=1)),
        classes=NAMES,
        multilabel=True,
    )
    straight, model, other = make(), make(), make()
    expected = straight.test_then_train(batch)[70:]
    model.learn_batch(batch[:70])
    state = model.get_state()
    assert b"\nscikit-learn 1." in state["river"].tobytes()
    with pytest.raises(UntrustedPickleError):
        other.set_state(state)
    with trusting_pickle():
        other.set_state(state)
    assert other.test_then_train(batch[70:]).proba.tobytes() == expected.proba.tobytes()
    river = state["river"].tobytes().decode().split("\n")[0]
    for line, got in (("scikit-learn 0.0", r"1\.\d+\.\d+"), ("no-such-package 1.0", "none")):
        changed = {**state, "river": np.frombuffer(f"{river}\n{line}".encode(), np.uint8)}
        rule = f"{line.split()[0]} must be of version {line.split()[1]} to read this state, got {got}"
        with pytest.raises(PickleRefusedError, match=rule):
            other.set_state(changed, trust_pickle=True)


def test_a_model_of_scikit_learn_with_classes():
    pytest.importorskip("sklearn")
    from sklearn.linear_model import Perceptron, SGDClassifier

    batch, y = batch_of("classes")
    answers = from_partial_fit(SGDClassifier(loss="log_loss", random_state=1), classes=NAMES).test_then_train(batch)
    assert (answers.labels.to_dense(3) == y)[50:].mean() > 0.7
    assert from_partial_fit(Perceptron(), classes=NAMES).test_then_train(batch).proba is None
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        from_partial_fit(SGDClassifier()).learn_batch(batch)


def test_what_is_no_model_is_refused():
    for wrong in (Centroids, LinearClassifier(), 3):
        with pytest.raises(TypeError, match="model must be an object with partial_fit and predict, got"):
            from_partial_fit(wrong)
    with pytest.raises(ValueError, match="classes must name the labels of a model of several, got none"):
        from_partial_fit(Centroids(), multilabel=True)
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        from_partial_fit(Centroids(), n_features=0)
    model = from_partial_fit(Centroids(), classes=["a"])
    with pytest.raises(ValueError, match=r"classes must name all of the stream, \['a'\], got 'b'"):
        model.learn_one({"x": 1.0}, {"b": True})
    with pytest.raises(TypeError, match=r"model must take text, .* feature 'colour' must be a number, got 'red'"):
        from_partial_fit(Centroids()).learn_one({"colour": "red"}, {"b": True})


def test_a_model_is_saved_and_loaded(tmp_path):
    batch, _ = batch_of("classes")
    model = from_partial_fit(Centroids(), classes=NAMES)
    model.learn_batch(batch)
    ihomer.save(model, tmp_path / "m.ckpt")
    with pytest.raises(ValueError, match="trust_pickle=True"):
        ihomer.load(tmp_path / "m.ckpt")
    other = ihomer.load(tmp_path / "m.ckpt", trust_pickle=True)
    assert other.predict_batch(batch).proba.tobytes() == model.predict_batch(batch).proba.tobytes()
