"""Live flows that new tables would cut, or show to a shadow policy. In: flows, the state in force and the new one. Out:
the flows, each with the rule that decides.

A flow is judged as its next packet would be: by its opener's packet, at its endpoint. Flows with the same endpoint,
address and opener ask the same row, so what is looked up per flow is two classes and a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.judge import L4Facts
from bpfence.analyse.rule_finder import RuleFinder
from bpfence.analyse.table_origins import Origin
from bpfence.analyse.table_questions import Fixed, HostRows, Question, WorkloadRow, ask_host
from bpfence.analyse.table_sides import Side
from bpfence.classify.fingerprints import equal_rows
from bpfence.emit.artefact import Artefact
from bpfence.flows import protocol_name
from bpfence.loader.host_status import table_addresses
from bpfence.loader.live_flows import Flow, LiveFlows
from bpfence.plan.layout import CELL_ALLOW, CELL_SHADOW, CONNECTION_GUESSED, CONNECTION_HOST
from bpfence.simulate.arrays import Address, Ints, TableArrays
from bpfence.simulate.host_hooks import HostHooks, ends_in_node
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX, Packet, Simulator

Bits = NDArray[np.bool_]
_ECHO_REQUEST = {4: 8, 6: 128}
CUT, SHADOWED = "cut", "shadowed"


@dataclass(frozen=True, slots=True)
class FlowChange:
    """A live flow and what would become of it: `CUT`, or `SHADOWED` (it goes on, and a shadow policy sees it).
    ``direction``: in which the flow was opened, as its endpoint sees it.
    """

    outcome: str
    endpoint: str
    interface: str
    protocol: str
    local: str
    local_port: int
    remote: str
    remote_port: int
    direction: str
    rule: Origin


@dataclass(frozen=True, slots=True)
class State:
    """Tables with the interfaces they are in force at: index -> endpoint or host."""

    side: Side
    interfaces: Mapping[int, str]


def changed_flows(
    flows: LiveFlows, old: State, new: State, names: Mapping[int, str], rules: RuleFinder | None = None
) -> tuple[FlowChange, ...]:
    """Flows that are allowed now and would not be, and those that a shadow policy would see; by endpoint.

    ``names``: of interfaces; ``rules``: finds those that the new tables do not keep. A flow that some generation has
    cut already is left out, and so is one that the tables in force deny: its next packet is dropped whatever happens.
    """
    flows = flows.select(~flows.denied)
    if not len(flows):
        return ()
    groups = _alike(flows, flows.opened_ingress)
    before, after = _Verdicts(flows, old, groups), _Verdicts(flows, new, groups)
    cut = np.flatnonzero(before.allowed & ~after.allowed)
    shadowed = np.flatnonzero(before.allowed & after.allowed & after.shadow & ~before.shadow)
    found = [
        *(_change(CUT, flows, int(place), after, names, rules) for place in cut),
        *(_change(SHADOWED, flows, int(place), after, names, rules) for place in shadowed),
    ]
    return tuple(sorted(found, key=lambda item: (item.outcome, item.endpoint, item.remote, item.remote_port)))


def _change(
    outcome: str, flows: LiveFlows, place: int, verdicts: _Verdicts, names: Mapping[int, str], rules: RuleFinder | None
) -> FlowChange:
    flow = flows[place]
    endpoint, origin = verdicts.reason(place)
    ingress = bool(flows.opened_ingress[place])
    direction = "ingress" if ingress else "egress"
    if rules is not None:
        origin = rules.better(origin, direction, flow.local, flow.remote, _opening(flow, ingress))
    return FlowChange(
        outcome,
        endpoint,
        names.get(flow.ifindex, str(flow.ifindex)),
        protocol_name(flow.protocol),
        str(flow.local),
        flow.local_port,
        str(flow.remote),
        flow.remote_port,
        direction,
        origin,
    )


def _opening(flow: Flow, ingress: bool) -> L4Facts:
    """What the packet that opened the flow says."""
    if flow.protocol in PORT_INDEX:
        ports = (flow.remote_port, flow.local_port) if ingress else (flow.local_port, flow.remote_port)
        return L4Facts(flow.protocol, *ports)
    if (flow.local.version, flow.protocol) in ICMP_INDEX:
        return L4Facts(flow.protocol, icmp_type=_ECHO_REQUEST[flow.local.version], icmp_code=0)
    return L4Facts(flow.protocol)


def _packet(endpoint: str, flow: Flow, ingress: bool) -> Packet:
    """The packet that opened the flow."""
    said, direction = _opening(flow, ingress), "ingress" if ingress else "egress"
    rest = (said.source_port, said.destination_port, said.icmp_type, said.icmp_code)
    return Packet(endpoint, direction, flow.local, flow.remote, flow.protocol, *rest)


class _Verdicts:
    """What one state says about each flow."""

    def __init__(self, flows: LiveFlows, state: State, groups: Sequence[Ints]) -> None:
        self._state = state
        self.allowed = np.ones(len(flows), dtype=bool)
        self.shadow = np.zeros(len(flows), dtype=bool)
        self._codes = np.zeros(len(flows), dtype=np.int64)
        self._question = np.full(len(flows), -1, dtype=np.int64)
        self._by_host = np.zeros(len(flows), dtype=bool)
        self._questions: list[tuple[str, Question]] = []
        if state.side.tables is None:
            return
        self._judge(flows, np.arange(len(flows)), flows.opened_ingress, groups)
        # who opened it is a guess: the other direction will do as well
        again = np.flatnonzero(~self.allowed & ((flows.flags & CONNECTION_GUESSED) > 0))
        if len(again):
            other = ~flows.opened_ingress
            self._judge(flows, again, other, _alike(flows.select(again), other[again]))
        if state.side.tables.manifest.features["hosts_at_workloads"]:
            self._ask_hosts(flows, state.side.tables)

    def reason(self, place: int) -> tuple[str, Origin]:
        """(endpoint, deciding rule) of a flow."""
        number = int(self._question[place])
        allowed = bool(self.allowed[place])
        if number < 0:
            return "", Origin("allow", "not-enforced")
        name, question = self._questions[number]
        if self._by_host[place]:
            return name, Origin("deny", "host-policy")
        return name, question.origin(self._state.side.entries, int(self._codes[place]), allowed)

    def _judge(self, flows: LiveFlows, chosen: Ints, ingress: Bits, groups: Sequence[Ints]) -> None:
        """Ask about the chosen flows, opened in the direction given. ``groups``: see `_alike`, of the chosen."""
        tables = self._state.side.tables
        assert tables is not None
        mine = flows.select(chosen) if len(chosen) < len(flows) else flows
        ingress = ingress[chosen]
        party = (mine.flags & CONNECTION_HOST) > 0
        peers, l4 = remote_classes(tables, mine), l4_classes(tables, mine, ingress)
        for members in groups:
            one, there = int(members[0]), chosen[members]
            name = self._state.interfaces.get(int(mine.ifindex[one]))
            if name is None:
                self.allowed[there] = True
                continue
            question = self._asked(name, mine, one, bool(ingress[one]), bool(party[one]))
            self.allowed[there], self._codes[there] = _ask(tables, question, peers[members], l4[members])
            self.shadow[there] = (self._codes[there] & CELL_SHADOW) > 0
            self._question[there] = len(self._questions)
            self._questions.append((name, question))

    def _ask_hosts(self, flows: LiveFlows, tables: TableArrays) -> None:
        """What hosts say about flows of workloads whose own rows allow them: each kind of flow once."""
        ingress, places = flows.opened_ingress, self._state.side.places
        workload = np.array([*(name in places for name, _ in self._questions), False])
        asked = np.flatnonzero(self.allowed & workload[self._question])
        if not len(asked):
            return
        mine = flows.select(asked)
        hooks = HostHooks(Simulator(Artefact(tables.manifest, {}, dict(tables.images), "", {}, "")))
        own = table_addresses(tables.images["local_addresses"])
        peers, l4 = remote_classes(tables, mine), l4_classes(tables, mine, ingress[asked])
        facts = (self._question[asked], ingress[asked], peers, l4, mine.flags & CONNECTION_HOST, mine.remote_port)
        numbers, first = equal_rows(np.stack([column.astype(np.int64) for column in facts], axis=1))
        denied = np.zeros(len(first), dtype=bool)
        for number, place in enumerate(first.tolist()):
            name, _ = self._questions[int(self._question[asked[place]])]
            flow, inwards = mine[place], bool(ingress[asked[place]])
            party = bool(flow.flags & CONNECTION_HOST) if inwards else ends_in_node(flow.remote, own)
            denied[number] = not hooks.at_workload(_packet(name, flow, inwards), party=party)
        cut = asked[denied[numbers]]
        self.allowed[cut], self._by_host[cut] = False, True

    def _asked(self, name: str, flows: LiveFlows, place: int, ingress: bool, party: bool) -> Question:
        raw = flows.local[place].tobytes()
        own: Address = IPv6Address(raw) if flows.family[place] == 6 else IPv4Address(raw[:4])
        direction = "ingress" if ingress else "egress"
        if name in self._state.side.host_places:
            return self._state.side.host_question(name, direction, party, own)
        return self._state.side.question(name, direction, own)


def _alike(flows: LiveFlows, ingress: Bits) -> list[Ints]:
    """Flows that ask the same row: of one interface, own address, opener and party."""
    party = (flows.flags & CONNECTION_HOST) > 0
    local = np.ascontiguousarray(flows.local).view(np.uint64)
    facts = flows.ifindex.astype(np.uint64) << np.uint64(6) | flows.family.astype(np.uint64) << np.uint64(2)
    facts |= ingress.astype(np.uint64) << np.uint64(1) | party.astype(np.uint64)
    numbers, _ = equal_rows(np.stack([facts, local[:, 0], local[:, 1]], axis=1))
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _ask(tables: TableArrays, question: Question, peers: Ints, l4: Ints) -> tuple[Bits, Ints]:
    """(allowed, codes) of flows, element by element."""
    if isinstance(question, WorkloadRow):
        cells = tables.cells(question.row, peers, l4)
        return (cells & CELL_ALLOW) > 0, cells.astype(np.int64)
    if isinstance(question, HostRows):
        answer = ask_host(tables, question, peers, l4)
        return answer.allowed, answer.codes
    assert isinstance(question, Fixed)
    fixed = question.ask(tables, peers[:1], l4[:1])
    return np.full(len(peers), fixed.allowed[0, 0]), np.zeros(len(peers), dtype=np.int64)


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


def l4_classes(tables: TableArrays, flows: LiveFlows, ingress: Bits) -> Ints:
    """The L4 class of each flow's opening packet."""
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
        kind = _ECHO_REQUEST[version] << (8 if len(table) == 65536 else 0)
        result[(flows.protocol == protocol) & (flows.family == version)] = table[kind]
    return result
