"""Calico's HostEndpoint, Profile and FelixConfiguration objects in; interfaces that policy can select out.

Follows ``felix/dataplane/linux/endpoint_mgr.go`` and ``felix/config/config_params.go`` of projectcalico/calico.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from bpfence.dialects.calico.model import FelixConfiguration, FelixConfigurationSpec, HostEndpoint, Profile
from bpfence.dialects.objects import PolicyObject
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.identity.inventory import Address, Inventory

ANY_INTERFACE = "*"
DEFAULT_ALLOW = "projectcalico-default-allow"
FAILSAFE_INBOUND = ((6, 22), (17, 68), (6, 179), (6, 2379), (6, 2380), (6, 5473), (6, 6443), (6, 6666), (6, 6667))
FAILSAFE_OUTBOUND = ((17, 53), (17, 67), (6, 179), (6, 2379), (6, 2380), (6, 5473), (6, 6443), (6, 6666), (6, 6667))


@dataclass(frozen=True, slots=True)
class HostInterface:
    """One HostEndpoint. ``interface``: a name, ``*`` or empty; ``ports``: (name, protocol, number)."""

    policy: PolicyObject
    node: str
    interface: str
    addresses: tuple[Address, ...]
    labels: Mapping[str, str]
    ports: tuple[tuple[str, int, int], ...]
    profiles: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def title(self) -> str:
        return f"hep/{self.name}"


def read_host_interfaces(objects: Sequence[PolicyObject], inventory: Inventory) -> tuple[HostInterface, ...]:
    """Every HostEndpoint, bytewise by name; those that will police nothing too."""
    found = [_read(item, item.model, objects, inventory) for item in objects if isinstance(item.model, HostEndpoint)]
    return tuple(sorted(found, key=lambda item: item.name.encode()))


def _read(
    item: PolicyObject, model: HostEndpoint, objects: Sequence[PolicyObject], inventory: Inventory
) -> HostInterface:
    spec = model.spec
    inherited: dict[str, str] = {}
    for profile in reversed(spec.profiles):
        inherited |= _profile_labels(profile, objects, inventory)
    return HostInterface(
        policy=item,
        node=spec.node,
        interface=spec.interface_name,
        addresses=tuple(ip_address(text) for text in spec.expected_ips),
        labels=inherited | dict(model.metadata.labels),
        ports=tuple((port.name, _protocol(port.protocol), port.port) for port in spec.ports),
        profiles=spec.profiles,
    )


def _protocol(written: int | str) -> int:
    if isinstance(written, str) and not written.isdecimal():
        return PROTOCOL_NUMBERS[written.upper()]
    return int(written)


def find_profile(objects: Iterable[PolicyObject], name: str) -> PolicyObject | None:
    return next((item for item in objects if isinstance(item.model, Profile) and item.name == name), None)


def _profile_labels(name: str, objects: Sequence[PolicyObject], inventory: Inventory) -> Mapping[str, str]:
    """``labelsToApply``; the profiles of namespaces and service accounts follow from those."""
    kind, _, rest = name.partition(".")
    if kind == "kns":
        spaces = [item for item in inventory.namespaces if item.name == rest]
        return _prefixed("pcns.", spaces[0].labels, rest) if spaces else {}
    if kind == "ksa":
        accounts = [item for item in inventory.service_accounts if f"{item.namespace}.{item.name}" == rest]
        return _prefixed("pcsa.", accounts[0].labels, accounts[0].name) if accounts else {}
    written = find_profile(objects, name)
    return written.model.spec.labels_to_apply if written and isinstance(written.model, Profile) else {}


def _prefixed(prefix: str, labels: Mapping[str, str], name: str) -> Mapping[str, str]:
    return {f"{prefix}{key}": value for key, value in labels.items()} | {f"{prefix}projectcalico.org/name": name}


def allows_everything(profile: str) -> bool:
    """Profiles that are not written: the built-in one and those of namespaces."""
    return profile == DEFAULT_ALLOW or profile.startswith("kns.")


def wildcard_of(interfaces: Iterable[HostInterface], node: str) -> HostInterface | None:
    """The node's ``*`` host endpoint: the smallest name of several."""
    return next((item for item in interfaces if item.node == node and item.interface == ANY_INTERFACE), None)


def governing(
    interfaces: Iterable[HostInterface], node: str, interface: str, address: Address | None
) -> HostInterface | None:
    """Who governs traffic between a node and the outside. ``interface``: which one it uses, empty when nobody said;
    ``address``: the host's own, when the traffic ends there.

    Candidates name the interface, or name none and have an address on it; the smallest name wins, and ``*`` only
    where there is no candidate. Nobody said: the smallest name of all.
    """
    mine = [item for item in interfaces if item.node == node]
    if not interface:
        return next(iter(mine), None)
    if interface == "lo":
        return None
    if interface == ANY_INTERFACE:
        return wildcard_of(mine, node)
    named = [item for item in mine if item.interface == interface]
    on_it = {address, *(other for item in named for other in item.addresses)}
    candidates = (item for item in mine if item in named or (not item.interface and on_it & set(item.addresses)))
    return next(candidates, None) or wildcard_of(mine, node)


def standing_in(interfaces: Iterable[HostInterface], host: HostInterface, address: Address) -> HostInterface | None:
    """Who governs the interface of a host endpoint, as far as the objects tell. Without an interface it stands where
    its ``address`` is: where another one says that it has this address at its interface, else at one nobody names.
    """
    mine = [item for item in interfaces if item.node == host.node]
    if host.interface:
        return governing(mine, host.node, host.interface, None)
    places = [item.interface for item in mine if address in item.addresses and item.interface not in ("", "*")]
    return governing(mine, host.node, places[0] if places else "nobody names it", address)


def is_failsafe(
    objects: Iterable[PolicyObject], node: str, direction: str, protocol: int, port: int | None, remote: Address | None
) -> bool:
    """Whether host policy never closes the port: as FelixConfiguration says, else the defaults."""
    name = f"failsafe_{'inbound' if direction == 'ingress' else 'outbound'}_host_ports"
    for spec, _ in configurations(objects, node):
        if name in spec.model_fields_set:
            written = spec.failsafe_inbound_host_ports if direction == "ingress" else spec.failsafe_outbound_host_ports
            return any(
                (PROTOCOL_NUMBERS[item.protocol.upper()], item.port) == (protocol, port) and _within(remote, item.net)
                for item in written
            )
    return (protocol, port) in (FAILSAFE_INBOUND if direction == "ingress" else FAILSAFE_OUTBOUND)


def _within(remote: Address | None, net: str) -> bool:
    if not net:
        return True
    network = ip_network(net, strict=False)
    return remote is not None and remote.version == network.version and remote in network


def closes_host(objects: Iterable[PolicyObject], node: str) -> PolicyObject | None:
    """The FelixConfiguration that drops what the node's pods send to the node itself. None: it is accepted."""
    for spec, item in configurations(objects, node):
        if spec.default_endpoint_to_host_action:
            return item if spec.default_endpoint_to_host_action.lower() == "drop" else None
    return None


def configurations(objects: Iterable[PolicyObject], node: str) -> Iterator[tuple[FelixConfigurationSpec, PolicyObject]]:
    """The configurations that hold for a node, the more special first."""
    known = {item.name: item for item in objects if isinstance(item.model, FelixConfiguration)}
    for name in (f"node.{node}", "default"):
        item = known.get(name)
        if item is not None and isinstance(item.model, FelixConfiguration):
            yield item.model.spec, item
