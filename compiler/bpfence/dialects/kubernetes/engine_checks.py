"""What depends on the layer that NetworkPolicy joins: rules outside ``policyTypes``, and the reading of ``ipBlock``."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.model import IPBlock, NetworkPolicy
from bpfence.dialects.kubernetes.prefixes import network_of
from bpfence.dialects.kubernetes.report import Path
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.ir.ranges import complement

Interval = tuple[int, int]
Addresses = Iterable[IPv4Address | IPv6Address]


@dataclass(frozen=True, slots=True)
class AddressIndex:
    """Cluster addresses as sorted numbers, by IP version; pod networks of nodes as intervals."""

    pods: dict[int, list[int]]
    services: dict[int, list[int]]
    pod_networks: dict[int, list[Interval]]


def index_addresses(inventory: Inventory) -> AddressIndex:
    """Build the index; host-network pods count to their nodes and are left out."""
    pods = (address for pod in inventory.pods if not pod.host_network for address in pod.addresses)
    services = (address for service in inventory.services for address in service.addresses)
    networks: dict[int, list[Interval]] = {4: [], 6: []}
    for node in inventory.nodes:
        for network in node.pod_cidrs:
            networks[network.version].append(interval_of(network))
    return AddressIndex(_by_version(pods), _by_version(services), networks)


def interval_of(network: IPv4Network | IPv6Network) -> Interval:
    """First and last address as numbers."""
    return int(network.network_address), int(network.broadcast_address)


def _by_version(addresses: Addresses) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {4: [], 6: []}
    for address in addresses:
        found[address.version].append(int(address))
    return {version: sorted(numbers) for version, numbers in found.items()}


def check_ignored_rules(source: PolicyObject, policy: NetworkPolicy, refused: bool, diagnostics: Diagnostics) -> None:
    """Rules in a direction that ``policyTypes`` leaves out: ignored; ``refused`` if the engine would enforce them."""
    ingress, egress = policy.spec.directions
    for direction, active, rules in (
        ("ingress", ingress, policy.spec.ingress),
        ("egress", egress, policy.spec.egress),
    ):
        if active or not rules:
            continue
        span = source.document.key_span("spec", direction)
        word = direction.capitalize()
        message = f"policyTypes leaves out {word}, so the {direction} rules are ignored"
        hint = f"add {word} to policyTypes, or remove the rules"
        if refused:
            message = f"policyTypes leaves out {word}, but the cilium engine would enforce the {direction} rules"
            diagnostics.error(codes.IGNORED_RULES_REFUSED, span, message, hint, source.title)
        else:
            diagnostics.warning(codes.IGNORED_RULES, span, message, hint, source.title)


def warn_prefix_overlaps(
    source: PolicyObject,
    policy: NetworkPolicy,
    index: AddressIndex,
    matches_pods: bool,
    diagnostics: Diagnostics,
) -> None:
    """Tell which reading holds where an ``ipBlock`` covers addresses of pods or services."""
    for path, block in ip_blocks(policy):
        found = _covered(block, index)
        if not found:
            continue
        reading = "matches pods by address" if matches_pods else "does not match pods"
        message = f"{block.cidr} covers {' and '.join(found)}; here ipBlock {reading} and never a Service address"
        hint = "name pods by selectors; --ipblock-matches-pods sets the reading"
        diagnostics.warning(codes.PREFIX_OVERLAP, source.span(*path, "ipBlock", "cidr"), message, hint, source.title)


def ip_blocks(policy: NetworkPolicy) -> Iterator[tuple[Path, IPBlock]]:
    """Every ``ipBlock`` with the path of its peer."""
    lists = [("ingress", "from", index, rule.peers) for index, rule in enumerate(policy.spec.ingress)]
    lists += [("egress", "to", index, rule.peers) for index, rule in enumerate(policy.spec.egress)]
    for direction, field, index, peers in lists:
        for number, peer in enumerate(peers):
            if peer.ip_block is not None:
                yield ("spec", direction, index, field, number), peer.ip_block


def _covered(block: IPBlock, index: AddressIndex) -> list[str]:
    network = network_of(block.cidr)
    excepted = [interval_of(network_of(text)) for text in block.except_]
    left = complement(excepted, interval_of(network))
    version = network.version
    found = []
    if any(_any_between(index.pods[version], interval) for interval in left):
        found.append("addresses of pods")
    elif any(_overlaps(one, other) for one in left for other in index.pod_networks[version]):
        found.append("a node's podCIDR")
    if any(_any_between(index.services[version], interval) for interval in left):
        found.append("Service addresses")
    return found


def _any_between(numbers: list[int], interval: Interval) -> bool:
    position = bisect_left(numbers, interval[0])
    return position < len(numbers) and numbers[position] <= interval[1]


def _overlaps(one: Interval, other: Interval) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
