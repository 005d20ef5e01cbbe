"""Prefixes in Calico's rules that cover addresses of the cluster itself; the other languages' lint says so already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.groups import policies_of
from bpfence.diagnostics import Diagnostics
from bpfence.dialects.cilium.overlaps import NetworkIndex, index_networks
from bpfence.identity.inventory import Inventory
from bpfence.identity.world import host_networks
from bpfence.ir.expressions import InPrefixes, Network, PeerAll, PeerExpr
from bpfence.ir.nodes import Direction, Policy, Program, Rule
from bpfence.options import Options
from bpfence.source.spans import Span


@dataclass(frozen=True, slots=True)
class Owned:
    """Addresses of the cluster that a prefix may cover without its author's knowledge. Nodes are left out: hosts have
    no labels in most policies, so their addresses are meant.
    """

    pods: NetworkIndex
    services: NetworkIndex


def lint_prefixes(
    program: Program, spoken_of: frozenset[Span], inventory: Inventory, options: Options, diagnostics: Diagnostics
) -> None:
    """A note per rule whose prefix covers pods; a warning where it matches less than it covers.

    ``spoken_of``: places of the policies that another lint looks after.
    """
    calico = Program(tuple(layer for layer in program.layers if layer.name.startswith("calico")))
    if not calico.layers:
        return
    owned = Owned(index_networks(_pod_networks(inventory)), index_networks(_service_networks(inventory)))
    for policy in policies_of(calico):
        if policy.origin.span not in spoken_of:
            for rule in _rules(policy):
                _lint_rule(rule, owned, options, diagnostics)


def _pod_networks(inventory: Inventory) -> Iterator[tuple[Network, str]]:
    for pod in inventory.pods:
        if not pod.host_network:
            yield from ((network, f"pod {pod.namespace}/{pod.name}") for network in host_networks(pod.addresses))
    for node in inventory.nodes:
        yield from ((network, f"pods of node {node.name}") for network in node.pod_cidrs)


def _service_networks(inventory: Inventory) -> Iterator[tuple[Network, str]]:
    for service in inventory.services:
        for network in host_networks(service.addresses):
            yield network, f"service {service.namespace}/{service.name}"


def _rules(policy: Policy) -> Iterator[Rule]:
    for direction in Direction:
        section = policy.section(direction)
        yield from section.rules if section is not None else ()


def _lint_rule(rule: Rule, owned: Owned, options: Options, diagnostics: Diagnostics) -> None:
    for prefix in _written_prefixes(rule.peer):
        if (pod := owned.pods.find(prefix)) is not None:
            _report_pod(f"{prefix} covers {pod}", rule, options, diagnostics)
            return
        if (service := owned.services.find(prefix)) is not None:
            message = f"{prefix} covers {service}, but a prefix never matches a service: its backends decide"
            hint = "name the backends by selectors, or the service by services"
            diagnostics.warning(codes.PREFIX_OVERLAP, rule.origin.span, message, hint, rule.origin.policy)
            return


def _written_prefixes(peer: PeerExpr) -> Iterator[Network]:
    """Those of the rule itself. Single addresses are meant, and a whole family is the usual way to write everybody."""
    items = peer.items if isinstance(peer, PeerAll) else (peer,)
    for item in items:
        if isinstance(item, InPrefixes):
            yield from (prefix for prefix in item.networks if 0 < prefix.prefixlen < prefix.max_prefixlen)


def _report_pod(message: str, rule: Rule, options: Options, diagnostics: Diagnostics) -> None:
    if options.ipblock_matches_pods == "never":
        message += ", but a prefix does not match pods here"
        hint = "name pods by selectors"
        diagnostics.warning(codes.PREFIX_OVERLAP, rule.origin.span, message, hint, rule.origin.policy)
    else:
        message += ", which it matches by address"
        hint = "pods change their addresses: where pods are meant, name them by selectors"
        diagnostics.note(codes.PREFIX_OVERLAP, rule.origin.span, message, hint, rule.origin.policy)
