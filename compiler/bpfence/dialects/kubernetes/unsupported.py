"""Policies let through by --allow-unsupported though they can't be enforced as written: they deny what they select."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.dialects.kubernetes.admin_model import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from bpfence.dialects.kubernetes.cluster_check import ADMIN, BASELINE, CLUSTER, TIERS
from bpfence.dialects.kubernetes.cluster_model import ClusterNetworkPolicy
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.kubernetes.subjects import cluster_subject, network_policy_subject
from bpfence.dialects.kubernetes.unknown import is_of_item, unknown_paths
from bpfence.dialects.model_base import Model
from bpfence.dialects.objects import PolicyObject
from bpfence.ir.expressions import ANYONE, OnOwnNode
from bpfence.ir.nodes import ANY_L4, Action, Policy, Rule, Section


def denies_all(source: PolicyObject) -> bool:
    """Whether the policy denies everything to what it selects: a part of it beyond peers and protocols is unknown."""
    model = source.model
    if not isinstance(model, Model):
        raise TypeError(f"{source.title} has no policy model")
    unknown = list(unknown_paths(source.document.data, type(model)))
    match model:
        case NetworkPolicy():
            return bool(unknown)
        case ClusterNetworkPolicy():
            odd, limits = model.spec.tier not in TIERS, CLUSTER
        case AdminNetworkPolicy():
            odd, limits = False, ADMIN
        case BaselineAdminNetworkPolicy():
            odd, limits = False, BASELINE
        case _:
            raise TypeError(f"{source.title} is of no kind of this dialect")
    rules = (*model.spec.ingress, *model.spec.egress)
    odd = odd or any(rule.action not in limits.actions for rule in rules)
    return odd or not all(is_of_item(path) for path in unknown)


def lower_unsupported(objects: Sequence[PolicyObject]) -> tuple[Policy, ...]:
    """One policy per object that `denies_all`: it denies every peer and port in the directions that the object has.

    They belong ahead of every other policy. What the pod's own node sends to it passes them undecided.
    """
    return tuple(_deny_everything(source) for source in objects if denies_all(source))


def _deny_everything(source: PolicyObject) -> Policy:
    model = source.model
    if isinstance(model, NetworkPolicy):
        subject = network_policy_subject(source, model)
        ingress, egress = model.spec.directions
    elif isinstance(model, ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy):
        subject = cluster_subject(model.spec.subject)
        ingress, egress = bool(model.spec.ingress), bool(model.spec.egress)
    else:
        raise TypeError(f"{source.title} is of no kind of this dialect")
    deny = Rule(Action.DENY, ANYONE, ANY_L4, source.origin("spec"))
    own_node = Rule(Action.PASS, OnOwnNode(), ANY_L4, source.origin("spec"))
    return Policy(
        source.title,
        subject,
        Section((own_node, deny), True, source.origin("spec")) if ingress else None,
        Section((deny,), True, source.origin("spec")) if egress else None,
        source.origin(),
        (0.0, f"{source.kind}/{source.namespace}/{source.name}"),
    )
