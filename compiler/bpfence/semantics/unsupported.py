"""Policies that can't be enforced as written: an input's policies in, those that hold and those that only deny out.

Such policies get this far only when the user has asked for it; then they deny everything to what they select.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from bpfence.dialects.calico.model import Policy as CalicoPolicy
from bpfence.dialects.cilium.model import EgressRule, IngressCommon, IngressRule, PortRule, Rule, Statement
from bpfence.dialects.cilium.model import Policy as CiliumPolicy
from bpfence.dialects.kubernetes.admin_model import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from bpfence.dialects.kubernetes.cluster_model import ClusterNetworkPolicy
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.objects import PolicyObject
from bpfence.options import Options

Path = tuple[str | int, ...]
ClusterModel = ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy

ITEMS = ("from", "to", "protocols", "ports")
ITEM_DEPTH = 5
"""Length of the place of a peer or protocol item: spec, ingress, 0, from, 0."""


class PolicySet(Protocol):
    """The policy objects of one input, by dialect."""

    @property
    def kubernetes(self) -> tuple[PolicyObject, ...]: ...

    @property
    def cilium(self) -> tuple[PolicyObject, ...]: ...

    @property
    def calico(self) -> tuple[PolicyObject, ...]: ...


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """A part of a `PolicySet`."""

    kubernetes: tuple[PolicyObject, ...]
    cilium: tuple[PolicyObject, ...]
    calico: tuple[PolicyObject, ...]


def split_policies(written: PolicySet, options: Options) -> tuple[PolicySet, PolicySet | None]:
    """(Those that hold, those that only deny). Without the option nothing unsupported has been accepted."""
    if not options.allow_unsupported:
        return written, None
    dialects = (written.kubernetes, written.cilium, written.calico)
    denying = [frozenset(map(id, filter(is_unsupported, items))) for items in dialects]
    if not any(denying):
        return written, None
    parts = list(zip(dialects, denying, strict=True))
    return (
        PolicyGroup(*(tuple(item for item in items if id(item) not in chosen) for items, chosen in parts)),
        PolicyGroup(*(tuple(item for item in items if id(item) in chosen) for items, chosen in parts)),
    )


def is_unsupported(item: PolicyObject) -> bool:
    """Whether something in a policy in force can't be enforced. Staged policies are in force once they are unstaged."""
    model = item.model
    if isinstance(model, CiliumPolicy):
        rules = [*([model.spec] if model.spec else ()), *(model.specs or ())]
        return any(_statement_unsupported(statement) for rule in rules for statement in _statements(rule))
    if isinstance(model, CalicoPolicy) and not item.kind.startswith("Staged"):
        return any(rule.http is not None for rule in (*model.spec.ingress, *model.spec.egress))
    if isinstance(model, NetworkPolicy):
        return any(True for _ in _unread(item.document.data, _dump(model)))
    if isinstance(model, ClusterModel):
        return _words_unknown(model) or not all(map(_in_item, _unread(item.document.data, _dump(model))))
    return False


def _statements(rule: Rule) -> Iterator[Statement]:
    for section in (rule.ingress, rule.ingress_deny, rule.egress, rule.egress_deny):
        yield from section or ()


def _statement_unsupported(statement: Statement) -> bool:
    """Cloud groups, requirements on other rules, authentication, and everything that needs a proxy."""
    if isinstance(statement, IngressCommon):
        lists = (statement.from_groups, statement.from_requires)
    else:
        lists = (statement.to_groups, statement.to_requires)
    if any(lists):
        return True
    if not isinstance(statement, IngressRule | EgressRule):
        return False
    if statement.authentication is not None and statement.authentication.mode != "disabled":
        return True
    return any(map(_needs_proxy, statement.to_ports or ()))


def _needs_proxy(ports: PortRule) -> bool:
    contexts = (ports.terminating_tls, ports.originating_tls, ports.listener)
    if ports.server_names or any(item is not None for item in contexts):
        return True
    rules = ports.rules
    return rules is not None and any((rules.http, rules.kafka, rules.l7proto, rules.l7))


def _words_unknown(model: ClusterModel) -> bool:
    """A tier or an action that the kind does not have."""
    if isinstance(model, ClusterNetworkPolicy):
        actions = {"Accept", "Deny", "Pass"}
        if model.spec.tier not in ("Admin", "Baseline"):
            return True
    else:
        actions = {"Allow", "Deny", "Pass"} if isinstance(model, AdminNetworkPolicy) else {"Allow", "Deny"}
    return any(rule.action not in actions for rule in (*model.spec.ingress, *model.spec.egress))


def _dump(model: NetworkPolicy | ClusterModel) -> object:
    return model.model_dump(by_alias=True, exclude_unset=True)


def _unread(written: object, read: object, path: Path = ()) -> Iterator[Path]:
    """Places of the document that the model does not have."""
    if isinstance(written, Mapping):
        for key, value in written.items():
            if not isinstance(read, Mapping) or key not in read:
                yield (*path, key)
            else:
                yield from _unread(value, read[key], (*path, key))
    elif isinstance(written, list) and isinstance(read, list | tuple):
        for index, (value, known) in enumerate(zip(written, read, strict=False)):
            yield from _unread(value, known, (*path, index))


def _in_item(path: Path) -> bool:
    """Inside a peer or a protocol item: that closes the rule, not the policy."""
    return len(path) > ITEM_DEPTH and path[3] in ITEMS
