"""A failing input made small: objects, rules and fields are taken away as long as it still fails.

In: plain data and a question whether it fails. Out: data of which nothing more can be taken away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

Data = Any
Path = tuple[str | int, ...]
SECONDS = 60
"""after which the smallest found so far has to do"""


def reduced(value: Data, fails: Callable[[Data], bool]) -> Data:
    """The smallest found in one minute; ``value`` itself fails."""
    end = time.monotonic() + SECONDS
    position = 0
    while time.monotonic() < end:
        places = list(_places(value))
        if position >= len(places):
            return value
        smaller = _without(value, places[position])
        if fails(smaller):
            value = smaller
        else:
            position += 1
    return value


def _places(value: Data, path: Path = ()) -> Iterator[Path]:
    """Every item and field, the large ones first."""
    waiting: list[tuple[Path, Data]] = [(path, value)]
    while waiting:
        path, value = waiting.pop(0)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            yield (*path, key)
            waiting.append(((*path, key), item))


def _without(value: Data, path: Path) -> Data:
    head, *rest = path
    if isinstance(value, dict):
        return {
            key: _without(item, tuple(rest)) if rest and key == head else item
            for key, item in value.items()
            if rest or key != head
        }
    return [
        _without(item, tuple(rest)) if rest and number == head else item
        for number, item in enumerate(value)
        if rest or number != head
    ]
