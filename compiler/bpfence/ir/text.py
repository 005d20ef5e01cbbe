"""A program to its canonical text (``ir.txt``, golden files): one line per rule, the same everywhere.

::

    layer "kubernetes" unmatched "no policy selects the endpoint"
      tier "default" order 0 end deny order-free
        exempt ingress
          allow own-node on any @ node.yaml:1:1-9:1 spec of "Node a"
        policy "NetworkPolicy shop/db" subject [...] @ db.yaml:1:1-20:1 ""
          ingress isolates @ db.yaml:9:3-20:1 spec.ingress
            allow [label:app in {"web"}] on protocol tcp to 5432 @ db.yaml:10:5-15:9 spec.ingress[0]

An origin is ``@ path:line:column-endline:endcolumn field``, followed by ``of "policy"`` where that is not the
enclosing policy's name. The path is `Span.relative`, or `Span.path` when that is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bpfence.ir.expression_text import l4_text, label_text, peer_text, quoted
from bpfence.ir.expressions import ANYONE
from bpfence.ir.nodes import Layer, Origin, Point, Policy, Program, Rule, Section, Tier

_BARE_PATH = re.compile(r"[A-Za-z0-9_./+-]+")
_BARE_FIELD = re.compile(r"[A-Za-z0-9_.\[\]-]+")


def program_text(program: Program) -> str:
    """The whole program, one line per node, each ended by a newline. No layers: the empty string."""
    return "".join(f"{line}\n" for layer in program.layers for line in _layer_lines(layer))


def _layer_lines(layer: Layer) -> Iterator[str]:
    point = "" if layer.point is Point.ENDPOINT else f" point {layer.point.value}"
    yield f"layer {quoted(layer.name)}{point} unmatched {quoted(layer.unmatched)}"
    for tier in layer.tiers:
        yield from _tier_lines(tier)


def _tier_lines(tier: Tier) -> Iterator[str]:
    flags = (" order-free" if tier.order_free else "") + (" spares-itself" if tier.spares_itself else "")
    yield f"  tier {quoted(tier.name)} order {_number(tier.order)} end {tier.end.value}{flags}"
    for direction, rules in (("ingress", tier.exempt_ingress), ("egress", tier.exempt_egress)):
        if rules:
            yield f"    exempt {direction}"
            yield from _rule_lines(rules, None)
    for policy in tier.policies:
        yield from _policy_lines(policy)


def _policy_lines(policy: Policy) -> Iterator[str]:
    order = "" if policy.order == (0.0, "") else f" order {_number(policy.order[0])} {quoted(policy.order[1])}"
    subject = f"subject {label_text(policy.subject)}"
    yield f"    policy {quoted(policy.name)}{order} {subject} {_origin_text(policy.origin, policy.name)}"
    for direction, section in (("ingress", policy.ingress), ("egress", policy.egress)):
        if section is not None:
            yield from _section_lines(direction, section, policy.name)


def _section_lines(direction: str, section: Section, policy: str) -> Iterator[str]:
    isolates = " isolates" if section.isolates else ""
    yield f"      {direction}{isolates} {_origin_text(section.origin, policy)}"
    for line in _rule_lines(section.rules, policy):
        yield f"  {line}"


def _rule_lines(rules: Iterable[Rule], policy: str | None) -> Iterator[str]:
    for rule in rules:
        own = "" if rule.own == ANYONE else f" own {peer_text(rule.own)}"
        match = f"{peer_text(rule.peer)}{own} on {l4_text(rule.l4)}"
        yield f"      {rule.action.value} {match} {_origin_text(rule.origin, policy)}"


def _origin_text(origin: Origin, policy: str | None) -> str:
    span = origin.span
    path = span.relative or span.path
    place = path if _BARE_PATH.fullmatch(path) else quoted(path)
    field = origin.field if _BARE_FIELD.fullmatch(origin.field) else quoted(origin.field)
    title = "" if origin.policy == policy else f" of {quoted(origin.policy)}"
    return f"@ {place}:{span.line}:{span.column}-{span.end_line}:{span.end_column} {field}{title}"


def _number(value: float) -> str:
    """Shortest text that reads back as the same float; whole numbers without a fraction."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
