"""WorkloadEndpoint objects in; the inventory with the pods that they describe out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.labels import ORCHESTRATOR_LABEL
from bpfence.dialects.calico.model import WorkloadEndpoint
from bpfence.dialects.calico.profiles import OF_ACCOUNT, OF_NAMESPACE
from bpfence.dialects.calico.selectors import ACCOUNT_LABEL, NAMESPACE_LABEL
from bpfence.dialects.calico.values import read_protocol, read_set_cidr
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import ContainerPort, Inventory, Pod

_IMPLICIT = (NAMESPACE_LABEL, ORCHESTRATOR_LABEL, ACCOUNT_LABEL)
DEFAULT_ACCOUNT = "default"


def replace_pods(objects: Sequence[PolicyObject], inventory: Inventory, diagnostics: Diagnostics) -> Inventory:
    """Each endpoint takes the place of the pod that ``spec.pod`` and its namespace name, or adds it."""
    pods = {(pod.namespace, pod.name): pod for pod in inventory.pods}
    replaced: dict[tuple[str, str], PolicyObject] = {}
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
        _check_profiles(item, item.model, diagnostics)
        pods[key] = _pod(item, item.model, pods.get(key))
    if not replaced:
        return inventory
    ordered = tuple(pods[key] for key in sorted(pods))
    return replace(inventory, pods=ordered, declared_kinds=inventory.declared_kinds | {"Pod"})


def _check_profiles(item: PolicyObject, model: WorkloadEndpoint, diagnostics: Diagnostics) -> None:
    """Pods end in the profile of their namespace; another list would mean another end."""
    expected = (f"{OF_NAMESPACE}{item.namespace}", f"{OF_ACCOUNT}{item.namespace}.{_account(model)}")
    names = model.spec.profiles
    if expected[0] in names and set(names) <= set(expected):
        return
    message = f"a workload with other profiles than {' and '.join(expected)} can't be enforced"
    help_text = f"write profiles: [{expected[0]}], as Calico does for pods"
    diagnostics.error(codes.UNSUPPORTED_PROFILE, item.span("spec", "profiles"), message, help_text, item.title)


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
