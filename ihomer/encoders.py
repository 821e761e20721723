"""Encoders by the text that users write: a name with its parameters, or ``package.module:function``."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from ihomer.specs import LearnerSpec, SpecError, did_you_mean, make, parse
from streams.extraction.encoding import Encoder, EncoderError

ENCODERS = {
    "hashing": "streams.extraction.encoders.hashing:HashingEncoder",
}
"""The encoders that have a name, and where their classes are."""

_OF_FILES = {
    "onnx": "streams.extraction.encoders.onnx:OnnxEncoder",
    "sentence": "streams.extraction.encoders.sentence:SentenceEncoder",
    "transformers": "streams.extraction.encoders.transformers:TransformersEncoder",
}
"""Those whose first parameter stands behind the name by itself: a file, a folder or an installed package."""


def build(text: str) -> Encoder:
    """The encoder of a specification; nothing that it needs is loaded yet.

    Parameters
    ----------
    text
        ``hashing:dim=4096``; ``sentence:PATH-OR-PACKAGE``, ``transformers:PATH`` or ``onnx:FILE``, behind which
        parameters may stand, parted by commas; or ``package.module:function``, or ``package.module:Class(key=value)``.

    Raises
    ------
    SpecError
        The text has another form, or names nothing that encodes.

    Examples
    --------
    >>> build("hashing:dim=64").n_features
    64
    """
    text = text.strip()
    name, _, rest = text.partition(":")
    if name in _OF_FILES:
        path, _, params = rest.partition(",")
        if not path.strip():
            raise SpecError(text, f"must be written as {name}:PATH, with what to load")
        spec = parse(f"{name}:{params}" if params else name)
        return _made(LearnerSpec(text, spec.params), _found(text, _OF_FILES[name]), path=path.strip())
    spec = parse(text)
    if spec.name in ENCODERS:
        return _made(spec, _found(text, ENCODERS[spec.name]))
    if ":" not in spec.name:
        known = [*ENCODERS, *_OF_FILES]
        rule = f"encoder must be one of {', '.join(sorted(known))} or package.module:function"
        raise SpecError(text, f"{rule}{did_you_mean(spec.name, known)}")
    found = _found(text, spec.name)
    if inspect.isclass(found):
        return _made(spec, found)
    if spec.params or not callable(found):
        raise SpecError(text, f"encoder must be a function, or a class with its parameters, got {found!r}")
    encoder: Encoder = found
    return encoder


def _made(spec: LearnerSpec, cls: type, **objects: Any) -> Encoder:
    try:
        encoder: Any = make(spec, cls, objects=objects)
    except EncoderError as error:
        raise SpecError(str(spec), str(error)) from error
    if not callable(encoder):
        raise SpecError(str(spec), f"encoder must be callable, got {encoder!r}")
    return encoder  # type: ignore[no-any-return]


def _found(text: str, place: str) -> Any:
    module_name, _, name = place.partition(":")
    try:
        thing: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise SpecError(text, f"module {module_name} cannot be imported: {error}") from error
    for part in name.split("."):
        thing = getattr(thing, part, None)
    if thing is None:
        raise SpecError(text, f"module {module_name} has no {name}")
    return thing
