"""Port names: which pods of the inventory have a name that a statement uses, and what to say when none has.

A name is resolved on the destination: the subject's own pods for ingress, each peer pod for egress.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.context import Context
from bpfence.dialects.cilium.matching import holds, means_pod, pod_labels
from bpfence.dialects.cilium.model import Statement
from bpfence.dialects.cilium.ports import EXTENDED, PortName, parse_port, protocol_word, transport_numbers
from bpfence.dialects.cilium.statements import Place, port_entries
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory, Pod
from bpfence.ir.expressions import LabelExpr, PeerExpr
from bpfence.ir.nodes import Direction
from bpfence.source.documents import Path


@dataclass(frozen=True, slots=True)
class NameUse:
    """A port name in a statement. ``pods``: the destinations that have it, with their numbers by protocol."""

    path: Path
    name: str
    protocols: tuple[int, ...]
    pods: tuple[tuple[Pod, dict[int, set[int]]], ...]


def name_uses(
    statement: Statement, place: Place, subject: LabelExpr, peer: PeerExpr, inventory: Inventory
) -> Iterator[NameUse]:
    """Every port name of a statement, resolved on the pods that its traffic can end at."""
    for path, port in port_entries(statement, place.path):
        word = protocol_word(port)
        if word in EXTENDED or not isinstance(parsed := parse_port(port.port or ""), PortName):
            continue
        protocols = transport_numbers(word)
        found = tuple(
            (pod, numbers)
            for pod in inventory.pods
            if not pod.host_network
            and (numbers := _numbers(pod, parsed.name, protocols))
            and _is_destination(pod, place.direction, subject, peer, inventory)
        )
        yield NameUse((*path, "port"), parsed.name, protocols, found)


def _numbers(pod: Pod, name: str, protocols: tuple[int, ...]) -> dict[int, set[int]]:
    """The pod's numbers for a port name, by protocol."""
    numbers: dict[int, set[int]] = {}
    for port in pod.ports:
        if port.name == name and port.protocol in protocols and (port.restartable or not port.init):
            numbers.setdefault(port.protocol, set()).add(port.number)
    return numbers


def _is_destination(pod: Pod, direction: Direction, subject: LabelExpr, peer: PeerExpr, inventory: Inventory) -> bool:
    labels = pod_labels(pod, inventory)
    return holds(subject, labels) if direction is Direction.INGRESS else means_pod(peer, pod, labels)


def refuse_names(
    statement: Statement, place: Place, subject: LabelExpr, peer: PeerExpr, owner: PolicyObject, context: Context
) -> None:
    """Errors: a name that a pod gives two numbers, and a deny by a name that no pod has."""
    for use in name_uses(statement, place, subject, peer, context.inventory):
        for pod, numbers in use.pods:
            if any(len(found) > 1 for found in numbers.values()):
                context.diagnostics.error(
                    codes.PORT_NAME_TWICE,
                    pod.span,
                    f"pod {pod.namespace}/{pod.name} gives two numbers to the port name {use.name!r} of a policy",
                    "give each port a name of its own",
                    owner.title,
                )
        if place.denies and not use.pods and context.inventory.pods:
            context.diagnostics.error(
                codes.NAMED_PORT_DENIED,
                owner.span(*use.path),
                f"no pod that the statement means has a port named {use.name!r}, so nothing would be denied",
                "deny the port by its number",
                owner.title,
            )
