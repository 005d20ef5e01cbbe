"""Port names: which pods of the inventory have a name that a statement uses, and what to say when none has.

A name is resolved on the destination: the subject's own pods for ingress, each peer pod for egress.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.context import Context
from bpfence.dialects.cilium.matching import Pods, PodSet
from bpfence.dialects.cilium.model import Statement
from bpfence.dialects.cilium.ports import EXTENDED, PortName, parse_port, protocol_word, transport_numbers
from bpfence.dialects.cilium.statements import Place, port_entries
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod
from bpfence.ir.expressions import LabelExpr, PeerExpr
from bpfence.ir.nodes import Direction
from bpfence.source.documents import Path


@dataclass(frozen=True, slots=True)
class NameUse:
    """A port name in a statement, and the pods its traffic can end at."""

    path: Path
    name: str
    protocols: tuple[int, ...]
    direction: Direction
    subject: LabelExpr
    peer: PeerExpr

    def destinations(self, pods: Pods) -> Iterator[tuple[Pod, dict[int, set[int]]]]:
        """The pods meant that have the name, each with its numbers by protocol."""
        for place in pods.with_port(self.name, self.reach(pods)):
            pod = pods.all[place]
            if numbers := self.numbers(pod):
                yield pod, numbers

    def reach(self, pods: Pods) -> PodSet:
        """The pods meant, whether they have the name or not."""
        return pods.selected(self.subject) if self.direction is Direction.INGRESS else pods.meant(self.peer)

    def numbers(self, pod: Pod) -> dict[int, set[int]]:
        """What the pod calls by the name, by protocol."""
        numbers: dict[int, set[int]] = {}
        for port in pod.ports:
            if port.name == self.name and port.protocol in self.protocols and (port.restartable or not port.init):
                numbers.setdefault(port.protocol, set()).add(port.number)
        return numbers


def name_uses(statement: Statement, place: Place, subject: LabelExpr, peer: PeerExpr) -> Iterator[NameUse]:
    """Every port name of a statement."""
    for path, name, protocols in named_entries(statement, place):
        yield NameUse(path, name, protocols, place.direction, subject, peer)


def named_entries(statement: Statement, place: Place) -> Iterator[tuple[Path, str, tuple[int, ...]]]:
    """(Place, name, protocols) of every port that is given by its name."""
    for path, port in port_entries(statement, place.path):
        word = protocol_word(port)
        if word not in EXTENDED and isinstance(parsed := parse_port(port.port or ""), PortName):
            yield (*path, "port"), parsed.name, transport_numbers(word)


def refuse_names(
    statement: Statement, place: Place, subject: LabelExpr, peer: PeerExpr, owner: PolicyObject, context: Context
) -> None:
    """Errors: a name to which a pod gives two numbers, and a deny by a name that no pod has."""
    for use in name_uses(statement, place, subject, peer):
        found = False
        for pod, numbers in use.destinations(context.pods):
            found = True
            if any(len(given) > 1 for given in numbers.values()):
                context.diagnostics.error(
                    codes.PORT_NAME_TWICE,
                    pod.span,
                    f"pod {pod.namespace}/{pod.name} gives two numbers to the port name {use.name!r} of a policy",
                    "give each port a name of its own",
                    owner.title,
                )
        if place.denies and not found and context.pods.all:
            context.diagnostics.error(
                codes.NAMED_PORT_DENIED,
                owner.span(*use.path),
                f"no pod that the statement means has a port named {use.name!r}, so nothing would be denied",
                "deny the port by its number",
                owner.title,
            )
