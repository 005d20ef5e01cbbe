"""What an artefact says about one flow at one place of the node, and which rule says it.

A flow is asked about in the direction in which it is opened; answers need no rule, unless policies before connection
tracking (doNotTrack) have their say about them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from bpfence.emit.artefact import HostEntry, LayerDecision
from bpfence.simulate.host_hooks import HostHooks, Outcome, is_failsafe
from bpfence.simulate.simulator import Packet, Simulator, answer_of

_TCP = 6
_NO_NUMBER = "a rule whose number the tables do not keep; `bpfence explain` names it"
_OF_POLICIES = ("rule", "default-deny")
"""Reasons of a policy; a host endpoint without one has others."""
_REASONS = {
    "default-deny": "no rule that allows it (default deny)",
    "profile": "no policy and no profile that allows it",
    "no-backend": "its service having no ready backend",
}


class Verdicts:
    """Answers for one artefact. Each is empty when the flow passes, else `denied by` whom."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._hooks = HostHooks(simulator)
        hosts = simulator.manifest.hosts
        self._node = next((host for host in hosts if host.name.startswith("node/")), None)

    def at_interface(self, host: HostEntry | None, request: Packet) -> str:
        """At an interface of the node, for a flow of the node itself. ``host``: its host endpoint."""
        outcome = self._hooks.at_interface(host, request, party=True)
        if not outcome.passes:
            return f"denied by {self._blame_at_interface(host, request)}"
        if host is None:
            return ""
        return self._answer(host, request, outcome)

    def closing_rule(self, host: HostEntry | None) -> str:
        """Of an interface by which nothing may leave: the policy that says so, empty when none does."""
        for item in (host, self._node):
            offsets = {row.offset for row in item.rows if row.direction == "egress"} if item is not None else set()
            for row in self._simulator.manifest.rows:
                if row.direction != "egress" or row.offset not in offsets:
                    continue
                for layers in row.decisions:
                    if any(layer.verdict == "deny" and layer.reason in _OF_POLICIES for layer in layers):
                        return f"denied by {rule_text(layers)}"
        return ""

    def _answer(self, host: HostEntry, request: Packet, outcome: Outcome) -> str:
        """What an answer meets: its own row before connection tracking; and when the request left no entry in the
        connection table, the rest as well.
        """
        answer = answer_of(request)
        if is_failsafe(host, answer):
            return ""
        early = self._simulator.decide_host(replace(answer, endpoint=host.name), "untracked")
        if early is not None and not early.allowed:
            known = outcome is Outcome.ALLOWED and is_failsafe(host, request)
            return "" if known else f"its answers are denied by {rule_text(early.layers)}"
        settled = early is not None and not early.undecided
        if settled or outcome is Outcome.ALLOWED or self._hooks.at_interface(host, answer, party=True).passes:
            return ""
        if request.protocol == _TCP and self._is_allowed_later(host, request):
            return ""  # the middle of a connection passes when either direction may be opened
        return f"its answers are denied by {self._blame_at_interface(host, answer)}"

    def _is_allowed_later(self, host: HostEntry, packet: Packet) -> bool:
        """By the rows after connection tracking."""
        later = [self._simulator.decide_host(replace(packet, endpoint=host.name), "endpoint")]
        if self._node is not None:
            later.append(self._simulator.decide_host(replace(packet, endpoint=self._node.name), "endpoint"))
        return all(answer is None or answer.allowed for answer in later)

    def at_workload(self, packet: Packet, *, party: bool) -> str:
        """At the interface of the local workload that ``packet.endpoint`` names. ``party``: the other side is the node
        itself.
        """
        answer = self._simulator.decide(packet)
        if not answer.allowed:
            return f"denied by {rule_text(answer.layers)}"
        if self._hooks.at_workload(packet, party=party):
            return ""
        return "denied by what policies of hosts say about this node's workloads; `bpfence explain` names the rule"

    def _blame_at_interface(self, host: HostEntry | None, packet: Packet) -> str:
        """The first point that denies, in the order in which the programs ask."""
        for item, point in self._points(host, packet):
            if is_failsafe(item, packet):
                continue
            answer = self._simulator.decide_host(replace(packet, endpoint=item.name), point)
            if answer is not None and not answer.allowed:
                return rule_text(answer.layers)
        return _NO_NUMBER

    def _points(self, host: HostEntry | None, packet: Packet) -> Iterator[tuple[HostEntry, str]]:
        if host is not None:
            yield host, "untracked"
            if packet.direction == "ingress":
                yield host, "pre-dnat"
            yield host, "endpoint"
        if self._node is not None:
            yield self._node, "endpoint"


def rule_text(layers: Iterable[LayerDecision]) -> str:
    """The rule that denies: policy, rule and place, or why there is none."""
    denied = next((item for item in layers if item.verdict == "deny"), None)
    if denied is None:
        return _NO_NUMBER
    if not denied.policy:
        return _REASONS.get(denied.reason, denied.reason) + (f" in tier {denied.tier}" if denied.tier else "")
    place = f" ({denied.origin.path}:{denied.origin.line})" if denied.origin else ""
    return f"{denied.policy} {denied.rule}".strip() + place
