"""How full the connection table is: the shared map in, numbers out.

The table is an LRU hash: entries whose time is over stay until their room is needed, so a node that has run for long
fills it, and that means nothing. Live flows do: when they come near the capacity, the kernel forgets those that have
been idle longest, and tells nobody.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfence.loader.kernel import kernel_hz
from bpfence.loader.maps import Map
from bpfence.plan.layout import (
    CONNECTION,
    CONNECTION_DENIED,
    CONNECTION_KEY,
    CONNECTION_REPLIED,
    TCP_ESTABLISHED,
    TCP_FIN_INITIATOR,
    TCP_FIN_RESPONDER,
    TCP_RESET,
    TIMEOUTS,
)

CROWDED = 0.9
"""share of the capacity above which live flows may be forgotten: the kernel evicts per CPU, before the table is full"""
_TCP, _UDP, _ICMP = 6, 17, (1, 58)
_BOTH_FIN = TCP_FIN_INITIATOR | TCP_FIN_RESPONDER


@dataclass(frozen=True, slots=True)
class ConnectionsFill:
    """``count``: entries. ``live``: those whose time is not over."""

    count: int
    live: int
    capacity: int

    @property
    def crowded(self) -> bool:
        return self.live > CROWDED * self.capacity


def connections_fill(connections: Map) -> ConnectionsFill:
    """Count the table's entries. Flows that come or go meanwhile may or may not be seen."""
    count = live = 0
    hz = kernel_hz()
    now = jiffies_now(hz)
    for keys, values in connections.batches():
        protocols = np.frombuffer(keys, CONNECTION_KEY.dtype)["protocol"]
        entries = np.frombuffer(values, CONNECTION.dtype)
        age = now - entries["last_seen"].astype(np.int64)
        count += len(entries)
        live += int(np.count_nonzero(age <= timeouts(protocols, entries) * hz))
    return ConnectionsFill(count, live, connections.info.entries)


def timeouts(protocols: NDArray[np.uint8], entries: NDArray[Any]) -> NDArray[np.int64]:
    """Seconds that each entry may be idle, as the programs have it."""
    flags, state = entries["flags"], entries["state"]
    denied = (flags & CONNECTION_DENIED) > 0
    replied = (flags & CONNECTION_REPLIED) > 0
    closing = ((state & TCP_RESET) > 0) | ((state & _BOTH_FIN) == _BOTH_FIN)
    established = (state & TCP_ESTABLISHED) > 0
    tcp, udp = protocols == _TCP, protocols == _UDP
    cases = {
        "TCP_ESTABLISHED": tcp & (denied | (established & ~closing)),
        "TCP_CLOSING": tcp & closing,
        "TCP_OPENING": tcp,
        "UDP": udp & replied,
        "UDP_UNREPLIED": udp,
        "ICMP": np.isin(protocols, _ICMP),
    }
    seconds = [np.int64(TIMEOUTS[name]) for name in cases]
    return np.select(list(cases.values()), seconds, default=np.int64(TIMEOUTS["OTHER"]))


def jiffies_now(hz: int) -> int:
    """The kernel's 64-bit jiffies: they begin five minutes before the 32-bit count wraps and go with the monotonic
    clock.
    """
    return (1 << 32) - 300 * hz + int(time.clock_gettime(time.CLOCK_MONOTONIC) * hz)
