"""Whose a foreign program is: its kernel id in, a few words for people out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bpfence.loader.programs import program_by_id

_PROC = Path("/proc")
_MOST_NAMED = 4
_KINDS = ("anon_inode:bpf-prog", "anon_inode:bpf_link")


def describe_program(number: int) -> str:
    """``NAME, id 7, held by agent (process 12)``, as far as the kernel tells. Looks into every process: for messages
    about conflicts only.
    """
    return f"{_name_of(number)}id {number}, {_holders_text(holders(number))}"


def holders(number: int) -> tuple[str, ...]:
    """``NAME (process PID)`` of each process, other than this one, that has the program or a link to it open."""
    wanted = f"prog_id:\t{number}\n"
    pids = (int(name) for name in os.listdir(_PROC) if name.isdecimal() and int(name) != os.getpid())
    return tuple(f"{_command(pid)} (process {pid})" for pid in sorted(pids) if wanted in _descriptors(pid))


def _holders_text(found: tuple[str, ...]) -> str:
    if not found:
        return "held by no process (pinned, or by its hook alone)"
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "held by " + ", ".join(found[:_MOST_NAMED]) + more


def _name_of(number: int) -> str:
    program = program_by_id(number)
    if program is None:
        return ""
    with program:
        name = program.info.name
    return f"{name}, " if name else ""


def _descriptors(pid: int) -> str:
    """What the kernel says about a process's programs and links."""
    return "".join(_program_facts(_PROC / str(pid)))


def _program_facts(process: Path) -> Iterator[str]:
    try:
        names = os.listdir(process / "fd")
    except OSError:
        return
    for name in names:
        try:
            if os.readlink(process / "fd" / name) in _KINDS:
                yield (process / "fdinfo" / name).read_text()
        except OSError:
            continue


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
