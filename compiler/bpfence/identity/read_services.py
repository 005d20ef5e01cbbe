"""Service, Endpoints and EndpointSlice objects in; services and the addresses behind them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import Address, EndpointsEntry, Service, ServicePort
from bpfence.identity.object_fields import ObjectFields
from bpfence.source.documents import Document, Path

_SERVICE_LABEL = "kubernetes.io/service-name"
Ports = tuple[tuple[str, int, int], ...]


def read_services(documents: Sequence[Document], diagnostics: Diagnostics) -> list[Service]:
    """Records of the services; headless and external-name services have no addresses."""
    return [_read_service(ObjectFields(document, diagnostics)) for document in documents]


def _read_service(fields: ObjectFields) -> Service:
    document = fields.document
    spec = fields.mapping(document.data, "spec", ())
    selector = fields.labels(spec, "selector", ("spec",))
    ports = fields.mappings(spec, "ports", ("spec",))
    return Service(
        namespace=document.namespace or "default",
        name=document.name,
        span=document.span(),
        labels=fields.labels(document.data["metadata"], "labels", ("metadata",)),
        addresses=_service_addresses(fields, spec),
        ports=tuple(_service_port(fields, port, ("spec", "ports", index)) for index, port in enumerate(ports)),
        selector=selector or None,
    )


def _service_addresses(fields: ObjectFields, spec: Mapping[str, Any]) -> tuple[Address, ...]:
    found: list[Address | None] = []
    for path, value in _written_addresses(fields, spec):
        if value not in ("", "None", None):
            found.append(fields.address(value, path))
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _written_addresses(fields: ObjectFields, spec: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    cluster_ips = fields.listing(spec, "clusterIPs", ("spec",))
    yield from ((("spec", "clusterIPs", index), value) for index, value in enumerate(cluster_ips))
    if not cluster_ips:
        yield ("spec", "clusterIP"), spec.get("clusterIP")
    for index, value in enumerate(fields.listing(spec, "externalIPs", ("spec",))):
        yield ("spec", "externalIPs", index), value
    status = fields.mapping(fields.document.data, "status", ())
    balancer = fields.mapping(status, "loadBalancer", ("status",))
    at = ("status", "loadBalancer")
    for index, entry in enumerate(fields.mappings(balancer, "ingress", at)):
        yield (*at, "ingress", index, "ip"), entry.get("ip")


def _service_port(fields: ObjectFields, port: Mapping[str, Any], at: Path) -> ServicePort:
    number = fields.port(port, "port", at)
    target = port.get("targetPort")
    if target is None or target == 0:
        target = number
    elif type(target) is not str:
        target = fields.port(port, "targetPort", at)
    node_port = fields.port(port, "nodePort", at) if port.get("nodePort") else 0
    return ServicePort(fields.text(port, "name", at), fields.protocol(port, at), number, target, node_port)


def read_endpoints(
    endpoints: Sequence[Document], slices: Sequence[Document], diagnostics: Diagnostics
) -> list[EndpointsEntry]:
    """One entry per address. A service's EndpointSlices, when there are any, make its Endpoints superfluous."""
    found = [entry for document in slices for entry in _read_slice(ObjectFields(document, diagnostics))]
    sliced = {(entry.namespace, entry.service) for entry in found}
    for document in endpoints:
        if (document.namespace or "default", document.name) not in sliced:
            found.extend(_read_endpoints(ObjectFields(document, diagnostics)))
    return found


def _read_endpoints(fields: ObjectFields) -> Iterator[EndpointsEntry]:
    document = fields.document
    for index, subset in enumerate(fields.mappings(document.data, "subsets", ())):
        at = ("subsets", index)
        ports = _ports(fields, subset, at)
        for key, ready in (("addresses", True), ("notReadyAddresses", False)):
            for position, entry in enumerate(fields.mappings(subset, key, at)):
                path = (*at, key, position, "ip")
                if (address := fields.address(entry.get("ip"), path)) is not None:
                    yield _entry(document, document.name, address, ready, ports, path)


def _read_slice(fields: ObjectFields) -> Iterator[EndpointsEntry]:
    document = fields.document
    labels = fields.labels(document.data["metadata"], "labels", ("metadata",))
    service = labels.get(_SERVICE_LABEL, "")
    if fields.text(document.data, "addressType", ()) == "FQDN":
        message = f"the EndpointSlice {document.name} holds names, which are no addresses; it is not used"
        fields.diagnostics.note("INV011", document.span(), message, "", document.title)
        return
    if not service:
        return
    ports = _ports(fields, document.data, ())
    for index, endpoint in enumerate(fields.mappings(document.data, "endpoints", ())):
        at = ("endpoints", index)
        conditions = fields.mapping(endpoint, "conditions", at)
        ready = fields.flag(conditions, "ready", (*at, "conditions"), default=True)
        for position, value in enumerate(fields.listing(endpoint, "addresses", at)):
            path = (*at, "addresses", position)
            if (address := fields.address(value, path)) is not None:
                yield _entry(document, service, address, ready, ports, path)


def _entry(document: Document, service: str, address: Address, ready: bool, ports: Ports, path: Path) -> EndpointsEntry:
    namespace = document.namespace or "default"
    return EndpointsEntry(namespace, service, address, ready, ports, document.span(*path))


def _ports(fields: ObjectFields, parent: Mapping[str, Any], at: Path) -> Ports:
    """(name, protocol, number) of the ports; a slice's port without a number stands for no port in particular."""
    found: list[tuple[str, int, int]] = []
    for index, port in enumerate(fields.mappings(parent, "ports", at)):
        place = (*at, "ports", index)
        if port.get("port") is not None:
            found.append(
                (fields.text(port, "name", place), fields.protocol(port, place), fields.port(port, "port", place))
            )
    return tuple(found)
