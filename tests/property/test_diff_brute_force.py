"""Random small changes of a node with pods and host endpoints: what the diff says against every packet of a grid, asked
of the simulator one by one; and what it says of live flows against their packets, both ways.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from bpfence.analyse.table_diff import VerdictChanges, diff_tables
from bpfence.analyse.table_names import known_names
from bpfence.analyse.table_rows import ChangeRow, rows_of
from bpfence.analyse.table_sides import everywhere
from bpfence.emit.artefact import Artefact, HostEntry
from bpfence.errors import InputError
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.loader.cut_flows import State, changed_flows
from bpfence.loader.live_flows import Flow, LiveFlows
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.plan.layout import CONNECTION_GUESSED, CONNECTION_HOST, CONNECTION_INGRESS, CONNECTION_REPLIED
from bpfence.simulate.arrays import TableArrays
from bpfence.simulate.host_hooks import HostHooks, ends_in_node, is_failsafe
from bpfence.simulate.simulator import Packet, Simulator, answer_of
from support.host_objects import felix, gnp, hep

OPTIONS = Options(node="node1")
POD = "shop/web"
ADDRESSES = {4: ("10.1.1.1", "192.0.2.1"), 6: ("fd00:1::1", "2001:db8::1")}
"""of the pod and of the node, by family"""
REMOTES = {
    4: ("10.1.1.1", "192.0.2.1", "192.0.2.7", "198.51.100.9", "224.0.0.5"),
    6: ("fd00:1::1", "2001:db8::1", "2001:db8::7", "2001:db8:9::9", "ff02::5"),
}
NETS = (
    "192.0.2.0/24",
    "192.0.2.1/32",
    "198.51.100.0/24",
    "10.1.1.0/24",
    "2001:db8::/64",
    "2001:db8:9::/48",
    "ff00::/8",
)
PORTS = (22, 80, 443, 8080)
PINGS = {4: ((8, 0), (3, 4), (3, 1)), 6: ((128, 0), (2, 0), (1, 0))}
ROUNDS = 24
Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Asked:
    """A packet at a hook. ``host``: the host endpoint there, None at the pod's interface, ``node`` where none is."""

    host: str | None
    packet: Packet
    party: bool


def node(families: tuple[int, ...]) -> str:
    listed = ", ".join(f"{{type: InternalIP, address: '{ADDRESSES[family][1]}'}}" for family in families)
    return f"apiVersion: v1\nkind: Node\nmetadata: {{name: node1, labels: {{a: b}}}}\nstatus: {{addresses: [{listed}]}}"


INVENTORY = (
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\nspec: {nodeName: node1}\n"
    f"status: {{phase: Running, podIP: {ADDRESSES[4][0]}, podIPs: [{{ip: {ADDRESSES[4][0]}}}, "
    f"{{ip: '{ADDRESSES[6][0]}'}}]}}"
)
HEPS = (hep("h0"), hep("h1", interface="eth1"), hep("star", interface="*"))
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {type: NodePort, "
    "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, nodePort: 8080, targetPort: 80}]}\n---\n"
    "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web, namespace: shop}\n"
    "subsets: [{addresses: [{ip: 10.1.1.1}], ports: [{port: 80}]}]"
)


def rule(chosen: random.Random) -> str:
    parts = [f"action: {chosen.choice(('Allow', 'Allow', 'Deny'))}"]
    kind = chosen.choice(("TCP", "TCP", "UDP", "ICMP", "ICMPv6", ""))
    if kind:
        parts.append(f"protocol: {kind}")
    if kind.startswith("ICMP") and chosen.random() < 0.6:
        number, code = chosen.choice(PINGS[6 if kind == "ICMPv6" else 4])
        parts.append(f"icmp: {{type: {number}, code: {code}}}")
    net = chosen.choice(NETS)
    if kind == "ICMP" or kind == "ICMPv6":
        net = chosen.choice([one for one in NETS if (":" in one) == (kind == "ICMPv6")])
    for end in ("source", "destination"):
        members = [f"nets: ['{net}']"] if chosen.random() < 0.35 else []
        if kind in ("TCP", "UDP") and chosen.random() < 0.4:
            members.append(f"ports: [{chosen.choice(PORTS)}]")
        parts += [f"{end}: {{{', '.join(members)}}}"] if members else []
    return f"{{{', '.join(parts)}}}"


