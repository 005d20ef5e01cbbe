"""Names, addresses and objects of the world of hosts: nothing in, texts of policies and inventory out."""

from __future__ import annotations

from collections.abc import Sequence

OUT, FAR = ("198.51.100.9", "2001:db8:1::9"), ("198.51.101.9", "2001:db8:2::9")
SLY = ("198.51.100.66", "2001:db8:1::66")
"""an outside host that serves nothing, so that every port is free to send from"""
NODE1 = ("198.51.100.1", "2001:db8:1::1")
NODE1_FAR = ("198.51.101.1", "2001:db8:2::1")
NODE2 = ("198.51.100.2", "2001:db8:1::2")
PODS = {
    "shop/web": ("10.1.1.1", "fd00:1:1::1"),
    "shop/db": ("10.1.1.2", "fd00:1:1::2"),
    "shop/api": ("10.1.2.1", "fd00:1:2::1"),
}
NODE_OF = {"shop/web": "node1", "shop/db": "node1", "shop/api": "node2"}
POD_NETS = {"node1": ("10.1.1.0/24", "fd00:1:1::/64"), "node2": ("10.1.2.0/24", "fd00:1:2::/64")}
ADDRESSES = {"out": OUT, "sly": SLY, "far": FAR, "node1": NODE1, "node2": NODE2, **PODS}
SERVICES = {f"10.96.0.{number}": f"fd00:96::{number}" for number in range(10, 20)}
SERVICES |= {"203.0.113.50": "2001:db8:50::50", "203.0.113.60": "2001:db8:50::60"}
"""addresses that nobody has: those who do not know them send them to the first node"""
SERVICE_NETS = (("10.96.0.0/16", "fd00:96::/112"), ("203.0.113.0/24", "2001:db8:50::/64"))
PROTOCOLS = {"tcp": 6, "udp": 17, "ping": 1}
CLOSED_PORTS = (
    *(1001, 1002, 1003, 1004, 1011, 1013, 1014),
    *(2002, 2003, 2004, 2013, 2014),
    *(3001, 3002),
    *(4001, 4002, 4003, 4004, 4011, 4013, 4014),
)
"""one for each point of a host endpoint (see test_host_points.py)"""
FAILSAFE_PORTS = (22, 53, 67, 179, 2379, 2380, 5473, 6443, 6666, 6667)
PORTS = (*FAILSAFE_PORTS, 80, 123, 161, 443, 6379, 8080, 8081, 9100, 10250, *CLOSED_PORTS)
"""where every place listens, with TCP and UDP"""


def _inventory() -> str:
    nodes = {"node1": (*NODE1, *NODE1_FAR), "node2": NODE2}
    texts = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}"]
    for name, addresses in nodes.items():
        listed = ", ".join(f"{{type: InternalIP, address: '{address}'}}" for address in addresses)
        texts.append(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{machine: {name}}}}}\n"
            f"status: {{addresses: [{listed}]}}"
        )
    for pod, (four, six) in PODS.items():
        namespace, _, name = pod.partition("/")
        texts.append(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n"
            f"spec: {{nodeName: {NODE_OF[pod]}}}\n"
            f"status: {{phase: Running, podIP: {four}, podIPs: [{{ip: {four}}}, {{ip: '{six}'}}]}}"
        )
    return "\n---\n".join(texts)


INVENTORY = _inventory()


def hep(
    name: str, node: str = "node1", interface: str = "eth0", labels: str = "", addresses: Sequence[str] = ()
) -> str:
    """A HostEndpoint. ``interface`` empty: found by its addresses. Labelled hep=NAME."""
    where = f", interfaceName: '{interface}'" if interface else ""
    expected = f", expectedIPs: [{', '.join(repr(item) for item in addresses)}]" if addresses else ""
    more = f", {labels}" if labels else ""
    return (
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\n"
        f"metadata: {{name: {name}, labels: {{hep: {name}{more}}}}}\nspec: {{node: {node}{where}{expected}}}"
    )


def gnp(name: str, selector: str, body: str, order: int = 100) -> str:
    """A GlobalNetworkPolicy. ``body``: further members of its spec, in flow style."""
    return (
        f"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n"
        f'spec: {{order: {order}, selector: "{selector}", {body}}}'
    )


def felix(**members: str) -> str:
    listed = ", ".join(f"{name}: {text}" for name, text in members.items())
    return (
        f"apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {{name: default}}\nspec: {{{listed}}}"
    )
