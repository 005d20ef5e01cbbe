"""Hypothesis strategies for what IR expressions are asked about: objects, addresses and packets."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import strategies as st

from bpfence.ir.nodes import NamedPort
from support.ir_oracle import Packet, Place
from support.ir_strategies import KEYS, PORT_NAMES, PORTS, VALUES

IPV4 = ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.200.0.1", "192.168.3.4", "8.8.8.8")
IPV6 = ("fd00::", "fd00::1", "fd00::2", "fd00::3", "fd00::4", "2001:db8::1")
ADDRESSES = tuple(map(ip_address, (*IPV4, *IPV6)))

objects = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
learnt = st.sampled_from(("", "a", "b.a", "c.b.a"))
places = st.builds(Place, st.sampled_from(ADDRESSES), st.lists(objects, max_size=2).map(tuple), st.booleans(), learnt)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Packets of many protocols; one in ten is a fragment without a readable header."""
    protocol = draw(st.sampled_from((0, 1, 5, 6, 7, 17, 58, 132, 255)))
    if draw(st.integers(0, 9)) == 0 or protocol not in (1, 6, 17, 58, 132):
        return Packet(protocol)
    if protocol in (1, 58):
        numbers = st.sampled_from((0, 1, 2, 3, 8, 255))
        return Packet(protocol, icmp_type=draw(numbers), icmp_code=draw(numbers))
    port = st.sampled_from(PORTS)
    sides = st.sampled_from(("source", "destination"))
    names = st.builds(NamedPort, st.sampled_from(PORT_NAMES), st.just(protocol), sides)
    named = draw(st.frozensets(st.tuples(names, port), max_size=8))
    return Packet(protocol, draw(port), draw(port), named=named, query=draw(learnt))
