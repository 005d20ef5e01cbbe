"""Port names that rules use, against the pods that could give them a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.check import PROTOCOLS
from bpfence.dialects.kubernetes.cluster_form import ClusterPolicy
from bpfence.dialects.kubernetes.model import NetworkPolicy, Peer, Port
from bpfence.dialects.kubernetes.pod_index import (
    EVERYTHING,
    PodIndex,
    Scope,
    choice_scope,
    peer_scope,
    policy_scope,
)
from bpfence.dialects.kubernetes.report import Path
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod


@dataclass(frozen=True, slots=True)
class NameUse:
    """A rule names a port. ``scopes``: the pods that may be its destination; ``path``: where the name stands."""

    source: PolicyObject
    path: Path
    name: str
    protocols: tuple[int, ...]
    scopes: tuple[Scope, ...]


def numbers_of(pod: Pod, name: str, protocol: int) -> frozenset[int]:
    """The numbers that a pod gives to a name: of its containers and restartable init containers."""
    counted = (port for port in pod.ports if not port.init or port.restartable)
    return frozenset(port.number for port in counted if port.name == name and port.protocol == protocol)


def uses_of_policy(source: PolicyObject, policy: NetworkPolicy) -> Iterator[NameUse]:
    """Port names in a NetworkPolicy's effective rules: the selected pods' for ingress, the peers' for egress."""
    spec = policy.spec
    ingress, egress = spec.directions
    own = (policy_scope(source, policy),)
    for index, rule in enumerate(spec.ingress if ingress else ()):
        yield from _uses(source, rule.ports, ("spec", "ingress", index), own)
    for index, outgoing in enumerate(spec.egress if egress else ()):
        scopes = _peer_scopes(source, outgoing.to)
        yield from _uses(source, outgoing.ports, ("spec", "egress", index), scopes)


def _peer_scopes(source: PolicyObject, peers: tuple[Peer, ...]) -> tuple[Scope, ...]:
    if not peers:
        return (Scope(EVERYTHING, EVERYTHING),)
    scopes = (peer_scope(source, peer) for peer in peers)
    return tuple(scope for scope in scopes if scope is not None)


def _uses(source: PolicyObject, ports: tuple[Port, ...], path: Path, scopes: tuple[Scope, ...]) -> Iterator[NameUse]:
    for index, port in enumerate(ports):
        if isinstance(port.port, str):
            protocol = PROTOCOLS[port.protocol or "TCP"]
            yield NameUse(source, (*path, "ports", index, "port"), port.port, (protocol,), scopes)


def uses_of_cluster_policy(form: ClusterPolicy) -> Iterator[NameUse]:
    """Port names in a cluster policy's rules, by their destination."""
    own = choice_scope(form.subject)
    for rule in (*form.ingress, *form.egress):
        peers = (own,) if rule in form.ingress else tuple(map(choice_scope, rule.peers))
        scopes = tuple(scope for scope in peers if scope is not None)
        for item in rule.items or ():
            if item.name:
                yield NameUse(form.source, rule.path, item.name, item.protocols, scopes)


def check_port_names(uses: Iterable[NameUse], index: PodIndex, diagnostics: Diagnostics) -> None:
    """Refuse pods that give two numbers to a name that a rule uses for them; each once."""
    ambiguous = _ambiguous_names(index)
    for use in uses if ambiguous else ():
        for protocol in use.protocols:
            for pod in ambiguous.get((use.name, protocol), ()):
                if any(index.contains(scope, pod) for scope in use.scopes):
                    _refuse(use, pod, protocol, diagnostics)


def has_ambiguous_names(pods: Iterable[Pod]) -> bool:
    """Whether some pod gives a port name two numbers; without one there is nothing for `check_port_names` to find."""
    named = ((pod, port) for pod in pods if len(pod.ports) > 1 for port in pod.ports if port.name)
    return any(len(numbers_of(pod, port.name, port.protocol)) > 1 for pod, port in named)


def _ambiguous_names(index: PodIndex) -> dict[tuple[str, int], list[Pod]]:
    found: dict[tuple[str, int], list[Pod]] = {}
    for pod in index.pods:
        names = {(port.name, port.protocol) for port in pod.ports if port.name}
        for name, protocol in sorted(names):
            if len(numbers_of(pod, name, protocol)) > 1:
                found.setdefault((name, protocol), []).append(pod)
    return found


def _refuse(use: NameUse, pod: Pod, protocol: int, diagnostics: Diagnostics) -> None:
    numbers = ", ".join(map(str, sorted(numbers_of(pod, use.name, protocol))))
    message = f"pod {pod.namespace}/{pod.name} gives the port name {use.name!r} more than one number: {numbers}"
    hint = f"{use.source.title} uses the name; give each port a name of its own"
    diagnostics.error(codes.PORT_NAME_TWICE, pod.span, message, hint, use.source.title)
