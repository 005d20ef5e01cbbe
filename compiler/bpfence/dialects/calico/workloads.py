"""WorkloadEndpoint objects in; the inventory with the pods that they describe out.

A pod has the profiles of its namespace and of its service account. An endpoint may list others: they decide about what
no tier decides, and the pod inherits their labels, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.labels import ORCHESTRATOR_LABEL
from bpfence.dialects.calico.model import Policy, WorkloadEndpoint
from bpfence.dialects.calico.profiles import ProfileFacts, effective_labels, known_profiles, usual_profiles
from bpfence.dialects.calico.selectors import ACCOUNT_LABEL, NAMESPACE_LABEL
from bpfence.dialects.calico.values import read_protocol, read_set_cidr
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import ContainerPort, Inventory, Pod

_IMPLICIT = (NAMESPACE_LABEL, ORCHESTRATOR_LABEL, ACCOUNT_LABEL)
DEFAULT_ACCOUNT = "default"


def makes_layer(item: PolicyObject) -> bool:
    """Whether the object decides about pods: a policy that acts, or an endpoint whose profiles may not allow all."""
    if isinstance(item.model, WorkloadEndpoint):
        usual = _usual_names(item, item.model)
        return usual[0] not in item.model.spec.profiles or not set(item.model.spec.profiles) <= set(usual)
    return isinstance(item.model, Policy)


def replace_pods(objects: Sequence[PolicyObject], inventory: Inventory, diagnostics: Diagnostics) -> Inventory:
    """Each endpoint takes the place of the pod that ``spec.pod`` and its namespace name, or adds it."""
    pods = {(pod.namespace, pod.name): pod for pod in inventory.pods}
    replaced: dict[tuple[str, str], PolicyObject] = {}
    profiles = known_profiles(objects, inventory)
    for item in objects:
        if not isinstance(item.model, WorkloadEndpoint):
            continue
        key = (item.namespace, item.model.spec.pod)
        if key in replaced:
            message = f"the pod {item.namespace}/{key[1]} has another WorkloadEndpoint, {replaced[key].name}"
            diagnostics.error(
                codes.WORKLOAD_POD, item.span("spec", "pod"), message, "remove one of the two", item.title
            )
        replaced.setdefault(key, item)
        pod = _pod(item, item.model, pods.get(key))
        pods[key] = _with_profiles(pod, item, item.model, profiles, diagnostics)
    if not replaced:
        return inventory
    ordered = tuple(pods[key] for key in sorted(pods))
    return replace(inventory, pods=ordered, declared_kinds=inventory.declared_kinds | {"Pod"})


def _usual_names(item: PolicyObject, model: WorkloadEndpoint) -> tuple[str, ...]:
    return tuple(facts.name for facts in usual_profiles(item.namespace, _account(model)))


def _with_profiles(
    pod: Pod,
    item: PolicyObject,
    model: WorkloadEndpoint,
    known: Mapping[str, ProfileFacts],
    diagnostics: Diagnostics,
) -> Pod:
    """The pod; when its list is not the usual one, with the list and with what it inherits by it."""
    names = tuple(dict.fromkeys(model.spec.profiles))
    facts = tuple(_profiles_of(item, model, known, diagnostics))
    if set(names) == set(_usual_names(item, model)):
        return pod
    return replace(pod, labels=effective_labels(pod.labels, facts), profiles=names)


def _profiles_of(
    item: PolicyObject, model: WorkloadEndpoint, known: Mapping[str, ProfileFacts], diagnostics: Diagnostics
) -> Iterator[ProfileFacts]:
    """Those of the pod's own namespace and account exist with the pod."""
    usual = {facts.name: facts for facts in usual_profiles(item.namespace, _account(model))}
    for index, name in enumerate(model.spec.profiles):
        facts = known.get(name) or usual.get(name)
        if facts is not None:
            yield facts
        else:
            diagnostics.error(
                codes.PROFILE_MISSING,
                item.span("spec", "profiles", index),
                f"there is no profile {name}",
                "add the Profile object to the input, or correct the name",
                item.title,
            )


def _account(model: WorkloadEndpoint) -> str:
    named = model.metadata.labels.get(ACCOUNT_LABEL)
    return model.spec.service_account_name or named or DEFAULT_ACCOUNT


def _pod(item: PolicyObject, model: WorkloadEndpoint, known: Pod | None) -> Pod:
    spec = model.spec
    pod = known or Pod(item.namespace, spec.pod, item.span(), owner=("Pod", spec.pod))
    addresses = dict.fromkeys(read_set_cidr(text).network_address for text in spec.ip_networks)
    return replace(
        pod,
        span=item.span(),
        labels={key: value for key, value in model.metadata.labels.items() if key not in _IMPLICIT},
        node=spec.node or pod.node,
        addresses=tuple(addresses),
        host_network=False,
        template=False,
        service_account=_account(model),
        ports=tuple(
            ContainerPort(port.name, read_protocol(port.protocol).number, port.port) for port in spec.ports if port.name
        ),
        interface=spec.interface_name or pod.interface,
    )
