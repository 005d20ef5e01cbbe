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
    HostEndpoint,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
    WorkloadEndpoint,
)
from bpfence.dialects.calico.profiles import is_generated
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
    "HostEndpoint": HostEndpoint,
    "Profile": Profile,
    "WorkloadEndpoint": WorkloadEndpoint,
    "StagedNetworkPolicy": StagedNetworkPolicy,
    "StagedGlobalNetworkPolicy": StagedGlobalNetworkPolicy,
    "StagedKubernetesNetworkPolicy": StagedKubernetesNetworkPolicy,
}
_V3_ONLY = frozenset(("Profile", "WorkloadEndpoint"))

MODELS: dict[tuple[str, str], type[Model]] = {
    (version, kind): model
    for version in (V3_VERSION, CRD_VERSION)
    for kind, model in _KINDS.items()
    if version == V3_VERSION or kind not in _V3_ONLY
}


def read_object(document: Document, options: Options, diagnostics: Diagnostics) -> PolicyObject | None:
    """The object, or None when there were errors or it says nothing that is not known without it."""
    model = _KINDS.get(document.kind)
    if model is None or (document.api_version, document.kind) not in MODELS:
        return None
    resource = parse_model(document, model, "CAL", diagnostics)
    if resource is None:
        return None
    own = Diagnostics()
    report = Report(document, document.title, own, options.allow_unsupported)
    checked = _check(report, resource)
    diagnostics.extend(own.items)
    if own.has_errors or checked is None:
        return None
    namespace = (checked.metadata.namespace or "default") if checked.kind in NAMESPACED else ""
    return PolicyObject("calico", checked.kind, namespace, checked.metadata.name, checked, document)


def _check(report: Report, resource: Resource) -> Resource | None:
    """The object with its effective metadata. What can't be enforced is only said of what is right."""
    resource = resource.model_copy(update={"metadata": effective_metadata(resource, report)})
    if isinstance(resource, Profile) and is_generated(resource.metadata.name):
        message = "Calico generates this profile; namespaces and service accounts say the same"
        report.note(codes.GENERATED_PROFILE, ("metadata", "name"), message)
        return None
    check_object(report, resource)
    if report.diagnostics.has_errors:
        return resource
    if isinstance(resource, NetworkPolicy | GlobalNetworkPolicy | Profile):
        for found in unsupported_features(resource.spec):
            report.unsupported(found.code, found.path, found.message, found.help)
    return resource
