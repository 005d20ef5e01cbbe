"""Whether packets lie somewhere between two hooks of the current network namespace: in queues, with netfilter's
listeners, behind an address that is being resolved, or as fragments of something bigger.
"""

from __future__ import annotations

from pathlib import Path

from bpfence.loader.netlink import Netlink

_NET = Path("/proc/thread-self/net")
_QUEUE_TOTAL = 2
"""Column of ``nfnetlink_queue``: packets that a listener has not given back."""


def packets_wait(netlink: Netlink) -> bool:
    """True while any may. Queues of hardware do not count: what lies there has passed its last hook. Of fragments only
    those that the stack itself puts together are seen, not those of netfilter's connection tracking for IPv6, which
    counts them nowhere.
    """
    return netlink.has_waiting_packets() or _with_listeners() or _being_put_together()


def _with_listeners() -> bool:
    return any(int(line.split()[_QUEUE_TOTAL]) for line in _lines("netfilter/nfnetlink_queue"))


def _being_put_together() -> bool:
    """``FRAG: inuse 0 memory 0``"""
    kept = (line.split() for name in ("sockstat", "sockstat6") for line in _lines(name) if line.startswith("FRAG"))
    return any(int(words[4]) for words in kept)


def _lines(name: str) -> list[str]:
    try:
        return (_NET / name).read_text().splitlines()
    except FileNotFoundError:
        return []
