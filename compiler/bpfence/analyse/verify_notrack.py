"""Flows that are left out of the connection table, compared with the same policies and every flow remembered.

In: both artefacts, packets. Out: (packet, what differs). A flow that is left out must be one whose every packet the
tables allow for itself; and in the kernel whole exchanges must go the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bpfence.emit.artefact import Artefact
from bpfence.simulate.simulator import Address, Packet, Simulator, answer_of

KernelExchanges = Callable[[Artefact, Sequence[Packet]], Sequence[tuple[bool, ...]]]
"""runs exchanges that begin with the packets through the artefact's programs: which of each one's steps passed"""
_ERRORS = {4: (1, (3, 11, 12)), 6: (58, (1, 2, 3, 4))}
"""family -> ICMP's number there, and the types that quote a packet"""
SPARSE = 16
"""of flows that are remembered, one in so many is compared too"""


class NotrackCheck:
    """``marked``: the artefact that leaves flows out; ``plain``: the one that does not. ``routers``, ``codes``: an
    address of every class, and an ICMP code of every class by protocol, for errors about flows.
    """

    def __init__(
        self,
        marked: Artefact,
        plain: Artefact,
        routers: Sequence[Address],
        codes: Mapping[int, Sequence[int]],
        exchanges: KernelExchanges | None,
    ) -> None:
        self._marked, self._plain = marked, plain
        self._routers, self._codes = routers, codes
        self._deaf: dict[tuple[str, Address], bool] = {}
        self._simulators = Simulator(marked), Simulator(plain)
        self._exchanges = exchanges
        self.left_out = 0
        self.exchanged = 0
        self._seen = 0

    def check(self, packets: Sequence[Packet]) -> Iterator[tuple[Packet, str]]:
        """What differs for these packets; adds to the counts."""
        chosen = []
        marked, plain = self._simulators
        for packet in packets:
            answer, tracked = marked.decide(packet), plain.decide(packet)
            self._seen += 1
            self.left_out += answer.stateless
            if answer.allowed != tracked.allowed:
                yield packet, f"the tables say otherwise when every flow is remembered: {_word(tracked.allowed)}"
            if answer.stateless and not plain.decide(answer_of(packet)).allowed:
                yield packet, "its flow is not remembered, and the answer to it is denied"
            if answer.stateless and self._is_deaf(packet):
                yield packet, "its flow is not remembered, and an error about it would be denied"
            if answer.stateless or not self._seen % SPARSE:
                chosen.append(packet)
        yield from self._check_exchanges(chosen)

    def _is_deaf(self, packet: Packet) -> bool:
        """Whether some ICMP error to or from the endpoint is denied, from whatever router."""
        place = (packet.endpoint, packet.own)
        if place not in self._deaf:
            allowed = (self._simulators[1].decide(error).allowed for error in self._errors(packet))
            self._deaf[place] = not all(allowed)
        return self._deaf[place]

    def _errors(self, packet: Packet) -> Iterator[Packet]:
        protocol, types = _ERRORS[packet.own.version]
        kinds = [(kind, code) for kind in types for code in self._codes[protocol]]
        for router in self._routers:
            if router.version != packet.own.version or router == packet.own:
                continue
            for direction in ("egress", "ingress"):
                for kind in kinds:
                    yield Packet(packet.endpoint, direction, packet.own, router, protocol, None, None, *kind)

    def _check_exchanges(self, packets: Sequence[Packet]) -> Iterator[tuple[Packet, str]]:
        if self._exchanges is None or not packets:
            return
        self.exchanged += len(packets)
        seen = [self._exchanges(artefact, packets) for artefact in (self._marked, self._plain)]
        for packet, ours, tracked in zip(packets, *seen, strict=True):
            if ours != tracked:
                yield packet, f"an exchange goes {_words(ours)}, and {_words(tracked)} when every flow is remembered"


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _words(steps: tuple[bool, ...]) -> str:
    return " ".join(map(_word, steps))
