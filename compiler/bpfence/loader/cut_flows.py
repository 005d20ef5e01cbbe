"""Live flows that new tables would cut, or show to a shadow policy. In: flows, the state in force and the new one. Out:
the flows, each with the rule that decides.

A flow is judged as its next packets would be: by its opener's packet, at its endpoint; and where a host asks about
every packet, before connection tracking, by those that answer, too. Flows with the same endpoint, address and opener
ask the same rows, so what is looked up per flow is classes and cells.
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
from bpfence.analyse.table_questions import HostRows, Question
from bpfence.analyse.table_sides import Side
from bpfence.classify.fingerprints import equal_rows
from bpfence.flows import protocol_name
from bpfence.loader.flow_packets import ECHO_REQUEST, is_answered, known_answers, packets_of, workload_parties
from bpfence.loader.live_flows import Flow, LiveFlows
from bpfence.plan.layout import CELL_SHADOW, CONNECTION_GUESSED, CONNECTION_HOST
from bpfence.simulate.arrays import Address, Ints
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX

Bits = NDArray[np.bool_]
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
        return L4Facts(flow.protocol, icmp_type=ECHO_REQUEST[flow.local.version], icmp_code=0)
    return L4Facts(flow.protocol)


class _Verdicts:
    """What one state says about each flow."""

    def __init__(self, flows: LiveFlows, state: State, groups: Sequence[Ints]) -> None:
        self._state = state
        self.allowed = np.ones(len(flows), dtype=bool)
        self.shadow = np.zeros(len(flows), dtype=bool)
        self._codes = np.zeros(len(flows), dtype=np.int64)
        self._question = np.full(len(flows), -1, dtype=np.int64)
        self._questions: list[tuple[str, Question]] = []
        if state.side.tables is None:
            return
        party = workload_parties(state.side.tables, flows)
        self._judge(flows, np.arange(len(flows)), flows.opened_ingress, party, groups)
        # who opened it is a guess: the other direction will do as well
        again = np.flatnonzero(~self.allowed & ((flows.flags & CONNECTION_GUESSED) > 0))
        if len(again):
            other = ~flows.opened_ingress
            self._judge(flows, again, other, party, _alike(flows.select(again), other[again]))
        self._ask_early(flows, [members for members in groups if self._is_host(flows, members)])

    def reason(self, place: int) -> tuple[str, Origin]:
        """(endpoint, deciding rule) of a flow."""
        number = int(self._question[place])
        allowed = bool(self.allowed[place])
        if number < 0:
            return "", Origin("allow", "not-enforced")
        name, question = self._questions[number]
        return name, question.origin(self._state.side.entries, int(self._codes[place]), allowed)

    def _judge(self, flows: LiveFlows, chosen: Ints, ingress: Bits, party: Bits, groups: Sequence[Ints]) -> None:
        """Ask about the chosen flows, opened in the direction given; at hosts what is asked when a flow begins.
        ``groups``: see `_alike`, of the chosen.
        """
        tables = self._state.side.tables
        assert tables is not None
        mine = flows.select(chosen) if len(chosen) < len(flows) else flows
        packets = packets_of(tables, mine, ingress[chosen], party[chosen])
        for members in groups:
            one, there = int(members[0]), chosen[members]
            found = self._asked(mine, one, bool(ingress[chosen[one]]))
            if found is None:
                self.allowed[there] = True
                continue
            name, question = found
            if isinstance(question, HostRows):
                question = question.of_points(early=False)
            answer = question.ask(tables, packets.select(members))
            self.allowed[there] = answer.allowed
            self.shadow[there] = (answer.codes & CELL_SHADOW) > 0
            self._note(there, name, question, answer.codes)

    def _ask_early(self, flows: LiveFlows, groups: Sequence[Ints]) -> None:
        """What hosts say before connection tracking, of every packet: those of the opener, and those of the other side
        where there are such. What is denied there ends the flow; what is allowed there passes, whatever is asked when a
        flow begins. ``groups``: those of hosts.
        """
        tables = self._state.side.tables
        if tables is None or not groups:
            return
        begins, nobody = self.allowed.copy(), np.zeros(len(flows), dtype=bool)
        for answers in (False, True):
            packets = packets_of(tables, flows, flows.opened_ingress ^ answers, nobody, answers=answers)
            spared = known_answers(tables, flows) if answers else nobody
            there = is_answered(flows) if answers else ~nobody
            passes = begins.copy()
            for members in groups:
                found = self._asked(flows, int(members[0]), bool(flows.opened_ingress[members[0]]) ^ answers)
                if found is None or not isinstance(found[1], HostRows):
                    continue
                question = found[1].of_points(early=True)
                answer = question.ask(tables, packets.select(members))
                settled = (answer.codes > 0) & ~spared[members]
                passes[members] = np.where(settled, answer.allowed, begins[members])
                ends = settled & ~answer.allowed & there[members] & (self.allowed[members] | (not answers))
                self._note(members[ends], found[0], question, answer.codes[ends])
            self.allowed = np.where(there, passes & (self.allowed | (not answers)), self.allowed)

    def _note(self, there: Ints, name: str, question: Question, codes: Ints) -> None:
        """Who decides about flows."""
        self._codes[there] = codes
        self._question[there] = len(self._questions)
        self._questions.append((name, question))

    def _is_host(self, flows: LiveFlows, members: Ints) -> bool:
        return self._state.interfaces.get(int(flows.ifindex[members[0]])) in self._state.side.host_places

    def _asked(self, flows: LiveFlows, place: int, ingress: bool) -> tuple[str, Question] | None:
        """Who is asked about a flow opened in the direction, and what; None: nobody."""
        name = self._state.interfaces.get(int(flows.ifindex[place]))
        if name is None:
            return None
        raw = flows.local[place].tobytes()
        own: Address = IPv6Address(raw) if flows.family[place] == 6 else IPv4Address(raw[:4])
        direction = "ingress" if ingress else "egress"
        if name in self._state.side.host_places:
            party = bool(flows.flags[place] & CONNECTION_HOST)
            return name, self._state.side.host_question(name, direction, party, own)
        return name, self._state.side.question(name, direction, own)


def _alike(flows: LiveFlows, ingress: Bits) -> list[Ints]:
    """Flows that ask the same row: of one interface, own address, opener and party."""
    party = (flows.flags & CONNECTION_HOST) > 0
    local = np.ascontiguousarray(flows.local).view(np.uint64)
    facts = flows.ifindex.astype(np.uint64) << np.uint64(6) | flows.family.astype(np.uint64) << np.uint64(2)
    facts |= ingress.astype(np.uint64) << np.uint64(1) | party.astype(np.uint64)
    numbers, _ = equal_rows(np.stack([facts, local[:, 0], local[:, 1]], axis=1))
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
