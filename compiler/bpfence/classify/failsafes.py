"""Failsafe ports in the rows of hosts: what no policy of a host closes is settled when the tables are made.

In: a host's row with its decisions, and the ports. Out: the row with the cells of these ports opened: at a point before
connection tracking they leave the packet to the next point, at the node's own traffic they allow. Before translation
they hold only for what ends in the node, which the cell can't know: it is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import UNDECIDED, Decision, LayerOutcome, RowDecisions
from bpfence.classify.l4 import L4Atoms
from bpfence.classify.peers import PeerClasses
from bpfence.classify.services import port_match
from bpfence.identity.inventory import FailsafePort, HostSettings
from bpfence.ir.expressions import InPrefixes
from bpfence.ir.nodes import Direction, L4Match, Point

FAILSAFE = "failsafe"
EVERYWHERE = InPrefixes((ip_network("0.0.0.0/0"), ip_network("::/0")))


def failsafe_ports(settings: HostSettings, direction: Direction) -> tuple[FailsafePort, ...]:
    """The ports that stay open for packets in the direction."""
    return settings.failsafe_ingress if direction is Direction.INGRESS else settings.failsafe_egress


def failsafe_place(port: FailsafePort) -> InPrefixes:
    """The remote parties for which the port stays open."""
    return EVERYWHERE if port.network is None else InPrefixes((port.network,))


def failsafe_match(port: FailsafePort) -> L4Match:
    return port_match(port.protocol, port.port)


def open_failsafes(
    decided: RowDecisions, ports: Sequence[FailsafePort], peers: PeerClasses, l4: L4Atoms
) -> RowDecisions:
    """The row with its failsafe cells opened; forwarded traffic knows no failsafes."""
    row = decided.row
    if row.point is Point.FORWARD or not ports:
        return decided
    numbers = decided.numbers.copy()
    decisions = list(decided.decisions)
    for port in ports:
        block = np.ix_(np.flatnonzero(peers.matches(failsafe_place(port), row.node)), l4.matches(failsafe_match(port)))
        if row.point is Point.PRE_DNAT:
            numbers[block] = _spared(numbers[block], decisions)
        else:
            decisions.append(_opened(decided))
            numbers[block] = len(decisions) - 1
    return RowDecisions(row, numbers, tuple(decisions))


def _opened(decided: RowDecisions) -> Decision:
    """Allowed, or left to the next point. The layers are those of the row: each would have had a say."""
    undecided = decided.row.point is Point.UNTRACKED
    reason = UNDECIDED if undecided else FAILSAFE
    return Decision(tuple(LayerOutcome(layer.layer.name, True, reason) for layer in decided.row.layers))


def _spared(numbers: NDArray[np.int32], decisions: list[Decision]) -> NDArray[np.int32]:
    """The same decisions, marked; the marked ones are added."""
    result = numbers.copy()
    for number in np.unique(numbers):
        marked = replace(decisions[number], spares_host=True)
        if marked not in decisions:
            decisions.append(marked)
        result[numbers == number] = decisions.index(marked)
    return result
