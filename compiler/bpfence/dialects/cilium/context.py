"""What the lowering of every object shares: facts of the inventory and the CIDRGroups, gathered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.cilium.groups import Groups, collect_groups
from bpfence.dialects.cilium.matching import Pods
from bpfence.dialects.cilium.prefixes import sort_networks
from bpfence.dialects.cilium.selectors import Cluster
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import SPECIAL_ENDPOINTS, Inventory
from bpfence.ir import expressions as ir
from bpfence.options import Options


@dataclass(frozen=True, slots=True)
class Context:
    """``scope``: the addresses that prefix rules can match at all. ``pods``: for messages about port names."""

    options: Options
    inventory: Inventory
    diagnostics: Diagnostics
    groups: Groups
    cluster: Cluster
    scope: ir.PeerExpr
    pods: Pods


def build_context(
    objects: Sequence[PolicyObject], options: Options, inventory: Inventory, diagnostics: Diagnostics
) -> Context:
    """Gather what the lowering needs."""
    special = tuple(sorted({name for pod in inventory.pods for name in pod.reserved if name in SPECIAL_ENDPOINTS}))
    mesh_of = inventory.cluster if any(pod.cluster for pod in inventory.pods) else ""
    own_peers = options.cilium_profile != "1.18"
    cluster = Cluster(_selectable_pods(inventory, special), _api_server(inventory), special, mesh_of, own_peers)
    return Context(
        options, inventory, diagnostics, collect_groups(objects), cluster, prefix_scope(options), Pods(inventory)
    )


def prefix_scope(options: Options) -> ir.PeerExpr:
    """Identity wins over address: prefixes mean the outside, and pods when the option says so; never nodes."""
    if options.ipblock_matches_pods == "always":
        return ir.any_peer(ir.OUTSIDE, ir.HasObject(ir.POD))
    return ir.OUTSIDE


def api_server_addresses(inventory: Inventory) -> tuple[ir.Network, ...]:
    """The addresses of the API server's endpoints; a pod's address keeps the pod's identity."""
    entries = (entry for entry in inventory.endpoints if (entry.namespace, entry.service) == ("default", "kubernetes"))
    addresses = {entry.address for entry in entries}
    of_pods = {address for pod in inventory.pods if not pod.host_network for address in pod.addresses if addresses}
    return sort_networks({ip_network(address) for address in addresses - of_pods})


def _selectable_pods(inventory: Inventory, special: Sequence[str]) -> ir.LabelExpr:
    """Pods that Cilium manages and that have labels of their own: all, unless CiliumEndpoints say otherwise."""
    if "CiliumEndpoint" not in inventory.declared_kinds:
        return ir.POD
    without = (f"reserved:{name}" for name in ("unmanaged", *special))
    return ir.all_labels(ir.POD, *(ir.LabelTest((key,), ir.LabelOperator.ABSENT) for key in without))


def _api_server(inventory: Inventory) -> ir.PeerExpr:
    """The endpoints' addresses; where the own node has one of them, all addresses of the own node."""
    networks = api_server_addresses(inventory)
    if not networks:
        return ir.NOBODY
    wanted = {network.network_address for network in networks}
    nodes = tuple(sorted(node.name for node in inventory.nodes if wanted & set(node.addresses)))
    if not nodes:
        return ir.InPrefixes(networks)
    on_node = ir.HasObject(ir.all_labels(ir.NODE, ir.LabelTest(("meta:name",), ir.LabelOperator.IN, nodes)))
    return ir.any_peer(ir.InPrefixes(networks), ir.all_peers(on_node, ir.OnOwnNode()))
