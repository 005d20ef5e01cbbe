"""`list` is one more voice about the packet tables: what a row allows is listed, what it denies is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfence.analyse.connectivity import Connection, connectivity, list_connections
from bpfence.analyse.endpoint_connectivity import workload_name
from bpfence.analyse.parties import own_addresses
from bpfence.bench.cluster import ClusterSize, write_cluster
from bpfence.cli.list_connections import write_json, write_text
from bpfence.errors import UsageError
from bpfence.flows import Flow, always_passes, host_housekeeping, node_housekeeping, protocol_name
from bpfence.identity.host_interfaces import hosts_by_node
from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import Analysed, analyse
from bpfence.semantics import ReferenceWorld, decide
from packets.tables import PacketTable, packet_tables, twin_tables

TWINS = tuple(table for table in twin_tables("hosts", "services") if table.needs)
TABLES = (*packet_tables("hosts", "services"), *TWINS)


def analysed(table: PacketTable, folder: Path) -> Analysed:
    return analyse(table.load(folder), table.options)


def connections(item: Analysed) -> tuple[Connection, ...]:
    return tuple(list_connections(item.program, item.world, item.settings_of, item.services))


@dataclass(frozen=True, slots=True)
class Spoken:
    """A party of a flow, as `list` speaks of it. ``outside``: a range of addresses; ``node``: whose host it is."""

    names: frozenset[str]
    outside: bool = False
    node: str = ""


def speak(text: str, world: World, listed: frozenset[str]) -> Spoken | None:
    """None: `list` has nothing to say, or about more than this party."""
    entity = world.by_name.get(text)
    if entity is not None and entity.kind == "pod":
        return Spoken(frozenset((workload_name(entity),)))
    try:
        addresses = (ip_address(text),) if entity is None else own_addresses(entity, world)
    except ValueError:
        return None
    versions = [address.version for address in addresses]
    if not addresses or len(set(versions)) < len(versions):
        return None
    holders = [item for address in addresses for item in world.entities_at(address)]
    if entity is None and any(item.kind == "pod" for item in holders):
        return speak(next(item.name for item in holders if item.kind == "pod"), world, listed)
    if any(item.kind in ("pod", "service") for item in holders):
        return None
    hosts = [entity] if entity is not None and entity.kind == "hostendpoint" else hosts_at(addresses, world)
    if hosts:
        return host(hosts, addresses, world)
    node = next((item.node for item in holders if item.kind == "node"), "")
    return Spoken(frozenset(name for name in listed for a in addresses if covers(name, a)), True, node)


def hosts_at(addresses: Sequence[Address], world: World) -> list[Entity]:
    known = (item for item in world.entities if item.kind == "hostendpoint")
    return [item for item in known if set(own_addresses(item, world)) & set(addresses)]


def host(hosts: Sequence[Entity], addresses: Sequence[Address], world: World) -> Spoken | None:
    """The one that governs at all of the addresses; it may have others, about which other things are true."""
    every = hosts_by_node(world)[hosts[0].node]
    found = [item for item in hosts if all(every.winner(item, address) is item for address in addresses)]
    if len(found) != 1 or set(own_addresses(found[0], world)) != set(addresses):
        return None
    return Spoken(frozenset((f"{found[0].name}[HostEndpoint]",)), node=found[0].node)


def covers(name: str, address: Address) -> bool:
    if not name.endswith("[External]"):
        return False
    low, high = map(ip_address, name.removesuffix("[External]").split("-"))
    return low.version == address.version and low <= address <= high  # type: ignore[operator]


def lists(found: tuple[Connection, ...], flow: Flow, sources: frozenset[str], destinations: frozenset[str]) -> bool:
    value = flow.icmp_type if flow.protocol in (1, 58) else flow.destination_port
    for row in found:
        if row.source not in sources or row.destination not in destinations:
            continue
        if row.everything:
            return True
        if row.protocol == protocol_name(flow.protocol):
            return not row.ports or any(low <= (value or 0) <= high for low, high in row.ports)
    return False


def plain(flow: Flow) -> bool:
    """Whether the flow is one that `list` speaks about."""
    special = (flow.interface, flow.out_interface, flow.original_destination, flow.original_port, flow.fqdn)
    version = {1: 4, 58: 6}.get(flow.protocol, 0) if flow.icmp_type is not None else 0
    free = (
        always_passes(version, flow.protocol, flow.icmp_type, flow.icmp_code),
        host_housekeeping(version, flow.protocol, flow.icmp_type),
        node_housekeeping(version, flow.protocol, flow.icmp_type, flow.icmp_code),
    )
    readable = flow.protocol not in (1, 6, 17, 58, 132) or flow.destination_port is not None or version
    return not any(special) and not any(free) and flow.source_port is None and bool(readable)


def named(text: str, world: World) -> str:
    """The pod that has the address."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return next((item.name for item in world.pods if address in item.addresses), text)


