"""Learners by the text that users write: name, its parameters, ``package.module:Class`` or ``river:...``."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from learners.base import Learner

LEARNERS = {
    "adaptive-tree": "learners.trees.adaptive:HoeffdingAdaptiveTreeClassifier",
    "adwin-bagging": "learners.trees.adwin_bagging:ADWINBaggingClassifier",
    "auto": "learners.heads.auto:AutoHead",
    "bagging": "learners.bagging:BaggingEnsemble",
    "balanced-ridge": "learners.heads.ridge:BalancedRidgeClassifier",
    "bernoulli-nb": "learners.naive_bayes:BernoulliNBClassifier",
    "chain": "learners.chain:ClassifierChain",
    "cosine-softmax": "learners.heads.cosine:CosineSoftmaxClassifier",
    "dualprompt": "learners.deep.dualprompt:DualPromptClassifier",
    "extra-trees": "learners.trees.extra_trees:ExtraTreesClassifier",
    "finetune": "learners.deep.finetune:FineTuneClassifier",
    "forest": "learners.trees.forest:AdaptiveRandomForestClassifier",
    "gaussian": "learners.heads.gaussian:GaussianClassifier",
    "ihomer": "ihomer.classifier:IHOMERClassifier",
    "ihomer-ensemble": "ihomer.ensemble:IHOMEREnsemble",
    "ihomer-parallel": "ihomer.label_parallel.classifier:LabelParallelIHOMER",
    "knn": "learners.knn:KNNClassifier",
    "l2p": "learners.deep.l2p:L2PClassifier",
    "linear": "learners.linear:LinearClassifier",
    "loki": "learners.heads.loki:LokiClassifier",
    "majority": "learners.baselines:MajorityClassifier",
    "mlhat": "learners.trees.mlhat:MLHATClassifier",
    "mvp": "learners.deep.mvp:MVPClassifier",
    "mvp-light": "learners.heads.mvp:MVPLightClassifier",
    "naive-bayes": "learners.naive_bayes:GaussianNBClassifier",
    "ncm": "learners.heads.ncm:NCMClassifier",
    "no-change": "learners.baselines:NoChangeClassifier",
    "ranpac": "learners.heads.ranpac:RanPACClassifier",
    "replay": "learners.deep.finetune:ReplayClassifier",
    "ridge": "learners.heads.ridge:RidgeClassifier",
    "rls": "learners.heads.rls:RLSClassifier",
    "slda": "learners.heads.slda:SLDAClassifier",
    "sub-prototypes": "learners.heads.subprototypes:SubPrototypeClassifier",
    "teen": "learners.heads.teen:TEENClassifier",
    "tree": "learners.trees.hoeffding:HoeffdingTreeClassifier",
}
"""The learners that have a name, and where their classes are."""

RIVER = "river:"
"""What the text of a river model or detector begins with; `river_spec` reads the rest."""

Made = typing.TypeVar("Made")

_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "\"'"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KEY = re.compile(r"\s*[A-Za-z_]\w*\s*=")
_CLASS = re.compile(r"\s*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\s*(?=$|[:(])")
_WORDS = {"none": None, "null": None, "true": True, "false": False}


class SpecError(ValueError):
    """A learner cannot be made of a specification.

    Attributes
    ----------
    spec
        The specification.
    parameter
        The parameter at fault, or None where it is not one of them.
    reason
        The rule and the value, without the name of the parameter.
    """

    def __init__(self, spec: str, reason: str, parameter: str | None = None) -> None:
        super().__init__(f"{spec}: {reason}" if parameter is None else f"{spec}: {parameter} {reason}")
        self.spec, self.reason, self.parameter = spec, reason, parameter


@dataclass(frozen=True)
class LearnerSpec:
    """A learner's name, ``package.module:Class``, or all of ``river:...``, and its parameters as they were written.

    ``str`` gives the text that `parse` reads back.
    """

    name: str
    params: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        written = ",".join(f"{key}={_quoted(value)}" for key, value in self.params.items())
        return f"{self.name}:{written}" if written else self.name


def split(text: str) -> list[str]:
    """The learners of a list: a comma parts them unless ``key=value`` follows; brackets and quotes protect.

    Examples
    --------
    >>> split("linear:l2=0.1,optimizer=sgd,majority")
    ['linear:l2=0.1,optimizer=sgd', 'majority']
    """
    learners: list[str] = []
    for piece in _pieces(text):
        if learners and _KEY.match(piece):
            learners[-1] += f",{piece}"
        else:
            learners.append(piece)
    return [learner.strip() for learner in learners]


def parse(text: str) -> LearnerSpec:
    """The name and the parameters of one learner.

    Parameters
    ----------
    text
        ``name`` or ``package.module:Class``, then nothing, ``:key=value,...`` or ``(key=value,...)``; or ``river:`` and
        an expression, which is kept whole and not looked at.

    Raises
    ------
    SpecError
        The text has another form.

    Examples
    --------
    >>> parse("linear:l2=0.1,optimizer=sgd")
    LearnerSpec(name='linear', params={'l2': '0.1', 'optimizer': 'sgd'})
    >>> parse("my.learners:Vote(k=3)")
    LearnerSpec(name='my.learners:Vote', params={'k': '3'})
    """
    text = text.strip()
    if text.startswith(RIVER):
        return LearnerSpec(text)
    found = _NAME.match(text)
    if found is None:
        raise SpecError(text or "''", "a learner must start with its name")
    name, rest = found[0], text[found.end() :].strip()
    if rest.startswith(":") and name not in LEARNERS:
        cls = _CLASS.match(rest, 1)
        if cls is not None:
            name, rest = f"{name}:{cls[0].strip()}", rest[cls.end() :].strip()
    if not rest:
        return LearnerSpec(name)
    if rest.startswith("(") and rest.endswith(")"):
        inside = rest[1:-1]
    elif rest.startswith(":"):
        inside = rest[1:]
    else:
        raise SpecError(text, f"parameters must be written as {name}:key=value,key=value, got {rest!r}")
    params: dict[str, str] = {}
    for piece in _pieces(inside) if inside.strip() else ():
        if not _KEY.match(piece):
            raise SpecError(text, f"a parameter must be written as key=value, got {piece.strip()!r}")
        key, _, value = piece.partition("=")
        key = key.strip()
        if key in params:
            raise SpecError(text, "must be given once, got it twice", key)
        params[key] = _unquoted(value.strip())
    return LearnerSpec(name, params)


def learner_class(spec: str | LearnerSpec) -> type[Learner]:
    """The class that a specification names.

    Raises
    ------
    SpecError
        No learner has this name, the class cannot be imported, or it is no learner.
    """
    spec = parse(spec) if isinstance(spec, str) else spec
    place = "learners.river_model:RiverClassifier" if spec.name.startswith(RIVER) else LEARNERS.get(spec.name)
    if place is None:
        if ":" not in spec.name:
            known = f"{', '.join(sorted(LEARNERS))}, package.module:Class or river:module.Class()"
            raise SpecError(str(spec), f"learner must be one of {known}{did_you_mean(spec.name, LEARNERS)}")
        place = spec.name
    module_name, _, class_name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SpecError(str(spec), f"module {module_name} cannot be imported: {error}") from error
    cls: Any = module
    for part in class_name.split("."):
        cls = getattr(cls, part, None)
        if cls is None:
            raise SpecError(str(spec), f"module {module_name} has no class {class_name}")
    missing = _missing(cls)
    if missing:
        raise SpecError(str(spec), f"{class_name} must be a learner class, got {cls!r} without {', '.join(missing)}")
    return typing.cast("type[Learner]", cls)


_CONTRACT = ("learn_batch", "predict_batch", "test_then_train", "get_state", "set_state")


def _missing(cls: Any) -> list[str]:
    """What of the learner's contract a thing lacks."""
    return [name for name in _CONTRACT if not inspect.isclass(cls) or not hasattr(cls, name)]


