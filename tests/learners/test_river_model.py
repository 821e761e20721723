"""River classifiers as learners: the same answers as in river's own loop, and states that need trust."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import river
from river import base, compose, linear_model, multiclass, multioutput, naive_bayes, preprocessing, tree
from river.drift import ADWIN

import ihomer
from drift.pickled import UntrustedPickleError, trusting_pickle
from drift.river_detector import RiverDetector
from learners.river_model import RiverClassifier, from_river, takes_weight
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Rows, Schema
from tests import contracts

LABELS = ["a", "b", "c"]


def events(n=150, seed=0, kind="several"):
    """Numeric events with a label matrix: several labels each, one of three classes, one of two, or one label."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = {
        "several": np.column_stack([x[:, 0] > 0, x[:, 1] > 0.3, x[:, 2] > 0.5]),
        "three": np.eye(3, dtype=bool)[np.where(x[:, 0] > 0.4, 0, np.where(x[:, 1] > 0, 1, 2))],
        "two": np.eye(2, dtype=bool)[(x[:, 0] > 0).astype(int)],
        "one": (x[:, 0] > 0)[:, None],
    }[kind]
    schema = Schema([f"f{j}" for j in range(4)], LABELS[: y.shape[1]])
    weight = rng.choice([0.5, 1.0, 3.0], n)
    return Batch(schema, x, Rows.from_dense(y), np.full(n, COMPLETE, np.uint8), weight=weight), y


def dictionaries(batch):
    return [dict(zip(batch.schema.feature_names, row, strict=True)) for row in batch.x.tolist()]