def policy(chosen: random.Random, number: int) -> str:
    selector = chosen.choice(("has(hep)", "hep == 'h0'", "hep == 'star'", "hep == 'star'", "app == 'web'"))
    point = "" if "app" in selector else chosen.choice(("", "forward", "preDNAT", "doNotTrack"))
    flags = {"": "", "forward": "applyOnForward: true, "}.get(point, f"{point}: true, applyOnForward: true, ")
    ways = ["ingress"] if point == "preDNAT" else chosen.choice((["ingress"], ["egress"], ["ingress", "egress"]))
    rules = [f"{way}: [{', '.join(rule(chosen) for _ in range(chosen.randint(1, 3)))}]" for way in ways]
    if point == "doNotTrack":  # what is allowed there has to be allowed both ways
        selector = "hep == 'h0'"
        rules = [text.replace("action: Allow", "action: Deny") for text in rules]
        if chosen.random() < 0.4:
            rules = [
                f"{way}: [{{action: Allow, protocol: {chosen.choice(('TCP', 'UDP'))}}}]"
                for way in ("ingress", "egress")
            ]
    return gnp(f"p{number}", selector, flags + ", ".join(rules), order=number)


def node_policy(chosen: random.Random) -> str:
    port = chosen.choice(PORTS)
    way, end = chosen.choice((("ingress", "fromCIDR"), ("egress", "toCIDR")))
    return (
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: hostfw}\n"
        f"spec:\n  nodeSelector: {{}}\n  {way}: [{{{end}: ['{chosen.choice(NETS)}'], "
        f"toPorts: [{{ports: [{{port: '{port}', protocol: TCP}}]}}]}}]"
    )


def documents(chosen: random.Random) -> tuple[list[str], list[str]]:
    """An old state and a new one that differs in little."""
    base = [INVENTORY, *chosen.sample(HEPS, chosen.randint(1, 3))]
    families = chosen.choice(((4, 6), (4, 6), (4,), ()))
    base += [node(families)] if families else []
    base += [SERVICE] if chosen.random() < 0.3 else []
    policies = [policy(chosen, number) for number in range(chosen.randint(0, 3))]
    policies += [node_policy(chosen)] if chosen.random() < 0.3 else []
    changed = list(policies)
    settings: list[list[str]] = [[], []]
    match chosen.randint(0, 4):
        case 0:
            settings[chosen.randint(0, 1)].append(felix(defaultEndpointToHostAction="Drop"))
        case 1:
            settings[1].append(felix(failsafeInboundHostPorts="[{protocol: tcp, port: 80, net: 198.51.100.0/24}]"))
        case 2 if changed:
            changed[chosen.randrange(len(changed))] = policy(chosen, 7)
        case 3:
            changed.append(node_policy(chosen) if "nodeSelector" not in "".join(changed) else policy(chosen, 8))
        case _:
            changed.append(policy(chosen, 9))
    return base + policies + settings[0], base + changed + settings[1]


def compiled(folder: Path, chosen: random.Random) -> tuple[list[Artefact], str]:
    """Two states, and their text; what the compiler refuses is drawn again."""
    while True:
        texts = ["\n---\n".join(one) for one in documents(chosen)]
        found = []
        for text in texts:
            (folder / "all.yaml").write_text(text)
            with suppress(InputError):
                found.append(compile_artefact(load_input([str(folder / "all.yaml")], OPTIONS), OPTIONS))
        if len(found) == len(texts):
            return found, "\n=====\n".join(texts)


class Voice:
    """One state, asked packet by packet."""

    def __init__(self, artefact: Artefact) -> None:
        self.manifest = artefact.manifest
        self.simulator = Simulator(artefact)
        self.hooks = HostHooks(self.simulator)
        self.own = TableArrays(artefact.manifest, artefact.tables).local_addresses

    def host(self, name: str) -> HostEntry | None:
        return next((item for item in self.manifest.hosts if item.name == name), None)

    def allows(self, asked: Asked) -> bool:
        packet = asked.packet
        if asked.host is not None:
            return self.hooks.at_interface(self.host(asked.host), packet, party=asked.party).passes
        if not self.simulator.decide(packet).allowed:
            return False
        if not self.manifest.features["hosts_at_workloads"]:
            return True
        party = asked.party if packet.direction == "ingress" else ends_in_node(packet.peer, self.own)
        return self.hooks.at_workload(packet, party=party)


