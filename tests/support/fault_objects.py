"""Maps and programs that a test has made: every creation in, which of them the kernel still has out."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from bpfence.loader.syscalls import BpfCall, Command, ObjectInfo, ProgramById

_PROG_GET_NEXT_ID, _MAP_GET_NEXT_ID = 11, 12


@dataclass(slots=True)
class KernelObjects:
    """Maps and programs that this process and its children have made, and which of them the kernel still has.

    Their names are written down when they are made. None is opened to ask for its name: a program array that nobody
    holds any more is emptied whenever a descriptor of it is closed, and kernels lose count when that happens twice at
    the same time.
    """

    ledger: int
    names: dict[tuple[str, int], str] = field(default_factory=dict)
    read: int = 0

    def made(self, kind: str, number: int, name: str) -> None:
        os.write(self.ledger, f"{kind} {number} {name}\n".encode())

    def found(self) -> dict[str, list[tuple[int, str]]]:
        """Kernel ids and names."""
        text = os.pread(self.ledger, 1 << 24, self.read)
        self.read += len(text)
        for line in text.decode().splitlines():
            kind, number, name = line.split()
            self.names[kind, int(number)] = name
        return {"maps": self._left("map", _MAP_GET_NEXT_ID), "programs": self._left("program", _PROG_GET_NEXT_ID)}

    def _left(self, kind: str, following: int) -> list[tuple[int, str]]:
        call, found, question = BpfCall(), [], ProgramById(0)
        while True:
            try:
                call(following, question)
            except OSError:
                return found
            number = int(question.next_id)
            if (kind, number) in self.names:
                found.append((number, self.names[kind, number]))
            question = ProgramById(number)


def note_objects(patch: pytest.MonkeyPatch, kernel: KernelObjects) -> None:
    """Write down every map and program that is made from now on."""
    kept = BpfCall.__call__

    def call(self: BpfCall, command: int, attributes: Any) -> int:
        result = kept(self, command, attributes)
        if command in (Command.MAP_CREATE, Command.PROG_LOAD):
            facts = (ctypes.c_uint32 * 64)()
            kept(self, Command.OBJ_GET_INFO_BY_FD, ObjectInfo(result, ctypes.sizeof(facts), ctypes.addressof(facts)))
            if command == Command.MAP_CREATE:
                kernel.made("map", facts[1], attributes.map_name.decode())
            else:
                kernel.made("program", facts[1], attributes.prog_name.decode())
        return result

    patch.setattr(BpfCall, "__call__", call)
