"""Which live flows a change cuts: the same answers as the simulator's, flow by flow."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import numpy as np

from bpfence.analyse.table_sides import everywhere
from bpfence.emit.artefact import Artefact
from bpfence.loader.cut_flows import CUT, State, changed_flows
from bpfence.loader.live_flows import Flow, LiveFlows
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.plan.layout import CONNECTION_DENIED, CONNECTION_GUESSED, CONNECTION_INGRESS
from bpfence.simulate.arrays import TableArrays
from bpfence.simulate.simulator import Packet, Simulator

PODS = {"web": ("10.9.0.1", "fd00::1"), "db": ("10.9.0.2", "fd00::2"), "cart": ("10.9.0.3", "fd00::3")}
INDICES = {"shop/web": 11, "shop/db": 12, "shop/cart": 13}
REMOTES = ("10.9.0.1", "10.9.0.3", "198.51.100.7", "203.0.113.9", "fd00::1", "fd00::3", "2001:db8::7")
PORTS = (0, 22, 80, 443, 5353, 40000, 65535)
OLD = """
  - to: [{ipBlock: {cidr: 198.51.100.0/24}}, {podSelector: {}}]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: '2001:db8::/32'}}]
  - ports: [{port: 443}, {port: 5353, protocol: UDP}]
"""
NEW = """
  - to: [{ipBlock: {cidr: 198.51.100.0/25}}]
    ports: [{port: 80}]
  ingress:
  - from: [{podSelector: {matchLabels: {app: cart}}}]
    ports: [{port: 80, endPort: 443}]
"""


def compiled(folder: Path, rules: str) -> Artefact:
    pods = [
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n"
        f"spec: {{nodeName: here}}\nstatus: {{phase: Running, podIP: '{a}', podIPs: [{{ip: '{a}'}}, {{ip: '{b}'}}]}}"
        for name, (a, b) in PODS.items()
    ]
    policy = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\nspec:\n"
        f"  podSelector: {{matchLabels: {{app: db}}}}\n  policyTypes: [Ingress, Egress]\n  egress:{rules}"
    )
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}"
    (folder / "all.yaml").write_text("\n---\n".join((namespace, *pods, policy)))
    return compile_artefact(load_input([str(folder / "all.yaml")], Options()), Options())


def random_flows(count: int) -> LiveFlows:
    choose = np.random.default_rng(1)
    flows = []
    for _ in range(count):
        remote = ip_address(str(choose.choice(REMOTES)))
        pod = str(choose.choice(list(PODS)))
        local = ip_address(PODS[pod][0 if remote.version == 4 else 1])
        protocol = int(choose.choice([6, 17, 132, 1 if remote.version == 4 else 58, 47]))
        ports = [int(choose.choice(PORTS)) if protocol in (6, 17, 132) else 0 for _ in range(2)]
        flags = CONNECTION_INGRESS * int(choose.integers(2)) + CONNECTION_GUESSED * int(choose.integers(8) == 0)
        flags += CONNECTION_DENIED * int(choose.integers(10) == 0)
        flows.append(Flow(local, remote, *ports, INDICES[f"shop/{pod}"], protocol, 0, 1, flags, 1, 0))
    return columns(flows)


def columns(flows: Sequence[Flow]) -> LiveFlows:
    def packed(name: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        rows = [list(getattr(flow, name).packed.ljust(16, b"\0")) for flow in flows]
        return np.array(rows, dtype=np.uint8)

    def column(name: str, kind: type) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return np.array([getattr(flow, name) for flow in flows], dtype=kind)

    return LiveFlows(
        family=np.array([flow.local.version for flow in flows], dtype=np.uint8),
        local=packed("local"),
        remote=packed("remote"),
        local_port=column("local_port", np.uint16),  # type: ignore[arg-type]
        remote_port=column("remote_port", np.uint16),  # type: ignore[arg-type]
        ifindex=column("ifindex", np.uint32),  # type: ignore[arg-type]
        protocol=column("protocol", np.uint8),  # type: ignore[arg-type]
        role=column("role", np.uint8),  # type: ignore[arg-type]
        generation=column("generation", np.uint64),
        flags=column("flags", np.uint8),  # type: ignore[arg-type]
        state=column("state", np.uint8),  # type: ignore[arg-type]
        last_seen=column("last_seen", np.uint64),
    )


def state(artefact: Artefact) -> State:
    side = everywhere(artefact.manifest, TableArrays(artefact.manifest, artefact.tables))
    return State(side, {index: name for name, index in INDICES.items()})


def allowed(simulator: Simulator, flow: Flow) -> bool:
    name = next(name for name, index in INDICES.items() if index == flow.ifindex)
    directions = ["ingress" if flow.flags & CONNECTION_INGRESS else "egress"]
    directions += [{"ingress": "egress", "egress": "ingress"}[directions[0]]] if flow.flags & CONNECTION_GUESSED else []
    return any(simulator.decide(opening(name, flow, direction)).allowed for direction in directions)


def opening(name: str, flow: Flow, direction: str) -> Packet:
    source, destination = flow.local_port, flow.remote_port
    if direction == "ingress":
        source, destination = destination, source
    if flow.protocol in (1, 58):
        kind = 8 if flow.protocol == 1 else 128
        return Packet(name, direction, flow.local, flow.remote, flow.protocol, icmp_type=kind, icmp_code=0)
    ports = (source, destination) if flow.protocol in (6, 17, 132) else (None, None)
    return Packet(name, direction, flow.local, flow.remote, flow.protocol, *ports)


def test_cut_flows_are_those_that_the_simulator_denies(tmp_path: Path) -> None:
    old, new = compiled(tmp_path, OLD), compiled(tmp_path, NEW)
    flows = random_flows(3000)
    found = changed_flows(flows, state(old), state(new), {12: "pod2"})
    before, after = Simulator(old), Simulator(new)
    wanted = sorted(
        (str(flow.local), flow.local_port, str(flow.remote), flow.remote_port, flow.protocol)
        for flow in flows
        if not flow.flags & CONNECTION_DENIED and allowed(before, flow) and not allowed(after, flow)
    )
    numbers = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58, "47": 47}
    assert len(wanted) > 100
    assert wanted == sorted(
        (item.local, item.local_port, item.remote, item.remote_port, numbers[item.protocol]) for item in found
    )
    for item in found:
        assert (item.outcome, item.endpoint, item.interface) == (CUT, "shop/db", "pod2")
        assert item.rule.verdict == "deny"
        assert item.rule.policy == "NetworkPolicy shop/db"
        assert item.rule.line > 1


def test_nothing_is_cut_where_nothing_changes(tmp_path: Path) -> None:
    same = state(compiled(tmp_path, OLD))
    assert changed_flows(random_flows(500), same, same, {}) == ()
