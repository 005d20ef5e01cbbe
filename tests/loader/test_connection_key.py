"""The connection table's key of a test packet must be the one that the program uses, or its entry stays behind."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest

from bpfence.loader.flow_keys import connection_key
from bpfence.plan.layout import CONNECTION_KEY
from bpfence.simulate.simulator import Packet


@pytest.mark.parametrize(
    ("own", "peer", "protocol", "identified"),
    [
        ("10.1.0.8", "10.1.0.9", 1, True),
        ("fd00::8", "fd00::9", 58, True),
        ("10.1.0.8", "10.1.0.9", 58, False),
        ("fd00::8", "fd00::9", 1, False),
    ],
)
def test_only_icmp_of_the_own_family_has_an_identifier(own: str, peer: str, protocol: int, identified: bool) -> None:
    packet = Packet("shop/web", "egress", ip_address(own), ip_address(peer), protocol)
    key = np.frombuffer(connection_key(packet, 1), dtype=CONNECTION_KEY.dtype)[0]
    assert (key["local_port"] != 0, key["remote_port"] != 0) == (identified, identified)
