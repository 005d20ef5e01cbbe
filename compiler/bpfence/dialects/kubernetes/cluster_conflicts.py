"""Cluster policies of equal priority: an error where they would decide the same connection differently, else a note.

The API lets implementations pick either policy's answer. The check is exact over the inventory: it compares what both
policies decide first for every kind of connection of every pod that both select. Pods yet to come are not considered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.cluster_form import ClusterPolicy, ClusterRule
from bpfence.dialects.kubernetes.cluster_samples import (
    Connection,
    Party,
    named_numbers,
    parties,
    peer_matches,
    ports,
    rule_matches,
)
from bpfence.dialects.kubernetes.pod_index import PodIndex, choice_scope
from bpfence.ir.nodes import Direction

Pair = tuple[ClusterPolicy, ClusterPolicy]
Conflict = tuple[ClusterRule, ClusterRule]


def check_equal_priorities(forms: Sequence[ClusterPolicy], index: PodIndex, diagnostics: Diagnostics) -> None:
    """Report every pair of one tier with one priority; the later name carries the message."""
    ranked = sorted(forms, key=lambda form: (form.baseline, form.order))
    for _, group in groupby(ranked, key=lambda form: (form.baseline, form.priority)):
        for pair in combinations(group, 2):
            _check_pair(pair, index, diagnostics)


def _check_pair(pair: Pair, index: PodIndex, diagnostics: Diagnostics) -> None:
    first, second = pair
    titles = f"{first.source.title} and {second.source.title} have the same priority"
    conflict = _first_conflict(pair, index)
    if conflict is None:
        message = f"{titles}; {first.source.name} goes first, by its name"
        span = second.source.span("spec", "priority")
        diagnostics.note(codes.SAME_PRIORITY, span, message, "give each its own", second.source.title)
        return
    one, other = conflict
    message = f"{titles} but decide differently: {_words(one)} there, {_words(other)} here"
    hint = f"give each its own priority; the other rule is at {first.source.span(*one.path)}"
    span = second.source.span(*other.path)
    diagnostics.error(codes.EQUAL_PRIORITY, span, message, hint, second.source.title)


def _words(rule: ClusterRule) -> str:
    return f"{rule.action} by {rule.path[1]}[{rule.path[2]}]"


def _first_conflict(pair: Pair, index: PodIndex) -> Conflict | None:
    for direction in Direction:
        if len({_effect(rule) for rule in _all_rules(pair, direction)}) < 2:
            continue
        for subject in _subjects(pair, direction, index):
            if found := _conflict_of(pair, direction, subject, index):
                return found
    return None


def _subjects(pair: Pair, direction: Direction, index: PodIndex) -> Iterator[Party]:
    """Pods that both policies select; of those that rules can't tell apart, one."""
    one, other = (choice_scope(form.subject) for form in pair)
    rules = _all_rules(pair, direction) if direction is Direction.INGRESS else []
    seen: set[tuple[frozenset[int], ...]] = set()
    for pod in index.matching(one) if one is not None and other is not None else ():
        party = Party(None, pod=pod)
        key = named_numbers(rules, party)
        if key not in seen and other is not None and index.contains(other, pod):
            seen.add(key)
            yield party


def _all_rules(pair: Pair, direction: Direction) -> list[ClusterRule]:
    return [rule for form in pair for rule in form.rules(direction)]


def _conflict_of(pair: Pair, direction: Direction, subject: Party, index: PodIndex) -> Conflict | None:
    rules = _all_rules(pair, direction)
    seen: set[object] = set()
    for peer in parties(rules, index):
        destination = subject if direction is Direction.INGRESS else peer
        matched = tuple(peer_matches(item, peer, index) for rule in rules for item in rule.peers)
        key = (matched, named_numbers(rules, destination))
        if key in seen:
            continue
        seen.add(key)
        for protocol, port in ports(rules, destination):
            connection = Connection(peer, destination, protocol, port)
            one, other = (_deciding(form.rules(direction), connection, index) for form in pair)
            if one is not None and other is not None and _effect(one) != _effect(other):
                return one, other
    return None


def _deciding(rules: Sequence[ClusterRule], connection: Connection, index: PodIndex) -> ClusterRule | None:
    return next((rule for rule in rules if rule_matches(rule, connection, index)), None)


def _effect(rule: ClusterRule) -> str:
    return "Deny" if rule.closed else rule.action