def allowed_otherwise(reference: ReferenceWorld, world: World, flow: Flow) -> bool:
    """Whether the flow is allowed over the other family, or with another ICMP code."""
    version = {1: 4, 58: 6}.get(flow.protocol, 0)
    others = [code for code in range(256) if not always_passes(version, flow.protocol, flow.icmp_type, code)]
    codes = others if version else [flow.icmp_code]
    families = (flow.family,) if version else (4, 6)
    source, destination = named(flow.source, world), named(flow.destination, world)
    both = replace(flow, source=source, destination=destination)
    for family in families:
        try:
            if any(decide(reference, replace(both, family=family, icmp_code=code)).allowed for code in codes):
                return True
        except UsageError:
            continue
    return False


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_what_a_packet_table_says_is_listed(table: PacketTable, tmp_path: Path) -> None:
    item = analysed(table, tmp_path)
    found = connections(item)
    listed = frozenset(name for row in found for name in (row.source, row.destination))
    loaded = table.load(tmp_path)
    reference = ReferenceWorld(loaded.inventory, loaded.policies, table.options)
    wrong = []
    for row in table.rows:
        if not plain(row.flow):
            continue
        source = speak(row.flow.source, item.world, listed)
        target = speak(row.flow.destination, item.world, listed)
        if source is None or target is None or source.names & target.names or (source.outside and target.outside):
            continue
        if source.node and source.node == target.node:
            continue
        expected = row.allow or allowed_otherwise(reference, item.world, row.flow)
        if lists(found, row.flow, source.names, target.names) != expected:
            wrong.append(row.name)
    assert not wrong


NODE_PORT = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
   spec: {nodeName: n2, containers: [{name: c, image: i}]}, status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: job, namespace: shop, labels: {app: job}},
   spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}]}}
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop},
   spec: {type: NodePort, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1],
          ports: [{port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP},
                  {name: other, port: 81, targetPort: 8081, nodePort: 30081, protocol: TCP}]}}
- {apiVersion: v1, kind: Endpoints, metadata: {name: web, namespace: shop},
   subsets: [{addresses: [{ip: 10.1.0.1}], ports: [{port: 8080, protocol: TCP}, {name: other, port: 8081}]}]}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: h, labels: {role: host}},
   spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: star, labels: {role: star}},
   spec: {node: n1, interfaceName: "*"}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: host},
   spec: {selector: role == 'host', ingress: [{action: Allow, protocol: TCP, destination: {ports: [22]}}]}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: early},
   spec: {selector: role == 'host', preDNAT: true, applyOnForward: true, ingress: [
     {action: Deny, protocol: TCP, source: {nets: [198.51.100.0/24]}, destination: {ports: ["30000:31000"]}}]}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: passing},
   spec: {selector: role == 'star', applyOnForward: true, types: [Ingress], ingress: [
     {action: Deny, protocol: TCP, destination: {ports: [8081]}}, {action: Allow}]}}
