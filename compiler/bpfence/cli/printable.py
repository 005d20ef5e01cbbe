"""Text of the input in; text that is safe to print on a terminal out."""

from __future__ import annotations

import unicodedata

# Control characters (escape sequences among them), text direction overrides, halves of surrogate pairs.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Replace what a terminal would obey instead of showing; a tab becomes one space, so that columns stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, keep_lines) for character in text)


def _shown(character: str, keep_lines: bool) -> str:
    if character == "\t":
        return " "
    if character == "\n" and keep_lines:
        return character
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode()


def width(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
