"""Lookups in tables that are one large value -> the value's address, which the kernel knows when it loads a program.

In: compiled instructions with their maps' descriptors in place. Out: the same with fewer steps. A lookup reads its key,
compares, adds, and what follows asks whether anything was found; the address is a constant (Linux 5.2), and the kernel
drops the question.

INVARIANT: programs look for no key but 0 in an array of one element.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from bpfence.loader.clang import INSTRUCTION, Instructions

_FORM = struct.Struct("<BBhi")
_LOAD_64, _CALL, _EXIT, _LONG_JUMP, _MOVE = 0x18, 0x85, 0x95, 0x06, 0xBF
_JUMPS = (5, 6)
"""classes of instructions"""
_MAP_DESCRIPTOR, _MAP_VALUE = 1, 2
"""source register of a 64-bit load: what its constant stands for"""
_LOOKUP = 1
"""number of the helper"""


@dataclass(frozen=True, slots=True)
class _Step:
    operation: int
    target: int
    source: int
    offset: int
    constant: int

    @property
    def jumps(self) -> bool:
        """Or calls, or ends."""
        return self.operation & 7 in _JUMPS

    def bytes(self) -> bytes:
        return _FORM.pack(self.operation, self.target | self.source << 4, self.offset, self.constant)


def address_directly(part: Instructions, arrays: Set[int]) -> Instructions:
    """``arrays``: descriptors of those array maps that have one element. Lookups whose map is not plain to see stay."""
    steps = [_step(part.code, at) for at in range(0, len(part.code), INSTRUCTION)]
    constants = _second_halves(steps)
    entered = frozenset(_jump_targets(steps, constants))
    for place, step in enumerate(steps):
        if place in constants or (step.operation, step.source, step.constant) != (_CALL, 0, _LOOKUP):
            continue
        loaded = _map_load(steps, place, constants, entered)
        if loaded is None or steps[loaded].constant not in arrays:
            continue
        steps[loaded] = _Step(_LOAD_64, 1, _MAP_VALUE, 0, steps[loaded].constant)
        steps[place] = _Step(_MOVE, 0, 1, 0, 0)
    return Instructions(part.name, b"".join(step.bytes() for step in steps))


def _step(code: bytes, at: int) -> _Step:
    operation, registers, offset, constant = _FORM.unpack_from(code, at)
    return _Step(operation, registers & 15, registers >> 4, offset, constant)


def _second_halves(steps: Sequence[_Step]) -> frozenset[int]:
    """Places that are the upper half of the constant before them."""
    found: set[int] = set()
    for place, step in enumerate(steps):
        if step.operation == _LOAD_64 and place not in found:
            found.add(place + 1)
    return frozenset(found)


def _jump_targets(steps: Sequence[_Step], constants: Set[int]) -> Iterator[int]:
    for place, step in enumerate(steps):
        if place in constants or not step.jumps or step.operation in (_CALL, _EXIT):
            continue
        yield place + 1 + (step.constant if step.operation == _LONG_JUMP else step.offset)


def _map_load(steps: Sequence[_Step], call: int, constants: Set[int], entered: Set[int]) -> int | None:
    """Where the map of a lookup is loaded, when nothing else can come between or make use of it."""
    for place in range(call - 1, -1, -1):
        if place + 1 in entered:
            return None
        if place in constants:
            continue
        step = steps[place]
        if step.operation == _LOAD_64:
            if step.target == 1:
                return place if step.source == _MAP_DESCRIPTOR else None
        elif step.jumps or 1 in (step.target, step.source):
            return None
    return None
