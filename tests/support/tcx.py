"""Programs of others at the tcx hooks."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfence.loader.programs import Program
from bpfence.loader.syscalls import BpfCall


class LinkCreate(ctypes.Structure):
    """Arguments of BPF_LINK_CREATE for tcx."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint64 * 4),
    )


@contextmanager
def tcx_link(index: int, program: Program) -> Iterator[None]:
    """The program at the tcx hook that sees what the endpoint receives (BPF_TCX_EGRESS)."""
    link = BpfCall()(28, LinkCreate(program.fd, index, 47))  # type: ignore[arg-type]
    try:
        yield
    finally:
        os.close(link)
