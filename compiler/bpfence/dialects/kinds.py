"""Objects that no dialect reads in; errors for what looks like policy, a counted note per kind of the rest, out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.model_fields import nearest_name
from bpfence.source.documents import Document

_CALICO_VERSIONS = ("projectcalico.org/v3", "crd.projectcalico.org/v1")

INVENTORY: frozenset[tuple[str, str]] = frozenset(
    (
        *(("v1", kind) for kind in ("Namespace", "Pod", "Node", "Service", "Endpoints", "ServiceAccount")),
        ("v1", "ReplicationController"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        *(("apps/v1", kind) for kind in ("ReplicaSet", "Deployment", "StatefulSet", "DaemonSet")),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("cilium.io/v2", "CiliumEndpoint"),
        ("cilium.io/v2", "CiliumIdentity"),
        *((version, "IPPool") for version in _CALICO_VERSIONS),
    )
)
"""(apiVersion, kind) of the inventory objects that are no matter of a dialect."""

_OTHER_KINDS = {
    "networking.k8s.io": ("IPAddress", "Ingress", "IngressClass", "ServiceCIDR"),
    "policy.networking.k8s.io": (),
    "cilium.io": (
        "CiliumBGPAdvertisement",
        "CiliumBGPClusterConfig",
        "CiliumBGPNodeConfig",
        "CiliumBGPNodeConfigOverride",
        "CiliumBGPPeerConfig",
        "CiliumBGPPeeringPolicy",
        "CiliumClusterwideEnvoyConfig",
        "CiliumEgressGatewayPolicy",
        "CiliumEndpointSlice",
        "CiliumEnvoyConfig",
        "CiliumGatewayClassConfig",
        "CiliumL2AnnouncementPolicy",
        "CiliumLoadBalancerIPPool",
        "CiliumNode",
        "CiliumNodeConfig",
        "CiliumPodIPPool",
        "CiliumVTEPConfig",
    ),
    "projectcalico.org": (
        "BGPConfiguration",
        "BGPFilter",
        "BGPPeer",
        "BlockAffinity",
        "CalicoNodeStatus",
        "ClusterInformation",
        "IPAMConfiguration",
        "IPReservation",
        "KubeControllersConfiguration",
        "Node",
    ),
    "crd.projectcalico.org": (
        "BGPConfiguration",
        "BGPFilter",
        "BGPPeer",
        "BlockAffinity",
        "CalicoNodeStatus",
        "ClusterInformation",
        "IPAMBlock",
        "IPAMConfig",
        "IPAMHandle",
        "IPReservation",
        "KubeControllersConfiguration",
    ),
}
"""The API groups of policy languages, with their kinds that say nothing about who may talk to whom."""


def report_unread(
    documents: Iterable[Document], policy_kinds: Collection[tuple[str, str]], diagnostics: Diagnostics
) -> None:
    """Say something about every object that neither a dialect nor the inventory takes."""
    others: dict[tuple[str, str], list[Document]] = {}
    known = {*policy_kinds, *INVENTORY}
    for document in documents:
        if not document.api_version or not document.kind:
            _report_untyped(document, diagnostics)
        elif _is_other(document, known):
            others.setdefault((document.api_version, document.kind), []).append(document)
        else:
            _report_unknown(document, known, diagnostics)
    for (version, kind), group in sorted(others.items()):
        objects = "object is" if len(group) == 1 else "objects are"
        message = f"{len(group)} {kind} {objects} not used ({version}: neither policy nor inventory)"
        diagnostics.note("SRC020", group[0].span(), message)


def _group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _is_other(document: Document, known: Collection[tuple[str, str]]) -> bool:
    """Neither policy nor inventory, nor anything that could be meant as one of them."""
    group, kind = _group_of(document.api_version), document.kind
    if any(kind == name and group == _group_of(version) for version, name in known):
        return False
    if group in _OTHER_KINDS:
        return kind in _OTHER_KINDS[group]
    return not kind.endswith("NetworkPolicy")


def _report_untyped(document: Document, diagnostics: Diagnostics) -> None:
    missing = "apiVersion" if not document.api_version else "kind"
    if missing in document.data:
        diagnostics.error("SRC017", document.span(missing), f"{missing} must be text and not empty", "quote it")
        return
    message = f"the object has no {missing}"
    diagnostics.error("SRC017", document.span(), message, "every object needs apiVersion and kind")


def _report_unknown(document: Document, known: Collection[tuple[str, str]], diagnostics: Diagnostics) -> None:
    version, kind = document.api_version, document.kind
    versions = sorted({other for other, name in known if name == kind})
    if versions:
        nearest = [other for other in versions if _group_of(other) == _group_of(version)] or versions
        message = f"{kind} of {version} can't be read"
        help_text = f"did you mean apiVersion: {' or '.join(nearest)}?"
        diagnostics.error("SRC019", document.span("apiVersion"), message, help_text, document.title)
        return
    kinds = sorted({name for other, name in known if _group_of(other) == _group_of(version)})
    nearest_kind = nearest_name(kind, kinds or sorted({name for _, name in known}))
    help_text = f"did you mean kind: {nearest_kind}?" if nearest_kind else "remove the object from the input"
    message = f"unknown kind {kind} of {version}: it may be policy, so it is not passed over"
    diagnostics.error("SRC018", document.span("kind"), message, help_text, document.title)
