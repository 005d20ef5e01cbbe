"""Errors of untracked policy that only show beside the host endpoints it selects.

Untracked packets have no flow: what would be lost by that (replies of failsafe flows, replies of allowed packets,
the traffic of a ``*`` endpoint, whose meaning is unclear) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check import BUILT_IN_TIERS
from bpfence.dialects.calico.hosts import EVERY_INTERFACE, host_settings
from bpfence.dialects.calico.mirror import covers, mirrored, read_rule
from bpfence.dialects.calico.model import EntityRule, Rule, Tier
from bpfence.dialects.calico.rules import rule_families
from bpfence.dialects.calico.sources import PolicySource
from bpfence.dialects.calico.values import read_cidr, read_port, read_protocol
from bpfence.dialects.objects import PolicyObject
from bpfence.flows import PROTOCOL_NAMES
from bpfence.identity.inventory import FailsafePort, HostEndpoint
from bpfence.ir.expressions import Network
from bpfence.ir.nodes import Direction, Point
from bpfence.options import Options


def check_hosts(
    sources: Iterable[PolicySource],
    objects: Sequence[PolicyObject],
    hosts: Sequence[HostEndpoint],
    options: Options,
    diagnostics: Diagnostics,
) -> None:
    """Report what untracked policies may not do to the host endpoints."""
    untracked = _in_order([source for source in sources if Point.UNTRACKED in source.points], objects)
    if not untracked:
        return
    if not options.wildcard_notrack:
        _check_wildcards(untracked, hosts, diagnostics)
    for group in _groups(untracked, hosts, objects):
        _check_catch_all(group, diagnostics)
        _check_mirrors(group, diagnostics)


@dataclass(frozen=True, slots=True)
class Group:
    """Untracked policies that act together on an endpoint, in evaluation order, with the failsafe ports of its node."""

    policies: tuple[PolicySource, ...]
    failsafe_ingress: tuple[FailsafePort, ...]
    failsafe_egress: tuple[FailsafePort, ...]


def _in_order(sources: list[PolicySource], objects: Sequence[PolicyObject]) -> list[PolicySource]:
    orders = {name: order for name, (order, _) in BUILT_IN_TIERS.items()}
    orders.update((item.name, item.model.spec.order) for item in objects if isinstance(item.model, Tier))

    def position(source: PolicySource) -> tuple[float, str, tuple[float, str]]:
        name = source.spec.tier_name
        return orders.get(name, 0.0), name, source.order

    return sorted(sources, key=position)


def _groups(
    untracked: Sequence[PolicySource], hosts: Sequence[HostEndpoint], objects: Sequence[PolicyObject]
) -> Iterator[Group]:
    """Per endpoint; a policy that selects none is judged alone, so that a mistake does not wait for the endpoint."""
    selecting = {host.name: tuple(source for source in untracked if source.selects(host)) for host in hosts}
    used = {id(source) for policies in selecting.values() for source in policies}
    for host in hosts:
        settings = host_settings(objects, host.node)
        if selecting[host.name]:
            yield Group(selecting[host.name], settings.failsafe_ingress, settings.failsafe_egress)
    settings = host_settings(objects)
    for source in untracked:
        if id(source) not in used:
            yield Group((source,), settings.failsafe_ingress, settings.failsafe_egress)


def _check_wildcards(
    untracked: Iterable[PolicySource], hosts: Iterable[HostEndpoint], diagnostics: Diagnostics
) -> None:
    wildcards = [host for host in hosts if host.interface == EVERY_INTERFACE]
    for source in untracked:
        host = next((host for host in wildcards if source.selects(host)), None)
        if host is not None:
            message = f"doNotTrack on every interface: the policy selects {host.name}, whose interfaceName is *"
            help_text = "select endpoints of named interfaces, or use --wildcard-notrack for every host interface"
            place = source.item.span("spec", "doNotTrack")
            diagnostics.error(codes.WILDCARD_NOTRACK, place, message, help_text, source.item.title)


def _check_catch_all(group: Group, diagnostics: Diagnostics) -> None:
    """A Deny that would also drop the replies of failsafe flows, which can't be told from others without a flow."""
    for direction, failsafes in (
        (Direction.INGRESS, group.failsafe_egress),
        (Direction.EGRESS, group.failsafe_ingress),
    ):
        reported: set[tuple[str, int]] = set()
        for failsafe in failsafes:
            found = _deny_of_reply(group.policies, direction, failsafe)
            if found is None or (found[0].item.title, found[1]) in reported:
                continue
            source, index = found
            reported.add((source.item.title, index))
            word = f"{PROTOCOL_NAMES[failsafe.protocol]} port {failsafe.port}"
            message = f"this untracked Deny would also drop the replies of failsafe connections, as those from {word}"
            help_text = "limit it to some addresses or ports, or allow those source ports before it"
            place = source.item.span("spec", str(direction), index)
            diagnostics.error(codes.UNTRACKED_CATCH_ALL, place, message, help_text, source.item.title)


