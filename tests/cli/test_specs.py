"""Learner specifications: their grammar, their values, and what is said about wrong ones."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import specs
from ihomer.specs import LearnerSpec, SpecError, build, describe, parse, split
from tests.cli.toys import Needy, Toy

TOY = "tests.cli.toys:Toy"
KNOWN = ", ".join(sorted(specs.LEARNERS))

names = st.sampled_from(["ihomer", "linear", "no-change", "my_own.learners:Tree", "a.b:C.D"])
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="'"), max_size=12)
learners = st.builds(LearnerSpec, names, st.dictionaries(keys, values, max_size=3))


@settings(deadline=None)
@given(learners)
def test_what_a_specification_writes_is_read_back(spec):
    assert parse(str(spec)) == spec


@settings(deadline=None)
@given(st.lists(learners, min_size=1, max_size=4))
def test_a_list_splits_into_what_it_was_made_of(written):
    assert split(",".join(map(str, written))) == [str(spec) for spec in written]


@given(st.text(alphabet="ab:=,()[]{}'\"- .1", max_size=20))
@settings(deadline=None, max_examples=300)
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(SpecError):
        for learner in split(text):
            spec = parse(learner)
            assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "learners"),
    [
        ("ihomer", ["ihomer"]),
        ("ihomer, linear", ["ihomer", "linear"]),
        ("linear:l2=0.1,l1=2,majority", ["linear:l2=0.1,l1=2", "majority"]),
        ("linear:l2=1,linear:l2=2", ["linear:l2=1", "linear:l2=2"]),
        ("linear(l2=1,l1=2),a.b:C(x=[1,2],y=3)", ["linear(l2=1,l1=2)", "a.b:C(x=[1,2],y=3)"]),
        ('a.b:C:x="1,2",majority', ['a.b:C:x="1,2"', "majority"]),
        ("river:a.B(x=1, y=2) | c.D(z=[1, 2]),majority", ["river:a.B(x=1, y=2) | c.D(z=[1, 2])", "majority"]),
    ],
)
def test_commas_part_learners_only_where_no_parameter_follows(text, learners):
    assert split(text) == learners


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("linear", "linear", {}),
        (" linear : l2 = 0.1 , l1=2 ", "linear", {"l2": "0.1", "l1": "2"}),
        ("linear()", "linear", {}),
        ("linear(l2=0.1)", "linear", {"l2": "0.1"}),
        ("my.room:Tree", "my.room:Tree", {}),
        ("room:Tree", "room:Tree", {}),
        ("my.room:Tree:depth=3", "my.room:Tree", {"depth": "3"}),
        ("my.room:Tree(leaf=linear(l2=1,l1=2),depth=3)", "my.room:Tree", {"leaf": "linear(l2=1,l1=2)", "depth": "3"}),
        ("my.room:Tree:title='a, b'", "my.room:Tree", {"title": "a, b"}),
        (" river:a.B(c=1) | d.E() ", "river:a.B(c=1) | d.E()", {}),
        ("ihomer:local=river:a.B(c=1, d=2),seed=1", "ihomer", {"local": "river:a.B(c=1, d=2)", "seed": "1"}),
    ],
)
def test_parse(text, name, params):
    assert parse(text) == LearnerSpec(name, params)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': a learner must start with its name"),
        (":x=1", ":x=1: a learner must start with its name"),
        ("linear:sgd", "linear:sgd: a parameter must be written as key=value, got 'sgd'"),
        ("linear:l2=1,,", "linear:l2=1,,: a parameter must be written as key=value, got ''"),
        ("linear:l2=1,l2=2", "linear:l2=1,l2=2: l2 must be given once, got it twice"),
        ("linear l2=1", "linear l2=1: parameters must be written as linear:key=value,key=value, got 'l2=1'"),
        ("linear:l2=(1", "l2=(1: brackets must be closed"),
        ("linear:l2=1)", "l2=1): brackets must be closed"),
        ("linear:l2='1", "l2='1: quotes must be closed"),
    ],
)
def test_wrong_grammar_is_refused(text, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        parse(text)


def test_a_value_that_cannot_be_quoted_is_refused():
    with pytest.raises(SpecError, match="a value with commas or brackets must not hold both kinds of quotes"):
        str(LearnerSpec("linear", {"title": "a, 'b' and \"c\""}))


@pytest.mark.parametrize(
    ("written", "parameter", "value"),
    [
        ("rate=0.5", "rate", 0.5),
        ("rate=1", "rate", 1.0),
        ("rate=1e-3", "rate", 1e-3),
        ("depth=-4", "depth", -4),
        ("rule=adagrad", "rule", "adagrad"),
        ("budget=none", "budget", None),
        ("budget=None", "budget", None),
        ("budget=1000000", "budget", 1_000_000),
        ("warm=true", "warm", True),
        ("warm=False", "warm", False),
        ("title=none", "title", "none"),
        ("title=12", "title", "12"),
        ("title=", "title", ""),
    ],
)
def test_values_have_the_type_that_the_constructor_says(written, parameter, value):
    found = getattr(build(f"{TOY}:{written}"), parameter)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("rate=fast", f"{TOY}:rate=fast: rate must be a number, got 'fast'"),
        ("depth=1.5", f"{TOY}:depth=1.5: depth must be a whole number, got '1.5'"),
        ("budget=much", f"{TOY}:budget=much: budget must be a whole number or none, got 'much'"),
        ("rule=adam", f"{TOY}:rule=adam: rule must be sgd, adagrad, got 'adam'"),
        ("warm=1", f"{TOY}:warm=1: warm must be true or false, got '1'"),
        ("rate=-1", f"{TOY}:rate=-1: rate must be more than 0, got -1.0"),
        ("depth=1000", f"{TOY}:depth=1000: depth times width must be at most 1000"),
        (
            "deepth=1",
            "one of rate, depth, width, rule, budget, warm, title, seed, got 'deepth'; did you mean depth?",
        ),
    ],
)
def test_wrong_values_are_refused_with_the_specification(written, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        build(f"{TOY}:{written}")


def test_a_learner_can_be_the_value_of_a_parameter():
    found = build("ihomer:local=linear(l2=0.25,l1=0.5),seed=1,optimise=f1")
    assert (found.local.l2, found.local.l1, found.seed) == (0.25, 0.5, 1)
    assert build("ihomer:local=none").local is None
    message = f"ihomer:local=lnear: local must be a learner, got lnear: learner must be one of {KNOWN}"
    with pytest.raises(SpecError, match=re.escape(message)):
        build("ihomer:local=lnear")
    with pytest.raises(SpecError, match=r"local must be a learner, got linear:l2=-1: l2 must be"):
        build("ihomer:local=linear(l2=-1)")


def test_a_list_can_be_the_value_of_a_parameter():
    assert list(build("ihomer:optimise=[1,0,0,0,0]").optimise) == [1, 0, 0, 0, 0]
    assert build("ihomer:experts=[ridge, trees],seed=1").experts == ["ridge", "trees"]


def test_the_parameter_at_fault_is_known():
    with pytest.raises(SpecError) as caught:
        build(f"{TOY}:rate=-1")
    assert (caught.value.parameter, caught.value.reason) == ("rate", "must be more than 0, got -1.0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "linaer",
            f"linaer: learner must be one of {KNOWN}, package.module:Class or river:module.Class(); did you mean "
            "linear?",
        ),
        (
            "river:linear_model.LinearRegression()",
            "river:linear_model.LinearRegression(): model must be a classifier of river or a pipeline that ends in one",
        ),
        (
            "tests.cli.nowhere:Toy",
            "tests.cli.nowhere:Toy: module tests.cli.nowhere cannot be imported: No module named",
        ),
        ("tests.cli.toys:Boy", "tests.cli.toys:Boy: module tests.cli.toys has no class Boy"),
        (
            "tests.cli.toys:NoLearner",
            "NoLearner must be a learner class, got <class 'tests.cli.toys.NoLearner'> without learn_batch",
        ),
        ("tests.cli.toys:Needy", "tests.cli.toys:Needy: size must be given"),
    ],
)
def test_what_is_no_learner_is_refused(text, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        build(text)


def test_majority_has_no_parameters():
    with pytest.raises(SpecError, match=r"majority:k=1: parameter must be left out, got 'k'"):
        build("majority:k=1")


def test_the_seed_goes_where_none_is_given():
    assert build(TOY, seed=7).seed == 7
    assert build(f"{TOY}:seed=3", seed=7).seed == 3
    assert build(TOY).seed is None
    assert isinstance(build("tests.cli.toys:Needy:size=2", seed=7), Needy)


NEED_A_MODEL = {name for name, place in specs.LEARNERS.items() if place.startswith("learners.deep.")}
"""See tests/learners/test_deep_without_torch.py."""


@pytest.mark.parametrize("name", sorted(specs.LEARNERS.keys() - NEED_A_MODEL))
def test_every_named_learner_can_be_built_and_is_described(name):
    learner = build(name, seed=1)
    description = describe(name)
    assert description["class"] == f"{type(learner).__module__}:{type(learner).__qualname__}"
    assert description["summary"]
    for parameter in description["parameters"]:
        assert parameter["meaning"], parameter["name"]
        assert not parameter["required"]


def test_a_description_takes_the_first_sentences_of_the_documentation():
    found = describe(TOY)
    assert found["class"] == f"{Toy.__module__}:Toy"
    assert found["summary"] == "A learner to be specified."
    meanings = {parameter["name"]: parameter["meaning"] for parameter in found["parameters"]}
    assert meanings == {
        "rate": "How fast it learns, e.g. 0.5; more than 0.",
        "depth": "Its size: whole numbers.",
        "width": "Its size: whole numbers.",
        "rule": 'One of two, see Toy: "sgd" or not.',
        "budget": "Bytes, or None for any number.",
        "warm": "Whether it starts warm.",
        "title": "",
        "seed": "Of its random numbers.",
    }
    rule = found["parameters"][3]
    assert rule["default"] == "sgd"
    assert "Literal" in rule["type"]
    (size,) = describe("tests.cli.toys:Needy")["parameters"]
    assert size == {"name": "size", "type": "int", "required": True, "default": None, "meaning": ""}
