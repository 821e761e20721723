"""What is done to a text before its words are looked at."""

from __future__ import annotations

import html
import re
import unicodedata

_TAG = re.compile(r"<(?:/?[A-Za-z][^<>]*|!--.*?--)>", re.S)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+", re.I)
_USER = re.compile(r"(?<![\w@])@\w+")
_BLANK = re.compile(r"\s+")


def text_of(payload: object) -> str:
    """The text of a payload, which is one, or its bytes in UTF-8.

    Raises
    ------
    TypeError, UnicodeDecodeError
        It is neither.
    """
    if isinstance(payload, str):
        return payload
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload).decode("utf-8")
    raise TypeError(f"a payload must be a text, got {type(payload).__name__}")


def clean(text: str) -> str:
    """A text without what differs for no reason.

    In this order: tags of HTML become blanks and its entities characters; characters take their compatible form
    (NFKC); the address of a page becomes ``http`` and a name after an at sign ``@``, since hardly one comes twice;
    letters become small; blanks of any kind and number become one. Nothing else is lost: numbers, marks and emoji stay.

    Examples
    --------
    >>> clean("See <b>HTTPS://example.org/x</b> &amp; ask @Ann\\u00a0!")
    'see http & ask @ !'
    """
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    text = unicodedata.normalize("NFKC", text)
    text = _USER.sub("@", _ADDRESS.sub("http", text))
    return _BLANK.sub(" ", text.casefold()).strip()
