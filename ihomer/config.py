"""How a plan comes about from flags and a file, what is told of its faults, and how it is written."""

from __future__ import annotations

import json
import re
import reprlib
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ihomer import specs
from ihomer.plans import Plan, Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


class ConfigError(ValueError):
    """A plan is wrong; the message has one line for every fault: where it stands, the rule and the value."""


def resolve(kind: type[AnySettings], flags: Mapping[str, Any], file: str | Path | None = None) -> AnySettings:
    """The plan of a file and of the flags that override it.

    Parameters
    ----------
    kind
        `EvaluatePlan`, `RunPlan` or `SiBlurryPlan`.
    flags
        By field name; None: not given.
    file
        YAML, or TOML where its name ends in ``.toml``.

    Raises
    ------
    ConfigError
        The file cannot be read, or a setting is wrong.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings = {} if file is None else read_file(file)
    try:
        return kind.model_validate({**settings, **given})
    except ValidationError as error:
        faults = [_Fault(fault["type"], fault["loc"], fault["input"], fault.get("ctx", {})) for fault in error.errors()]
    lines = [fault.describe(kind, settings, given, file) for fault in faults]
    raise ConfigError("\n".join(dict.fromkeys(lines)))


def dump(plan: Settings, *, as_json: bool = False) -> str:
    """``plan`` as YAML or JSON that `read_file` and `resolve` turn back into it."""
    written = plan.model_dump(mode="json", by_alias=True)
    names = [info.alias or name for name, info in _fields(plan)]
    settings = {name: written[name] for name in names if name in written}
    if as_json:
        return json.dumps(settings, indent=2, ensure_ascii=False)
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip()


def command_line(plan: Settings) -> str:
    """The command that makes ``plan`` without a configuration file; what is as it would be anyway is left out."""
    words = ["ihomer", *plan.command.split()]
    for name, info in _fields(plan):
        value = getattr(plan, name)
        if value == info.default:
            continue
        flag = f"--{(info.alias or name).replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, ",".join(value) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def _fields(plan: Settings) -> list[tuple[str, FieldInfo]]:
    """The fields of a plan, its command's own first."""
    shared = Plan.model_fields, Settings.model_fields
    return sorted(type(plan).model_fields.items(), key=lambda field: sum(field[0] in fields for fields in shared))


# Files.


_OTHER_NAMES = {"sink": "predictions"}


def read_file(file: str | Path) -> dict[str, Any]:
    """The settings in a YAML or TOML file; ``batch-size`` is another name of ``batch_size``.

    Raises
    ------
    ConfigError
        It cannot be read, breaks the rules of its format, or holds anything but named settings.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: must be UTF-8, got byte {error.object[error.start]:#04x}") from error
    try:
        settings = tomllib.loads(text) if str(file).endswith(".toml") else yaml.load(text, _Loader)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {str(error)[:1].lower()}{str(error)[1:]}") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {str(error).splitlines()[0]}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{file}: must hold settings as key: value, got {type(settings).__name__}")
    named: dict[str, Any] = {}
    for key, value in settings.items():
        name = str(key).replace("-", "_")
        name = _OTHER_NAMES.get(name, name)
        if name in named:
            raise ConfigError(f"{file}: {name}: must be given once, got it twice")
        named[name] = value
    return named


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                continue
            if key in seen:
                problem = f"{key}: must be given once, got it twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


# Faults.

_RULES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "path_type": "must be a path",
    "string_type": "must be text",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} entry",
}
"""What pydantic's kinds of faults are called here."""


@dataclass(frozen=True)
class _Fault:
    """One thing that is wrong with a plan, as pydantic tells it."""

    kind: str
    place: Sequence[Any]
    value: Any
    context: Mapping[str, Any]

    def describe(
        self, plan: type[Settings], settings: Mapping[str, Any], given: Mapping[str, Any], file: str | Path | None
    ) -> str:
        """One line: where it stands in the flags or in the file, the rule and the value."""
        place = self.place or (self.context["field"],)
        name = str(place[0])
        flag = f"--{name.replace('_', '-')}"
        if self.kind == "missing":
            return f"{flag}: must be given, here or in a configuration file"
        if name in given or name not in settings:
            where = flag
        else:
            where = f"{file}: {name}" + "".join(
                f"[{step}]" if isinstance(step, int) else f".{step}" for step in place[1:]
            )
        if self.kind == "extra_forbidden":
            known = [info.alias or field for field, info in plan.model_fields.items()]
            return f"{where}: must be a setting of this command{specs.did_you_mean(name, known)}"
        if self.kind == "plan":
            return f"{where}: {self.context['rule']}"
        cause = self.context.get("error")
        if isinstance(cause, specs.SpecError) and cause.parameter is not None and where != flag:
            written: Any = settings[name]
            for step in place[1:]:
                written = written[step] if isinstance(written, list) else written
            if isinstance(written, dict):
                return f"{where}.params.{cause.parameter}: {cause.reason}"
        if cause is not None:
            return f"{where}: {cause}"
        rule = _RULES[self.kind].format(**self.context).replace("'", "")
        return f"{where}: {rule}, got {reprlib.repr(self.value)}"
