"""The process that takes a generation back when nobody confirms it. Started with nothing open but a socket.

It has a session of its own and no terminal, and holds nothing but what it needs: the state folder under watch, a
timer, and the artefact to go back to. It is not asked to end: it goes by node.json, and ends when its pending
confirmation is no longer there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

_LASTING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP, signal.SIGALRM)
_CGROUPS = ("", "systemd/", "unified/")
"""Where the hierarchies that a service manager uses begin, whichever of them there are."""


def main(arguments: list[str]) -> None:
    """``arguments``: the number of the descriptor to the command that started this."""
    # Before anything is imported: the command waits for this process only, and a fork is cheapest now.
    if os.fork():
        os._exit(0)
    for number in _LASTING:
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    control = int(arguments[1])
    _leave_session()
    try:
        from bpfence.loader.confirm_wait import serve  # imports all that going back needs

        serve(control)
    except Exception as error:  # noqa: BLE001 - the edge of a process: the command tells why it could not be armed
        with suppress(OSError), socket.socket(fileno=os.dup(control)) as channel:
            channel.sendall(f"{type(error).__name__}: {error}\n".encode())


def _leave_session() -> None:
    """Out of the operator's login session, whose processes some systems end with it, and away from the killer of
    processes when memory is short. Where that can't be, the next command takes the generation back.
    """
    tops = [(Path(f"/sys/fs/cgroup/{folder}cgroup.procs"), "0") for folder in _CGROUPS]
    for path, text in (*tops, (Path("/proc/self/oom_score_adj"), "-999")):
        try:
            path.write_text(text)
        except OSError:
            continue


if __name__ == "__main__":
    main(sys.argv)
