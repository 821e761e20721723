"""River models by specification: what is read, what is refused and where, and what the commands do with them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ihomer import specs
from ihomer.checkpoint import CheckpointStore, describe
from ihomer.river_spec import build
from ihomer.specs import SpecError
from learners.river_model import RiverClassifier

PER_OUTPUT = "river:multioutput.PerOutputClassifier(linear_model.LogisticRegression())"
FOREST = "river:multioutput.PerOutputClassifier(forest.ARFClassifier(n_models=2, grace_period=20))"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("river:linear_model.LogisticRegression()", "LogisticRegression"),
        ("river:linear_model.LogisticRegression", "LogisticRegression"),
        (" river: preprocessing.StandardScaler | tree.LASTClassifier() ", "StandardScaler | LASTClassifier"),
        ("river:compose.Pipeline(('s', preprocessing.StandardScaler()), tree.LASTClassifier())",
         "StandardScaler | LASTClassifier"),
        ("river:compose.Select('a', 'b') + compose.Select('c') | tree.LASTClassifier()", "['a', 'b'] + ['c'] | LAST"),
        ("river:multioutput.ClassifierChain(\n  linear_model.PAClassifier(),\n  order=['b', 'a']\n)", "ClassifierCh"),
        ("river:compose.SelectType(str) | preprocessing.OneHotEncoder() | naive_bayes.GaussianNB()", "| OneHot"),
    ],
)  # fmt: skip
def test_what_is_read(text, told):
    assert told in str(build(text))


def test_parameters_are_literals_and_constructors():
    model = build("river:linear_model.LogisticRegression(optim.SGD(lr=0.5), l2=1e-3, intercept_init=-2, loss=None)")
    assert (model.optimizer.learning_rate, model.l2, model.intercept_init) == (0.5, 1e-3, -2)
    voters = build("river:ensemble.VotingClassifier([naive_bayes.GaussianNB(), tree.LASTClassifier(max_depth=2)])")
    assert [type(model).__name__ for model in voters.models] == ["GaussianNB", "LASTClassifier"]
    assert build("river:imblearn.RandomUnderSampler(tree.LASTClassifier(), {True: .4, False: .6})").desired_dist == {
        True: 0.4,
        False: 0.6,
    }


def test_the_seed_goes_to_every_constructor_that_was_given_none():
    text = "river:ensemble.BaggingClassifier(forest.ARFClassifier(n_models=1{}), n_models=2{})"
    outer = build(text.format("", ""), seed=7)
    assert (outer.seed, outer.model.seed) == (7, 7)
    outer = build(text.format(", seed=3", ", seed=None"), seed=7)
    assert (outer.seed, outer.model.seed) == (None, 3)
    assert build("river:imblearn.RandomSampler(tree.LASTClassifier(), {1: 1.0}, 1.0, 5)", seed=7).seed == 5
    outer = specs.build(text.format("", ""), seed=7)
    assert (outer.model.seed, outer.model.model.seed) == (7, 7)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("river:", 7, "invalid syntax"),
        ("river:linear_model.LogisticRegression(", 38, "'(' was never closed"),
        ("river:linear_model.Logistic()", 7, "river.linear_model must have what is named, got 'Logistic'; did you mean "
         "LogisticRegression?"),
        ("river:nowhere.Model()", 7, "river must have what is named, got 'nowhere'"),
        ("river:linear_model.LogisticRegression(l3=1)", 39, "parameter of LogisticRegression must be one of "),
        ("river:  preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=1, x=2)", 80, "got 'x'"),
        ("river:compose.Select('é') | tree.Nothing()", 29, "river.tree must have what is named, got 'Nothing'"),
        ("river:tree.LASTClassifier(max_depth=2 + 3)", 37, "must be a class of river such as"),
        ("river:tree.LASTClassifier(max_depth=2 ** 3)", 37, "steps must be joined by |, + or *, got '2 ** 3'"),
        ("river:tree.LASTClassifier(max_depth=[n for n in (1,)])", 37, "must be a literal or a class of river with"),
        ("river:tree.LASTClassifier(max_depth=lambda: 1)", 37, "must be a literal"),
        ("river:tree.LASTClassifier(max_depth=f'{1}')", 37, "must be a literal"),
        ("river:tree.LASTClassifier(max_depth=b'')", 37, "must be a literal"),
        ("river:tree.LASTClassifier(max_depth=n)", 37, "must be a literal"),
        ("river:tree.LASTClassifier(**{'max_depth': 1})", 29, "parameters must be given by name"),
        ("river:tree.LASTClassifier(*[1])", 27, "must be a literal"),
        ("river:tree.LASTClassifier().learn_one({}, 1)", 7, "only a class of river can be called"),
        ("river:tree.LASTClassifier.__init__(1)", 7, "river.tree.LASTClassifier must have what is named"),
        ("river:__import__('os').system('true')", 7, "only a class of river can be called"),
        ("river:str(1)", 7, "river must have what is named, got 'str'"),
        ("river:compose.pipeline.itertools.count()", 7, "river.compose.pipeline must have what is named, got"),
        ("river:compose.pipeline.functools.partial(1)", 7, "got 'functools'"),
        ("river:utils.math.prod([1])", 7, "got 'prod'"),
        ("river:base.Classifier()", 7, "must be a class of river that can be made, got base.Classifier"),
        ("river:compose", 7, "must be a class of river such as linear_model.LogisticRegression(), got 'compose'"),
        ("river:compose.pipeline", 7, "must be a class of river that can be made, got compose.pipeline"),
        ("river:optim.SGD() | optim.SGD()", 7, "steps must fit together, got unsupported operand"),
        ("river:tree.HoeffdingTreeClassifier(1, 2, 3, 4, 5, tau=1)", 7, "HoeffdingTreeClassifier must be given what it "
         "takes, got "),
        ("river:3", 7, "must be a class of river such as"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(text, place, message):
    with pytest.raises(SpecError, match=re.escape(f"{text}: at character {place}: ") + ".*" + re.escape(message)):
        build(text)


@pytest.mark.parametrize("text", ["(" * 5000 + ")" * 5000, "tree.LASTClassifier(max_depth={[]})", "a\0b"])
def test_what_cannot_be_parsed_is_refused(text):
    with pytest.raises(SpecError, match="river:"):
        build(f"river:{text}")


def test_a_learner_knows_its_specification():
    model = specs.build(PER_OUTPUT, seed=3)
    assert isinstance(model, RiverClassifier)
    assert describe(model) == {
        "class": "learners.river_model:RiverClassifier",
        "params": {"model": PER_OUTPUT, "seed": 3},
    }
    assert describe(model.clone()) == describe(model)
    assert specs.learner_class(PER_OUTPUT) is RiverClassifier
    assert specs.values(PER_OUTPUT) == {}


def test_a_description_is_that_of_rivers_class():
    found = specs.describe("river:preprocessing.StandardScaler() | linear_model.LogisticRegression()")
    assert found["class"] == "river.linear_model.log_reg:LogisticRegression"
    assert {"name": "l2", "default": 0.0}.items() <= next(p for p in found["parameters"] if p["name"] == "l2").items()


# Commands.


@pytest.fixture
def stream(tmp_path):
    """A file of events with several labels each, some of them broken or without labels."""
    rng = np.random.default_rng(0)
    lines = []
    for event in range(400):
        x = rng.normal(size=3).round(3).tolist()
        labels = [name for name, value in zip("abc", x, strict=True) if value > 0.2]
        told = {"id": str(event), "x": dict(zip("uvw", x, strict=True)), **({"y": labels} if event % 7 else {})}
        lines.append("{broken" if event % 50 == 3 else json.dumps(told))
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_evaluate(command, stream):
    code, out, err = command(
        *(
            "evaluate",
            "--data",
            "events.jsonl",
            "--learner",
            f"{PER_OUTPUT},majority",
            "--learner",
            FOREST,
            "--seed",
            5,
        ),
        *("--detector", "river:drift.ADWIN(delta=0.01)", "--on-error", "skip", "--no-baselines", "--json", "--quiet"),
    )
    assert code == 0, err
    runs = json.loads(out)["runs"]
    assert [run["learner"]["name"] for run in runs] == [PER_OUTPUT, "majority", FOREST]
    assert runs[2]["learner"]["params"] == {"model": FOREST, "seed": 5}
    assert runs[0]["learner"]["detector"]["params"] == {"detector": "river:drift.ADWIN(delta=0.01)"}
    assert runs[0]["metrics"]["micro_f1"] > runs[1]["metrics"]["micro_f1"]


def test_a_run_that_stopped_goes_on_where_it_is_trusted(command, stream):
    def run(folder, *words):
        return command(
            *("run", "--source", "events.jsonl", "--learner", FOREST, "--seed", 5, "--quiet", "--no-baselines"),
            *("--detector", "river:drift.KSWIN(seed=1, window_size=60, stat_size=20)"),
            *("--predictions", f"{folder}.jsonl", "--checkpoint", folder, "--checkpoint-every", 100, *words),
        )

    assert run("whole")[0] == 0
    assert run("part", "--max-events", 230)[0] == 0
    code, _, err = run("part", "--resume")
    assert code == 1
    assert "must be said by trust_pickle=True or --trust-pickle" in err
    code, _, err = run("part", "--resume", "--trust-pickle")
    assert code == 0, err
    whole, part = ((stream / f"{name}.jsonl").read_bytes() for name in ("whole", "part"))
    assert whole == part
    logs = [CheckpointStore(stream / name).latest()[2]["0/log"].tobytes() for name in ("whole", "part")]
    drifts, curves = zip(*((log["drifts"], log["curve"]) for log in map(json.loads, logs)), strict=True)
    assert drifts[0] == drifts[1]
    assert curves[0] == curves[1]
    code, _, err = run("part", "--resume", "--trust-pickle", "--seed", 6)
    assert code == 1
    assert "learners must be those of the checkpoint" in err


def test_a_new_run_begins_with_a_trusted_learner(command, stream):
    run = ("run", "--source", "events.jsonl", "--learner", PER_OUTPUT, "--quiet", "--no-baselines")
    assert command(*run, "--checkpoint", "state")[0] == 0
    file = next((stream / "state").glob("*.ckpt"))
    code, _, err = command(*run, "--warm-start", file)
    assert code == 1
    assert "--trust-pickle" in err
    assert command(*run, "--warm-start", file, "--trust-pickle")[0] == 0


def test_show_reads_no_pickle(command, stream, monkeypatch):
    local = f"ihomer:local={PER_OUTPUT}"
    run = ("run", "--source", "events.jsonl", "--quiet", "--no-baselines", "--checkpoint", "state")
    assert command(*run, "--learner", FOREST, "--challenger", local)[0] == 0

    def never(data):
        raise AssertionError("a pickle was read")

    monkeypatch.setattr("drift.pickled.pickle.loads", never)
    code, out, _ = command("show", "state", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["learners"][0]["params"]["model"] == FOREST
    assert found["arrays"]["0/model/pickle"]["dtype"] == "uint8"
    code, out, _ = command("show", "state")
    assert code == 0
    assert FOREST in out.replace("\n", "")


def test_a_challenger_is_promoted_unread(command, stream, monkeypatch):
    run = ("run", "--source", "events.jsonl", "--quiet", "--no-baselines", "--checkpoint", "state")
    assert command(*run, "--learner", "majority", "--challenger", PER_OUTPUT)[0] == 0
    assert command("promote", "state", "--learner", PER_OUTPUT)[0] == 0
    code, _, err = command(*run, "--learner", PER_OUTPUT, "--resume", "--trust-pickle")
    assert code == 0, err


def test_how_to_go_on_says_that_pickles_must_be_trusted(capsys):
    from ihomer.cli.running import _tell_how_to_go_on
    from ihomer.config import resolve
    from ihomer.plans import EvaluatePlan, RunPlan

    for plan, trusted in (
        (resolve(RunPlan, {"source": "yeast", "learner": PER_OUTPUT, "checkpoint": "state"}), True),
        (resolve(RunPlan, {"source": "yeast", "detector": "river:drift.ADWIN()", "checkpoint": "state"}), True),
        (resolve(EvaluatePlan, {"data": "yeast", "learner": f"linear,{PER_OUTPUT}", "out": "out"}), True),
        (resolve(RunPlan, {"source": "yeast", "checkpoint": "state"}), False),
    ):
        _tell_how_to_go_on(plan, "state")
        assert ("--trust-pickle" in capsys.readouterr().err) is trusted


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--learner", "river:linear_model.Logistic()"), 2, "river:linear_model.Logistic(): at character 7: "),
        (("--learner", "river:linear_model.LogisticRegression()"), 1, "such as multioutput.PerOutputClassifier, where "
         "an event has 2 labels, got LogisticRegression"),
        (("--detector", "river:tree.LASTClassifier()"), 2, "detector must be a drift detector of river"),
        (("--watch", "river:drift.ADWIN()"), 2, "--watch: river:drift.ADWIN(): detector must be one of cardinality"),
    ],
    ids=["name", "labels", "detector", "watch"],
)  # fmt: skip
def test_wrong_usage(command, stream, words, code, message):
    found, _, err = command("evaluate", "--data", "events.jsonl", "--on-error", "skip", "--quiet", *words)
    assert found == code
    assert message in err


def test_commands_tell_of_rivers_classes(command):
    code, out, _ = command("learners", "info", "river:linear_model.LogisticRegression()")
    assert code == 0
    assert "clip_gradient" in out
    code, out, _ = command("detectors", "info", "river:drift.ADWIN()")
    assert code == 0
    assert "delta" in out
