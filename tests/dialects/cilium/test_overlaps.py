"""The index of networks agrees with asking each network."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from bpfence.dialects.cilium.overlaps import index_networks

# A small space, so that overlaps are common.
NETWORKS = st.builds(
    lambda host, length: ip_network((0x0A000000 + (host >> (32 - length) << (32 - length)), length)),
    st.integers(0, 255),
    st.integers(24, 32),
)


@given(st.lists(NETWORKS, max_size=6), NETWORKS)
def test_find(networks: list, wanted: object) -> None:
    index = index_networks((network, str(network)) for network in networks)
    overlapping = {str(network) for network in networks if network.overlaps(wanted)}
    found = index.find(wanted)
    assert found in overlapping if overlapping else found is None


def test_families_never_meet() -> None:
    assert index_networks([(ip_network("0.0.0.0/0"), "all")]).find(ip_network("::/0")) is None
