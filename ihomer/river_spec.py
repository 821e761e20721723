"""Objects of river by the text that users write: ``river:preprocessing.StandardScaler() | tree.LASTClassifier()``."""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ihomer.specs import RIVER, SpecError, did_you_mean

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.BitOr: operator.or_,
    ast.Add: operator.add,
    ast.Mult: operator.mul,
}
_TYPES = {"bool": bool, "float": float, "int": int, "str": str}
"""Names of types, which `river.compose.SelectType` takes; they cannot be called."""

_CONSTANTS = (str, int, float, bool, type(None))


def build(text: str, seed: int | None = None) -> Any:
    """The river object of a specification.

    Parameters
    ----------
    text
        ``river:`` and an expression of constructors below ``river``, their parameters (literals, lists, tuples, sets,
        mappings, constructors, and the types ``bool``, ``float``, ``int``, ``str``), and the operators ``|``, ``+`` and
        ``*`` of pipelines.
    seed
        Given to every constructor in it that takes a ``seed`` and was not given one.

    Raises
    ------
    SpecError
        It is no such expression, or a constructor refuses its parameters; the message says at which character.

    Notes
    -----
    The text is parsed and never evaluated: only classes that river defines below `river.base.Base` can be called, and
    no other name means anything.

    Examples
    --------
    >>> build("river:preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.1)")["LogisticRegression"].l2
    0.1
    """
    return _Reader(text, seed).read()


class _Reader:
    """Makes what the syntax tree of one specification says."""

    def __init__(self, text: str, seed: int | None) -> None:
        self.text, self.seed = text.strip(), seed
        # Of the same length, so that places stay what they are.
        self.expression = self.text[len(RIVER) :].replace("\n", " ").replace("\r", " ").replace("\t", " ")
        self.indent = len(self.expression) - len(self.expression.lstrip())

    def read(self) -> Any:
        try:
            tree = ast.parse(self.expression.strip(), mode="eval")
            return self.step(tree.body)
        except SyntaxError as error:
            raise self.wrong(None, error.msg, (error.offset or 1) - 1) from None
        except SpecError:
            raise
        except (RecursionError, MemoryError, TypeError, ValueError) as error:
            raise SpecError(self.text, f"must be an expression that can be parsed, got {error}") from None

    def wrong(self, node: ast.AST | None, reason: str, place: int = 0) -> SpecError:
        """An error that says where the fault stands, counting the characters of the whole text from 1."""
        if node is not None:
            line = self.expression.strip().encode()
            place = len(line[: node.col_offset].decode(errors="ignore"))  # type: ignore[attr-defined]
        return SpecError(self.text, f"at character {len(RIVER) + self.indent + place + 1}: {reason}")

    def step(self, node: ast.expr) -> Any:
        """An estimator: like a value, but that a class alone stands for an object with its defaults."""
        if isinstance(node, ast.Attribute):
            return self.make(node, self.named(node), [], {})
        if isinstance(node, ast.BinOp):
            return self.joined(node)
        if isinstance(node, ast.Call):
            return self.value(node)
        raise self.wrong(node, f"must be a class of river such as linear_model.LogisticRegression(), got {_told(node)}")

    def joined(self, node: ast.BinOp) -> Any:
        act = _OPERATORS.get(type(node.op))
        if act is None:
            raise self.wrong(node, f"steps must be joined by |, + or *, got {_told(node)}")
        left, right = self.step(node.left), self.step(node.right)
        try:
            return act(left, right)
        except (TypeError, ValueError, AttributeError) as error:
            raise self.wrong(node, f"steps must fit together, got {error}") from error

    def value(self, node: ast.expr) -> Any:
        """A parameter."""
        if isinstance(node, ast.Constant) and isinstance(node.value, _CONSTANTS):
            return node.value
        if isinstance(node, ast.Name) and node.id in _TYPES:
            return _TYPES[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            number = self.value(node.operand)
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                return -number if isinstance(node.op, ast.USub) else number
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            items = [self.value(item) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items) if isinstance(node, ast.Tuple) else set(items)
        if isinstance(node, ast.Dict) and None not in node.keys:
            keys = [self.value(key) for key in node.keys if key is not None]
            return dict(zip(keys, map(self.value, node.values), strict=True))
        if isinstance(node, ast.BinOp):
            return self.joined(node)
        if isinstance(node, ast.Call):
            return self.called(node)
        raise self.wrong(node, f"must be a literal or a class of river with brackets, got {_told(node)}")

    def called(self, node: ast.Call) -> Any:
        cls = self.named(node.func)
        named = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.wrong(keyword.value, f"parameters must be given by name, got **{_told(keyword.value)}")
            named[keyword.arg] = keyword
        known = _parameters(cls)
        for name, keyword in named.items():
            if known is not None and name not in known:
                choice = f"one of {', '.join(known)}" if known else "left out"
                hint = did_you_mean(name, known)
                raise self.wrong(keyword, f"parameter of {cls.__name__} must be {choice}, got {name!r}{hint}")
        positional = [self.value(argument) for argument in node.args]
        return self.make(node, cls, positional, {name: self.value(keyword.value) for name, keyword in named.items()})

    def make(self, node: ast.AST, cls: type, positional: list[Any], named: dict[str, Any]) -> Any:
        known = list(_parameters(cls) or ())
        if self.seed is not None and "seed" in known and "seed" not in {*named, *known[: len(positional)]}:
            named["seed"] = self.seed
        try:
            return cls(*positional, **named)
        except Exception as error:
            raise self.wrong(node, f"{cls.__name__} must be given what it takes, got {error}") from error

    def named(self, node: ast.expr) -> type:
        """The class of river that a dotted name stands for."""
        parts: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self.wrong(node, f"only a class of river can be called, got {_told(node)}")
        parts.insert(0, inner.id)
        found: Any = importlib.import_module("river")
        for place, part in enumerate(parts):
            path = ".".join(["river", *parts[:place]])
            inside = _inside(found, path, part)
            if inside is None:
                known = [name for name in dir(found) if _inside(found, path, name) is not None]
                raise self.wrong(node, f"{path} must have what is named, got {part!r}{did_you_mean(part, known)}")
            found = inside
        if not inspect.isclass(found) or inspect.isabstract(found):
            raise self.wrong(node, f"must be a class of river that can be made, got {'.'.join(parts)}")
        return found


def _inside(holder: Any, path: str, name: str) -> Any:
    """A module or a class that river defines, or None; nothing that a module of river has merely imported."""
    from river.base import Base

    if not isinstance(holder, ModuleType) or name.startswith("_"):
        return None
    found = getattr(holder, name, None)
    if found is None and hasattr(holder, "__path__"):
        try:
            found = importlib.import_module(f"{path}.{name}")
        except ImportError:
            return None
    if isinstance(found, ModuleType):
        return found if found.__name__.startswith("river.") else None
    is_rivers = inspect.isclass(found) and found.__module__.startswith("river.") and issubclass(found, Base)
    return found if is_rivers else None


def _parameters(cls: type) -> list[str] | None:
    """Names of a constructor's parameters; None where it takes any."""
    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]


def _told(node: ast.AST) -> str:
    return repr(ast.unparse(node))
