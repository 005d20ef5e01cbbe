"""Calico's staged policies: the enforced world in, the world as it would be with them in force out.

Follows the staged policy documentation of projectcalico/calico, with one difference: a staged policy takes the place of
the enforced one of its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bpfence.dialects.calico.model import (
    GlobalNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
)
from bpfence.dialects.calico.model import NetworkPolicy as CalicoNetworkPolicy
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.objects import PolicyObject
from bpfence.semantics.world import ReferenceWorld

Name = tuple[str, str, str]
"""(kind in force, namespace, name)"""


@dataclass(frozen=True, slots=True)
class PendingPolicies:
    """The policy objects with the staged ones in force."""

    kubernetes: tuple[PolicyObject, ...]
    cilium: tuple[PolicyObject, ...]
    calico: tuple[PolicyObject, ...]


def pending_world(world: ReferenceWorld) -> ReferenceWorld:
    """As it is, but with the staged policies in force. Set and Learn replace or add, Delete removes, Ignore is idle."""
    policies = world.written
    calico = {_name(item): item for item in policies.calico if not item.kind.startswith("Staged")}
    kubernetes = {_name(item): item for item in policies.kubernetes}
    for item in policies.calico:
        staged = _action(item)
        if staged in (None, "Ignore"):
            continue
        target = kubernetes if isinstance(item.model, StagedKubernetesNetworkPolicy) else calico
        if staged == "Delete":
            target.pop(_name(item), None)
        else:
            target[_name(item)] = _in_force(item)
    pending = PendingPolicies(tuple(kubernetes.values()), policies.cilium, tuple(calico.values()))
    return ReferenceWorld(world.inventory, pending, world.options)


def _name(item: PolicyObject) -> Name:
    kind = item.kind.removeprefix("Staged")
    return kind.removeprefix("Kubernetes"), item.namespace, item.name


def _action(item: PolicyObject) -> str | None:
    """None: not a staged policy."""
    if isinstance(item.model, StagedNetworkPolicy | StagedGlobalNetworkPolicy | StagedKubernetesNetworkPolicy):
        return item.model.spec.staged_action or "Set"
    return None


def _in_force(item: PolicyObject) -> PolicyObject:
    """The policy that the staged one stands for. Its place in the input stays."""
    model = item.model
    if isinstance(model, StagedKubernetesNetworkPolicy):
        return replace(item, dialect="kubernetes", kind="NetworkPolicy", model=_kubernetes_policy(item))
    assert isinstance(model, StagedNetworkPolicy | StagedGlobalNetworkPolicy)
    kind = item.kind.removeprefix("Staged")
    in_force = GlobalNetworkPolicy if isinstance(model, StagedGlobalNetworkPolicy) else CalicoNetworkPolicy
    enforced = in_force.model_construct(
        api_version=model.api_version, kind=kind, metadata=model.metadata, spec=model.spec
    )
    return replace(item, kind=kind, model=enforced)


def _kubernetes_policy(item: PolicyObject) -> NetworkPolicy:
    """Read from the document: the other dialect's model knows only the staged action."""
    document = item.document.data
    spec = {key: value for key, value in (document.get("spec") or {}).items() if key != "stagedAction"}
    written = {**document, "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec}
    return NetworkPolicy.model_validate(written)
