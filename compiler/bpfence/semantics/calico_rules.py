"""Whether a Calico rule matches a packet: the conjunction of its criteria.

Follows ``felix/rules``, ``felix/calc/rule_scanner.go`` and the Rule and EntityRule types of projectcalico/calico.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from bpfence.dialects.calico.model import EntityRule, IcmpFields, Rule, ServiceMatch
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.semantics.calico_labels import entity_selector, has_named_port, in_address_set
from bpfence.semantics.calico_selector import ALL, Node, parse
from bpfence.semantics.packet import Packet
from bpfence.semantics.world import Party, ReferenceWorld

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}


def rule_matches(world: ReferenceWorld, rule: Rule, namespace: str, packet: Packet) -> bool:
    """Every criterion that is present holds; a rule without criteria matches everything."""
    source, destination = rule.source, rule.destination
    return (
        _family_matches(rule, (source, destination), packet)
        and _protocol_matches(rule, packet)
        and _icmp_matches(rule, packet)
        and _entity_matches(world, source, namespace, packet, packet.source)
        and _entity_matches(world, destination, namespace, packet, packet.destination)
        and _ports_match(world, source, namespace, packet, packet.source, packet.source_port)
        and _ports_match(world, destination, namespace, packet, packet.destination, packet.destination_port)
        and _services_match(world, rule, namespace, packet)
    )


def _family_matches(rule: Rule, entities: Sequence[EntityRule], packet: Packet) -> bool:
    """ipVersion, else the protocol's name; and any CIDR, also a negated one, limits the rule to its family."""
    if rule.ip_version is not None:
        families = {rule.ip_version}
    else:
        families = {4} if rule.protocol == "ICMP" else {6} if rule.protocol == "ICMPv6" else {4, 6}
    for entity in entities:
        for net in (*(entity.nets or ()), *(entity.not_nets or ())):
            families &= {ip_network(net, strict=False).version}
    return packet.family is None or packet.family in families


def protocol_number(protocol: int | str) -> int:
    """A number, the same in digits, or a name."""
    if isinstance(protocol, str):
        return int(protocol) if protocol.isdecimal() else PROTOCOLS[protocol]
    return protocol


def _protocol_matches(rule: Rule, packet: Packet) -> bool:
    if rule.protocol is not None and protocol_number(rule.protocol) != packet.protocol:
        return False
    return rule.not_protocol is None or protocol_number(rule.not_protocol) != packet.protocol


def _icmp_matches(rule: Rule, packet: Packet) -> bool:
    """``notICMP`` negates type and code together; a packet of another protocol has neither and satisfies it."""
    if _says_something(rule.icmp) and not _icmp_equals(rule.icmp, packet):
        return False
    if not _says_something(rule.not_icmp):
        return True
    readable = packet.protocol not in ICMP_PROTOCOLS or packet.icmp_type is not None
    return readable and not _icmp_equals(rule.not_icmp, packet)


def _says_something(fields: IcmpFields | None) -> bool:
    return fields is not None and fields.type is not None


def _icmp_equals(fields: IcmpFields | None, packet: Packet) -> bool:
    if fields is None or packet.protocol not in ICMP_PROTOCOLS or packet.icmp_type != fields.type:
        return False
    return fields.code is None or fields.code == packet.icmp_code


def _entity_matches(world: ReferenceWorld, entity: EntityRule, namespace: str, packet: Packet, party: Party) -> bool:
    """Prefixes by plain address, selectors by the addresses of labelled objects."""
    if entity.nets and not _in_nets(world, entity.nets, packet, party):
        return False
    if entity.not_nets and _in_nets(world, entity.not_nets, packet, party):
        return False
    positive = entity_selector(entity, namespace)
    if entity.not_selector:
        negative = parse(entity.not_selector)
        if positive is None:
            return not in_address_set(world, negative, party, original=packet.original)
        positive = ("and", (positive, ("not", negative)))
    return positive is None or in_address_set(world, positive, party, original=packet.original)


def _in_nets(world: ReferenceWorld, nets: Sequence[str], packet: Packet, party: Party) -> bool:
    """Pods and nodes included, unless prefixes are told to leave pods alone; a service's address only on the wire."""
    without_pods = world.options.ipblock_matches_pods == "never"
    if (party.service and not packet.original) or (without_pods and party.pod is not None):
        return False
    return any(party.within(ip_network(net, strict=False)) for net in nets)


def _ports_match(
    world: ReferenceWorld, entity: EntityRule, namespace: str, packet: Packet, party: Party, number: int | None
) -> bool:
    """A packet without readable ports satisfies no port criterion, negative ones included."""
    if not entity.ports and not entity.not_ports:
        return True
    if packet.protocol not in PORT_PROTOCOLS or number is None:
        return False
    selector = entity_selector(entity, namespace) or ALL

    def any_of(ports: Sequence[int | str]) -> bool:
        return any(_port_matches(world, port, selector, packet, party, number) for port in ports)

    return (not entity.ports or any_of(entity.ports)) and not (entity.not_ports and any_of(entity.not_ports))


def _port_matches(
    world: ReferenceWorld, port: int | str, selector: Node, packet: Packet, party: Party, number: int
) -> bool:
    """A number, a ``low:high`` range, or a name: of endpoints that the side's positive selector takes in."""
    text = str(port)
    low, _, high = text.partition(":")
    if low.isdecimal():
        return int(low) <= number <= int(high or low)
    return has_named_port(world, text, packet.protocol, number, selector, party)


def _services_match(world: ReferenceWorld, rule: Rule, namespace: str, packet: Packet) -> bool:
    """A service as destination means its endpoints' address, protocol and port; as source their addresses.
    Readiness is not asked.
    """
    destination, source = rule.destination.services, rule.source.services
    if destination is not None:
        wanted = (packet.protocol, packet.destination_port)
        ports = _backends(world, destination, namespace, packet.destination)
        if not any((protocol, number) == wanted for protocol, number in ports):
            return False
    return source is None or _is_backend(world, source, namespace, packet.source)


def _backends(world: ReferenceWorld, service: ServiceMatch, namespace: str, party: Party) -> list[tuple[int, int]]:
    """(protocol, port) of every endpoint of the service at the party's address."""
    where = (service.namespace or namespace, service.name)
    entries = [item for item in world.inventory.endpoints if (item.namespace, item.service) == where]
    return [(port[1], port[2]) for item in entries if item.address == party.address for port in item.ports]


def _is_backend(world: ReferenceWorld, service: ServiceMatch, namespace: str, party: Party) -> bool:
    where = (service.namespace or namespace, service.name)
    entries = world.inventory.endpoints
    return any(item.address == party.address for item in entries if (item.namespace, item.service) == where)
