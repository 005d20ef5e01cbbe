"""Lookups in tables of one value become addresses, where nothing else can come between."""

from __future__ import annotations

import struct

import pytest

from bpfence.loader.clang import Instructions
from bpfence.loader.direct import address_directly

TABLE, OTHER = 7, 8


def step(operation: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("<BBhi", operation, target | source << 4, offset, constant)


def load(table: int, target: int = 1) -> bytes:
    return step(0x18, target, 1, constant=table) + step(0)


def address(table: int) -> bytes:
    return step(0x18, 1, 2, constant=table) + step(0)


KEY = step(0xBF, 2, 10) + step(0x07, 2, constant=-4)
LOOKUP, FOUND = step(0x85, constant=1), step(0xBF, 0, 1)
SKIP_ONE = step(0x15, 0, offset=1)
"""jump over the next step"""


def direct(code: bytes) -> bytes:
    return address_directly(Instructions("some", code), {TABLE}).code


def test_a_lookup_becomes_an_address() -> None:
    assert direct(KEY + load(TABLE) + KEY + LOOKUP) == KEY + address(TABLE) + KEY + FOUND


def test_each_lookup_has_its_own_map() -> None:
    code = (
        load(TABLE) + KEY + LOOKUP + load(OTHER) + KEY + LOOKUP + load(OTHER, 6) + load(TABLE) + load(OTHER, 7) + LOOKUP
    )
    wanted = address(TABLE) + KEY + FOUND + load(OTHER) + KEY + LOOKUP
    assert direct(code) == wanted + load(OTHER, 6) + address(TABLE) + load(OTHER, 7) + FOUND


@pytest.mark.parametrize(
    "between",
    [
        step(0xBF, 6, 1),  # the map is kept for later
        step(0xBF, 1, 6),  # it is another map
        step(0x85, constant=5),  # a call
        SKIP_ONE + KEY,  # there are several ways to the lookup
        step(0x7B, 10, 1, -8),  # the map goes to the stack
    ],
)
def test_what_is_not_plain_to_see_stays(between: bytes) -> None:
    code = load(TABLE) + between + LOOKUP
    assert direct(code) == code


def test_a_way_around_the_load_keeps_the_lookup() -> None:
    """A jump from before the load to behind it."""
    code = step(0x05, offset=2) + load(TABLE) + KEY + LOOKUP
    assert direct(code) == code
    # ... to the load itself is no way around it
    assert direct(SKIP_ONE + KEY[:8] + load(TABLE) + KEY + LOOKUP).endswith(address(TABLE) + KEY + FOUND)


def test_other_helpers_stay() -> None:
    code = load(TABLE) + KEY + step(0x85, constant=2) + load(TABLE) + KEY + step(0x85, source=1, constant=1)
    assert direct(code) == code