def _deny_of_reply(
    policies: Iterable[PolicySource], direction: Direction, failsafe: FailsafePort
) -> tuple[PolicySource, int] | None:
    """The Deny that is the first rule to match every such reply, whoever sends it."""
    left = ""
    for source in policies:
        if source.spec.tier_name == left:
            continue
        for index, rule in source.rules(direction):
            if rule.action == "Log" or not _matches_replies(rule, direction, failsafe):
                continue
            if rule.action == "Allow":
                return None
            if rule.action == "Deny":
                return source, index
            left = source.spec.tier_name
            break
    return None


def _matches_replies(rule: Rule, direction: Direction, failsafe: FailsafePort) -> bool:
    """Whether the rule matches a packet from the failsafe port, whatever else it is."""
    remote = rule.source if direction is Direction.INGRESS else rule.destination
    own = rule.destination if direction is Direction.INGRESS else rule.source
    return (
        _matches_protocol(rule, failsafe.protocol)
        and rule.icmp is None
        and _is_anyone(own, None)
        and _is_anyone(remote, failsafe.network)
        and _admits_port(rule.source, failsafe.port)
        and not rule.destination.ports
        and not rule.destination.not_ports
        and (failsafe.network is None or failsafe.network.version in rule_families(rule))
    )


def _matches_protocol(rule: Rule, protocol: int) -> bool:
    if rule.protocol is not None and read_protocol(rule.protocol).number != protocol:
        return False
    return rule.not_protocol is None or read_protocol(rule.not_protocol).number != protocol


def _is_anyone(entity: EntityRule, network: Network | None) -> bool:
    """No criterion of address, or networks that hold all of ``network`` (None: a whole family)."""
    accounts = not entity.service_accounts.is_empty
    if entity.selector or entity.not_selector or entity.namespace_selector or entity.services or accounts:
        return False
    if entity.not_nets:
        return False
    return not entity.nets or any(_holds(read_cidr(text), network) for text in entity.nets)


def _holds(outer: Network, inner: Network | None) -> bool:
    if inner is None or outer.prefixlen == 0:
        return outer.prefixlen == 0
    if outer.version != inner.version:
        return False
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def _admits_port(entity: EntityRule, number: int) -> bool:
    ports = [read_port(port) for port in entity.ports]
    excluded = [read_port(port) for port in entity.not_ports]
    if any(isinstance(port, str) or port[0] <= number <= port[1] for port in excluded):
        return False
    return not ports or any(not isinstance(port, str) and port[0] <= number <= port[1] for port in ports)


def _check_mirrors(group: Group, diagnostics: Diagnostics) -> None:
    """An untracked Allow needs the Allow of the replies: they have no flow to belong to."""
    for direction in Direction:
        opposite = Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS
        allows = [read_rule(r) for source in group.policies for _, r in source.rules(opposite) if r.action == "Allow"]
        for source in group.policies:
            for index, rule in source.rules(direction):
                if rule.action != "Allow":
                    continue
                if not all(any(covers(allow, part) for allow in allows) for part in map(read_rule, mirrored(rule))):
                    _report_mirror(source, direction, opposite, index, diagnostics)


def _report_mirror(
    source: PolicySource, direction: Direction, opposite: Direction, index: int, diagnostics: Diagnostics
) -> None:
    message = f"no untracked {opposite} rule allows the replies of what this rule allows: they would be dropped"
    help_text = f"add the same rule to {opposite} with source and destination exchanged"
    place = source.item.span("spec", str(direction), index)
    diagnostics.error(codes.MIRROR_MISSING, place, message, help_text, source.item.title)
