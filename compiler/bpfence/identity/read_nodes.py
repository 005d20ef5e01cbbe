"""Node, Namespace and ServiceAccount objects in; their records out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import Address, Namespace, Network, Node, Pod, ServiceAccount
from bpfence.identity.object_fields import ObjectFields
from bpfence.source.documents import Document
from bpfence.source.spans import Span

NAME_LABEL = "kubernetes.io/metadata.name"
_NAMES = ("Hostname", "InternalDNS", "ExternalDNS")
_LISTED = 8


def read_nodes(documents: Sequence[Document], diagnostics: Diagnostics) -> list[Node]:
    """Records of the nodes, with every address of their status that is an IP address."""
    return [_read_node(ObjectFields(document, diagnostics)) for document in documents]


def _read_node(fields: ObjectFields) -> Node:
    document = fields.document
    spec = fields.mapping(document.data, "spec", ())
    status = fields.mapping(document.data, "status", ())
    return Node(
        name=document.name,
        span=document.span(),
        labels=fields.labels(document.data["metadata"], "labels", ("metadata",)),
        addresses=_node_addresses(fields, status),
        pod_cidrs=_pod_cidrs(fields, spec),
    )


def _node_addresses(fields: ObjectFields, status: Mapping[str, Any]) -> tuple[Address, ...]:
    found: list[Address | None] = []
    for index, entry in enumerate(fields.mappings(status, "addresses", ("status",))):
        at = ("status", "addresses", index)
        if fields.text(entry, "type", at) not in _NAMES:
            found.append(fields.address(entry.get("address"), (*at, "address")))
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _pod_cidrs(fields: ObjectFields, spec: Mapping[str, Any]) -> tuple[Network, ...]:
    values = fields.listing(spec, "podCIDRs", ("spec",))
    found = [fields.network(value, ("spec", "podCIDRs", index)) for index, value in enumerate(values)]
    if not values and spec.get("podCIDR"):
        found.append(fields.network(spec["podCIDR"], ("spec", "podCIDR")))
    return tuple(dict.fromkeys(network for network in found if network is not None))


def add_host_addresses(nodes: Iterable[Node], pods: Iterable[Pod]) -> tuple[Node, ...]:
    """The nodes, with the addresses of their host-network pods.

    A node that only such a pod names is made up: its address is a node's, and must not read as an outside address.
    """
    by_name = {node.name: node for node in nodes}
    for pod in pods:
        if not pod.host_network or not pod.node or not pod.addresses:
            continue
        node = by_name.get(pod.node, Node(pod.node, pod.span))
        addresses = tuple(dict.fromkeys((*node.addresses, *pod.addresses)))
        if len(addresses) != len(node.addresses):
            by_name[pod.node] = replace(node, addresses=addresses)
    return tuple(by_name.values())


def read_namespaces(
    documents: Sequence[Document], mentioned: Mapping[str, Span], diagnostics: Diagnostics
) -> list[Namespace]:
    """Records of the namespaces, and a made-up one for every name that is mentioned but not defined (one note)."""
    found = [_read_namespace(ObjectFields(document, diagnostics)) for document in documents]
    defined = {namespace.name for namespace in found}
    missing = sorted(name for name in mentioned if name not in defined)
    found.extend(Namespace(name, mentioned[name], {NAME_LABEL: name}, made_up=True) for name in missing)
    if missing:
        _note_made_up(missing, mentioned, diagnostics)
    return found


def _read_namespace(fields: ObjectFields) -> Namespace:
    document = fields.document
    labels = dict(fields.labels(document.data["metadata"], "labels", ("metadata",)))
    written = labels.setdefault(NAME_LABEL, document.name)
    if written != document.name:
        fields.error(
            "INV008",
            ("metadata", "labels", NAME_LABEL),
            f"the label {NAME_LABEL} of the namespace {document.name} says {written}",
            "remove the label: the API server sets it to the namespace's name",
        )
    return Namespace(document.name, document.span(), labels)


def _note_made_up(missing: Sequence[str], mentioned: Mapping[str, Span], diagnostics: Diagnostics) -> None:
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    names = ", ".join(missing[:_LISTED]) + more
    word = "namespace is" if len(missing) == 1 else "namespaces are"
    diagnostics.note(
        "INV010",
        min(mentioned[name] for name in missing),
        f"{len(missing)} {word} mentioned but not defined: {names}",
        f"add the Namespace objects; until then they have only the label {NAME_LABEL}",
    )


def read_service_accounts(documents: Sequence[Document], diagnostics: Diagnostics) -> list[ServiceAccount]:
    """Records of the service accounts."""
    return [
        ServiceAccount(
            document.namespace or "default",
            document.name,
            document.span(),
            ObjectFields(document, diagnostics).labels(document.data["metadata"], "labels", ("metadata",)),
        )
        for document in documents
    ]
