"""A process of its own for the demonstration: work in, its result out, and nothing left on the machine however it
ends.

The child has private mounts: its bpf file system and its state folder are seen by nobody else. Its network
namespaces have no names. So everything it makes goes when it goes, also when it is killed.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from bpfence.errors import KernelError
from bpfence.loader.namespaces import enter_private_mounts, mount
from bpfence.loader.node import NodePaths

Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
_PLACE = Path("/sys/fs/bpf")
"""Exists wherever the kernel has BPF, and nothing of the product needs what is mounted there."""


def run_isolated(work: Callable[[NodePaths], Result]) -> Result:
    """Run ``work`` in a child process that is a node of its own. Raises KernelError with what the child raised."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(work, sender), daemon=True)
    child.start()
    sender.close()
    try:
        outcome: Result | KernelError = receiver.recv()
        child.join(5)
    except EOFError:
        outcome = KernelError("the demonstration's process was killed")
    finally:
        receiver.close()
        child.kill()
        child.join()
    if isinstance(outcome, KernelError):
        raise outcome
    return outcome


def _child(work: Callable[[NodePaths], Result], sender: Connection) -> None:
    """The child's whole life. It dies with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        outcome: Result | KernelError = work(_private_paths())
    except KernelError as error:
        outcome = type(error)(str(error))
    except Exception as error:  # noqa: BLE001 - told by the parent, which has the terminal
        outcome = KernelError(f"{type(error).__name__}: {error}")
    sender.send(outcome)
    sender.close()


def _private_paths() -> NodePaths:
    """A bpf file system and a state folder of this process alone."""
    enter_private_mounts()
    mount("tmpfs", str(_PLACE), "tmpfs", 0, "mode=0700")
    paths = NodePaths(bpffs=_PLACE / "pins" / "bpfence", state=_PLACE / "state")
    (_PLACE / "pins").mkdir()
    mount("bpf", str(_PLACE / "pins"), "bpf", 0, "mode=0700")
    return paths
