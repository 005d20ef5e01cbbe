"""Effective selectors: Calico's fields in, one selector tree over implicit labels out.

Source: ``libcalico-go/lib/backend/syncersv1/updateprocessors`` of projectcalico/calico; but rewriting happens on the
tree, where no literal is mistaken for a term.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from bpfence.dialects.calico.model import EntityRule, GlobalNetworkPolicySpec, NetworkPolicySpec, ServiceAccountMatch
from bpfence.selectors import (
    AllOf,
    AnyOf,
    Criterion,
    Everything,
    Global,
    Negation,
    Operator,
    Selector,
    parse_selector,
)

NAMESPACE_LABEL = "projectcalico.org/namespace"
ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
NAMESPACE_PREFIX = "pcns."
ACCOUNT_PREFIX = "pcsa."

_IN_A_NAMESPACE = Criterion(NAMESPACE_LABEL, Operator.HAS)
_HAS_ACCOUNT = Criterion(ACCOUNT_LABEL, Operator.HAS)


@dataclass(frozen=True, slots=True)
class SideSelectors:
    """``positive``: the address is of an object it matches (None: no criterion); ``negative``: of none that it matches.

    With both, it is one set: the addresses of objects that match the first and not the second.
    """

    positive: Selector | None
    negative: Selector | None


def subject_selector(spec: NetworkPolicySpec, namespace: str) -> Selector:
    """Which endpoints a policy selects; ``namespace`` is empty for a global policy."""
    if namespace:
        return _namespaced_subject(spec, namespace)
    selected = parse_selector(spec.selector)
    given = bool(spec.selector)
    if isinstance(spec, GlobalNetworkPolicySpec) and spec.namespace_selector:
        of_namespace = prefix_labels(parse_selector(spec.namespace_selector), NAMESPACE_PREFIX)
        both = AllOf((selected, of_namespace)) if given else of_namespace
        selected, given = replace_leaves(both, Everything, _IN_A_NAMESPACE), True
    if spec.service_account_selector:
        of_account = prefix_labels(parse_selector(spec.service_account_selector), ACCOUNT_PREFIX)
        both = AllOf((selected, of_account)) if given else of_account
        selected = replace_leaves(both, Everything, _HAS_ACCOUNT)
    return selected


def _namespaced_subject(spec: NetworkPolicySpec, namespace: str) -> Selector:
    terms: list[Selector] = [in_namespace(namespace)]
    if spec.selector:
        terms.append(parse_selector(spec.selector))
    if spec.service_account_selector:
        terms.append(prefix_labels(parse_selector(spec.service_account_selector), ACCOUNT_PREFIX))
    return all_of(terms)


def side_selectors(entity: EntityRule, namespace: str) -> SideSelectors:
    """The selectors of one side of a rule; ``namespace`` is the policy's, empty for a global one."""
    terms: list[Selector] = []
    accounts = entity.service_accounts
    if entity.namespace_selector:
        terms.append(_namespace_term(entity.namespace_selector))
    elif namespace and (entity.selector or entity.not_selector or not accounts.is_empty):
        terms.append(in_namespace(namespace))
    if entity.selector:
        terms.append(parse_selector(entity.selector))
    terms.extend(_account_terms(accounts))
    return SideSelectors(
        all_of(terms) if terms else None, parse_selector(entity.not_selector) if entity.not_selector else None
    )


def _namespace_term(text: str) -> Selector:
    prefixed = prefix_labels(parse_selector(text), NAMESPACE_PREFIX)
    return replace_leaves(replace_leaves(prefixed, Everything, _IN_A_NAMESPACE), Global, Negation(_IN_A_NAMESPACE))


def _account_terms(accounts: ServiceAccountMatch) -> list[Selector]:
    terms: list[Selector] = []
    if accounts.names:
        terms.append(Criterion(ACCOUNT_LABEL, Operator.IN, tuple(sorted(set(accounts.names)))))
    if accounts.selector:
        terms.append(prefix_labels(parse_selector(accounts.selector), ACCOUNT_PREFIX))
    return terms


def in_namespace(namespace: str) -> Selector:
    """Objects of the namespace."""
    return Criterion(NAMESPACE_LABEL, Operator.EQUAL, (namespace,))


def all_of(terms: list[Selector]) -> Selector:
    """The conjunction of one or more terms; one stands for itself."""
    return terms[0] if len(terms) == 1 else AllOf(tuple(terms))


def prefix_labels(selector: Selector, prefix: str) -> Selector:
    """The same selector with the prefix before every label."""
    match selector:
        case Criterion():
            return replace(selector, label=prefix + selector.label)
        case Negation(item):
            return Negation(prefix_labels(item, prefix))
        case AllOf(items):
            return AllOf(tuple(prefix_labels(item, prefix) for item in items))
        case AnyOf(items):
            return AnyOf(tuple(prefix_labels(item, prefix) for item in items))
        case Everything() | Global():
            return selector
        case _:
            assert_never(selector)


def replace_leaves(selector: Selector, leaf: type[Everything] | type[Global], by: Selector) -> Selector:
    """The same selector with another term for every ``all()`` or every ``global()``."""
    match selector:
        case Everything() | Global():
            return by if isinstance(selector, leaf) else selector
        case Criterion():
            return selector
        case Negation(item):
            return Negation(replace_leaves(item, leaf, by))
        case AllOf(items):
            return AllOf(tuple(replace_leaves(item, leaf, by) for item in items))
        case AnyOf(items):
            return AnyOf(tuple(replace_leaves(item, leaf, by) for item in items))
        case _:
            assert_never(selector)


def has_criteria(selector: Selector) -> bool:
    """Whether the selector reads any label at all."""
    match selector:
        case Criterion():
            return True
        case Negation(item):
            return has_criteria(item)
        case AllOf(items) | AnyOf(items):
            return any(has_criteria(item) for item in items)
        case Everything() | Global():
            return False
        case _:
            assert_never(selector)
