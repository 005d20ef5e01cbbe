"""The packets of live flows as the tables' classes have them. In: flows and a set of tables. Out: `Packets` for all
flows at once, and what is known of who sends them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.table_partition import NODE_PORT
from bpfence.analyse.table_questions import Packets
from bpfence.loader.live_flows import LiveFlows
from bpfence.plan.layout import (
    CONNECTION_HOST,
    CONNECTION_REPLIED,
    FAILSAFE,
    FAILSAFE_EGRESS,
    FAILSAFE_INGRESS,
)
from bpfence.simulate.arrays import Ints, TableArrays
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX

Bits = NDArray[np.bool_]
ECHO_REQUEST = {4: 8, 6: 128}
_ECHO_REPLY = {4: 0, 6: 129}
_TCP, _SCTP = 6, 132


def packets_of(tables: TableArrays, flows: LiveFlows, ingress: Bits, party: Bits, *, answers: bool = False) -> Packets:
    """A packet of each flow in the direction given. ``answers``: those that answer, which of pings are replies."""
    peers, l4 = remote_classes(tables, flows), l4_classes(tables, flows, ingress, answers=answers)
    marks = np.zeros(len(flows), dtype=np.int64)
    for protocol, place in PORT_INDEX.items():
        mine = flows.protocol == protocol
        marks[mine] = np.where(tables.node_ports[place][flows.remote_port[mine]], NODE_PORT, 0)
    return Packets(peers, l4, marks, party)


def workload_parties(tables: TableArrays, flows: LiveFlows) -> Bits:
    """Whether the node itself is the remote party of a workload's flow: where that opened it, as was noted then; else
    where packets to it end in the node.
    """
    noted: Bits = (flows.flags & CONNECTION_HOST) > 0
    if not tables.manifest.features["hosts_at_workloads"]:
        return noted
    return np.where(flows.opened_ingress, noted, _ends_in_node(tables, flows))


def _ends_in_node(tables: TableArrays, flows: LiveFlows) -> Bits:
    first, four = flows.remote[:, 0], flows.family == 4
    result: Bits = np.where(four, first >> 4 == 14, first == 0xFF)
    halves = np.ascontiguousarray(flows.remote).view(np.uint64)
    everybody = [bytes(4), b"\xff" * 4]
    own = {(4, raw.ljust(16, b"\0")) for raw in everybody}
    own |= {(address.version, address.packed.ljust(16, b"\0")) for address in tables.local_addresses}
    known = np.frombuffer(b"".join(raw for _, raw in own), dtype=np.uint64).reshape(-1, 2)
    likely = np.flatnonzero(np.isin(halves[:, 0], known[:, 0]) & np.isin(halves[:, 1], known[:, 1]))
    for place in likely.tolist():
        result[place] |= (int(flows.family[place]), flows.remote[place].tobytes()) in own
    return result


def is_answered(flows: LiveFlows) -> Bits:
    """Where packets go both ways: they did, or the protocol needs them to."""
    return ((flows.flags & CONNECTION_REPLIED) > 0) | np.isin(flows.protocol, (_TCP, _SCTP))


def known_answers(tables: TableArrays, flows: LiveFlows) -> Bits:
    """Where answers to the node's own flows come from a port that policies of hosts never close."""
    result = np.zeros(len(flows), dtype=bool)
    if "failsafes" not in tables.images:
        return result
    ports = np.where(flows.opened_ingress, flows.local_port, flows.remote_port)
    direction = np.where(flows.opened_ingress, FAILSAFE_INGRESS, FAILSAFE_EGRESS)
    remote = np.ascontiguousarray(flows.remote).view(np.uint32)
    listed = np.frombuffer(tables.images["failsafes"], dtype=FAILSAFE.dtype)[: int(tables.header["failsafes"])]
    for entry in listed:
        mine = (ports == entry["port"]) & (flows.protocol == entry["protocol"])
        mine &= (direction & entry["directions"]) > 0
        if entry["family"]:
            inside = (remote & entry["mask"].astype(np.uint32)) == entry["network"].astype(np.uint32)
            mine &= (flows.family == entry["family"]) & inside.all(axis=1)
        result |= mine
    return result & ((flows.flags & CONNECTION_HOST) > 0)


def remote_classes(tables: TableArrays, flows: LiveFlows) -> Ints:
    """The peer class of each flow's remote address."""
    result = np.zeros(len(flows), dtype=np.int64)
    words = np.ascontiguousarray(flows.remote).view(">u4").astype(np.uint64)
    four = flows.family == 4
    if four.any():
        result[four] = tables.classes4(words[four, 0].astype(np.int64))
    if not four.all():
        high, low = (
            words[~four, 0] << np.uint64(32) | words[~four, 1],
            words[~four, 2] << np.uint64(32) | words[~four, 3],
        )
        result[~four] = tables.classes6(high, low)
    return result


def l4_classes(tables: TableArrays, flows: LiveFlows, ingress: Bits, *, answers: bool = False) -> Ints:
    """The L4 class of a packet of each flow in the direction given. ``answers``: see `packets_of`."""
    result = tables.protocols[flows.protocol.astype(np.int64)]
    destination = np.where(ingress, flows.local_port, flows.remote_port).astype(np.int64)
    source = np.where(ingress, flows.remote_port, flows.local_port).astype(np.int64)
    for protocol, place in PORT_INDEX.items():
        mine = flows.protocol == protocol
        if mine.any():
            to, from_ = tables.port_classes(place)
            result[mine] = tables.pair_classes(to[destination[mine]], from_[source[mine]])
    for (version, protocol), place in ICMP_INDEX.items():
        table = tables.icmp[place]
        kind = (_ECHO_REPLY if answers else ECHO_REQUEST)[version] << (8 if len(table) == 65536 else 0)
        result[(flows.protocol == protocol) & (flows.family == version)] = table[kind]
    return result
