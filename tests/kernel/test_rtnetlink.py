"""What is read directly from the kernel is what the netlink library reads."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from socket import AF_INET, AF_INET6
from typing import Any

import pytest
from pyroute2 import IPRoute

from bpfence.loader.namespaces import NetworkNamespace
from bpfence.loader.netlink import Netlink
from bpfence.loader.rtnetlink import NetlinkError, RouteSocket

INGRESS = 0xFFFFFFF2
ETH_P_ALL = 3


@pytest.fixture
def node() -> Iterator[IPRoute]:
    """A namespace with interfaces of several kinds, addresses, routes, neighbours, a bridge, a qdisc and a filter."""
    namespace = NetworkNamespace.create()
    with namespace.inside(), IPRoute() as ip:
        ip.link("add", ifname="pod0", kind="veth", peer="far0")
        ip.link("add", ifname="bridge0", kind="bridge")
        index, far, bridge = (ip.link_lookup(ifname=name)[0] for name in ("pod0", "far0", "bridge0"))
        ip.link("set", index=far, master=bridge)
        for number in (1, index, far, bridge):
            ip.link("set", index=number, state="up")
        ip.link("add", ifname="mac0", kind="macvlan", link=index)
        ip.addr("add", index=index, address="10.9.0.1", prefixlen=24, broadcast="10.9.0.255")
        ip.addr("add", index=index, address="fd09::1", prefixlen=64)
        ip.route("add", dst="10.8.0.7/32", oif=index)
        ip.route("add", dst="fd08::7/128", oif=index)
        ip.route("add", dst="default", gateway="10.9.0.9")
        ip.route("add", dst="10.7.0.0/16", multipath=[{"gateway": "10.9.0.2"}, {"gateway": "10.9.0.3"}])
        ip.neigh("add", dst="10.9.0.2", lladdr="02:00:00:00:00:09", ifindex=index)
        ip.neigh("add", dst="fd09::2", lladdr="02:00:00:00:00:0a", ifindex=index)
        ip.tc("add", "clsact", index)
        ip.tc("add-filter", "u32", index, parent=INGRESS, prio=7, protocol=ETH_P_ALL, target=1, keys=["0x0/0x0+0"])
        yield ip
    namespace.close()


def rows(messages: Any, fields: Sequence[str], attributes: Sequence[str]) -> list[tuple[Any, ...]]:
    return [(*(m[name] for name in fields), *(m.get_attr(name) for name in attributes)) for m in messages]


MOST_READS = 5


@pytest.mark.kernel
def test_it_reads_what_the_library_reads(node: IPRoute) -> None:
    index = node.link_lookup(ifname="pod0")[0]
    pairs = [
        ("get_links", {}, ("index", "flags"), ("IFLA_IFNAME", "IFLA_ADDRESS", "IFLA_MASTER", "IFLA_LINK")),
        ("get_addr", {}, ("index", "family"), ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST")),
        ("get_qdiscs", {}, ("index", "parent", "handle"), ("TCA_KIND",)),
        ("get_filters", {"index": index, "parent": INGRESS}, ("handle", "info"), ("TCA_KIND",)),
    ]
    for family in (AF_INET, AF_INET6):
        route = ("family", "dst_len", "table", "type")
        pairs.append(("get_routes", {"family": family}, route, ("RTA_DST", "RTA_OIF", "RTA_PREFSRC")))
        pairs.append(("get_neighbours", {"family": family}, ("ifindex",), ("NDA_DST", "NDA_LLADDR")))
    with RouteSocket() as ours:
        for name, values, fields, attributes in pairs:
            for _ in range(MOST_READS):
                found = rows(getattr(ours, name)(**values), fields, attributes)
                theirs = rows(getattr(node, name)(**values), fields, attributes)
                # the kernel may learn a neighbour in between; then neither read is the other's
                if found == theirs:
                    break
            assert found == theirs, name
            assert found, name
        fields, attributes = ("ifindex",), ("NDA_MASTER", "NDA_LLADDR")
        assert rows(ours.get_bridge_entries(), fields, attributes) == rows(node.fdb("dump"), fields, attributes)


@pytest.mark.kernel
def test_kinds_next_hops_and_single_routes(node: IPRoute) -> None:
    index = node.link_lookup(ifname="pod0")[0]
    with RouteSocket() as ours, Netlink() as netlink:
        kinds = {link.name: (link.kind, link.lower) for link in netlink.links()}
        assert kinds == {
            "lo": ("", 0), "pod0": ("veth", 0), "far0": ("veth", 0), "bridge0": ("bridge", 0), "mac0": ("macvlan", 0)
        }  # fmt: skip
        (several,) = [r for r in ours.get_routes(family=AF_INET) if r.get_attr("RTA_MULTIPATH")]
        assert [hop["oif"] for hop in several.get_attr("RTA_MULTIPATH")] == [index, index]
        assert [m.get_attr("RTA_OIF") for m in ours.get_route_to("10.8.0.7")] == [index]
        assert netlink.route_to("fd08::7") is not None
        node.route("del", dst="0.0.0.0/0", gateway="10.9.0.9")
        assert netlink.route_to("192.0.2.1") is None


@pytest.mark.kernel
def test_refusals_keep_the_kernels_number(node: IPRoute) -> None:
    with RouteSocket() as ours:
        with pytest.raises(NetlinkError) as raised:
            ours.tc("add", "clsact", 9999)
        assert raised.value.code == errno.ENODEV


@pytest.mark.kernel
def test_what_is_remembered_is_forgotten_with_a_change(node: IPRoute) -> None:
    index = node.link_lookup(ifname="pod0")[0]
    with RouteSocket() as ours:
        with ours.remembering():
            before = ours.get_links()
            node.link("add", ifname="late0", kind="bridge")
            assert ours.get_links() is before
            ours.link("set", index=index, state="down")
            assert len(ours.get_links()) == len(before) + 1
        node.link("add", ifname="later0", kind="bridge")
        assert len(ours.get_links()) == len(before) + 2
