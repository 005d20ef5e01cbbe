"""Generations that wait for their confirmation: what is known of them on disk, and the timer that takes them back.

The timer is a process of its own (`bpfence.loader.confirm_timer`). It is started early, so that all it needs is
imported by the time of the commit, and it says that it is ready before anything on the node changes for good.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from bpfence.errors import KernelError
from bpfence.loader.namespaces import current_inode
from bpfence.loader.node import NodePaths, active_word
from bpfence.loader.state import PendingConfirmation

TIMER = "bpfence.loader.confirm_timer"
READY = "ready"
READY_SECONDS = 60.0
"""how long a timer may take to be ready; importing takes about one second"""
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL")
_OWN_VARIABLES = {"OPENBLAS_NUM_THREADS": "1"}
"""no threads for arithmetic in a process that does next to none"""


class AwaitsConfirmation(KernelError):  # noqa: N818 - a state, like LockHeld
    """Another generation has to be confirmed or taken back first. ``generation``: which."""

    def __init__(self, message: str, generation: int) -> None:
        super().__init__(message)
        self.generation = generation


@dataclass(slots=True)
class Timer:
    """A started timer. It is not armed before `arm`, and ends when this end is closed without a pending confirmation
    being written down.
    """

    control: socket.socket

    def arm(self, paths: NodePaths, pending: PendingConfirmation) -> None:
        """Hand over what has to be done, and wait until the timer is ready for it. Raises KernelError.

        INVARIANT: once this end is closed the timer goes by the node: it stays exactly as long as ``pending`` is in
        node.json and its generation in force.
        """
        order = {
            "bpffs": str(paths.bpffs),
            "state": str(paths.state),
            "network": current_inode(),
            "pending": pending.model_dump(),
        }
        try:
            self.control.sendall(json.dumps(order).encode() + b"\n")
            answer = _line(self.control)
        except OSError as error:
            raise KernelError(f"the timer for the confirmation could not be armed: {error}") from error
        if answer != READY:
            raise KernelError(f"the timer for the confirmation could not be armed: {answer or 'it has ended'}")


def start_timer(stack: ExitStack) -> Timer:
    """Start a timer in a session of its own, without terminal, in the current namespaces. ``stack`` closes this end."""
    ours, theirs = socket.socketpair()
    stack.callback(ours.close)
    ours.settimeout(READY_SECONDS)
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    folders = [os.path.abspath(folder) for folder in sys.path]
    command = [sys.executable, "-P", "-m", TIMER, str(theirs.fileno())]
    with theirs:
        try:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                env={**variables, **_OWN_VARIABLES, "PYTHONPATH": os.pathsep.join(folders)}, pass_fds=[theirs.fileno()],
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise KernelError(f"the timer for the confirmation could not be started: {error}") from error
    # it forks at once, so that nobody has to wait for its end
    started.wait()
    return Timer(ours)


def make_pending(generation: int, back_to: int, seconds: float) -> PendingConfirmation:
    """What is written down for a generation that has to be confirmed within so many seconds from now."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return PendingConfirmation(
        generation=generation, back_to=back_to, deadline=now + seconds, until=time.time() + seconds
    )


def seconds_left(pending: PendingConfirmation) -> float:
    """Until the deadline; below zero after it."""
    return pending.deadline - time.clock_gettime(time.CLOCK_BOOTTIME)


def pending_confirmation(paths: NodePaths) -> PendingConfirmation | None:
    """What the generation in force waits for. Raises KernelError when the node can't be read."""
    pending = paths.folder.read().pending if paths.pins.exist else None
    if pending is None:
        return None
    return pending if active_word(paths).generation == pending.generation else None


def overdue_confirmation(paths: NodePaths) -> PendingConfirmation | None:
    """The same, when its deadline has passed."""
    pending = pending_confirmation(paths)
    return pending if pending is not None and seconds_left(pending) <= 0 else None


def refuse_pending(paths: NodePaths) -> None:
    """Raise AwaitsConfirmation while a generation waits for its confirmation."""
    pending = pending_confirmation(paths)
    if pending is not None:
        raise AwaitsConfirmation(
            f"generation {pending.generation} waits for its confirmation ({max(0.0, seconds_left(pending)):.1f} s "
            "left): run `bpfence confirm` to keep it or `bpfence rollback` to take it back",
            pending.generation,
        )


def outcome(pending: PendingConfirmation) -> str:
    """What happens without a confirmation, for people."""
    return f"generation {pending.back_to} comes back" if pending.back_to else "bpfence is unloaded"


def _line(control: socket.socket) -> str:
    """The timer's answer; empty when it has gone."""
    text = b""
    with suppress(ConnectionError):
        while not text.endswith(b"\n") and len(text) < 4096:
            part = control.recv(4096)
            if not part:
                break
            text += part
    return text.decode(errors="replace").strip()