def values(spec: str | LearnerSpec) -> dict[str, Any]:
    """The parameters that a specification gives, each of the type that the learner's constructor says.

    Raises
    ------
    SpecError
        The learner has no such parameter, or the text is no value of its type.
    """
    spec = parse(spec) if isinstance(spec, str) else spec
    return _values(spec, learner_class(spec))


def _values(spec: LearnerSpec, cls: type) -> dict[str, Any]:
    known = _parameters(cls)
    hints = _hints(cls)
    found = {}
    for key, text in spec.params.items():
        if key not in known:
            choice = f"one of {', '.join(known)}" if known else "left out"
            raise SpecError(str(spec), f"parameter must be {choice}, got {key!r}{did_you_mean(key, known)}")
        hint = hints.get(key, inspect.Parameter.empty)
        if hint is inspect.Parameter.empty:
            hint = type(known[key].default) if known[key].default not in (None, inspect.Parameter.empty) else Any
        try:
            found[key] = _value(text, hint)
        except ValueError as error:
            raise SpecError(str(spec), str(error), key) from None
    return found


def build(spec: str | LearnerSpec, seed: int | None = None) -> Learner:
    """The untrained learner of a specification.

    Parameters
    ----------
    spec
        What `parse` reads, or read already.
    seed
        Given to a learner whose constructor has a ``seed`` that the specification leaves open; of a river model, to all
        constructors in it.

    Raises
    ------
    SpecError
        The specification is wrong, or the learner refuses a value.
    """
    spec = parse(spec) if isinstance(spec, str) else spec
    if spec.name.startswith(RIVER):
        return _river_learner(spec.name, seed)
    return make(spec, learner_class(spec), seed=seed)


