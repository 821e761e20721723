"""The header of an ARFF file: its attributes, and which of them are the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from xml.parsers import expat

from streams.source import DecodeError
from streams.text import TextReader

NUMBER, CATEGORY, TEXT = "number", "category", "text"
"""What an attribute holds; text (strings and dates) cannot be a feature as it stands."""

ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
"""What a letter after a backslash stands for inside quotes; any other character stands for itself."""

_TYPES = {"numeric": NUMBER, "real": NUMBER, "integer": NUMBER, "string": TEXT, "date": TEXT}
_MEKA_LABELS = re.compile(r"(?:^|[\s:])-[Cc]\s+([+-]?\d+)(?=\s|$)")
_COUNTED_LABELS = re.compile(r"(first|last):(\d+)")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column of the file: its name, what it holds, the categories declared, and the line that declares it."""

    name: str
    kind: str
    line: int
    categories: tuple[str, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether 0 and 1 are all that it can be."""
        return self.kind == CATEGORY and set(self.categories) <= {"0", "1"}


@dataclass(slots=True)
class Header:
    """What stands before the rows."""

    source: str
    relation: str = ""
    relation_line: int = 1
    attributes: list[Attribute] = field(default_factory=list)

    def find(self, name: str) -> int:
        """Number of the attribute of this name, or -1."""
        return next((j for j, attribute in enumerate(self.attributes) if attribute.name == name), -1)


def read_header(reader: TextReader) -> Header:
    """Take the lines up to and with ``@data``.

    Raises
    ------
    DecodeError
        A line is not what a header may hold, or ``@data`` never comes.
    """
    header = Header(reader.name)
    names: dict[str, int] = {}
    while True:
        number = reader.line
        raw = reader.take_line()
        if raw is None:
            raise DecodeError(reader.name, "a header must end with @data, found the end of the file", line=number)
        try:
            line = raw.decode().strip()
            if not line or line.startswith("%"):
                continue
            keyword, rest = _word(line)
            if keyword == "@data" or keyword.startswith("@data%"):
                break
            if keyword == "@relation":
                header.relation, header.relation_line = _relation(rest), number
            elif keyword == "@attribute":
                attribute = _attribute(rest, number)
                if attribute.name in names:
                    first = names[attribute.name]
                    raise ValueError(f"attribute names must differ, found {attribute.name!r} of line {first} again")
                names[attribute.name] = number
                header.attributes.append(attribute)
            else:
                raise ValueError(f"a header line must be @relation, @attribute or @data, found {shortened(line)}")
        except UnicodeDecodeError as error:
            raise DecodeError(reader.name, not_utf8("a header line", raw, error), line=number) from None
        except ValueError as error:
            raise DecodeError(reader.name, str(error), line=number) from None
    if not header.attributes:
        raise DecodeError(reader.name, "a header must declare attributes, found none before @data", line=number)
    return header


def not_utf8(thing: str, raw: bytes, error: UnicodeDecodeError) -> str:
    """Why these bytes are no text."""
    return f"{thing} must be UTF-8, found byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"


def shortened(value: str, length: int = 60) -> str:
    """``repr`` of a value, cut to a length that suits a message."""
    return repr(value if len(value) <= length else value[: length - 1] + "…")


def _word(text: str) -> tuple[str, str]:
    """The first word in small letters, and what follows it."""
    word, *rest = text.split(None, 1) or [""]
    return word.lower(), rest[0] if rest else ""


def _relation(rest: str) -> str:
    if rest[:1] in ("'", '"'):
        name, rest = take_quoted(rest)
        _nothing_more(rest)
        return name
    return re.split(r"(?:^|\s)%", rest, maxsplit=1)[0].strip()


def _attribute(rest: str, line: int) -> Attribute:
    if rest[:1] in ("'", '"'):
        name, rest = take_quoted(rest)
    else:
        match = re.match(r"[^\s{%][^\s{]*", rest)
        name, rest = (match[0], rest[match.end() :]) if match else ("", rest)
    if not name:
        raise ValueError(f"an attribute must have a name, found {shortened(rest)}")
    rest = rest.strip()
    if rest.startswith("{"):
        categories, rest = _categories(rest)
        _nothing_more(rest)
        return Attribute(name, CATEGORY, line, categories)
    word, rest = _word(rest)
    kind = _TYPES.get(word)
    if kind is None:
        raise ValueError(
            f"attribute {name!r} must be numeric, real, integer, string, date or {{…}}, found {shortened(word)}"
        )
    if word == "date" and rest[:1] in ("'", '"'):
        _, rest = take_quoted(rest)
    _nothing_more(rest)
    return Attribute(name, kind, line)


def _nothing_more(rest: str) -> None:
    rest = rest.strip()
    if rest and not rest.startswith("%"):
        raise ValueError(f"a header line must end here, found {shortened(rest)}")


def _categories(text: str) -> tuple[tuple[str, ...], str]:
    """The names between the braces that ``text`` begins with, and what follows them."""
    names: dict[str, None] = {}
    rest = text[1:].lstrip()
    while True:
        if rest[:1] in ("'", '"'):
            name, rest = take_quoted(rest)
        else:
            match = re.match(r"[^,}]*", rest)
            name, rest = (match[0].strip(), rest[match.end() :]) if match else ("", rest)
            if not name:
                raise ValueError(f"a category must have a name, found none in {shortened(text)}")
        if name in names:
            raise ValueError(f"categories must differ, found {name!r} twice")
        names[name] = None
        rest = rest.lstrip()
        if rest.startswith("}"):
            return tuple(names), rest[1:]
        if not rest.startswith(","):
            raise ValueError(f"categories must be parted by commas and end with }}, found {shortened(rest)}")
        rest = rest[1:].lstrip()


def take_quoted(text: str) -> tuple[str, str]:
    """The text inside the quotes that ``text`` begins with, and what follows them."""
    quote, letters, i = text[0], [], 1
    while i < len(text) and text[i] != quote:
        if text[i] == "\\" and i + 1 < len(text):
            i += 1
            letters.append(ESCAPES.get(text[i], text[i]))
        else:
            letters.append(text[i])
        i += 1
    if i >= len(text):
        raise ValueError(f"a quote must be closed on its line, found {shortened(text)}")
    return "".join(letters), text[i + 1 :]


def find_labels(header: Header, labels: str | Sequence[str] | None, path: Path | None) -> list[int]:
    """Numbers of the attributes that are labels, in the order of the file.

    Parameters
    ----------
    labels
        ``first:6``, ``last:14``, names parted by commas (or a sequence of names), or the path of a Mulan ``.xml``
        file. None: the Mulan file beside ``path`` if there is one, else ``-C n`` in the relation's name (the first n
        attributes, or the last n if negative, as MEKA has it).

    Raises
    ------
    DecodeError
        There are no labels, or they are not attributes of the file that hold 0 and 1.
    """
    n = len(header.attributes)
    chosen: list[int]
    if labels is None or (isinstance(labels, str) and labels.lower().endswith(".xml")):
        beside = _beside(path) if labels is None else Path(str(labels))
        if beside is not None:
            chosen = _listed(header, beside)
        elif match := _MEKA_LABELS.search(header.relation):
            count = int(match[1])
            if not 1 <= abs(count) <= n:
                reason = f"-C must name 1 to {n} labels, found {match[1]}"
                raise DecodeError(header.source, reason, line=header.relation_line)
            chosen = list(range(count) if count > 0 else range(n + count, n))
        else:
            reason = (
                "labels must be told by an .xml file of the same name, by -C in the relation's name or by "
                f"labels=first:N, last:N or names, found none of them for {shortened(header.relation)}"
            )
            raise DecodeError(header.source, reason, line=header.relation_line)
    elif isinstance(labels, str) and (counted := _COUNTED_LABELS.fullmatch(labels.strip())):
        count = int(counted[2])
        if not 1 <= count <= n:
            raise DecodeError(header.source, f"labels must name 1 to {n} attributes, got {labels!r}", line=1)
        chosen = list(range(count) if counted[1] == "first" else range(n - count, n))
    else:
        names = [name.strip() for name in labels.split(",")] if isinstance(labels, str) else list(labels)
        if not names or len(set(names)) < len(names):
            raise DecodeError(header.source, f"labels must be names that differ, got {labels!r}", line=1)
        chosen = []
        for name in names:
            if header.find(name) < 0:
                close = get_close_matches(name, [attribute.name for attribute in header.attributes], 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise DecodeError(header.source, f"a label must be an attribute, got {name!r}{hint}", line=1)
            chosen.append(header.find(name))
    for j in chosen:
        attribute = header.attributes[j]
        if attribute.kind == TEXT or (attribute.kind == CATEGORY and not attribute.is_binary):
            declared = shortened("{" + ", ".join(attribute.categories) + "}") if attribute.categories else "text"
            reason = f"label {attribute.name!r} must be declared {{0,1}} or numeric, found {declared}"
            raise DecodeError(header.source, reason, line=attribute.line)
    return sorted(chosen)


def _beside(path: Path | None) -> Path | None:
    """The Mulan label file that belongs to an ARFF file, where there is one."""
    if path is None:
        return None
    name = path.name
    for ending in (".gz", ".zst", ".arff", ".ARFF"):
        name = name.removesuffix(ending)
    candidate = path.with_name(name + ".xml")
    return candidate if candidate.is_file() else None


def _listed(header: Header, path: Path) -> list[int]:
    numbers = {attribute.name: j for j, attribute in enumerate(header.attributes)}
    chosen: list[int] = []
    for name, line in read_label_file(path):
        if name not in numbers:
            raise DecodeError(
                path.name, f"label {name!r} must be an attribute of {header.source}, found none", line=line
            )
        chosen.append(numbers[name])
    return chosen


def read_label_file(path: Path) -> list[tuple[str, int]]:
    """Name and line of every label in a Mulan XML file, nested ones too.

    Raises
    ------
    DecodeError
        The file is no XML, or lists no labels, or one of them twice.
    """
    found: dict[str, int] = {}
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(tag: str, values: dict[str, Any]) -> None:
        if tag.rsplit(" ", 1)[-1] != "label":
            return
        name = values.get("name")
        if not name:
            raise DecodeError(path.name, "a label must have a name, found none", line=parser.CurrentLineNumber)
        if name in found:
            raise DecodeError(path.name, f"labels must differ, found {name!r} again", line=parser.CurrentLineNumber)
        found[name] = parser.CurrentLineNumber

    parser.StartElementHandler = start
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        reason = f"a label file must be XML, found {expat.errors.messages[error.code]}"
        raise DecodeError(path.name, reason, line=error.lineno) from None
    if not found:
        raise DecodeError(path.name, "a label file must list labels, found none", line=1)
    return list(found.items())
