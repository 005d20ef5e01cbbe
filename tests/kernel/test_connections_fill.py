"""How full the connection table is, as `status` counts it."""

from __future__ import annotations

import numpy as np
import pytest

from bpfence.loader.connections import ConnectionsFill, connections_fill, jiffies_now, timeouts
from bpfence.loader.kernel import kernel_hz
from bpfence.plan.layout import (
    CONNECTION,
    CONNECTION_DENIED,
    CONNECTION_REPLIED,
    TCP_ESTABLISHED,
    TCP_FIN_INITIATOR,
    TCP_FIN_RESPONDER,
    TCP_RESET,
)
from kernel import frames
from kernel.images import PLAIN, Tables
from kernel.plane import Plane

BOTH_FIN = TCP_FIN_INITIATOR | TCP_FIN_RESPONDER
CASES = [
    (6, 0, 0, 60),
    (6, 0, TCP_FIN_INITIATOR, 60),
    (6, 0, TCP_ESTABLISHED, 8000),
    (6, 0, TCP_ESTABLISHED | TCP_FIN_INITIATOR, 8000),
    (6, 0, TCP_ESTABLISHED | BOTH_FIN, 10),
    (6, 0, TCP_RESET, 10),
    (6, CONNECTION_DENIED, TCP_RESET, 8000),
    (17, 0, 0, 30),
    (17, CONNECTION_REPLIED, 0, 60),
    (1, 0, 0, 30),
    (58, CONNECTION_REPLIED, 0, 30),
    (132, CONNECTION_REPLIED, 0, 600),
]


def test_each_flow_may_be_idle_for_its_time() -> None:
    entries = np.zeros(len(CASES), CONNECTION.dtype)
    entries["flags"] = [flags for _, flags, _, _ in CASES]
    entries["state"] = [state for _, _, state, _ in CASES]
    protocols = np.array([protocol for protocol, *_ in CASES], np.uint8)
    assert timeouts(protocols, entries).tolist() == [seconds for *_, seconds in CASES]


def test_crowded_means_live_flows() -> None:
    assert not ConnectionsFill(1000, 900, 1000).crowded
    assert ConnectionsFill(1000, 901, 1000).crowded


@pytest.mark.kernel
def test_flows_whose_time_is_over_are_counted_apart(plane: Plane) -> None:
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, ["10.0.0.5"])
    plane.fill(tables)
    for port in range(20):
        assert plane.egress(frames.udp("10.0.0.5", 1000 + port, "10.1.0.7", 53)) == "allowed"
        if port == 11:
            plane.age(31)
    fill = connections_fill(plane.shared["connections"])
    assert (fill.count, fill.live) == (20, 8)
    newest = max(int(flow["last_seen"]) for _, flow in plane.connections())
    assert abs(jiffies_now(kernel_hz()) - newest) < 2 * kernel_hz()
