"""Entities: the names of classes of peers in, peer expressions out."""

from __future__ import annotations

from bpfence.dialects.cilium.selectors import OTHER_NODES, V4_WORLD, V6_WORLD, Cluster
from bpfence.ir import expressions as ir

ENTITIES = (
    "all",
    "cluster",
    "cluster-mesh",
    "health",
    "host",
    "ingress",
    "init",
    "kube-apiserver",
    "none",
    "remote-node",
    "unmanaged",
    "world",
    "world-ipv4",
    "world-ipv6",
)
NEW_ENTITIES = frozenset(("cluster-mesh",))
UNLISTED_ENTITIES = frozenset(("world-ipv4", "world-ipv6"))
"""Accepted by Cilium's agent, refused by the API server."""

EVERYBODY = ir.PeerNot(ir.HasObject(ir.kind_is("service")))
"""Service addresses belong to no identity: what reaches them is decided at their backends."""

LABELLED = frozenset(("health", "ingress", "init", "unmanaged"))
"""Entities that are pods (or the like) with a reserved label."""


def known_entities(old_profile: bool) -> tuple[str, ...]:
    """The entities of a profile."""
    return tuple(name for name in ENTITIES if not (old_profile and name in NEW_ENTITIES))


def lower_entity(name: str, cluster: Cluster) -> ir.PeerExpr:
    """One entity that passed the checks."""
    if name in LABELLED:
        return ir.HasObject(ir.LabelTest((f"reserved:{name}",), ir.LabelOperator.EXISTS))
    in_mesh = _with_api_server(ir.HasObject(ir.kind_is("node", "pod")), cluster)
    in_cluster = in_mesh
    if cluster.mesh_of:
        own = ir.LabelAny((ir.NODE, ir.all_labels(ir.POD, *cluster.own)))
        in_cluster = _with_api_server(ir.HasObject(own), cluster)
    fixed: dict[str, ir.PeerExpr] = {
        "all": EVERYBODY,
        "none": ir.NOBODY,
        "host": ir.OnOwnNode(),
        "remote-node": OTHER_NODES,
        "world": ir.OUTSIDE,
        "world-ipv4": ir.all_peers(V4_WORLD, ir.OUTSIDE),
        "world-ipv6": ir.all_peers(V6_WORLD, ir.OUTSIDE),
        "kube-apiserver": cluster.api_server,
        "cluster": in_cluster,
        "cluster-mesh": in_mesh,
    }
    return fixed[name]


def _with_api_server(peer: ir.PeerExpr, cluster: Cluster) -> ir.PeerExpr:
    return peer if cluster.api_server == ir.NOBODY else ir.any_peer(peer, cluster.api_server)
