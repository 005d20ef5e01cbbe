"""What a rule asks for that this version can't enforce: a rule in, one finding per member out.

The checks refuse these; under ``--allow-unsupported`` the lowering denies everything for what the policy selects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.model import EgressRule, IngressRule, L7Rules, Policy, PortRule, Rule, Statement
from bpfence.dialects.cilium.statements import Place, peers_of, port_rules, rules_of, statements_of
from bpfence.dialects.objects import PolicyObject
from bpfence.source.documents import Path

_PROXY_HELP = "allow the port without rules, or leave the policy to Cilium"


@dataclass(frozen=True, slots=True)
class Unsupported:
    code: str
    path: Path
    message: str
    help: str = ""


def unsupported_in(rule: Rule, path: Path) -> Iterator[Unsupported]:
    """Everything in a rule that can't be enforced."""
    for place, statement in statements_of(rule, path):
        yield from _peers(statement, place)
        yield from _authentication(statement, place)
        for at, ports in port_rules(statement, place.path):
            if isinstance(ports, PortRule):
                yield from _ports(ports, at)


def is_unsupported(policy: Policy) -> bool:
    """Whether some rule of the object asks for what can't be enforced."""
    return any(True for path, rule in rules_of(policy) for _ in unsupported_in(rule, path))


def denies_all(source: PolicyObject) -> bool:
    """Whether the object lowers to a denial of everything: accepted only because the user allowed what can't be
    enforced.
    """
    return isinstance(source.model, Policy) and is_unsupported(source.model)


def _peers(statement: Statement, place: Place) -> Iterator[Unsupported]:
    peers = peers_of(statement)
    if peers.groups:
        yield Unsupported(
            codes.GROUPS_UNSUPPORTED,
            (*place.path, f"{place.prefix}Groups"),
            "cloud security groups can't be resolved to addresses",
            "name the addresses in a CIDRSet or a CiliumCIDRGroup",
        )
    if peers.requires:
        yield Unsupported(
            codes.REQUIRES_UNSUPPORTED,
            (*place.path, f"{place.prefix}Requires"),
            f"{place.prefix}Requires is not supported",
            f"repeat the labels in every {place.prefix}Endpoints selector",
        )


def _authentication(statement: Statement, place: Place) -> Iterator[Unsupported]:
    if not isinstance(statement, IngressRule | EgressRule) or statement.authentication is None:
        return
    if statement.authentication.mode in ("required", "test-always-fail"):
        yield Unsupported(
            codes.AUTHENTICATION_UNSUPPORTED,
            (*place.path, "authentication", "mode"),
            f"authentication mode {statement.authentication.mode} needs an authenticator, and there is none",
            "remove authentication, or set its mode to disabled",
        )


def _ports(rule: PortRule, path: Path) -> Iterator[Unsupported]:
    if rule.rules is not None:
        yield from _l7(rule.rules, (*path, "rules"))
    tls = (
        ("terminatingTLS", rule.terminating_tls is not None),
        ("originatingTLS", rule.originating_tls is not None),
        ("serverNames", bool(rule.server_names)),
    )
    for name, present in tls:
        if present:
            yield Unsupported(codes.TLS_UNSUPPORTED, (*path, name), f"{name} needs a proxy", _PROXY_HELP)
    if rule.listener is not None:
        yield Unsupported(codes.LISTENER_UNSUPPORTED, (*path, "listener"), "listener needs a proxy", _PROXY_HELP)


def _l7(rules: L7Rules, path: Path) -> Iterator[Unsupported]:
    proxied = (
        ("http", bool(rules.http)),
        ("kafka", bool(rules.kafka)),
        ("l7proto", bool(rules.l7proto)),
        ("l7", bool(rules.l7)),
    )
    for name, present in proxied:
        if present:
            yield Unsupported(codes.L7_UNSUPPORTED, (*path, name), f"L7 rule needs a proxy: {name}", _PROXY_HELP)
