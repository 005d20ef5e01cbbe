"""What the timer of a confirmation does: an order by its control socket in, the generation taken back at the deadline
- or nothing, when it is confirmed, taken back or unloaded before.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bpfence.emit.artefact import Artefact
from bpfence.errors import BpfenceError, KernelError
from bpfence.loader.boot_timer import timer_at
from bpfence.loader.inotify import Inotify
from bpfence.loader.kept import kept_artefact
from bpfence.loader.namespaces import current_inode
from bpfence.loader.node import NodePaths
from bpfence.loader.pending import READY, pending_confirmation
from bpfence.loader.state import PendingConfirmation, locked_folder
from bpfence.loader.transaction import take_back

_LONGEST_ORDER = 65536
_LOCK_SECONDS = 3600.0
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_TRIES = 200
"""going back is tried again for half an hour"""


def serve(descriptor: int) -> None:
    """Wait for the order, say that all is ready, see it through."""
    with ExitStack() as stack:
        control = stack.enter_context(socket.socket(fileno=os.dup(descriptor)))
        order = _order(control)
        if order is None:
            return
        paths, pending = order
        sys.argv = ["bpfence", "confirm", f"(the timer of generation {pending.generation})"]
        try:
            artefact = kept_artefact(paths.folder, pending.back_to) if pending.back_to else None
            watched = _watch(paths.state, stack)
            timer = timer_at(pending.deadline)
        except BpfenceError as error:
            control.sendall(f"{error}\n".encode())
            return
        control.sendall(f"{READY}\n".encode())
        if _wait(control, timer, watched, paths, pending):
            _take_back(paths, pending, artefact)


def _order(control: socket.socket) -> tuple[NodePaths, PendingConfirmation] | None:
    """What to do; None when the command has ended without one."""
    text = b""
    while not text.endswith(b"\n"):
        part = control.recv(4096)
        if not part or len(text) > _LONGEST_ORDER:
            return None
        text += part
    document = json.loads(text)
    if document["network"] != current_inode():
        raise KernelError("the timer is in another network namespace than the command that started it")
    paths = NodePaths(Path(document["bpffs"]), Path(document["state"]))
    return paths, PendingConfirmation.model_validate(document["pending"])


def _watch(folder: Path, stack: ExitStack) -> Inotify | None:
    """None where the limit of watches is reached: then the timer stays until the deadline, whatever happens."""
    try:
        watched = stack.enter_context(Inotify())
        watched.add(folder)
    except KernelError:
        return None
    return watched


def _wait(
    control: socket.socket, timer: int, watched: Inotify | None, paths: NodePaths, pending: PendingConfirmation
) -> bool:
    """Until the deadline (True), or until the confirmation is no longer pending."""
    poller = select.poll()
    poller.register(timer, select.POLLIN)
    poller.register(control, select.POLLIN)
    if watched is not None:
        poller.register(watched.fd, select.POLLIN)
    committing = True
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == timer:
                return True
            if descriptor == control.fileno():
                # the command has made its commit, or has failed, or is gone
                poller.unregister(descriptor)
                committing = False
            elif watched is not None:
                list(watched.read())
        if not committing and not _is_awaited(paths, pending):
            return False


def _is_awaited(paths: NodePaths, pending: PendingConfirmation) -> bool:
    """Whether node.json has this very confirmation, and its generation is in force: a command that was killed just
    before the commit has written it for nothing. True when that can't be read.
    """
    try:
        awaited = pending_confirmation(paths)
    except (BpfenceError, OSError):
        return True
    return awaited is not None and _same(awaited, pending)


def _same(one: PendingConfirmation, other: PendingConfirmation) -> bool:
    return one.model_copy(update={"failure": ""}) == other.model_copy(update={"failure": ""})


def _take_back(paths: NodePaths, pending: PendingConfirmation, artefact: Artefact | None) -> None:
    """Go back under the node's lock, and try again when that fails."""
    for attempt in range(_TRIES):
        try:
            if not paths.state.is_dir():
                return
            with locked_folder(paths.folder, _LOCK_SECONDS):
                current = pending_confirmation(paths)
                if current is not None and _same(current, pending):
                    take_back(paths, current, artefact)
                return
        except Exception:  # noqa: BLE001 - whatever it was, nobody else will try again by itself
            time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
    os._exit(1)
