"""Plain values in; stable JSON text out: sorted keys, one value a line.

The same text as `json.dumps` with ``indent=1, sort_keys=True, ensure_ascii=False`` gives, several times as fast: with
an indent the standard library leaves its C code, and an artefact has some ten thousand lines of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any


def stable_json(value: Any) -> str:
    """The text. TypeError for a value that JSON has no form for, and for keys that are no text."""
    parts: list[str] = []
    _write(value, "\n", parts.append)
    return "".join(parts)


def _write(value: Any, line: str, put: Callable[[str], None]) -> None:
    """``line``: the line break and the indent of the line that the value stands in."""
    kind = type(value)
    if kind is str:
        put(encode_basestring(value))
    elif kind is dict:
        _write_mapping(value, line, put)
    elif kind is list or kind is tuple:
        _write_list(value, line, put)
    elif kind in _WORDS:
        put(_WORDS[kind](value))
    else:
        raise TypeError(f"{kind.__name__} has no form in JSON")


def _write_mapping(value: Mapping[str, Any], line: str, put: Callable[[str], None]) -> None:
    if not value:
        put("{}")
        return
    inner = f"{line} "
    before = "{" + inner
    for key in sorted(value):
        if type(key) is not str:
            raise TypeError(f"{type(key).__name__} is no key in JSON")
        item = value[key]
        if type(item) is str:
            put(f"{before}{encode_basestring(key)}: {encode_basestring(item)}")
        else:
            put(f"{before}{encode_basestring(key)}: ")
            _write(item, inner, put)
        before = "," + inner
    put(line + "}")


def _write_list(value: list[Any] | tuple[Any, ...], line: str, put: Callable[[str], None]) -> None:
    if not value:
        put("[]")
        return
    inner = f"{line} "
    if all(type(item) is str for item in value):
        put(f"[{inner}{f',{inner}'.join(map(encode_basestring, value))}{line}]")
        return
    before = "[" + inner
    for item in value:
        put(before)
        _write(item, inner, put)
        before = "," + inner
    put(line + "]")


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise TypeError(f"{value} has no form in JSON")
    return repr(value)


_WORDS: Mapping[type, Callable[[Any], str]] = {
    int: repr,
    bool: lambda value: "true" if value else "false",
    float: _float,
    type(None): lambda _: "null",
}
