"""Warnings about host endpoints and the policies that select them. Objects and inventory in, diagnostics out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check import BUILT_IN_TIERS
from bpfence.dialects.calico.hosts import host_endpoints, host_settings, overruled_host_endpoints
from bpfence.dialects.calico.mirror import ReadRule, covers, read_rule
from bpfence.dialects.calico.model import EntityRule, Rule, Tier
from bpfence.dialects.calico.profiles import ProfileFacts, known_profiles
from bpfence.dialects.calico.selectors import has_criteria, side_selectors
from bpfence.dialects.calico.sources import PolicySource, policy_sources
from bpfence.dialects.calico.values import read_cidr, read_port, read_protocol
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import FailsafePort, HostEndpoint, Inventory, Pod
from bpfence.ir.nodes import Direction, Point
from bpfence.selectors import matches, parse_selector
from bpfence.source.documents import Path

_NEEDED = {
    Direction.INGRESS: (("the kubelet", 6, 10250), ("DHCPv6", 17, 546)),
    Direction.EGRESS: (("DNS over TCP", 6, 53), ("NTP", 17, 123), ("DHCPv6", 17, 547)),
}
"""What nodes need and the default failsafe ports do not hold open: name, protocol, destination port."""

_POINTS = (Point.UNTRACKED, Point.PRE_DNAT, Point.ENDPOINT, Point.FORWARD)


@dataclass(frozen=True, slots=True)
class Hosts:
    """What the warnings are made from."""

    objects: Sequence[PolicyObject]
    inventory: Inventory
    endpoints: tuple[HostEndpoint, ...]
    sources: list[PolicySource]
    profiles: Mapping[str, ProfileFacts]
    passing_tiers: frozenset[str]

    def selecting(self, endpoint: HostEndpoint) -> list[PolicySource]:
        return [source for source in self.sources if source.selects(endpoint)]


@dataclass(frozen=True, slots=True)
class Finding:
    """One warning about an object."""

    code: str
    item: PolicyObject
    path: Path
    message: str
    help: str = ""


def lint_hosts(objects: Sequence[PolicyObject], inventory: Inventory, diagnostics: Diagnostics) -> None:
    """Report the warnings; nothing without host endpoints."""
    endpoints = host_endpoints(objects, inventory, Diagnostics())
    if not endpoints:
        return
    actions = {name: action for name, (_, action) in BUILT_IN_TIERS.items()}
    actions.update((item.name, item.model.spec.default_action) for item in objects if isinstance(item.model, Tier))
    passing = frozenset(name for name, action in actions.items() if action == "Pass")
    profiles = known_profiles(objects, inventory)
    hosts = Hosts(objects, inventory, endpoints, policy_sources(objects), profiles, passing)
    said = Diagnostics()
    for lint in _LINTS:
        for found in lint(hosts):
            place = found.item.span(*found.path)
            said.warning(found.code, place, found.message, found.help, found.item.title)
    diagnostics.extend(dict.fromkeys(said.items))


def _object(hosts: Hosts, endpoint: HostEndpoint) -> PolicyObject:
    return next(item for item in hosts.objects if item.kind == "HostEndpoint" and item.name == endpoint.name)


def _overruled(hosts: Hosts) -> Iterator[Finding]:
    lost = overruled_host_endpoints(hosts.endpoints)
    for endpoint in hosts.endpoints:
        if endpoint.name in lost:
            message = f"{lost[endpoint.name]} governs the same interface: this endpoint polices nothing"
            item = _object(hosts, endpoint)
            yield Finding(codes.HOST_OVERRULED, item, ("metadata", "name"), message, "remove one of the two")


def _without_address(hosts: Hosts) -> Iterator[Finding]:
    bare = [endpoint for endpoint in hosts.endpoints if not endpoint.addresses]
    for source, path, entity in _sides(hosts.sources if bare else ()):
        positive = side_selectors(entity, source.namespace).positive
        if positive is None or not entity.selector or not has_criteria(parse_selector(entity.selector)):
            continue
        found = next((endpoint.name for endpoint in bare if matches(positive, endpoint.labels)), None)
        if found is not None:
            message = f"the selector matches host endpoint {found}, which has no expectedIPs: no address of it matches"
            help_text = "write the expectedIPs of the host endpoint"
            yield Finding(codes.HOST_WITHOUT_ADDRESS, source.item, (*path, "selector"), message, help_text)


def _sides(sources: Iterable[PolicySource]) -> Iterator[tuple[PolicySource, Path, EntityRule]]:
    for source in sources:
        for direction in Direction:
            for index, rule in source.rules(direction):
                yield source, ("spec", str(direction), index, "source"), rule.source
                yield source, ("spec", str(direction), index, "destination"), rule.destination


def _early_allows(hosts: Hosts) -> Iterator[Finding]:
    """A Deny that an Allow of an earlier point has already answered."""
    for endpoint in hosts.endpoints:
        selecting = hosts.selecting(endpoint)
        for direction in Direction:
            early = [
                (source, read_rule(rule))
                for source in selecting
                if source.points[0] in _POINTS[:2]
                for _, rule in source.rules(direction)
                if rule.action == "Allow"
            ]
            yield from _shadowed(selecting, direction, early, endpoint)


def _shadowed(
    selecting: list[PolicySource],
    direction: Direction,
    early: list[tuple[PolicySource, ReadRule]],
    endpoint: HostEndpoint,
) -> Iterator[Finding]:
    for source in selecting if early else ():
        for index, rule in source.rules(direction):
            if rule.action != "Deny":
                continue
            read = read_rule(rule)
            for other, allow in early:
                if _is_earlier(other, source) and covers(allow, read):
                    message = f"never asked at {endpoint.name}: {other.item.title} allows this at an earlier point"
                    path: Path = ("spec", str(direction), index)
                    yield Finding(codes.EARLY_ALLOW, source.item, path, message, "narrow the earlier rule")
                    break


def _is_earlier(first: PolicySource, second: PolicySource) -> bool:
    return _POINTS.index(first.points[0]) < _POINTS.index(second.points[0])


def _forward_denies(hosts: Hosts) -> Iterator[Finding]:
    for source in hosts.sources:
        if Point.FORWARD not in source.points or source.spec.tier_name in hosts.passing_tiers:
            continue
        found = next((endpoint.name for endpoint in hosts.endpoints if source.selects(endpoint)), None)
        if found is None:
            continue
        for direction, given in zip(Direction, source.spec.directions, strict=True):
            if given and not any(_ends_everything(rule) for _, rule in source.rules(direction)):
                message = (
                    f"applyOnForward turns allow into deny: {direction} traffic that {found} forwards, that of pods "
                    "included, is denied unless a rule allows it"
                )
                help_text = "end the rules with one that allows or passes what is forwarded"
                yield Finding(codes.FORWARD_DENY, source.item, ("spec", "applyOnForward"), message, help_text)


def _ends_everything(rule: Rule) -> bool:
    """Allow or Pass for every packet."""
    stated = rule.model_fields_set - {"action", "metadata"}
    unlimited = all(name in ("source", "destination") and getattr(rule, name) == EntityRule() for name in stated)
    return rule.action in ("Allow", "Pass") and unlimited


def _closed_services(hosts: Hosts) -> Iterator[Finding]:
    for endpoint in hosts.endpoints:
        settings = host_settings(hosts.objects, endpoint.node)
        for direction in Direction:
            failsafes = settings.failsafe_ingress if direction is Direction.INGRESS else settings.failsafe_egress
            rules = _deciding_rules(hosts, endpoint, direction)
            if rules is None:
                continue
            closed = [
                name
                for name, protocol, port in _NEEDED[direction]
                if not any(_lets_through(rule, protocol, port) for rule in rules)
                and FailsafePort(protocol, port) not in failsafes
            ]
            if closed:
                message = f"no rule allows {', '.join(closed)} as {direction} of this host endpoint"
                help_text = "add rules for what the node needs, or failsafe ports"
                item = _object(hosts, endpoint)
                yield Finding(codes.HOST_SERVICE_CLOSED, item, ("metadata", "name"), message, help_text)


def _deciding_rules(hosts: Hosts, endpoint: HostEndpoint, direction: Direction) -> list[Rule] | None:
    """The rules at the endpoint, profiles included where they are reached; None when a profile allows everything."""
    normal = [source for source in hosts.selecting(endpoint) if source.points[0] is Point.ENDPOINT]
    position = 0 if direction is Direction.INGRESS else 1
    asked = [source for source in normal if source.spec.directions[position]]
    rules = [rule for source in asked for _, rule in source.rules(direction)]
    if any(source.spec.tier_name not in hosts.passing_tiers for source in asked):
        return rules
    facts = [hosts.profiles[name] for name in endpoint.profiles if name in hosts.profiles]
    if any(profile.allows_all for profile in facts):
        return None
    for profile in facts:
        rules.extend(profile.spec.ingress if direction is Direction.INGRESS else profile.spec.egress)
    return rules


def _lets_through(rule: Rule, protocol: int, port: int) -> bool:
    """Whether the rule lets some packet to the port through, whoever sends it."""
    if rule.action not in ("Allow", "Pass"):
        return False
    if rule.protocol is not None and read_protocol(rule.protocol).number != protocol:
        return False
    if rule.not_protocol is not None and read_protocol(rule.not_protocol).number == protocol:
        return False
    ports = [read_port(text) for text in rule.destination.ports]
    return not ports or any(isinstance(item, str) or item[0] <= port <= item[1] for item in ports)


def _untracked_pods(hosts: Hosts) -> Iterator[Finding]:
    """An untracked Allow towards a pod: the pod's replies are tracked and belong to no flow."""
    for source in hosts.sources:
        if Point.UNTRACKED not in source.points:
            continue
        nodes = {endpoint.node for endpoint in hosts.endpoints if source.selects(endpoint)}
        pods = [pod for pod in hosts.inventory.pods if pod.node in nodes and not pod.host_network]
        for index, rule in source.rules(Direction.INGRESS):
            pod = next((pod for pod in pods if _reaches(rule.destination, pod)), None)
            if rule.action == "Allow" and pod is not None:
                message = f"this untracked Allow also covers pod {pod.namespace}/{pod.name}, whose replies are dropped"
                help_text = "limit destination.nets to the addresses of the host"
                yield Finding(codes.UNTRACKED_POD, source.item, ("spec", "ingress", index), message, help_text)


def _reaches(destination: EntityRule, pod: Pod) -> bool:
    if destination.selector or destination.not_selector or destination.namespace_selector:
        return False
    inside = [read_cidr(text) for text in destination.nets]
    outside = [read_cidr(text) for text in destination.not_nets]
    return any(
        (not inside or any(address in net for net in inside)) and not any(address in net for net in outside)
        for address in pod.addresses
    )


_LINTS: tuple[Callable[[Hosts], Iterable[Finding]], ...] = (
    _overruled,
    _without_address,
    _early_allows,
    _forward_denies,
    _closed_services,
    _untracked_pods,
)
