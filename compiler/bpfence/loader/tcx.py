"""Programs at the kernel's newer tcx hooks, which are asked before every tc filter: an interface in, their ids out."""

from __future__ import annotations

import ctypes
import errno

from bpfence.errors import KernelError
from bpfence.loader.bpffs import Direction
from bpfence.loader.syscalls import BpfCall, Command, ProgramQuery

_ATTACH_TYPE: dict[Direction, int] = {"egress": 46, "ingress": 47}
"""BPF_TCX_INGRESS sees what the endpoint sends, BPF_TCX_EGRESS what it receives."""
_MOST = 64


def tcx_programs(index: int, direction: Direction) -> tuple[int, ...]:
    """Kernel ids of the programs at one tcx hook of an interface; none on kernels before 6.6, which have no tcx."""
    ids = (ctypes.c_uint32 * _MOST)()
    query = ProgramQuery(index, _ATTACH_TYPE[direction], 0, 0, ctypes.addressof(ids), _MOST)
    try:
        BpfCall()(Command.PROG_QUERY, query)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return ()
        if error.errno != errno.ENOSPC:
            raise KernelError(f"can't ask for the tcx programs of interface {index}: {error.strerror}") from error
    return tuple(ids[: min(query.count, _MOST)])
