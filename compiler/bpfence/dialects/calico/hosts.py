"""Host endpoints and host settings: HostEndpoint, Profile and FelixConfiguration objects in, inventory records out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.model import (
    FelixConfiguration,
    FelixConfigurationSpec,
    HostEndpoint,
    ProtocolPort,
)
from bpfence.dialects.calico.profiles import ProfileFacts, effective_labels, known_profiles
from bpfence.dialects.calico.values import read_protocol, read_set_cidr
from bpfence.dialects.objects import PolicyObject
from bpfence.identity import inventory as records

EVERY_INTERFACE = "*"
DEFAULT_CONFIGURATION = "default"
NODE_CONFIGURATION = "node."
_DEFAULTS = records.HostSettings()


def host_endpoints(
    objects: Sequence[PolicyObject], inventory: records.Inventory, diagnostics: Diagnostics
) -> tuple[records.HostEndpoint, ...]:
    """The host endpoints of every node, by name. A profile that does not exist is reported and left out."""
    profiles = known_profiles(objects, inventory)
    found = [
        _host_endpoint(item, item.model, _profiles_of(item, item.model, profiles, diagnostics))
        for item in objects
        if isinstance(item.model, HostEndpoint)
    ]
    return tuple(sorted(found, key=lambda endpoint: endpoint.name))


def _profiles_of(
    item: PolicyObject, model: HostEndpoint, known: Mapping[str, ProfileFacts], diagnostics: Diagnostics
) -> Iterator[ProfileFacts]:
    for index, name in enumerate(model.spec.profiles):
        if name in known:
            yield known[name]
            continue
        diagnostics.error(
            codes.PROFILE_MISSING,
            item.span("spec", "profiles", index),
            f"there is no profile {name}",
            "add the Profile object to the input, or correct the name",
            item.title,
        )


def _host_endpoint(item: PolicyObject, model: HostEndpoint, profiles: Iterable[ProfileFacts]) -> records.HostEndpoint:
    spec = model.spec
    return records.HostEndpoint(
        name=item.name,
        span=item.span(),
        node=spec.node,
        interface=spec.interface_name,
        addresses=tuple(dict.fromkeys(ip_address(text) for text in spec.expected_ips)),
        labels=effective_labels(model.metadata.labels, profiles),
        ports=tuple(sorted({(port.name, read_protocol(port.protocol).number, port.port) for port in spec.ports})),
        profiles=tuple(dict.fromkeys(spec.profiles)),
    )


def host_settings(objects: Iterable[PolicyObject], node: str = "") -> records.HostSettings:
    """The FelixConfiguration ``default``, with what ``node.NAME`` says instead of it on that node."""
    settings = _DEFAULTS
    specs = {item.name: item.model.spec for item in objects if isinstance(item.model, FelixConfiguration)}
    for name in (DEFAULT_CONFIGURATION, f"{NODE_CONFIGURATION}{node}"):
        if name in specs:
            settings = _overridden(settings, specs[name])
    return settings


def _overridden(settings: records.HostSettings, spec: FelixConfigurationSpec) -> records.HostSettings:
    given = spec.model_fields_set
    ingress, egress = spec.failsafe_inbound_host_ports, spec.failsafe_outbound_host_ports
    return records.HostSettings(
        _failsafes(ingress) if "failsafe_inbound_host_ports" in given else settings.failsafe_ingress,
        _failsafes(egress) if "failsafe_outbound_host_ports" in given else settings.failsafe_egress,
        spec.default_endpoint_to_host_action.capitalize() or settings.workload_to_host,
    )


def _failsafes(ports: Iterable[ProtocolPort]) -> tuple[records.FailsafePort, ...]:
    return tuple(
        records.FailsafePort(
            read_protocol(port.protocol.upper()).number, port.port, read_set_cidr(port.net) if port.net else None
        )
        for port in ports
    )


def overruled_host_endpoints(endpoints: Iterable[records.HostEndpoint]) -> Mapping[str, str]:
    """Host endpoints that lost the choice for their interface -> the one that governs it, the smaller name.

    Only what the objects themselves show: an endpoint that names no interface stands at those where another one of the
    node says to have one of its addresses. It has lost when it has at all of them.
    """
    ordered = sorted(endpoints, key=lambda item: item.name.encode())
    lost: dict[str, str] = {}
    for endpoint in ordered:
        winners = [_winner(place, endpoint.node, ordered) for place in _places(endpoint, ordered)]
        if endpoint.name not in winners:
            lost[endpoint.name] = winners[0]
    return lost


Place = tuple[str, str]
"""An interface's name; or, where no endpoint says it, an address that is on it."""


def _places(endpoint: records.HostEndpoint, known: Iterable[records.HostEndpoint]) -> tuple[Place, ...]:
    if endpoint.interface:
        return ((endpoint.interface, ""),)
    named = [
        (str(address), other.interface)
        for other in known
        if other.node == endpoint.node and other.interface not in ("", EVERY_INTERFACE)
        for address in other.addresses
    ]
    interface_of = dict(reversed(named))
    addresses = map(str, endpoint.addresses)
    return tuple((interface_of[text], "") if text in interface_of else ("", text) for text in addresses)


def _winner(place: Place, node: str, known: Sequence[records.HostEndpoint]) -> str:
    """The first by name of those that stand at the place."""
    return next(item.name for item in known if item.node == node and place in _places(item, known))