def _river_learner(text: str, seed: int | None) -> Learner:
    from ihomer.river_spec import build as build_river
    from learners.river_model import RiverClassifier

    model = build_river(text, seed)
    try:
        return RiverClassifier(model, text=text, seed=seed)
    except TypeError as error:
        raise SpecError(text, str(error)) from error


def make(
    spec: LearnerSpec, cls: type[Made], *, seed: int | None = None, objects: Mapping[str, Any] | None = None
) -> Made:
    """An object of a class, with the parameters of a specification.

    Parameters
    ----------
    spec
        Its parameters; the name is for messages.
    cls
        Its constructor says what they are.
    seed
        As in `build`.
    objects
        Parameters that are no text; they stand above those of the specification.

    Raises
    ------
    SpecError
        The class has no such parameter, or refuses its value.
    """
    given = {**_values(spec, cls), **(objects or {})}
    known = _parameters(cls)
    if seed is not None and "seed" in known:
        given.setdefault("seed", seed)
    for key, declared in known.items():
        if declared.default is declared.empty and key not in given:
            raise SpecError(str(spec), "must be given", key)
    try:
        return cls(**given)
    except (ImportError, TypeError, ValueError) as error:
        parameter, _, reason = str(error).partition(" ")
        if parameter in known:
            raise SpecError(str(spec), reason, parameter) from error
        raise SpecError(str(spec), str(error)) from error


def describe(name: str) -> dict[str, Any]:
    """What a learner is and takes, as a JSON object.

    Its keys are ``name``, ``class``, ``summary`` and ``parameters``. A parameter is an object of ``name``, ``type``,
    ``required``, ``default`` and ``meaning``, which is the first sentence that the class says about it.
    """
    if name.startswith(RIVER):
        from ihomer.river_spec import build as build_river
        from learners.river_model import last_step

        return describe_class(name, type(last_step(build_river(name))))
    return describe_class(name, learner_class(name))


def describe_class(name: str, cls: type) -> dict[str, Any]:
    """The object of `describe` for a class that is called ``name``."""
    documentation = inspect.getdoc(cls) or ""
    meanings = dict(_documented(documentation))
    return {
        "name": name,
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "summary": _first_sentence(documentation.partition("\n\n")[0]),
        "parameters": [
            {
                "name": key,
                "type": "" if parameter.annotation is parameter.empty else _annotation(parameter.annotation),
                "required": parameter.default is parameter.empty,
                "default": None if parameter.default is parameter.empty else _plain(parameter.default),
                "meaning": meanings.get(key, ""),
            }
            for key, parameter in _parameters(cls).items()
        ],
    }


