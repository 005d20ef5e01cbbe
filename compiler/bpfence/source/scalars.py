"""Unquoted scalars of YAML to values: null, bool, int, float, text, and what has to be quoted instead."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnquotedDate:
    """An unquoted date or time. No field of any object means one, so it is neither text nor a number."""

    text: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """An unquoted number that readers of YAML 1.1, YAML 1.2 and Go do not agree on."""

    text: str


Scalar = None | bool | int | float | str | UnquotedDate | Ambiguous

# The API server's YAML reader takes the YAML 1.1 words for booleans, so these are no text here either. A lone y or n is
# text to most readers and writers of YAML, and no field of a policy means anything else by it.
_TRUE = ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(_TRUE, True),
    **dict.fromkeys(_FALSE, False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMERIC_STARTS = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_AMBIGUOUS = re.compile(
    r"[-+]?(?:0[0-9_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9_]+)?)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?")
_LARGEST = 1 << 64
_SMALLEST = -(1 << 63)


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar. No base 60, no octal, no timestamps: those are told apart, never converted."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_STARTS:
        return text
    return _resolve_number(text)


def _resolve_number(text: str) -> Scalar:
    if _INTEGER.fullmatch(text):
        # More digits than 64 bits have: Go reads a rounded float, which is never what was written.
        value = int(text) if len(text) <= 21 else _LARGEST
        return value if _SMALLEST <= value < _LARGEST else Ambiguous(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return Ambiguous(text) if number in (float("inf"), float("-inf")) else number
    if _AMBIGUOUS.fullmatch(text):
        return Ambiguous(text)
    return UnquotedDate(text) if _DATE.fullmatch(text) else text
