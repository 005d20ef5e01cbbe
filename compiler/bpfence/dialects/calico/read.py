"""A located document in, a policy object of the Calico dialect out; what Calico refuses is an error at its place."""

from __future__ import annotations

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check import check_object
from bpfence.dialects.calico.metadata import CRD_VERSION, NAMESPACED, effective_metadata
from bpfence.dialects.calico.model import (
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    NetworkPolicy,
    NetworkSet,
    OtherResource,
    Resource,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
)
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.unsupported import unsupported_features
from bpfence.dialects.model_base import Model
from bpfence.dialects.objects import PolicyObject
from bpfence.dialects.validation import parse_model
from bpfence.options import Options
from bpfence.source.documents import Document

V3_VERSION = "projectcalico.org/v3"

_KINDS: dict[str, type[Resource]] = {
    "NetworkPolicy": NetworkPolicy,
    "GlobalNetworkPolicy": GlobalNetworkPolicy,
    "Tier": Tier,
    "NetworkSet": NetworkSet,
    "GlobalNetworkSet": GlobalNetworkSet,
    "FelixConfiguration": FelixConfiguration,
    "HostEndpoint": OtherResource,
    "Profile": OtherResource,
    "WorkloadEndpoint": OtherResource,
    "StagedNetworkPolicy": StagedNetworkPolicy,
    "StagedGlobalNetworkPolicy": StagedGlobalNetworkPolicy,
    "StagedKubernetesNetworkPolicy": OtherResource,
}
_V3_ONLY = frozenset(("Profile", "WorkloadEndpoint"))

MODELS: dict[tuple[str, str], type[Model]] = {
    (version, kind): model
    for version in (V3_VERSION, CRD_VERSION)
    for kind, model in _KINDS.items()
    if version == V3_VERSION or kind not in _V3_ONLY
}

_GENERATED_PROFILES = ("kns.", "ksa.", "projectcalico-default-allow")


def read_object(document: Document, options: Options, diagnostics: Diagnostics) -> PolicyObject | None:
    """The object, or None when there were errors or nothing in it bears on the verdict of a pod's traffic."""
    model = _KINDS.get(document.kind)
    if model is None or (document.api_version, document.kind) not in MODELS:
        return None
    resource = parse_model(document, model, "CAL", diagnostics)
    if resource is None:
        return None
    own = Diagnostics()
    checked = _check(Report(document, document.title, own, options.allow_unsupported), resource)
    diagnostics.extend(own.items)
    if own.has_errors or isinstance(checked, OtherResource | FelixConfiguration):
        return None
    namespace = (checked.metadata.namespace or "default") if checked.kind in NAMESPACED else ""
    return PolicyObject("calico", checked.kind, namespace, checked.metadata.name, checked, document)


def _check(report: Report, resource: Resource) -> Resource:
    """The object with its effective metadata. What can't be enforced is only said of what is right."""
    resource = resource.model_copy(update={"metadata": effective_metadata(resource, report)})
    if isinstance(resource, OtherResource):
        _refuse_kind(report, resource)
        return resource
    check_object(report, resource)
    if isinstance(resource, NetworkPolicy | GlobalNetworkPolicy) and not report.diagnostics.has_errors:
        for found in unsupported_features(resource.spec):
            report.unsupported(found.code, found.path, found.message, found.help)
    return resource


def _refuse_kind(report: Report, resource: OtherResource) -> None:
    """Kinds that are known and not enforced: refused, but for those without influence on the enforced verdicts."""
    kind = resource.kind
    if kind == "Profile" and resource.metadata.name.startswith(_GENERATED_PROFILES):
        message = "Calico generates this profile; namespaces and service accounts say the same"
        report.note(codes.GENERATED_PROFILE, ("metadata", "name"), message)
    else:
        report.error(
            codes.UNSUPPORTED_KIND, ("kind",), f"{kind} is not supported yet", "remove the object from the input"
        )