def grid(names: list[str]) -> Iterator[Asked]:
    for version, direction, party in product((4, 6), ("ingress", "egress"), (True, False)):
        own = [ip_address(text) for text in ADDRESSES[version]]
        remotes = [ip_address(text) for text in REMOTES[version]]
        for remote, header in product(remotes, headers(version)):
            yield Asked(None, Packet(POD, direction, own[0], remote, *header), party)
            for name in names:
                for mine in own_sides(version, direction, party):
                    yield Asked(name, Packet("", direction, mine, remote, *header), party)


@lru_cache
def headers(version: int) -> tuple[tuple[int, int | None, int | None, int | None, int | None], ...]:
    ports = [(protocol, source, target, None, None) for protocol in (6, 17) for source, target in product(PORTS, PORTS)]
    pings = [(1 if version == 4 else 58, None, None, kind, code) for kind, code in PINGS[version]]
    return (*ports, *pings, (47, None, None, None, None))


def own_sides(version: int, direction: str, party: bool) -> list[Address]:
    """The own addresses that packets of the kind have."""
    known = [ip_address(text) for text in REMOTES[version]]
    if party:
        return known[1:2] + (known[4:] if direction == "ingress" else [])
    return [address for address in known if direction == "egress" or address not in (known[1], known[4])]


def diff(old: Artefact, new: Artefact) -> VerdictChanges:
    sides = [everywhere(one.manifest, TableArrays(one.manifest, one.tables)) for one in (old, new)]
    return diff_tables(sides[0], sides[1], known_names((), (new.manifest, old.manifest)))


