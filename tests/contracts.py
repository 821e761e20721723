"""The laws that every learner obeys, and the list of learners that must obey them.

A test file runs each of `LAWS` on each of `cases()`. A law is a function of ``make``, which returns a fresh learner.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import pickle
import pkgutil

import numpy as np
import pytest
import river.datasets
from river import compose, linear_model, multioutput, preprocessing, tree
from river.checks import yield_checks

from drift.pickled import trusting_pickle
from ihomer.classifier import IHOMERClassifier
from learners.base import Learner
from learners.baselines import MajorityClassifier
from learners.heads.auto import AutoHead
from learners.heads.normalising import STATELESS
from learners.linear import LinearClassifier
from learners.naive_bayes import GaussianNBClassifier
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema

ROOMS = ("learners", "ihomer")


def _numbers(x):
    return {name: value for name, value in x.items() if not isinstance(value, str)}


def _short_named(x):
    """Without the hundred features of Yeast, on which a tree for each label would take a minute."""
    return {name: value for name, value in x.items() if len(str(name)) <= 2}


SETTINGS: dict[str, list[dict]] = {
    "ADWINBaggingClassifier": [
        {"n_models": 3, "grace_period": 20},
        {"n_models": 2, "drift_delta": 0.5, "lambda_value": 6.0, "grace_period": 10, "delta": 0.4, "threshold": 0.3},
    ],
    "AdaptiveRandomForestClassifier": [
        {"n_models": 3, "seed": 1},
        {
            "n_models": 2,
            "max_features": 0.5,
            "drift_delta": 0.6,
            "seed": 1,
            "warning_delta": 0.9,
            "grace_period": 10,
            "delta": 0.4,
            "threshold": 0.3,
        },
        {"n_models": 2, "max_features": None, "warning_delta": None, "drift_delta": 0.6, "disable_weighted_vote": True},
    ],
    "AutoHead": [
        {"n_features": 20},
        {"objective": "balanced", "n_features": 0, "sub_prototypes": 0},
        {"n_features": 5, "sub_prototypes": 2, "refresh": 3, "normalise": "layer"},
    ],
    "BaggingEnsemble": [
        {"prototype": LinearClassifier(standardise=False), "n_members": 3},
        {"prototype": GaussianNBClassifier(), "n_members": 3, "features": 0.5, "labels": 0.5, "threshold": "f1"},
        {"prototype": MajorityClassifier(), "n_members": 2, "rate": None, "detector": None},
    ],
    "BalancedRidgeClassifier": [{}, {"penalty": 0.01, "normalise": "l2"}],
    "BernoulliNBClassifier": [{}, {"alpha": 0.1, "true_threshold": 0.5, "threshold": "f1"}],
    "ClassifierChain": [
        {},
        {"order": "random", "n_chains": 3, "feed": "probabilities", "optimizer": "ftrl", "l1": 0.01, "threshold": "f1"},
        {"order": "random", "n_chains": 2, "optimizer": "sgd", "l1": 0.001, "l2": 0.01, "standardise": False},
    ],
    "ClusterLearners": [{}],
    "CosineSoftmaxClassifier": [{}, {"rate": 0.05, "steps": 1, "temperature": 0.5, "block": 9, "normalise": "layer"}],
    "ExtraTreesClassifier": [
        {},
        {"n_trees": 3, "window": 20, "refit": 0.3, "max_features": 2, "min_leaf": 2, "max_depth": 4, "seed": 7},
    ],
    "GaussianClassifier": [{}, {"prior": 0.5, "normalise": "batch", "multilabel": True}],
    "GaussianNBClassifier": [{}, {"density_floor": 1e-4, "alpha": 0.5, "threshold": "f1"}],
    "HoeffdingAdaptiveTreeClassifier": [
        {},
        {"grace_period": 10, "delta": 0.4, "drift_delta": 0.9, "drift_window_threshold": 5, "switch_significance": 0.9},
        {"grace_period": 10, "delta": 0.4, "bootstrap_sampling": False, "max_classes": 4, "threshold": 0.3},
    ],
    "HoeffdingTreeClassifier": [
        {},
        {"grace_period": 10, "delta": 0.4, "tau": 0.5, "leaf_prediction": "nb", "max_classes": 4},
        {"grace_period": 10, "delta": 0.4, "split_criterion": "gini", "binary_split": True, "threshold": 0.3},
    ],
    "IHOMERClassifier": [
        {"seed": 1},
        {"mode": "paper", "n_min": 10, "delta": 0.3},
        {"experts": ("ridge", "trees"), "seed": 2},
    ],
    "IHOMEREnsemble": [{"prototype": LinearClassifier(), "n_members": 2}, {"n_members": 2, "seed": 1}],
    "KNNClassifier": [
        {},
        {"n_neighbors": 3, "window": 20, "weights": "uniform", "standardise": False},
        {"mode": "powerset", "metric": "cosine", "standardise": False},
        {"n_neighbors": 5, "window": 30, "mode": "powerset", "metric": "euclidean"},
    ],
    "LabelParallelIHOMER": [
        {"backend": "inline"},
        {"prototype": IHOMERClassifier(LinearClassifier(), joint=False), "workers": 3, "backend": "inline"},
    ],
    "LinearClassifier": [
        {},
        {"optimizer": "ftrl", "l1": 0.01, "threshold": "f1"},
        {"optimizer": "sgd", "l1": 0.001, "l2": 0.01, "standardise": False},
    ],
    "LokiClassifier": [{}, {"temperature": 2.0, "shrinkage": 0.1, "refresh": 5}],
    "MLHATClassifier": [
        {},
        {"mode": "paper", "grace_period": 20, "delta": 0.3, "n_models": 3, "cardinality_threshold": 30.0},
        {"grace_period": 10, "delta": 0.4, "window": 20, "background_weight": 10.0, "warning_delta": 0.5},
    ],
    "MVPLightClassifier": [
        {},
        {"buffer": 20, "replay": 5, "steps": 1, "keys": 3, "block": 7, "normalise": "layer"},
        {"buffer": 0},
    ],
    "MajorityClassifier": [{}],
    "NCMClassifier": [{}, {"metric": "euclidean", "normalise": "layer"}],
    "NoChangeClassifier": [{}],
    "PartitionEnsemble": [
        {"prototype": LinearClassifier(standardise=False)},
        {"prototype": GaussianNBClassifier(), "n_members": 1},
    ],
    "RLSClassifier": [{}, {"penalty": 0.1, "forgetting": 0.98, "intercept": False, "multilabel": True}],
    "RanPACClassifier": [{"n_projections": 20}, {"n_projections": 30, "seed": 1, "refresh": 7, "multilabel": True}],
    "RidgeClassifier": [{}, {"penalty": 2.0, "relative": False, "refresh": 1, "multilabel": True}],
    "RiverClassifier": [
        {
            "model": compose.FuncTransformer(_short_named)
            | multioutput.PerOutputClassifier(tree.HoeffdingTreeClassifier(grace_period=20))
        },
        {
            "model": compose.FuncTransformer(_numbers)
            | preprocessing.StandardScaler()
            | multioutput.ClassifierChain(linear_model.LogisticRegression())
        },
    ],
    "SLDAClassifier": [{}, {"shrinkage": 0.1, "prior": 0.5, "normalise": "quadratic", "refresh": 8}],
    "SubPrototypeClassifier": [{}, {"n_prototypes": 2, "normalise": "quadratic"}],
    "TEENClassifier": [{}, {"strength": 1.0, "fade": 3.0, "normalise": "layer", "refresh": 5}],
}
"""The parameters under which every learner is held to the laws."""

_NEEDS_A_TRANSFORMER = "learns from payloads, by PyTorch and a transformer; held to its laws in test_deep_learners.py"

EXEMPT: dict[str, str] = dict.fromkeys(
    ("DualPromptClassifier", "FineTuneClassifier", "L2PClassifier", "MVPClassifier", "ReplayClassifier"),
    _NEEDS_A_TRANSFORMER,
)
"""Learners that are held to no law, and why."""

EXEMPT_FROM: dict[tuple[str, str], str] = {
    ("ClassifierChain", "sparse_rows_equal_dense_rows"): "standardised dense rows are centred, sparse ones are not",
    ("IHOMEREnsemble", "sparse_rows_equal_dense_rows"): "standardised dense rows are centred, sparse ones are not",
    ("LinearClassifier", "sparse_rows_equal_dense_rows"): "standardised dense rows are centred, sparse ones are not",
    (
        "RiverClassifier",
        "sparse_rows_equal_dense_rows",
    ): "a zero of sparse rows is left out, which river takes for missing",
    ("RLSClassifier", "merged_parts_equal_the_whole"): "residuals are those that each part had by itself",
    ("ClusterLearners", "sparse_rows_equal_dense_rows"): "standardised dense rows are centred, sparse ones are not",
    ("IHOMERClassifier", "sparse_rows_equal_dense_rows"): "standardised dense rows are centred, sparse ones are not",
    ("LabelParallelIHOMER", "sparse_rows_equal_dense_rows"): "standardised dense rows are centred, sparse ones are not",
}
"""Single laws that a learner does not obey, and why; settings with ``standardise=False`` are held to them still."""

NOT_CANONICAL: dict[str, set[str]] = {"RiverClassifier": {"pickle"}}
"""Arrays of a state that may differ between learners that answer alike: those are held to have the same answers."""


def discovered() -> dict[str, type[Learner]]:
    """Every public learner of the rooms that hold learners, by name."""
    found = {}
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                is_learner = inspect.isclass(value) and issubclass(value, Learner) and not inspect.isabstract(value)
                if is_learner and not name.startswith("_"):
                    found[name] = value
    return found


def cases() -> list:
    """One pytest parameter for every learner and setting: a function that makes it."""
    params = []
    for name, cls in sorted(discovered().items()):
        for number, settings in enumerate(SETTINGS.get(name, [])):

            def make(cls=cls, settings=settings):
                return cls(**settings)

            make.exempt = {} if settings.get("standardise") is False else dict(EXEMPT_FROM)
            params.append(pytest.param(make, id=f"{name}-{number}"))
    return params


def check(law, make) -> None:
    """Run a law on a learner, or skip it with the reason for its exemption."""
    reason = make.exempt.get((type(make()).__name__, law.__name__))
    if reason:
        pytest.skip(reason)
    with trusting_pickle():
        law(make)


# Streams.


def stream(seed=0, n=70, *, n_labels=5, states=(COMPLETE,), missing=0.1, sparse=False, nominal=True) -> Batch:
    """Events whose labels depend on their features; label 4 appears half-way, the last column may be a category."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    truth = np.stack([x[:, label % 5] + 0.3 * rng.normal(size=n) > 0.4 for label in range(n_labels)], 1)
    truth[: n // 2, n_labels - 1] = False
    schema = Schema([f"x{j}" for j in range(6)], [f"y{j}" for j in range(n_labels)], sparse=sparse)
    if nominal:
        schema.make_nominal(5, ["red", "green", "blue"])
        x[:, 5] = rng.integers(0, 3, n)
    features = x
    if sparse:
        x[rng.random(x.shape) < 0.5] = 0
        features = Rows.from_dense(x, values=True)
    else:
        x[rng.random(x.shape) < missing] = np.nan
    state = rng.choice(np.array(states, np.uint8), n)
    known = (rng.random(truth.shape) < 0.6) & (state == PARTIAL)[:, None]
    truth &= (state == COMPLETE)[:, None] | known
    weight = rng.choice([0.5, 1.0, 3.0], n)
    partly = Rows.from_dense(known) if PARTIAL in states else None
    return Batch(schema, features, Rows.from_dense(truth), state, partly, weight)


ALL_STATES = (COMPLETE, COMPLETE, PARTIAL, UNLABELLED)


def run(model: Learner, batch: Batch, cuts=()) -> Prediction:
    """Test-then-train over the batch, cut at these events."""
    edges = [0, *cuts, len(batch)]
    return Prediction.concat([model.test_then_train(batch[a:b]) for a, b in itertools.pairwise(edges)])


def by_name(model: Learner, prediction: Prediction) -> dict:
    """Predicted label and probability columns by label name; labels never predicted are left out."""
    names, n = model.schema_.label_names, len(prediction)
    labels = prediction.labels.to_dense(len(names))
    proba = prediction.proba
    if proba is None:
        proba = np.zeros((n, 0))
    dense = proba.to_dense(len(names)) if isinstance(proba, Rows) else proba
    columns = {("label", name): labels[:, i].tobytes() for i, name in enumerate(names) if labels[:, i].any()}
    for i in range(dense.shape[1]):
        if dense[:, i].any():
            columns["proba", names[i]] = dense[:, i].astype(np.float32).tobytes()
    return columns


def assert_same_answers(model, a: Prediction, other, b: Prediction) -> None:
    assert len(a) == len(b)
    assert by_name(model, a) == by_name(other, b)


def assert_same_state(a: Learner, b: Learner, *, but=()) -> None:
    mine, theirs = a.get_state(), b.get_state()
    assert mine.keys() == theirs.keys()
    not_canonical = NOT_CANONICAL.get(type(a).__name__, set())
    if not_canonical:
        assert_same_answers(a, a.predict_batch(stream(99)), b, b.predict_batch(stream(99)))
    for name in mine.keys() - set(but) - not_canonical:
        assert mine[name].dtype == theirs[name].dtype, name
        assert mine[name].shape == theirs[name].shape, name
        assert mine[name].tobytes() == theirs[name].tobytes(), name


# Laws.


def one_batch_equals_many(make):
    for sparse in (False, True):
        batch = stream(1, states=ALL_STATES, sparse=sparse)
        one, many, learned = make(), make(), make()
        assert_same_answers(one, run(one, batch), many, run(many, batch, cuts=(1, 2, 9, 9, 40)))
        assert_same_state(one, many)
        for part in (batch[:33], batch[33:]):
            learned.learn_batch(part)
        assert_same_state(one, learned)


def test_then_train_is_predict_then_learn(make):
    batch = stream(2, states=ALL_STATES)
    fused, steps = make(), make()
    answers = run(fused, batch)
    parts = []
    for i in range(len(batch)):
        parts.append(steps.predict_batch(batch[i : i + 1]))
        steps.learn_batch(batch[i : i + 1])
    assert_same_answers(fused, answers, steps, Prediction.concat(parts))
    assert_same_state(fused, steps)


def dicts_equal_arrays(make):
    batch = stream(3)
    schema, dense = batch.schema, batch.y.to_dense(5)
    arrays, dicts = make(), make()
    for i in range(len(batch)):
        x = {name: None if np.isnan(v) else float(v) for name, v in zip(schema.feature_names, batch.x[i], strict=True)}
        if x["x5"] is not None:
            x["x5"] = schema.categories[5][int(x["x5"])]
        answer = arrays.predict_batch(batch[i : i + 1])
        labels = {arrays.schema_.label_names[label] for label in answer.labels.indices}
        assert {name for name, held in dicts.predict_one(x).items() if held} == labels
        if isinstance(answer.proba, np.ndarray):
            proba = dict(zip(arrays.schema_.label_names, answer.proba[0].tolist(), strict=True))
            assert {name: p[True] for name, p in dicts.predict_proba_one(x).items()} == proba
        arrays.learn_batch(batch[i : i + 1])
        y = dict(zip(schema.label_names, dense[i].astype(bool).tolist(), strict=True))
        dicts.learn_one(x, y, w=batch.weight[i])


def frames_equal_arrays(make):
    import pandas as pd

    batch = stream(4, nominal=False, missing=0.1)
    arrays, frames = make(), make()
    arrays.learn_batch(batch[:40])
    X = pd.DataFrame(batch.x, columns=batch.schema.feature_names, index=np.arange(len(batch)) * 10)
    Y = pd.DataFrame(batch.y.to_dense(5).astype(bool), columns=batch.schema.label_names)
    frames.learn_many(X[:40], Y[:40], w=batch.weight[:40])
    answer = arrays.predict_batch(batch[40:])
    labels = frames.predict_many(X[40:])
    assert labels.index.equals(X.index[40:])
    assert labels.to_numpy().tobytes() == answer.labels.to_dense(5).astype(bool).tobytes()
    if isinstance(answer.proba, np.ndarray):
        assert frames.predict_proba_many(X[40:]).to_numpy(answer.proba.dtype).tobytes() == answer.proba.tobytes()


def declared_labels_equal_discovered_ones(make):
    batch = stream(5, nominal=False)
    names = batch.schema.label_names
    declared, found = make(), make()
    answers = run(declared, batch)
    schema = Schema(batch.schema.feature_names)
    parts = []
    for i in range(len(batch)):
        labels = Rows.from_lists([[schema.label_id(names[label]) for label in batch.y.row(i)]])
        event = Batch(schema, batch.x[i : i + 1], labels, batch.label_state[i : i + 1], weight=batch.weight[i : i + 1])
        parts.append(found.test_then_train(event))
    assert_same_answers(declared, answers, found, Prediction.concat(parts))


def a_late_label_does_no_harm(make):
    n, late = 3_050, 3_000
    rng = np.random.default_rng(6)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    truth = np.column_stack([x[:, 0] > 0, x[:, 1] > 0.5, np.arange(n) >= late])
    without, model = make(), make()
    answers = run(model, Batch.from_arrays(x, truth))
    before = run(without, Batch.from_arrays(x[:late], truth[:late, :2]))
    assert_same_answers(without, before, model, answers[: late + 1][:late])
    proba = answers.proba
    if isinstance(proba, np.ndarray):
        assert np.isfinite(proba).all()
        assert ((proba >= 0) & (proba <= 1)).all()
        assert (proba[: late + 1, 2] == 0).all()
    assert not answers.labels[: late + 1].to_dense(3)[:, 2].any()


def a_late_feature_does_no_harm(make):
    batch = stream(7, nominal=False)
    narrow = Batch(batch.schema, batch.x[:, :4], batch.y, batch.label_state, weight=batch.weight)
    wide = Batch(
        batch.schema,
        np.where(np.arange(len(batch))[:, None] < 50, np.where(np.arange(6) < 4, batch.x, np.nan), batch.x),
        batch.y,
        batch.label_state,
        weight=batch.weight,
    )
    few, many = make(), make()
    assert_same_answers(few, run(few, narrow[:50]), many, run(many, wide[:50]))
    assert_same_state(few, many)
    proba = many.test_then_train(wide[50:]).proba
    assert proba is None or np.isfinite(proba.data if isinstance(proba, Rows) else proba).all()


def features_gone_missing_do_no_harm(make):
    batch = stream(8)
    model = make()
    model.learn_batch(batch)
    nothing = Batch(batch.schema, np.full((3, 6), np.nan, np.float32), batch.y[:3], batch.label_state[:3])
    none = Batch(batch.schema, np.zeros((3, 0), np.float32), batch.y[:3], batch.label_state[:3])
    other = copy.deepcopy(model)
    assert_same_answers(model, model.test_then_train(nothing), other, other.test_then_train(none))
    assert_same_state(model, other)


def unlabelled_events_teach_nothing(make):
    batch = stream(9, states=ALL_STATES)
    partial = batch.label_state == PARTIAL
    nothing_known = partial & (np.arange(len(batch)) % 2 == 0)
    known = Rows.from_dense(batch.known.to_dense(5) * ~nothing_known[:, None])
    present = Rows.from_dense(batch.y.to_dense(5) * ~nothing_known[:, None])
    batch = Batch(batch.schema, batch.x, present, batch.label_state, known, batch.weight)
    taught = np.flatnonzero((batch.label_state == COMPLETE) | (np.diff(known.indptr) > 0))
    assert 0 < len(taught) < len(batch)
    everything, labelled = make(), make()
    answers = run(everything, batch)
    expected = run(labelled, batch.take(taught))
    picked = Prediction(
        answers.labels.take(taught),
        answers.proba[taught]
        if isinstance(answers.proba, np.ndarray)
        else answers.proba and answers.proba.take(taught),
    )
    assert_same_answers(everything, picked, labelled, expected)
    assert_same_state(everything, labelled)


def a_label_never_known_present_is_never_predicted(make):
    batch = stream(10)
    known = Rows.from_lists([[0, 1, 4]] * len(batch))
    present = Rows.from_dense(batch.y.to_dense(5) * np.array([1, 1, 0, 0, 0]))
    state = np.full(len(batch), PARTIAL, np.uint8)
    model = make()
    run(model, Batch(batch.schema, batch.x, present, state, known))
    answer = model.predict_batch(batch)
    assert not answer.labels.to_dense(5)[:, 2:].any()
    if isinstance(answer.proba, np.ndarray):
        assert not answer.proba[:, 2:].any()


def input_is_unchanged(make):
    batch = stream(11, states=ALL_STATES)
    before = pickle.dumps(batch)
    x, y = {"a": 1.0, "c": "red", "m": None}, {"p": True, "q": None, "r": False}
    model = make()
    run(model, batch)
    model.predict_batch(batch)
    model.learn_one(x, y)
    assert x == {"a": 1.0, "c": "red", "m": None}
    assert y == {"p": True, "q": None, "r": False}
    assert pickle.dumps(batch) == before


def predicting_changes_nothing(make):
    model = make()
    model.learn_batch(stream(12))
    before = {name: array.tobytes() for name, array in model.get_state().items()}
    other = Schema(["x5", "new", "x0"], ["unheard", "y1"])
    other.make_nominal(0, ["violet", "red"])
    unknown = Batch(other, np.ones((2, 3), np.float32), Rows.from_lists([[0], [1]]), np.full(2, COMPLETE, np.uint8))
    assert len(model.predict_batch(unknown)) == 2
    model.predict_batch(stream(13, n_labels=8))
    answer = model.predict_one({"x0": 1.0, "brand new": 2.0, "x5": "violet"})
    assert answer["a label nobody holds"] is False
    model.predict_one({"other": "word"})
    assert {name: array.tobytes() for name, array in model.get_state().items()} == before


def twice_is_the_same_bytes(make):
    models = [make(), make()]
    for model in models:
        run(model, stream(14, states=ALL_STATES))
    assert_same_state(*models)


def a_saved_learner_goes_on(make):
    batch = stream(15, states=ALL_STATES)
    straight = make()
    expected = run(straight, batch)[40:]
    model = make()
    run(model, batch[:40])
    restored = make()
    restored.set_state(model.get_state())
    for other in (restored, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same_state(model, other)
        assert_same_answers(straight, expected, other, other.test_then_train(batch[40:]))
        assert_same_state(straight, other)


def a_clone_is_fresh(make):
    model = make()
    run(model, stream(16))
    assert_same_state(model.clone(), make())


def sparse_rows_equal_dense_rows(make):
    batch = stream(17, sparse=True, nominal=False)
    full = Batch(batch.schema, batch.x.to_dense(6), batch.y, batch.label_state, weight=batch.weight)
    sparse, dense = make(), make()
    assert_same_answers(sparse, run(sparse, batch), dense, run(dense, full))
    assert_same_state(sparse, dense)


def merged_parts_equal_the_whole(make):
    """To 1e-9, in any cut, names being given in another order; a learner whose settings do not allow it says so.

    Only learners with a ``merge`` are held to it.
    """
    if not can_merge(make()):
        with pytest.raises(ValueError, match=r"must be .* to merge, got"):
            make().merge(make())
        return
    batch, asked = stream(21, n=200, states=ALL_STATES), stream(22)
    whole, reference = make(), make()
    whole.learn_batch(batch)
    # Answers may be those of weights that were solved a while ago, where events came since; a merge solves them anew.
    reference.merge(whole)
    expected = reference.predict_batch(asked).proba
    for cut in (0, 1, 60, 199, 200):
        merged, part = make(), make()
        merged.learn_batch(batch[:cut])
        turned = Schema(batch.schema.feature_names[::-1], batch.schema.label_names[::-1])
        part.learn_batch(batch[cut:].aligned(turned))
        merged.merge(part)
        columns = [merged.schema_.find_label(name) for name in reference.schema_.label_names]
        np.testing.assert_allclose(merged.predict_batch(asked).proba[:, columns], expected, rtol=0, atol=1e-9)


def can_merge(model):
    """Whether a learner's settings leave no trace of the order of events, but in rounding."""
    if isinstance(model, AutoHead) and (model.n_features or model.sub_prototypes):
        return False
    return getattr(model, "normalise", "none") in STATELESS


def the_state_is_all_there_is(make):
    model = make()
    run(model, stream(18))
    state = model.get_state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    assert not any(array.dtype.hasobject for array in state.values())
    assert model.nbytes == sum(array.nbytes for array in state.values())


def a_foreign_state_is_refused(make):
    model = make()
    run(model, stream(19))
    state = model.get_state()
    with pytest.raises(ValueError, match=r"state must hold the arrays .*'schema'.*, got "):
        model.set_state({name: array for name, array in state.items() if name != "schema"})
    with pytest.raises(ValueError, match=r"state must hold the arrays .*, got .*'surplus'"):
        model.set_state({**state, "surplus": np.zeros(1)})


def nothing_to_learn_is_learned(make):
    model = make()
    empty = Batch.from_arrays(np.zeros((0, 2)), np.zeros((0, 2)))
    assert len(model.test_then_train(empty)) == 0
    assert len(model.predict_batch(empty)) == 0
    assert not any(model.predict_one({}).values())
    assert make().predict_one({"a": 1.0}) == {}
    model.learn_one({}, {"only": True})
    assert "only" in model.predict_one({})


def numbers_that_are_none_are_refused(make):
    model = make()
    for value in (float("nan"), float("inf"), 1e39):
        with pytest.raises(ValueError, match="feature 'a' must be finite as a float32"):
            model.learn_one({"a": value}, {"p": True})
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="weight must be positive and finite"):
            model.learn_one({"a": 1.0}, {"p": True}, w=weight)


def river_accepts_it(make):
    """River's own checks, on the Yeast set that its wheel carries in place of the Music set that it downloads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(river.datasets, "Music", river.datasets.Yeast)
        for river_check in yield_checks(make()):
            if river_check.__name__ not in make()._unit_test_skips():
                river_check(make())


LAWS = [
    one_batch_equals_many,
    test_then_train_is_predict_then_learn,
    dicts_equal_arrays,
    frames_equal_arrays,
    declared_labels_equal_discovered_ones,
    a_late_label_does_no_harm,
    a_late_feature_does_no_harm,
    features_gone_missing_do_no_harm,
    unlabelled_events_teach_nothing,
    a_label_never_known_present_is_never_predicted,
    input_is_unchanged,
    predicting_changes_nothing,
    twice_is_the_same_bytes,
    a_saved_learner_goes_on,
    a_clone_is_fresh,
    sparse_rows_equal_dense_rows,
    the_state_is_all_there_is,
    a_foreign_state_is_refused,
    nothing_to_learn_is_learned,
    numbers_that_are_none_are_refused,
    river_accepts_it,
]
