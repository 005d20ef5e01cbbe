"""Rules and statements seen without their direction: the model's classes in, one shape with paths out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from pydantic import JsonValue

from bpfence.dialects.cilium.model import (
    CidrRule,
    EgressDenyRule,
    EgressRule,
    IcmpRule,
    IngressDenyRule,
    IngressRule,
    NameSelector,
    Policy,
    PortDenyRule,
    PortProtocol,
    PortRule,
    Rule,
    Selector,
    ServiceRule,
    Statement,
)
from bpfence.ir.nodes import Direction
from bpfence.source.documents import Path


@dataclass(frozen=True, slots=True)
class Peers:
    """The L3 members of a statement of either direction; None = absent."""

    endpoints: list[Selector] | None
    cidrs: list[str] | None
    cidr_set: list[CidrRule] | None
    entities: list[str] | None
    nodes: list[Selector] | None
    groups: list[JsonValue] | None
    requires: list[Selector] | None
    services: list[ServiceRule] | None = None
    names: list[NameSelector] | None = None

    def kinds(self, prefix: str) -> dict[str, Sequence[object]]:
        """The members that are present and name peers, by field name; ``requires`` grants nothing and is left out."""
        members: dict[str, Sequence[object] | None] = {
            f"{prefix}Endpoints": self.endpoints,
            f"{prefix}CIDR": self.cidrs,
            f"{prefix}CIDRSet": self.cidr_set,
            f"{prefix}Entities": self.entities,
            f"{prefix}Nodes": self.nodes,
            f"{prefix}Groups": self.groups,
            "toServices": self.services,
            "toFQDNs": self.names,
        }
        return {name: items for name, items in members.items() if items is not None}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement stands: ``path`` inside the object, the direction, and whether it denies."""

    path: Path
    direction: Direction
    denies: bool

    @property
    def prefix(self) -> str:
        """How the names of the peer fields begin."""
        return "from" if self.direction is Direction.INGRESS else "to"


def rules_of(policy: Policy) -> Iterator[tuple[Path, Rule]]:
    """The rules of ``spec`` and ``specs``, with their places."""
    if policy.spec is not None:
        yield ("spec",), policy.spec
    for index, rule in enumerate(policy.specs or ()):
        yield ("specs", index), rule


def statements_of(rule: Rule, path: Path) -> Iterator[tuple[Place, Statement]]:
    """Every statement of a rule, allows before denies."""
    sections: tuple[tuple[str, Direction, bool, Sequence[Statement] | None], ...] = (
        ("ingress", Direction.INGRESS, False, rule.ingress),
        ("ingressDeny", Direction.INGRESS, True, rule.ingress_deny),
        ("egress", Direction.EGRESS, False, rule.egress),
        ("egressDeny", Direction.EGRESS, True, rule.egress_deny),
    )
    for name, direction, denies, statements in sections:
        for index, statement in enumerate(statements or ()):
            yield Place((*path, name, index), direction, denies), statement


def has_section(rule: Rule, direction: Direction) -> bool:
    """Whether the rule says anything about a direction."""
    if direction is Direction.INGRESS:
        return bool(rule.ingress or rule.ingress_deny)
    return bool(rule.egress or rule.egress_deny)


def isolates(rule: Rule, direction: Direction) -> bool:
    """Whether a direction that has a section is under default deny; true unless the rule says otherwise."""
    written = rule.enable_default_deny
    if written is None:
        return True
    value = written.ingress if direction is Direction.INGRESS else written.egress
    return True if value is None else value


def peers_of(statement: Statement) -> Peers:
    """The L3 members of a statement."""
    match statement:
        case IngressRule() | IngressDenyRule() as rule:
            return Peers(
                endpoints=rule.from_endpoints,
                cidrs=rule.from_cidr,
                cidr_set=rule.from_cidr_set,
                entities=rule.from_entities,
                nodes=rule.from_nodes,
                groups=rule.from_groups,
                requires=rule.from_requires,
            )
        case EgressRule() | EgressDenyRule() as rule:
            return Peers(
                endpoints=rule.to_endpoints,
                cidrs=rule.to_cidr,
                cidr_set=rule.to_cidr_set,
                entities=rule.to_entities,
                nodes=rule.to_nodes,
                groups=rule.to_groups,
                requires=rule.to_requires,
                services=rule.to_services,
                names=rule.to_fqdns if isinstance(rule, EgressRule) else None,
            )
        case _:
            assert_never(statement)


def port_entries(statement: Statement, path: Path) -> Iterator[tuple[Path, PortProtocol]]:
    """Every entry of ``toPorts[].ports``, with its place."""
    for path_of_rule, rule in port_rules(statement, path):
        for index, port in enumerate(rule.ports or ()):
            yield (*path_of_rule, "ports", index), port


def port_rules(statement: Statement, path: Path) -> Iterator[tuple[Path, PortRule | PortDenyRule]]:
    """Every item of ``toPorts``, with its place."""
    rules: Sequence[PortRule | PortDenyRule] = statement.to_ports or ()
    for index, rule in enumerate(rules):
        yield (*path, "toPorts", index), rule


def icmp_rules(statement: Statement, path: Path) -> Iterator[tuple[Path, IcmpRule]]:
    """Every item of ``icmps``, with its place."""
    for index, rule in enumerate(statement.icmps or ()):
        yield (*path, "icmps", index), rule