"""


def ports(found: tuple[Connection, ...], source: str, destination: str) -> tuple[tuple[int, int], ...]:
    """TCP ports that are open. ``source``: a name, or an outside address."""
    mine = [row for row in found if row.destination == destination and row.protocol == "TCP"]
    if "/" not in source:
        return next(row.ports for row in mine if covers(row.source, ip_address(source)))
    return next(row.ports for row in mine if row.source == source)


def test_a_node_port_at_a_host_endpoint_leads_to_a_backend(tmp_path: Path) -> None:
    """What protects the host's own ports says nothing there; what comes before translation, or is passed on, does."""
    (tmp_path / "world.yaml").write_text(NODE_PORT)
    item = analyse(load_input([str(tmp_path)]), Options())
    found = connections(item)
    failsafe = ((22, 22), (179, 179), (2379, 2380), (5473, 5473), (6443, 6443), (6666, 6667))
    host = "hep/h[HostEndpoint]"
    assert ports(found, "203.0.113.1", host) == (*failsafe, (30080, 30081))
    assert ports(found, "198.51.100.1", host) == failsafe
    assert ports(found, "shop/web[Pod]", host) == (*failsafe, (30080, 30081))
    assert ports(found, "shop/job[Pod]", host) == ((1, 30080), (30082, 65535))


def test_replicas_have_what_one_of_them_has(tmp_path: Path) -> None:
    """On different nodes a workload's pods have different own nodes: their ranges are joined, none overlaps."""
    pod = (
        "- {{apiVersion: v1, kind: Pod, metadata: {{name: web-{n}, namespace: shop, labels: {{app: web}}, "
        "ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: u, controller: true}}]}}, "
        "spec: {{nodeName: n{n}, containers: [{{name: c, image: i}}]}}, "
        "status: {{podIP: 10.1.0.{n}, podIPs: [{{ip: 10.1.0.{n}}}]}}}}\n"
        "- {{apiVersion: v1, kind: Node, metadata: {{name: n{n}}}, "
        "status: {{addresses: [{{type: InternalIP, address: 192.0.2.{n}}}]}}}}\n"
    )
    policy = (
        "- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop}, "
        "spec: {podSelector: {}, policyTypes: [Egress]}}\n"
    )
    text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(pod.format(n=n) for n in (1, 2, 3)) + policy
    (tmp_path / "world.yaml").write_text(text)
    found = connections(analyse(load_input([str(tmp_path)]), Options()))
    assert [row.destination for row in found if row.source == "shop/web[StatefulSet]"] == [
        "192.0.2.1-192.0.2.3[External]"
    ]
    assert all(row.everything for row in found)


def test_both_formats_have_every_row(tmp_path: Path) -> None:
    (tmp_path / "world.yaml").write_text(NODE_PORT)
    item = analyse(load_input([str(tmp_path)]), Options())
    found = connections(item)
    assert list(found) == sorted(set(found))
    table = connectivity(item.program, item.world, item.settings_of, item.services)
    as_json, as_text = StringIO(), StringIO()
    write_json(table, as_json)
    write_text(table, as_text)
    document = json.loads(as_json.getvalue())
    assert document["format_version"] == "1.0"
    assert document["connections"] == [
        {"src": c.source, "dst": c.destination, "protocol": c.protocol, "ports": [list(p) for p in c.ports],
         "all": c.everything}
        for c in found
    ]  # fmt: skip
    assert len(as_text.getvalue().splitlines()) == len(found)


def test_nothing_to_list_is_a_document_too(tmp_path: Path) -> None:
    (tmp_path / "world.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n")
    item = analyse(load_input([str(tmp_path)]), Options())
    stream = StringIO()
    write_json(connectivity(item.program, item.world), stream)
    assert json.loads(stream.getvalue())["connections"] == []


def test_many_workloads_of_few_kinds_are_asked_about_once(tmp_path: Path) -> None:
    """A thousand standalone pods are a million pairs, and of them each kind of pair is put into words once."""
    write_cluster(tmp_path, ClusterSize(pods=1000, policies=20, local=10))
    item = analyse(load_input([str(tmp_path)]), Options())
    table = connectivity(item.program, item.world, item.settings_of, item.services)
    answers = [answer for reach in table.reaches() for answer in reach.answers]
    assert len(answers) > 500_000
    assert max(answers) < 500
