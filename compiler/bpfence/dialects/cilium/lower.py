"""Policy objects to IR policies: one per rule of ``spec`` and ``specs``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.cilium.context import Context, build_context
from bpfence.dialects.cilium.labels import Test, selector_tests
from bpfence.dialects.cilium.model import Policy, Rule, Statement
from bpfence.dialects.cilium.named_ports import refuse_names
from bpfence.dialects.cilium.names import dns_names
from bpfence.dialects.cilium.peers import lower_peers
from bpfence.dialects.cilium.ports import lower_icmp, lower_port
from bpfence.dialects.cilium.selectors import lower_hosts, lower_subject
from bpfence.dialects.cilium.statements import (
    Place,
    has_section,
    icmp_rules,
    isolates,
    peers_of,
    port_rules,
    rules_of,
    statements_of,
)
from bpfence.dialects.cilium.unsupported import is_unsupported
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.ir import expressions as ir
from bpfence.ir import nodes
from bpfence.options import Options
from bpfence.source.documents import Path
from bpfence.source.spans import Span


@dataclass(frozen=True, slots=True)
class RuleSite:
    """A rule on its way down. ``refused``: its policy asks for what can't be enforced, and so denies everything."""

    owner: PolicyObject
    path: Path
    rule: Rule
    subject: tuple[Test, ...]
    labels: ir.LabelExpr
    refused: bool
    context: Context


@dataclass(frozen=True, slots=True)
class LoweredStatement:
    place: Place
    statement: Statement
    rule: nodes.Rule


def lower(
    objects: Sequence[PolicyObject], options: Options, inventory: Inventory, diagnostics: Diagnostics
) -> tuple[nodes.Policy, ...]:
    """Every rule of every policy. References that the input does not resolve are reported as errors."""
    context = build_context(objects, options, inventory, diagnostics)
    return tuple(_lower_rule(site) for site in rule_sites(objects, context))


def exempt_rules(direction: nodes.Direction) -> tuple[nodes.Rule, ...]:
    """What default deny does not close: a node reaches its own pods (probes), not itself. A deny of the node wins."""
    if direction is nodes.Direction.EGRESS:
        return ()
    origin = nodes.Origin("built-in", "local host to its own pods", Span("<built-in>", 1, 1, 1, 1))
    return (nodes.Rule(nodes.Action.ALLOW, ir.OnOwnNode(), nodes.ANY_L4, origin, own=ir.HasObject(ir.POD)),)


def lowered_statements(site: RuleSite) -> Iterator[LoweredStatement]:
    """The statements of a rule that can match something, each with its IR rule."""
    for place, statement in statements_of(site.rule, site.path):
        lowered = lower_statement(site, place, statement)
        if lowered is not None:
            yield lowered


def rule_sites(objects: Sequence[PolicyObject], context: Context) -> Iterator[RuleSite]:
    """Every rule of every policy, with what its statements share."""
    for item in objects:
        if not isinstance(item.model, Policy):
            continue
        refused = is_unsupported(item.model)
        for path, rule in rules_of(item.model):
            if rule.node_selector is not None:
                subject: tuple[Test, ...] = ()
                labels = lower_hosts(selector_tests(rule.node_selector))
            else:
                subject = selector_tests(rule.endpoint_selector) if rule.endpoint_selector is not None else ()
                labels = lower_subject(subject, item.namespace, context.cluster)
            yield RuleSite(item, path, rule, subject, labels, refused, context)


def _lower_rule(site: RuleSite) -> nodes.Policy:
    title, path = site.owner.title, site.path
    statements = () if site.refused else tuple(lowered_statements(site))
    for item in statements:
        refuse_names(item.statement, item.place, site.labels, item.rule.peer, site.owner, site.context)
    return nodes.Policy(
        name=title,
        subject=site.labels,
        ingress=_lower_section(site, nodes.Direction.INGRESS, statements),
        egress=_lower_section(site, nodes.Direction.EGRESS, statements),
        origin=site.owner.origin(*path),
        order=(0.0, f"{title} {path[1]:04}" if len(path) > 1 else title),
    )


def _lower_section(
    site: RuleSite, direction: nodes.Direction, statements: Sequence[LoweredStatement]
) -> nodes.Section | None:
    if not has_section(site.rule, direction):
        return None
    allows = site.rule.ingress if direction is nodes.Direction.INGRESS else site.rule.egress
    origin = site.owner.origin(*site.path, direction.value if allows else f"{direction.value}Deny")
    if site.refused:
        return nodes.Section((_deny_everyone(direction, origin),), True, origin)
    rules = [item.rule for item in statements if item.place.direction is direction]
    rules.sort(key=lambda rule: rule.origin.span)
    return nodes.Section(tuple(rules), isolates(site.rule, direction), origin)


def _deny_everyone(direction: nodes.Direction, origin: nodes.Origin) -> nodes.Rule:
    """In place of a policy that can't be enforced: nobody passes, except the own node to its pods."""
    peer = ir.PeerNot(ir.OnOwnNode()) if direction is nodes.Direction.INGRESS else ir.ANYONE
    return nodes.Rule(nodes.Action.DENY, peer, nodes.ANY_L4, origin)


def lower_statement(site: RuleSite, place: Place, statement: Statement) -> LoweredStatement | None:
    """One statement; None when it can match nothing."""
    peers = peers_of(statement)
    l4 = lower_l4(statement, place.path, site.context.options)
    if l4 is None:
        l4 = nodes.ANY_L4 if peers.kinds(place.prefix) else ()
    peer = lower_peers(peers, place, site.subject, site.owner, site.context)
    if not l4 or peer == ir.NOBODY:
        return None
    action = nodes.Action.DENY if place.denies else nodes.Action.ALLOW
    return LoweredStatement(place, statement, nodes.Rule(action, peer, l4, site.owner.origin(*place.path)))


def lower_l4(statement: Statement, path: Path, options: Options) -> tuple[nodes.L4Match, ...] | None:
    """The ports and ICMP types of a statement; None when it names neither, ``()`` when all that it names is empty."""
    if not statement.to_ports and not statement.icmps:
        return None
    matches = [
        replace(lower_port(port), dns_names=names)
        for _, rule in port_rules(statement, path)
        for names in (dns_names(rule, options),)
        for port in rule.ports or ()
    ]
    matches += [lower_icmp(field) for _, rule in icmp_rules(statement, path) for field in rule.fields or ()]
    return tuple(dict.fromkeys(matches))
