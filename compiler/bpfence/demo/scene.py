"""The demo's script: which policies, which flows, which change. Data only."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from bpfence.flows import Flow
from bpfence.identity.inventory import Address
from bpfence.resources import resource_dir

NODE = "node/demo-node"
OUTSIDE: dict[str, tuple[Address, ...]] = {
    "internet": (IPv4Address("203.0.113.9"), IPv6Address("2001:db8::9")),
    "blocked range": (IPv4Address("203.0.113.70"),),
}


def demo_folder() -> Path:
    """Where the demo's policies are."""
    return resource_dir("policies") / "demo"


BEFORE = ("inventory.yaml", "kubernetes.yaml", "cilium.yaml", "calico.yaml")
AFTER = (*BEFORE, "change/cart-lockdown.yaml")


def _tcp(source: str, destination: str, port: int, family: int | None = None) -> Flow:
    return Flow(source, destination, 6, destination_port=port, family=family)


def _udp(source: str, destination: str, port: int, family: int | None = None) -> Flow:
    return Flow(source, destination, 17, destination_port=port, family=family)


def _ping(source: str, destination: str, family: int = 4) -> Flow:
    if family == 4:
        return Flow(source, destination, 1, icmp_type=8, icmp_code=0, family=4)
    return Flow(source, destination, 58, icmp_type=128, icmp_code=0, family=6)


def demo_flows() -> tuple[Flow, ...]:
    """Every language's rules from both sides, TCP, UDP and ping, IPv4 and IPv6."""
    return (
        _tcp("shop/web", "shop/cart", 8080),
        _tcp("shop/web", "shop/cart", 8080, 6),
        _tcp("shop/web", "shop/cart", 9090),
        _tcp("shop/web", "data/db", 5432),
        _tcp("shop/cart", "data/db", 5432),
        _tcp("shop/cart", "data/db", 5432, 6),
        _tcp("shop/cart", "data/db", 5433),
        _tcp("shop/batch", "data/db", 5432),
        _tcp("ops/admin", "data/db", 5432),
        _tcp("ops/admin", "data/cache", 6379),
        _tcp("shop/web", "203.0.113.9", 443),
        _tcp("shop/web", "203.0.113.9", 80),
        _tcp("shop/web", "203.0.113.70", 443),
        _tcp("shop/web", "2001:db8::9", 443),
        _tcp("203.0.113.9", "data/db", 5432),
        _tcp(NODE, "data/db", 5432),
        _udp("shop/cart", "ops/metrics", 8125),
        _udp("shop/cart", "ops/metrics", 8127),
        _udp("shop/batch", "ops/metrics", 8125),
        _udp("data/cache", "ops/metrics", 8125),
        _udp("ops/admin", "ops/metrics", 8126, 6),
        _ping("shop/web", "ops/metrics"),
        _ping("shop/web", "ops/metrics", 6),
        _ping("shop/web", "shop/cart"),
        _ping("shop/batch", "ops/metrics"),
        _ping("shop/batch", "shop/cart"),
        _ping("shop/cart", "data/db", 6),
    )


def open_flows() -> tuple[Flow, ...]:
    """Connections that are open while the policy changes: one that the change denies, one that it still allows."""
    return (_tcp("shop/cart", "data/db", 5432), _tcp("ops/admin", "data/db", 5432))