MULTILABEL = {
    "per-output": lambda: multioutput.PerOutputClassifier(linear_model.LogisticRegression()),
    "pipeline": lambda: preprocessing.StandardScaler() | multioutput.PerOutputClassifier(naive_bayes.GaussianNB()),
    "pipelines": lambda: multioutput.PerOutputClassifier(
        preprocessing.StandardScaler() | linear_model.LogisticRegression()
    ),
    "chain": lambda: multioutput.ClassifierChain(linear_model.LogisticRegression()),
    "probabilistic-chain": lambda: multioutput.ProbabilisticClassifierChain(linear_model.LogisticRegression()),
    "monte-carlo-chain": lambda: multioutput.MonteCarloClassifierChain(linear_model.LogisticRegression(), seed=1),
    "encoder": lambda: multioutput.MultiClassEncoder(tree.HoeffdingTreeClassifier(grace_period=20)),
    "no-probabilities": lambda: multioutput.PerOutputClassifier(multiclass.OutputCodeClassifier(
        linear_model.LogisticRegression(), code_size=4, seed=1
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", MULTILABEL)
def test_answers_are_those_of_rivers_own_loop(name):
    batch, y = events()
    answers = RiverClassifier(MULTILABEL[name]()).test_then_train(batch)
    model, met = MULTILABEL[name](), []
    weighted = takes_weight(model)
    labels, proba = np.zeros(y.shape, bool), np.zeros(y.shape)
    for i, x in enumerate(dictionaries(batch)):
        said = model.predict_one(x)
        likely = {} if answers.proba is None else model.predict_proba_one(x)
        for j, label in enumerate(LABELS):
            labels[i, j] = bool(said.get(label, False))
            proba[i, j] = likely.get(label, {}).get(True, 0.0)
        met += [label for j, label in enumerate(LABELS) if y[i, j] and label not in met]
        known = {label: bool(y[i, LABELS.index(label)]) for label in met}
        model.learn_one(x, known, **({"w": float(batch.weight[i])} if weighted else {}))
    assert (answers.labels.to_dense(3) == labels).all()
    assert answers.labels.to_dense(3).any()
    assert (answers.proba is None) == (name == "no-probabilities")
    if answers.proba is not None:
        assert answers.proba.tobytes() == proba.tobytes()


def test_a_multi_class_model_answers_as_in_rivers_own_loop():
    batch, y = events(kind="three")
    answers = RiverClassifier(naive_bayes.GaussianNB()).test_then_train(batch)
    model = naive_bayes.GaussianNB()
    for i, x in enumerate(dictionaries(batch)):
        said, likely = model.predict_one(x), model.predict_proba_one(x)
        assert [LABELS[label] for label in answers.labels.row(i)] == ([] if said is None else [said])
        assert answers.proba[i].tolist() == [likely.get(label, 0.0) for label in LABELS]
        model.learn_one(x, LABELS[int(y[i].argmax())])


@pytest.mark.parametrize("kind", ["one", "two"])
def test_a_binary_model_answers_as_in_rivers_own_loop(kind):
    batch, y = events(kind=kind)
    answers = RiverClassifier(linear_model.LogisticRegression()).test_then_train(batch)
    first = int(y[0].argmax()) if kind == "two" else 0
    model = linear_model.LogisticRegression()
    predicted = answers.labels.to_dense(y.shape[1])
    for i, x in enumerate(dictionaries(batch)):
        if i > 10:
            p = model.predict_proba_one(x)[True]
            assert answers.proba[i, first] == p
            assert predicted[i, first] == model.predict_one(x)
            if kind == "two":
                assert answers.proba[i, 1 - first] == 1.0 - p
                assert predicted[i].sum() == 1
        model.learn_one(x, bool(y[i, first]), w=float(batch.weight[i]))


def test_a_multi_class_model_takes_a_stream_of_one_label():
    batch, y = events(300, kind="one")
    model = RiverClassifier(tree.HoeffdingTreeClassifier(grace_period=20))
    model.test_then_train(batch)
    assert (model.predict_batch(batch).labels.to_dense(1) == y).mean() > 0.9


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (tree.HoeffdingTreeClassifier(), [["a"], ["a", "b"]], r"such as multioutput.PerOutputClassifier, where an event"
         " has 2 labels, got HoeffdingTreeClassifier"),
        (preprocessing.StandardScaler() | linear_model.LogisticRegression(), [["a", "b"]], r"such as multioutput."
         "PerOutputClassifier, where an event has 2 labels, got LogisticRegression"),
        (naive_bayes.GaussianNB(), [["a"], [], ["b"]], "PerOutputClassifier, where there are 2 labels and events"
         " without, got GaussianNB"),
        (naive_bayes.GaussianNB(), [["a"], ["b"], []], "where there are 2 labels and events without, got GaussianNB"),
        (linear_model.LogisticRegression(), [["a"], ["b"], ["c"]], r"such as multiclass.OneVsRestClassifier, where"
         " there are 3, got LogisticRegression"),
    ],
    ids=["tree", "pipeline", "none-first", "none-last", "three"],
)  # fmt: skip
def test_a_model_of_one_class_refuses_streams_of_several_labels(model, labels, message):
    batch = Batch.from_dicts([{"f": 1.0}] * len(labels), labels)
    with pytest.raises(ValueError, match=message):
        RiverClassifier(model).test_then_train(batch)


@pytest.mark.parametrize(
    ("thing", "got"),
    [
        (linear_model.LinearRegression(), "LinearRegression"),
        (preprocessing.StandardScaler(), "StandardScaler"),
        (preprocessing.StandardScaler() | linear_model.LinearRegression(), "LinearRegression"),
        (linear_model.LogisticRegression, "LogisticRegression"),
        (3, "int"),
    ],
    ids=["regressor", "transformer", "pipeline", "class", "number"],
)
def test_what_is_no_classifier_is_refused(thing, got):
    with pytest.raises(
        TypeError, match=f"model must be a classifier of river or a pipeline that ends in one, got {got}"
    ):
        from_river(thing)


def test_a_sampler_that_asks_for_labels_is_refused():
    from river.active import EntropySampler

    with pytest.raises(TypeError, match="model must answer with classes alone, got EntropySampler"):
        from_river(EntropySampler(linear_model.LogisticRegression()))


class Remembering(base.MultiLabelClassifier):
    """Keeps what it was told."""

    def __init__(self):
        self.told = []

    def learn_one(self, x, y):
        self.told.append((dict(x), dict(y)))

    def predict_one(self, x, **kwargs):
        return {"a": 1, "b": None}


def test_only_what_is_there_and_known_is_told():
    schema = Schema(["n", "colour", "id", "late"], LABELS)
    schema.make_nominal(1, ["red", "blue"])
    schema.ignored.add(2)
    nan = np.nan
    x = np.array([[1, 1, 7, nan], [nan, 0, 8, nan], [0, nan, 9, nan], [2, 0, 9, nan], [3, 0, 9, nan]], np.float32)
    y = Rows.from_lists([[1], [], [0], [], []])
    known = Rows.from_lists([[], [1, 2], [0], [], []])
    state = np.array([COMPLETE, PARTIAL, PARTIAL, UNLABELLED, PARTIAL], np.uint8)
    model = RiverClassifier(Remembering())
    answers = model.test_then_train(Batch(schema, x, y, state, known))
    assert model._model.told == [
        ({"n": 1.0, "colour": "blue"}, {"b": True}),
        ({"colour": "red"}, {"b": False}),
        ({"n": 0.0}, {"a": True}),
    ]
    assert answers.labels.to_dense(3)[:, 0].tolist() == [0, 0, 0, 1, 1]
    assert answers.proba is None
    said = model.predict_one({"n": 1.0})
    assert said == {"a": True, "b": False, "c": False}
    assert {type(value) for value in said.values()} == {bool}


def test_an_error_tells_of_nominal_features():
    model = RiverClassifier(MULTILABEL["per-output"]())
    with pytest.raises(TypeError, match=r"model must take text, .* where features are nominal, such as 'colour', got "):
        model.learn_one({"size": 1.0, "colour": "red"}, {"a": True})


def test_zeros_of_sparse_rows_are_left_out():
    batch = Batch.from_arrays(Rows.from_dense(np.array([[0, 2.0, 3.0]]), values=True), np.array([[1]]))
    model = RiverClassifier(Remembering())
    model.learn_batch(batch)
    assert model._model.told == [({"x1": 2.0, "x2": 3.0}, {"y0": True})]


def test_weights_are_passed_where_they_are_taken():
    per_output = multioutput.PerOutputClassifier
    assert takes_weight(linear_model.LogisticRegression())
    assert takes_weight(preprocessing.StandardScaler() | per_output(tree.HoeffdingTreeClassifier()))
    assert takes_weight(per_output(preprocessing.StandardScaler() | linear_model.LogisticRegression()))
    assert not takes_weight(per_output(naive_bayes.GaussianNB()))
    assert not takes_weight(multioutput.ClassifierChain(linear_model.LogisticRegression()))
    heavy, light = (RiverClassifier(per_output(linear_model.LogisticRegression())) for _ in range(2))
    heavy.learn_one({"f": 1.0}, {"a": True}, w=5.0)
    light.learn_one({"f": 1.0}, {"a": True})
    assert heavy.predict_proba_one({"f": 1.0})["a"][True] > light.predict_proba_one({"f": 1.0})["a"][True]


def river_classifiers():
    """Every classifier of river with the parameters that river tests it with, by name."""
    for module in pkgutil.walk_packages(river.__path__, "river."):
        if ".test" not in module.name and ".datasets." not in module.name:
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue
    waiting, found = [base.Classifier, base.MultiLabelClassifier], {}
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("river.") and not inspect.isabstract(cls):
            found[cls.__name__] = cls
    return found


UNFIT = {
    "BaseTreeClassifier": "a part of AMFClassifier",
    "EntropySampler": "asks for labels",
    "ComplementNB": "takes counts",
    "MultinomialNB": "takes counts",
    "RandomOverSampler": "river says nothing of its parameters",
    "RandomSampler": "river says nothing of its parameters",
    "RandomUnderSampler": "river says nothing of its parameters",
    "SuccessiveHalvingClassifier": "river's parameters for tests lack one",
    "ZstdClassifier": "needs Python 3.14",
}


@pytest.mark.filterwarnings("ignore")
def test_every_classifier_of_river_runs_and_goes_on():
    fit = {name: cls for name, cls in river_classifiers().items() if name not in UNFIT}
    assert len(fit) > 40
    for name, cls in fit.items():
        model = RiverClassifier(cls(**next(iter(cls._unit_test_params()))))
        kinds = ["several"] if model._multilabel else ["one", "two", *(["three"] if model._multiclass else [])]
        for kind in kinds:
            batch, _ = events(60, kind=kind)
            one = model.clone()
            answers = one.test_then_train(batch)
            assert answers.labels.indices.size, (name, kind)
            other = model.clone()
            other.set_state(one.get_state(), trust_pickle=True)
            a, b = one.test_then_train(batch), other.test_then_train(batch)
            assert a.labels.indices.tolist() == b.labels.indices.tolist(), (name, kind)
            if a.proba is not None:  # KNNClassifier sums over sets, whose order is another once they are unpickled
                assert np.allclose(a.proba, b.proba, rtol=0, atol=1e-12), (name, kind)


# States.


def trained(model=None):
    model = RiverClassifier(model or MULTILABEL["chain"]())
    model.learn_batch(events()[0])
    return model


def test_the_state_is_bytes_and_says_which_river_wrote_them():
    state = trained().get_state()
    assert state["pickle"].dtype == np.uint8
    assert state["river"].tobytes().decode() == river.__version__
    assert Schema.from_array(state["schema"]).label_names == LABELS


def test_a_state_is_read_only_where_it_is_trusted():
    state = trained().get_state()
    other = RiverClassifier(MULTILABEL["chain"]())
    message = "the state holds a pickled river object, .* trust_pickle=True or --trust-pickle"
    with pytest.raises(UntrustedPickleError, match=message):
        other.set_state(state)
    with trusting_pickle(False), pytest.raises(UntrustedPickleError):
        other.set_state(state)
    with trusting_pickle(), trusting_pickle(False):
        other.set_state(state)
    other.set_state(state, trust_pickle=True)
    with pytest.raises(UntrustedPickleError):
        other.set_state(state)


class Bomb:
    """Goes off when it is read."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('read')",))


def test_nothing_of_a_pickle_is_read_without_trust():
    state = trained().get_state()
    state["pickle"] = np.frombuffer(pickle.dumps(Bomb()), np.uint8)
    other = RiverClassifier(MULTILABEL["chain"]())
    with pytest.raises(UntrustedPickleError):
        other.set_state(state)
    with pytest.raises(SystemExit, match="read"):
        other.set_state(state, trust_pickle=True)


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        ("0.26.1", "0.26.0", False),
        ("0.26.1", "0.25.1", True),
        ("1.4.0", "1.2.3", False),
        ("1.0.0", "0.26.1", True),
        ("2.0", "1.9", True),
        ("0.26.1", "", True),
    ],
)
def test_another_series_of_river_is_refused(monkeypatch, mine, theirs, refused):
    state = trained().get_state()
    state["river"] = np.frombuffer(theirs.encode(), np.uint8)
    monkeypatch.setattr("drift.pickled.version", lambda name: mine)
    other = RiverClassifier(MULTILABEL["chain"]())
    if refused:
        with pytest.raises(ValueError, match=f"river must be of version .* to read this state, got {mine}"):
            other.set_state(state, trust_pickle=True)
    else:
        other.set_state(state, trust_pickle=True)


def test_what_cannot_be_pickled_is_used_and_not_kept():
    model = compose.FuncTransformer(lambda x: x) | multioutput.PerOutputClassifier(linear_model.LogisticRegression())
    model = trained(model)
    assert model.predict_one({"f0": 1.0})["a"] in (True, False)
    assert model.nbytes > 1000
    with pytest.raises(TypeError, match="a river object must be picklable for its state to be kept, got "):
        model.get_state()


def test_the_state_goes_to_another_process(tmp_path):
    model = trained(MULTILABEL["per-output"]())
    np.savez(tmp_path / "state.npz", **model.get_state())
    code = (
        "import numpy as np, sys\n"
        "from river import linear_model, multioutput\n"
        "from learners.river_model import RiverClassifier\n"
        "model = RiverClassifier(multioutput.PerOutputClassifier(linear_model.LogisticRegression()))\n"
        "model.set_state(dict(np.load(sys.argv[1])), trust_pickle=True)\n"
        "print(model.predict_proba_one({'f0': 0.5, 'f1': -1.0}))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "state.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(model.predict_proba_one({"f0": 0.5, "f1": -1.0}))


# Objects.


def test_from_river_chooses_the_wrapper():
    assert isinstance(ihomer.from_river(linear_model.LogisticRegression()), RiverClassifier)
    assert isinstance(ihomer.from_river(MULTILABEL["pipeline"]()), RiverClassifier)
    assert isinstance(ihomer.from_river(ADWIN()), RiverDetector)
    mine = ihomer.LinearClassifier()
    assert ihomer.from_river(mine) is mine


def test_the_model_given_is_not_touched_and_what_it_knew_is_kept():
    model = multioutput.PerOutputClassifier(linear_model.LogisticRegression())
    for _ in range(50):
        model.learn_one({"f": 1.0}, {"a": True})
    before = pickle.dumps(model)
    learner = ihomer.from_river(model)
    learner.learn_one({"f": 1.0}, {"a": True})
    assert learner.predict_proba_one({"f": 1.0})["a"][True] > 0.6
    assert learner.clone().predict_one({"f": 1.0}) == {}
    assert pickle.dumps(model) == before


def test_it_is_a_learner_of_the_engine():
    batch, _ = events(300)
    found = ihomer.evaluate(
        batch, {"river": ihomer.from_river(MULTILABEL["pipeline"]())}, detector=ihomer.from_river(ADWIN())
    )
    assert found.runs[0].metrics["micro_f1"] > 0.7
    assert found.runs[0].learner["params"] == {
        "model": {"pickled": "StandardScaler | PerOutputClassifier(GaussianNB)"},
        "seed": None,
    }


def test_it_can_be_the_local_learner_of_ihomer():
    batch = contracts.stream(5, n=80, nominal=False, missing=0)
    model = ihomer.IHOMERClassifier(local=ihomer.from_river(MULTILABEL["per-output"]()))
    model.learn_batch(batch)
    other = ihomer.IHOMERClassifier(local=ihomer.from_river(MULTILABEL["per-output"]()))
    with pytest.raises(UntrustedPickleError):
        other.set_state(model.get_state())
    with trusting_pickle():
        other.set_state(model.get_state())
    assert other.predict_batch(batch).proba.tobytes() == model.predict_batch(batch).proba.tobytes()
