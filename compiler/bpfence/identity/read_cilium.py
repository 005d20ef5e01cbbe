"""CiliumEndpoint and CiliumIdentity objects and the pods read so far in; the pods with what Cilium says of them out.

Three facts: which pods Cilium does not manage (it has endpoints, and none for them), which endpoints have a reserved
label (health checks, ingress, pods that Cilium did not know the labels of), and to which cluster of a mesh an endpoint
belongs. An endpoint whose pod the input lacks is an endpoint all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import DEFAULT_CLUSTER, SPECIAL_ENDPOINTS, Address, Node, Pod
from bpfence.identity.object_fields import ObjectFields
from bpfence.source.documents import Document, Path
from bpfence.source.spans import Span

INIT, UNMANAGED = "init", "unmanaged"
_NODES = frozenset(("host", "remote-node", "world", "kube-apiserver"))
_CLUSTER = "io.cilium.k8s.policy.cluster"
_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
_DERIVED = ("io.cilium.k8s.", "io.kubernetes.pod.namespace")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``labels``: (source, key) -> value. ``node_address``: of the node it runs on."""

    namespace: str
    name: str
    span: Span
    labels: Mapping[tuple[str, str], str]
    addresses: tuple[Address, ...]
    node_address: Address | None

    @property
    def reserved(self) -> tuple[str, ...]:
        return tuple(sorted(key for source, key in self.labels if source == "reserved"))

    @property
    def cluster(self) -> str:
        return self.labels.get(("k8s", _CLUSTER), "")


def add_cilium_facts(
    pods: Sequence[Pod],
    nodes: Iterable[Node],
    endpoints: Sequence[Document],
    identities: Sequence[Document],
    diagnostics: Diagnostics,
) -> tuple[tuple[Pod, ...], str]:
    """(The pods with Cilium's facts and the endpoints that are no pods of the input, the name of the own cluster)."""
    known = {document.name: _identity_labels(ObjectFields(document, diagnostics)) for document in identities}
    found = [_read_endpoint(ObjectFields(document, diagnostics), known) for document in endpoints]
    at = {address: node.name for node in nodes for address in node.addresses}
    cluster = _own_cluster(found, at, diagnostics)
    by_name = {(item.namespace, item.name): item for item in found}
    marked = [_with_facts(pod, by_name.pop((pod.namespace, pod.name), None), cluster) for pod in pods]
    rest = [item for item in by_name.values() if item.addresses and not _NODES & set(item.reserved)]
    return (*marked, *(_endpoint_alone(item, at, cluster) for item in rest)), cluster


def _with_facts(pod: Pod, endpoint: Endpoint | None, cluster: str) -> Pod:
    if pod.host_network or pod.template:
        return pod
    if endpoint is None:
        return replace(pod, reserved=(UNMANAGED,))
    return replace(pod, reserved=_kept(endpoint), cluster=_foreign(endpoint, cluster))


def _endpoint_alone(item: Endpoint, at: Mapping[Address, str], cluster: str) -> Pod:
    """An endpoint as a pod: its labels are those of its identity."""
    own = {key: value for (source, key), value in item.labels.items() if source == "k8s"}
    return Pod(
        item.namespace,
        item.name,
        item.span,
        labels={key: value for key, value in own.items() if not key.startswith(_DERIVED)},
        node="" if item.node_address is None else at.get(item.node_address, ""),
        addresses=item.addresses,
        service_account=own.get(_ACCOUNT, "default"),
        owner=("Pod", item.name),
        reserved=_kept(item),
        cluster=_foreign(item, cluster),
    )


def _kept(endpoint: Endpoint) -> tuple[str, ...]:
    return tuple(name for name in endpoint.reserved if name in SPECIAL_ENDPOINTS or name in (INIT, UNMANAGED))


def _foreign(endpoint: Endpoint, cluster: str) -> str:
    return "" if endpoint.cluster == cluster else endpoint.cluster


def _own_cluster(endpoints: Iterable[Endpoint], at: Mapping[Address, str], diagnostics: Diagnostics) -> str:
    """The only name there is, else Cilium's default name, else the name of the endpoints on the input's nodes."""
    places = {item.cluster: item.span for item in endpoints if item.cluster}
    if len(places) < 2:
        return next(iter(places), DEFAULT_CLUSTER)
    if DEFAULT_CLUSTER in places:
        return DEFAULT_CLUSTER
    local = {item.cluster for item in endpoints if item.cluster and item.node_address in at}
    if len(local) == 1:
        return local.pop()
    names = ", ".join(sorted(places))
    diagnostics.error(
        "INV012",
        min(places.values()),
        f"the endpoints are of the clusters {names}, and nothing tells which of them is this one",
        "add the Node objects of this cluster, or leave out the endpoints of the others",
    )
    return DEFAULT_CLUSTER


def _read_endpoint(fields: ObjectFields, identities: Mapping[str, Mapping[tuple[str, str], str]]) -> Endpoint:
    document = fields.document
    status = fields.mapping(document.data, "status", ())
    identity = fields.mapping(status, "identity", ("status",))
    labels = _listed_labels(fields, identity)
    networking = fields.mapping(status, "networking", ("status",))
    node = networking.get("node")
    return Endpoint(
        document.namespace or "default",
        document.name,
        document.span(),
        labels or identities.get(str(identity.get("id")), {}),
        _addresses(fields, networking),
        fields.address(node, ("status", "networking", "node")) if node else None,
    )


def _listed_labels(fields: ObjectFields, identity: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    at: Path = ("status", "identity")
    labels: dict[tuple[str, str], str] = {}
    for index, text in enumerate(fields.listing(identity, "labels", at)):
        if not isinstance(text, str):
            fields.error("INV001", (*at, "labels", index), "a label must be text: source:key=value")
            continue
        key, _, value = text.partition("=")
        labels[_split(key)] = value
    return labels


def _identity_labels(fields: ObjectFields) -> dict[tuple[str, str], str]:
    written = fields.labels(fields.document.data, "security-labels", ())
    return {_split(key): value for key, value in written.items()}


def _split(text: str) -> tuple[str, str]:
    source, colon, key = text.partition(":")
    return (source, key) if colon else ("", source)


def _addresses(fields: ObjectFields, networking: Mapping[str, Any]) -> tuple[Address, ...]:
    at: Path = ("status", "networking")
    written = (
        (pair[family], (*at, "addressing", index, family))
        for index, pair in enumerate(fields.mappings(networking, "addressing", at))
        for family in ("ipv4", "ipv6")
        if pair.get(family)
    )
    found = (fields.address(text, path) for text, path in written)
    return tuple(dict.fromkeys(address for address in found if address is not None))
