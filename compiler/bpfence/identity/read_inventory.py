"""Located documents in; the `Inventory` of the cluster out. Facts as the objects state them, nothing derived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kinds import INVENTORY
from bpfence.identity.inventory import DEFAULT_CLUSTER, Address, Inventory, Node, Pod
from bpfence.identity.object_fields import ObjectFields
from bpfence.identity.read_cilium import add_cilium_facts
from bpfence.identity.read_nodes import add_host_addresses, read_namespaces, read_nodes, read_service_accounts
from bpfence.identity.read_pods import read_pods
from bpfence.identity.read_services import read_endpoints, read_services
from bpfence.identity.read_workloads import read_controllers, read_templates
from bpfence.source.documents import Document
from bpfence.source.spans import Span

_DIALECT_KINDS: frozenset[tuple[str, str]] = frozenset(
    (
        ("cilium.io/v2", "CiliumCIDRGroup"),
        ("cilium.io/v2alpha1", "CiliumCIDRGroup"),
        *(
            (version, kind)
            for version in ("projectcalico.org/v3", "crd.projectcalico.org/v1")
            for kind in ("HostEndpoint", "NetworkSet", "GlobalNetworkSet", "Tier", "Profile", "WorkloadEndpoint")
        ),
    )
)
"""Facts about the cluster that a policy dialect reads: here they are only noted as declared."""

INVENTORY_KINDS: frozenset[tuple[str, str]] = INVENTORY | _DIALECT_KINDS
"""(apiVersion, kind) of the objects that say what the cluster has."""

_CLUSTER_SCOPED = frozenset(("Namespace", "Node", "CiliumIdentity", "IPPool"))
NOTHING_MENTIONED: Mapping[str, Span] = MappingProxyType({})

Groups = dict[str, list[Document]]


def read_inventory(
    documents: Iterable[Document],
    diagnostics: Diagnostics,
    mentioned: Mapping[str, Span] = NOTHING_MENTIONED,
) -> Inventory:
    """The records of all inventory objects among the documents; other objects are passed over.

    ``mentioned``: namespaces that policies name, with the place. Those, and the pods', are made up when no object
    defines them.
    """
    groups = _group(documents, diagnostics)
    controllers = read_controllers([*groups.get("ReplicaSet", ()), *groups.get("Job", ())], diagnostics)
    objects = read_pods(groups.get("Pod", ()), controllers, diagnostics)
    nodes = add_host_addresses(read_nodes(groups.get("Node", ()), diagnostics), objects.pods)
    templates = read_templates(groups, objects, diagnostics)
    pods = [replace(pod, addresses=()) if pod.host_network and pod.addresses else pod for pod in objects.pods]
    cluster = DEFAULT_CLUSTER
    if "CiliumEndpoint" in groups:
        endpoints, identities = groups["CiliumEndpoint"], groups.get("CiliumIdentity", ())
        marked, cluster = add_cilium_facts(pods, nodes, endpoints, identities, diagnostics)
        pods = list(marked)
    _check_addresses(pods, nodes, diagnostics)
    names = {**{pod.namespace: pod.span for pod in reversed((*pods, *templates))}, **mentioned}
    return _sorted(
        Inventory(
            pods=(*pods, *templates),
            nodes=nodes,
            namespaces=tuple(read_namespaces(groups.get("Namespace", ()), names, diagnostics)),
            service_accounts=tuple(read_service_accounts(groups.get("ServiceAccount", ()), diagnostics)),
            services=tuple(read_services(groups.get("Service", ()), diagnostics)),
            endpoints=tuple(read_endpoints(groups.get("Endpoints", ()), groups.get("EndpointSlice", ()), diagnostics)),
            declared_kinds=frozenset(groups),
            cluster=cluster,
        )
    )


def _group(documents: Iterable[Document], diagnostics: Diagnostics) -> Groups:
    """Inventory objects by kind; nameless ones and second copies are errors and left out."""
    groups: Groups = {}
    seen: dict[tuple[str, str, str], Document] = {}
    for document in documents:
        if (document.api_version, document.kind) not in INVENTORY_KINDS:
            continue
        if (document.api_version, document.kind) in _DIALECT_KINDS:
            groups.setdefault(document.kind, [])
            continue
        if not document.name:
            message = f"a {document.kind} needs a metadata.name that is text"
            ObjectFields(document, diagnostics).error("INV003", ("metadata", "name"), message, "add it, or quote it")
            continue
        if not _report_scope(document, diagnostics):
            continue
        key = (document.kind, _namespace(document), document.name)
        if key in seen:
            _report_duplicate(document, seen[key], diagnostics)
            continue
        seen[key] = document
        groups.setdefault(document.kind, []).append(document)
    return groups


def _namespace(document: Document) -> str:
    return "" if document.kind in _CLUSTER_SCOPED else document.namespace or "default"


def _report_scope(document: Document, diagnostics: Diagnostics) -> bool:
    """Whether ``metadata.namespace`` is text or missing."""
    written = document.metadata.get("namespace")
    if written is None or isinstance(written, str):
        return True
    message = "metadata.namespace must be text"
    ObjectFields(document, diagnostics).error("INV002", ("metadata", "namespace"), message, "quote it")
    return False


def _report_duplicate(second: Document, first: Document, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "INV004",
        second.span("metadata", "name"),
        f"{second.title} is defined twice, first at {first.span('metadata', 'name')}",
        "remove one of the two",
        second.title,
    )


def _check_addresses(pods: Sequence[Pod], nodes: Sequence[Node], diagnostics: Diagnostics) -> None:
    """An address must tell one pod or node: whose identity it has must not depend on chance."""
    owners: dict[Address, tuple[str, Span]] = {}
    for title, span, addresses in _holders(pods, nodes):
        for address in addresses:
            other, place = owners.setdefault(address, (title, span))
            if other != title:
                message = f"{title} has the address {address}, which {other} has too ({place})"
                diagnostics.error("INV007", span, message, "remove the object that is out of date", title)


def _holders(pods: Sequence[Pod], nodes: Sequence[Node]) -> Iterable[tuple[str, Span, tuple[Address, ...]]]:
    for node in nodes:
        yield f"Node {node.name}", node.span, node.addresses
    for pod in pods:
        yield f"Pod {pod.namespace}/{pod.name}", pod.span, pod.addresses


def _sorted(inventory: Inventory) -> Inventory:
    return replace(
        inventory,
        pods=tuple(sorted(inventory.pods, key=lambda pod: (pod.namespace, pod.name, pod.template, pod.owner))),
        nodes=tuple(sorted(inventory.nodes, key=lambda node: node.name)),
        namespaces=tuple(sorted(inventory.namespaces, key=lambda namespace: namespace.name)),
        service_accounts=tuple(sorted(inventory.service_accounts, key=lambda a: (a.namespace, a.name))),
        services=tuple(sorted(inventory.services, key=lambda service: (service.namespace, service.name))),
        endpoints=tuple(sorted(inventory.endpoints, key=lambda e: (e.namespace, e.service, str(e.address), e.ports))),
    )