# Text.


def _pieces(text: str) -> Iterator[str]:
    """What commas part, outside of brackets and quotes."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and text[start:place].rstrip()[-1:] in {"=", *_OPENING, ","}:
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            if depth < 0:
                break
        elif character == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    if quote or depth:
        raise SpecError(text, f"{'quotes' if quote else 'brackets'} must be closed")
    yield text[start:]


def _quoted(value: str) -> str:
    """``value`` so that `parse` gives it back."""
    try:
        whole = list(_pieces(f"={value}")) == [f"={value}"]
    except SpecError:
        whole = False
    if whole and value == value.strip() and not value.startswith(tuple(_QUOTES)):
        return value
    for quote in _QUOTES:
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise SpecError(value, "a value with commas or brackets must not hold both kinds of quotes")


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]
    return value[1:-1] if quoted else value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the known word closest to ``word``, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


# Values.


def _value(text: str, hint: Any) -> Any:
    """``text`` as a value of the annotated type; a learner is written as a specification.

    Raises
    ------
    ValueError
        It is none; the message is the rule and the value.
    """
    choices = _alternatives(hint)
    for choice in choices:
        try:
            return _one_value(text, choice)
        except SpecError as error:
            raise ValueError(f"must be a learner, got {error}") from error
        except ValueError:
            continue
    told = dict.fromkeys(_type_text(choice) for choice in sorted(choices, key=lambda choice: choice is type(None)))
    raise ValueError(f"must be {' or '.join(told)}, got {text!r}")


def _one_value(text: str, hint: Any) -> Any:
    word = text.lower()
    if hint is type(None):
        if word in _WORDS and _WORDS[word] is None:
            return None
    elif hint is bool:
        if _WORDS.get(word) is not None:
            return _WORDS[word]
    elif hint in (int, float, str):
        return hint(text)
    elif typing.get_origin(hint) is Literal:
        for choice in typing.get_args(hint):
            if text == str(choice):
                return choice
    elif not _missing(hint):
        return build(text)
    else:
        if word in _WORDS:
            return _WORDS[word]
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            is_list = text.startswith("[") and text.endswith("]")
            return [_one_value(item.strip(), hint) for item in text[1:-1].split(",")] if is_list else text
    raise ValueError(text)


def _alternatives(hint: Any) -> list[Any]:
    """The members of a union: None first, because it is the plainest, and text last, because everything is one."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = list(typing.get_args(hint)) if is_union else [hint]
    return sorted(members, key=lambda member: (member is not type(None), member is str))


def _annotation(hint: Any) -> str:
    """A type as the source has it."""
    return hint if isinstance(hint, str) else inspect.formatannotation(hint)


def _type_text(hint: Any) -> str:
    """A type as people say it."""
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    return _TYPES.get(hint) or str(getattr(hint, "__name__", hint))


_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


# Constructors and their documentation.


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The constructor's parameters that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in inspect.signature(cls).parameters.items() if parameter.kind in named}


def _hints(cls: type) -> dict[str, Any]:
    """Types of the constructor's parameters; none where a name in them exists for type checkers alone."""
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except NameError:
        return {}


def _documented(documentation: str) -> Iterator[tuple[str, str]]:
    """Each parameter and its first sentence, from the ``Parameters`` section of a docstring in numpy's style."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", documentation, re.M | re.S)
    if section is None:
        return
    for entry in re.finditer(r"^(\S[^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)*)", section[1] + "\n", re.M):
        meaning = _first_sentence(entry[2])
        for name in entry[1].partition(" : ")[0].split(","):
            yield name.strip(), meaning


def _first_sentence(text: str) -> str:
    """The first sentence, on one line and without marks of a documentation language."""
    line = re.sub(r"\s*\[\w+\]_|`+", "", " ".join(text.split()))
    return re.split(r"(?<=[.!?])\s+(?=[A-Z*\"'(])", line, maxsplit=1)[0]
