"""Sets of L4 classes in words: protocols with port ranges.

In: the L4 atoms, their merged classes, allowed classes per address family. Out: `L4Description`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.l4 import L4Atoms, ProtocolSpace
from bpfence.flows import PORT_PROTOCOLS, protocol_name
from bpfence.identity.labels import Bits

ICMP_FAMILY = {1: 4, 58: 6}
Ports = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class L4Description:
    """``everything``: every protocol and port. ``protocols``: name -> allowed destination ports, ICMP types, or ()
    for the whole protocol
    without ports.
    """

    everything: bool
    protocols: tuple[tuple[str, Ports], ...]


def describe_l4(atoms: L4Atoms, merged: NDArray[np.int64], families: Mapping[int, Bits]) -> L4Description:
    """A port counts as allowed when some source port may reach it, an ICMP type when some code may, in some family.

    ICMP is spoken over IPv4 only and ICMPv6 over IPv6 only; family 0 stands for both.
    """
    if all(bits.all() for bits in families.values()):
        return L4Description(True, ())
    any_family = np.logical_or.reduce(list(families.values()))
    rows: list[tuple[str, Ports]] = []
    for protocol, space in enumerate(atoms.spaces):
        wanted = ICMP_FAMILY.get(protocol)
        bits = any_family if wanted is None else _family_bits(families, wanted)
        if bits is None:
            continue
        ports = _allowed(space, bits[merged[space.offset : space.offset + space.count]])
        if ports is not None:
            rows.append((protocol_name(protocol), ports))
    return L4Description(False, tuple(rows))


def _family_bits(families: Mapping[int, Bits], wanted: int) -> Bits | None:
    found = [bits for family, bits in families.items() if family in (0, wanted)]
    return np.logical_or.reduce(found) if found else None


def _allowed(space: ProtocolSpace, atoms: Bits) -> Ports | None:
    """Ranges of the first axis with an allowed packet; None when there is none."""
    if space.first is None or space.second is None:
        return () if atoms[0] else None
    usable: Bits = np.any(atoms[:-1].reshape(space.first.count, space.second.count), axis=1)
    values = usable[space.first.class_of]
    if space.protocol in PORT_PROTOCOLS:
        values[0] = False  # no service listens on port 0
    return _runs(values) or None


def _runs(values: Bits) -> Ports:
    """Inclusive ranges of the true positions."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], values, [False])).astype(np.int8)))
    return tuple((int(low), int(high) - 1) for low, high in edges.reshape(-1, 2))
