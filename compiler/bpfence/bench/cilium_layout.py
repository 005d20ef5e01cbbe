"""A fixture's policy as entries of longest-prefix maps, the way Cilium lays policy out. In: a `Fixture`. Out: keys
and values as bytes.

One map from address to identity with an entry per address. One policy map of the endpoint: for every identity that a
rule admits one entry
per port, a port range being the fewest prefixes that cover it, and entries of identity 0 for rules that admit
everybody. Entries that a
wider one of the same identity makes superfluous are left out, so there are never more than Cilium would have.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bpfence.bench.fixture import PORT_SPECS, Fixture, Grant, PortSpec, address
from bpfence.plan.layout import Field, Struct, check_layout

IDENTITY_KEY = check_layout(Struct("identity_key", (
    Field("prefix_length", "u32"), Field("cluster", "u16"), Field("reserved", "u8"), Field("family", "u8"),
    Field("address", "be32", 4),
)))  # fmt: skip
IDENTITY_ENTRY = check_layout(Struct("identity_entry", (
    Field("identity", "u32"), Field("tunnel", "be32"), Field("reserved", "u32"),
)))  # fmt: skip
POLICY_KEY = check_layout(Struct("policy_key", (
    Field("prefix_length", "u32"), Field("identity", "u32"), Field("egress", "u8"), Field("protocol", "u8"),
    Field("port", "be16"),
)))  # fmt: skip
POLICY_ENTRY = check_layout(Struct("policy_entry", (
    Field("proxy", "be16"), Field("deny", "u8"), Field("reserved", "u8"), Field("precedence", "u32"),
)))  # fmt: skip

FIRST_IDENTITY = 256
_EXACT = 64
"""prefix bits of a policy key with the whole port: identity 32, direction 8, protocol 8, port 16"""
Records = NDArray[np.void]


def identity_entries(fixture: Fixture) -> tuple[Records, Records]:
    """Keys and values of the address map, both families."""
    count = fixture.addresses
    keys = np.zeros((2, count), dtype=IDENTITY_KEY.dtype)
    values = np.zeros((2, count), dtype=IDENTITY_ENTRY.dtype)
    values["identity"] = FIRST_IDENTITY + fixture.workload_of
    for half, family, prefix_length in zip(keys, (4, 6), (64, 160), strict=True):
        half["prefix_length"], half["family"] = prefix_length, family
        packed = b"".join(address(number, family).packed for number in range(count))
        words = np.frombuffer(packed, dtype="<u4").reshape(count, -1)
        half["address"][:, : words.shape[1]] = words
    return keys.reshape(-1), values.reshape(-1)


def policy_entries(fixture: Fixture) -> tuple[Records, Records]:
    """Keys and values of the policy map, all of them allows."""
    places = sorted(place for grant in fixture.grants for place in _places(grant, fixture.apps))
    places = _without_covered(dict.fromkeys(places))
    keys = np.zeros(len(places), dtype=POLICY_KEY.dtype)
    identities, protocols, ports, lengths = (np.array(column) for column in zip(*places, strict=True))
    keys["prefix_length"], keys["identity"] = lengths, identities
    keys["protocol"], keys["port"] = protocols, ports.astype(">u2").view("<u2")
    values = np.zeros(len(places), dtype=POLICY_ENTRY.dtype)
    return keys, values


Place = tuple[int, int, int, int]
"""(identity, protocol, first port, prefix length)"""


def _places(grant: Grant, apps: int) -> Iterator[Place]:
    identities = [0] if grant.app is None else [FIRST_IDENTITY + workload for workload in grant.workloads(apps)]
    for first, length in _PREFIXES[grant.ports]:
        for identity in identities:
            yield identity, grant.ports[0], first, length


def _without_covered(places: dict[Place, None]) -> list[Place]:
    return [place for place in places if not any(wider in places for wider in _covers(place))]


def _covers(place: Place) -> Iterator[Place]:
    identity, protocol, first, length = place
    for wider in range(_EXACT - 16, length):
        yield identity, protocol, first >> (_EXACT - wider) << (_EXACT - wider), wider


def port_prefixes(spec: PortSpec) -> list[tuple[int, int]]:
    """The fewest (first port, prefix length) that cover the range exactly."""
    _, first, last = spec
    found = []
    while first <= last:
        bits = (first & -first).bit_length() - 1 if first else 16
        while first + (1 << bits) - 1 > last:
            bits -= 1
        found.append((first, _EXACT - bits))
        first += 1 << bits
    return found


_PREFIXES = {spec: port_prefixes(spec) for spec in PORT_SPECS}
