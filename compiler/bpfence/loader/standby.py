"""The slot that is not in force, before it is filled anew: its generation stops deciding, and nobody is left who might
still be deciding by it.

INVARIANT: every packet is decided by one generation at all hooks, or dropped as ``stale``. A packet follows the number
in its mark to the generation in force or to the one before it; `Standby` takes the latter back before its slot is
touched. Numbers come round after three commits: none is given again while packets that carry it may wait in a queue.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import ExitStack

from bpfence.loader.in_flight import packets_wait
from bpfence.loader.maps import create_array, create_array_of_maps
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node
from bpfence.loader.quiescence import crossed_every_cpu
from bpfence.loader.state import NodeState

GRACE_SECONDS = 0.05
"""How long after a commit packets of the generation before it are still decided: more than they take from hook to hook,
unless a queue holds them.
"""
REUSE_SECONDS = 5.0
"""After this long a number is given again whatever waits in queues."""
_POLL_SECONDS = 0.005
_MEMBARRIER = {"x86_64": 324, "ppc64le": 365}
_MEMBARRIER_ELSEWHERE = 283
_MEMBARRIER_GLOBAL = 1


class Standby:
    """The slot that is not in force, taken back from the dispatchers. `wait` before it is touched.

    Making one waits until `GRACE_SECONDS` after the last commit, which ``state`` knows; ``undo`` gives the slot back.
    """

    def __init__(self, node: Node, state: NodeState, undo: ExitStack) -> None:
        _sleep_until(state.committed + GRACE_SECONDS, GRACE_SECONDS)
        self._state = state
        generation = self._generation = node.active.generation
        number = node.withdraw_standby()
        undo.callback(node.restore_standby, number, generation)

    def wait(self, netlink: Netlink) -> None:
        """Return when the slot may be filled and its generation's successor be numbered. Raises KernelError."""
        wait_for_programs()
        if self._generation:
            # who has lost count of the commits knows only that the one before the last is over
            _wait_for_queues(self._state.committed_before or _now(), netlink)


def wait_for_programs() -> None:
    """Return when every BPF program that ran at the time of the call has ended. Milliseconds. Raises KernelError.

    Programs at hooks leave a CPU to nobody before they end: a thread that has run on every CPU has seen all of them
    end. Where that can't be, ``membarrier`` waits for all RCU read sections, inside which they run. Where the kernel
    has it not (CPUs without a tick), changing a map of maps does the same.
    """
    if crossed_every_cpu():
        return
    library = ctypes.CDLL(None, use_errno=True)
    number = _MEMBARRIER.get(os.uname().machine, _MEMBARRIER_ELSEWHERE)
    if library.syscall(ctypes.c_long(number), ctypes.c_int(_MEMBARRIER_GLOBAL), ctypes.c_uint(0), ctypes.c_int(0)):
        wait_by_map()


def wait_by_map() -> None:
    """The same by means of bpf(2) alone: who changes a map of maps returns when nobody sees the old one any more."""
    with create_array("bpfence_grace", 8) as inner, create_array_of_maps("bpfence_grace", inner.fd) as outer:
        outer.update(bytes(4), inner.fd.to_bytes(4, "little"))


def _wait_for_queues(superseded: float, netlink: Netlink) -> None:
    """``superseded``: CLOCK_BOOTTIME from which on the number that comes next was not given to packets any more."""
    end = superseded + REUSE_SECONDS
    while 0 < end - _now() <= REUSE_SECONDS and packets_wait(netlink):
        time.sleep(_POLL_SECONDS)


def _sleep_until(end: float, most: float) -> None:
    left = end - _now()
    if left > 0:
        time.sleep(min(left, most))


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
