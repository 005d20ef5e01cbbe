"""A frame at an interface of the node itself -> what the program must answer, for a packet of no tracked flow.

The order of questions is that of ARCHITECTURE.md ("The data plane"); the verdicts are those of `HostHooks`. As in
`simulate/frame.py`, time does not pass.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from bpfence.emit.artefact import HostEntry
from bpfence.simulate.frame import (
    Direction,
    FragmentMemory,
    Outcome,
    is_answer_to_either,
    is_link_control,
    is_node_error,
    packet_of,
)
from bpfence.simulate.headers import Headers, read_frame
from bpfence.simulate.host_hooks import HostHooks, ends_in_node
from bpfence.simulate.host_hooks import Outcome as Word
from bpfence.simulate.simulator import Simulator, answer_of


class HostFrameSimulator:
    """Answers frames at the interfaces of one artefact's node. Its own addresses are those of the artefact."""

    def __init__(self, simulator: Simulator) -> None:
        self._hooks = HostHooks(simulator)
        self._own = frozenset(map(ip_address, simulator.manifest.node_addresses))

    def judge(
        self, frame: bytes, direction: Direction, host: HostEntry | None, received: bool, memory: FragmentMemory
    ) -> Outcome:
        """The answer at tc to a frame from its Ethernet header on. ``host``: the interface's host endpoint;
        ``received``: a packet that leaves came in before, so the node itself did not send it; ``memory`` takes note of
        first fragments that pass.
        """
        headers = read_frame(frame)
        if isinstance(headers, str):
            return Outcome(headers)
        party = ends_in_node(headers.destination, self._own) if direction == "ingress" else not received
        return Outcome(self._judge(headers, direction, host, party, memory), headers)

    def judge_early(self, frame: bytes, host: HostEntry | None) -> Outcome:
        """The answer at XDP. What passes there is ``allowed``: tc is asked again."""
        if host is None:
            return Outcome("allowed")
        headers = read_frame(frame, segmented=True)
        if isinstance(headers, str):
            return Outcome("allowed" if headers == "not-ip" else headers)
        if headers.is_later_fragment or is_link_control(headers):
            return Outcome("allowed", headers)
        word = self._hooks.before_tracking(host, packet_of(headers, "ingress", ""), party=True)
        return Outcome("denied" if word is Word.DENIED else "allowed", headers)

    def _judge(
        self, headers: Headers, direction: Direction, host: HostEntry | None, party: bool, memory: FragmentMemory
    ) -> str:
        if is_link_control(headers):
            return "untracked"
        place = host.name if host else "", direction
        if headers.is_later_fragment:
            if not self._hooks.restricts(host, direction, party=party):
                return "untracked"
            return "allowed" if memory.knows(place, headers) else "fragment"
        reason = self._verdict(headers, direction, host, party)
        if headers.fragment is not None and reason != "denied":
            memory.remember(place, headers)
            return "allowed"
        return reason

    def _verdict(self, headers: Headers, direction: Direction, host: HostEntry | None, party: bool) -> str:
        packet = packet_of(headers, direction, "")
        early = self._hooks.before_tracking(host, packet, party=party)
        if early is not None:
            return str(early)
        exempt = is_node_error(headers)
        if self._hooks.opens(host, packet, party=party, node_exempt=exempt):
            return "allowed"
        if not is_answer_to_either(headers):
            return "denied"
        answered = replace(answer_of(packet), endpoint="")
        return "allowed" if self._hooks.opens(host, answered, party=party, node_exempt=exempt) else "denied"
