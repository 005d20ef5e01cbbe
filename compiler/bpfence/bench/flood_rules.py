"""The rules of ``flood``, the same ones in everybody's language: UDP to single addresses at single ports is allowed,
the rest denied.

In: how many rules. Out: text for nft, iptables-restore and ipset, and policies with their inventory for the compiler.
None of them allows what the flood sends, though the addresses are the flood's own: it meets the denial at the end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

from bpfence.bench.lane import POD
from bpfence.bench.traffic import NODE_ADDRESSES, PEERS, PEERS6, POD_ADDRESS
from bpfence.loader.frames import Address

MOST = 1 << 16
PORTS = range(8000, 8100)
RULES_PER_POLICY = 50
Rule = tuple[IPv4Address, int]
"""(peer, destination port)"""
_SEED = 20260102
_CALICO = "projectcalico.org/v3"


def rules(count: int) -> tuple[Rule, ...]:
    """The first rules of a list of `MOST` distinct ones."""
    return _all_rules()[:count]


@cache
def _all_rules() -> tuple[Rule, ...]:
    kinds = random.Random(_SEED).sample(range(PEERS.num_addresses * len(PORTS)), MOST)
    return tuple((PEERS[kind % PEERS.num_addresses], PORTS[kind // PEERS.num_addresses]) for kind in kinds)


def nft_linear(count: int) -> str:
    """One rule each, asked in turn; none at all: the bare drop policy."""
    return _nft_chain("", [f"ip daddr {address} udp dport {port} accept" for address, port in rules(count)])


def nft_map(count: int) -> str:
    """One look into a verdict map."""
    elements = ", ".join(f"{address} . {port} : accept" for address, port in rules(count))
    kept = f"map allowed {{ type ipv4_addr . inet_service : verdict; elements = {{ {elements} }}; }}"
    return _nft_chain(kept, ["ip daddr . udp dport vmap @allowed"])


def _nft_chain(kept: str, lines: list[str]) -> str:
    body = "\n".join(lines)
    chain = f"chain flood {{ type filter hook prerouting priority raw; policy drop;\n{body}\n}}"
    return f"table ip bench {{\n{kept}\n{chain}\n}}\n"


def iptables(count: int) -> str:
    """For iptables-restore."""
    lines = [f"-A PREROUTING -d {address} -p udp --dport {port} -j ACCEPT" for address, port in rules(count)]
    return _iptables_table(lines)


def iptables_with_set() -> str:
    """For iptables-restore, after `ipset`."""
    return _iptables_table(["-A PREROUTING -m set --match-set allowed dst,dst -j ACCEPT"])


def _iptables_table(lines: list[str]) -> str:
    return "\n".join(["*raw", ":PREROUTING DROP [0:0]", ":OUTPUT ACCEPT [0:0]", *lines, "COMMIT", ""])


def ipset(count: int) -> str:
    """For ipset restore."""
    lines = [f"add allowed {address},udp:{port}" for address, port in rules(count)]
    return "\n".join([f"create allowed hash:ip,port maxelem {MOST}", *lines, ""])


def write_policies(path: Path, count: int) -> None:
    """NetworkPolicies of the pod that sends to the peers, and its inventory. Nobody may send to it."""
    space, name = POD.split("/")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"app": name}},
        "spec": {"nodeName": "here"},
        "status": {"phase": "Running", "podIP": str(POD_ADDRESS), "podIPs": [{"ip": str(POD_ADDRESS)}]},
    }
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}},
        pod,
        *(_policy(at, some) for at, some in _portions(count)),
    ]
    _write(path, items)


def _policy(number: int, some: tuple[Rule, ...]) -> dict[str, Any]:
    egress = [
        {"to": [{"ipBlock": {"cidr": f"{address}/32"}}], "ports": [{"protocol": "UDP", "port": port}]}
        for address, port in some
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"rules-{number}", "namespace": POD.split("/")[0]},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": egress},
    }


def peer_of(peer: IPv4Address, family: int) -> Address:
    """The peer, or the IPv6 address that stands for it."""
    return peer if family == 4 else PEERS6[int(peer) - int(PEERS.network_address)]


def write_host_policies(path: Path, count: int, interface: str, family: int = 4) -> None:
    """The same rules, the other way round: untracked policies of a host endpoint, from the peers to the node."""
    own = str(NODE_ADDRESSES[family])
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "here"},
            "status": {"addresses": [{"type": "InternalIP", "address": own}]},
        },
        {
            "apiVersion": _CALICO,
            "kind": "HostEndpoint",
            "metadata": {"name": "uplink", "labels": {"role": "uplink"}},
            "spec": {"node": "here", "interfaceName": interface, "expectedIPs": [own]},
        },
        *(item for port, peers in _by_port(count, family) for item in _host_port(port, peers)),
        _host_denial(str(PEERS if family == 4 else PEERS6)),
    ]
    _write(path, items)


def _by_port(count: int, family: int) -> list[tuple[int, list[str]]]:
    """The peers of each port: as few rules as say the same."""
    found: dict[int, list[str]] = {}
    for peer, port in rules(count):
        found.setdefault(port, []).append(str(ip_network(peer_of(peer, family))))
    return sorted(found.items())


def _host_port(port: int, peers: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A set of the port's peers, and the policy for them. With the way back: nothing remembers untracked flows."""
    metadata = {"name": f"peers-{port}", "labels": {"peers-of": str(port)}}
    kept = {"apiVersion": _CALICO, "kind": "GlobalNetworkSet", "metadata": metadata, "spec": {"nets": peers}}
    chosen = {"selector": f"peers-of == '{port}'"}
    there = _host_rule({"source": chosen, "destination": {"ports": [port]}})
    back = _host_rule({"source": {"ports": [port]}, "destination": chosen})
    return kept, _untracked(port, {"types": ["Ingress", "Egress"], "ingress": [there], "egress": [back]})


def _host_rule(ends: dict[str, Any]) -> dict[str, Any]:
    return {"action": "Allow", "protocol": "UDP", **ends}


def _host_denial(peers: str) -> dict[str, Any]:
    """Of what else comes from the peers."""
    denial = {"action": "Deny", "protocol": "UDP", "source": {"nets": [peers]}}
    return _untracked(MOST, {"types": ["Ingress"], "ingress": [denial]})


def _untracked(number: int, rules: dict[str, Any]) -> dict[str, Any]:
    spec = {"order": number, "selector": "role == 'uplink'", "doNotTrack": True, "applyOnForward": True, **rules}
    return {
        "apiVersion": _CALICO,
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": f"rules-{number}"},
        "spec": spec,
    }


def _portions(count: int) -> Iterator[tuple[int, tuple[Rule, ...]]]:
    for at in range(0, count, RULES_PER_POLICY):
        yield at, rules(count)[at : at + RULES_PER_POLICY]


def _write(path: Path, items: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