def example(row: ChangeRow) -> Asked:
    """The row's own packet."""
    ends = [ip_address(str(row.example[end])) for end in ("src", "dst")]
    own, peer = ends if row.direction == "egress" else reversed(ends)
    word = str(row.example["protocol"]).upper()
    rest = [row.example.get(name) for name in ("src_port", "dst_port", "icmp_type", "icmp_code")]
    at = None if row.endpoints[0] == POD else row.endpoints[0]
    numbers = [None if value is None else int(value) for value in rest]
    packet = Packet(at or POD, row.direction, own, peer, PROTOCOL_NUMBERS.get(word) or int(word), *numbers)
    return Asked(at, packet if at is None else replace(packet, endpoint=""), row.traffic == "own")


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_diff_is_what_packets_meet(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    (old, new), texts = compiled(tmp_path, chosen)
    voices = Voice(old), Voice(new)
    changes = diff(old, new)
    names = [{item.name for item in one.manifest.hosts if item.name.startswith("hep/")} for one in (old, new)]
    differs = [
        asked for asked in grid(sorted(names[0] & names[1])) if voices[0].allows(asked) != voices[1].allows(asked)
    ]
    told = bool(changes or changes.endpoints_added or changes.endpoints_removed)
    assert told or not differs, (differs[:3], texts)
    for row in (row for group in changes.groups for row in rows_of(group)):
        asked = example(row) if row.example else None
        if asked is not None and (asked.host is None or voices[0].host(asked.host) is not None):
            if asked.host is None and not row.traffic:
                asked = replace(asked, party=ends_in_node(asked.packet.peer, voices[row.kind == "added"].own))
            verdicts = [voice.allows(asked) for voice in voices]
            assert verdicts == [row.kind == "removed", row.kind == "added"], (row, texts)


INTERFACES = {1: POD, 2: "hep/h0", 3: "hep/star", 4: "node/node1"}


def random_flows(chosen: random.Random, count: int) -> list[Flow]:
    found = []
    for _ in range(count):
        version = chosen.choice((4, 6))
        index = chosen.choice((1, 1, 2, 2, 3, 4))
        remote = ip_address(chosen.choice(REMOTES[version][1:4]))
        party, ingress = chosen.random() < 0.6, chosen.random() < 0.5
        local = ip_address(ADDRESSES[version][0 if index == 1 or not party else 1])
        protocol = chosen.choice((6, 6, 17, 1 if version == 4 else 58))
        ports = [chosen.choice(PORTS), chosen.choice(PORTS)] if protocol in (6, 17) else [7, 7]
        flags = CONNECTION_INGRESS * ingress + CONNECTION_HOST * party + CONNECTION_REPLIED * (chosen.random() < 0.7)
        flags += CONNECTION_GUESSED * (protocol == 6 and chosen.random() < 0.1)
        found.append(Flow(local, remote, *ports, index, protocol, int(ingress), 1, flags, 1, 0))
    return found


def opening(flow: Flow, direction: str) -> Packet:
    if flow.protocol in (1, 58):
        kind = 8 if flow.protocol == 1 else 128
        return Packet("", direction, flow.local, flow.remote, flow.protocol, icmp_type=kind, icmp_code=0)
    ports = (flow.remote_port, flow.local_port) if direction == "ingress" else (flow.local_port, flow.remote_port)
    return Packet("", direction, flow.local, flow.remote, flow.protocol, *ports)


def goes_on(voice: Voice, flow: Flow) -> bool:
    """Whether both sides' next packets pass: those that answer, too, where there are such."""
    name, party = INTERFACES[flow.ifindex], bool(flow.flags & CONNECTION_HOST)
    ways = ["ingress", "egress"] if flow.flags & CONNECTION_INGRESS else ["egress", "ingress"]
    asked = ways if flow.flags & CONNECTION_GUESSED else ways[:1]
    if name == POD:
        party = party if ways[0] == "ingress" else ends_in_node(flow.remote, voice.own)
        return any(workload_allows(voice, opening(flow, way), party) for way in asked)
    host = voice.host(name) if name.startswith("hep/") else None
    begins = any(voice.hooks.opens(host, opening(flow, way), party=party) for way in asked)
    packets = [opening(flow, ways[0])]
    if flow.protocol == 6 or flow.flags & CONNECTION_REPLIED:
        packets.append(answer_of(packets[0]))
    return all(passes(voice, host, packet, party, begins, bool(place)) for place, packet in enumerate(packets))


def workload_allows(voice: Voice, packet: Packet, party: bool) -> bool:
    packet = replace(packet, endpoint=POD)
    if not voice.simulator.decide(packet).allowed:
        return False
    return not voice.manifest.features["hosts_at_workloads"] or voice.hooks.at_workload(packet, party=party)


def passes(voice: Voice, host: HostEntry | None, packet: Packet, party: bool, begins: bool, answers: bool) -> bool:
    early = voice.hooks.before_tracking(host, packet, party=party) if host is not None else None
    spared = answers and party and host is not None and is_failsafe(host, answer_of(packet))
    return begins if early is None or spared else early.passes


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_flows_cut_are_those_whose_packets_are_denied(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(1000 + seed)
    (old, new), texts = compiled(tmp_path, chosen)
    voices = Voice(old), Voice(new)
    known = [{*(item.name for item in one.manifest.hosts), POD} for one in (old, new)]
    flows = [flow for flow in random_flows(chosen, 400) if INTERFACES[flow.ifindex] in known[0] & known[1]]
    states = [State(everywhere(one.manifest, TableArrays(one.manifest, one.tables)), INTERFACES) for one in (old, new)]
    wanted = sorted(place(flow) for flow in flows if goes_on(voices[0], flow) and not goes_on(voices[1], flow))
    found = changed_flows(columns(flows), states[0], states[1], {})
    assert wanted == sorted((one.local, one.local_port, one.remote, one.remote_port) for one in found), texts
    assert all(one.rule.verdict == "deny" and one.rule.reason != "unrestricted" for one in found)


def place(flow: Flow) -> tuple[str, int, str, int]:
    return str(flow.local), flow.local_port, str(flow.remote), flow.remote_port


def columns(flows: list[Flow]) -> LiveFlows:
    def packed(name: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        raw = b"".join(getattr(flow, name).packed.ljust(16, b"\0") for flow in flows)
        return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 16)

    kinds = {"local_port": np.uint16, "remote_port": np.uint16, "ifindex": np.uint32, "protocol": np.uint8}
    kinds |= {"role": np.uint8, "generation": np.uint64, "flags": np.uint8, "state": np.uint8, "last_seen": np.uint64}
    numbers = {name: np.array([getattr(flow, name) for flow in flows], dtype=kind) for name, kind in kinds.items()}
    family = np.array([flow.local.version for flow in flows], dtype=np.uint8)
    return LiveFlows(family=family, local=packed("local"), remote=packed("remote"), **numbers)  # type: ignore[arg-type]
