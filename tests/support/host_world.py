"""A world of hosts: two nodes on one link with two outside hosts, another behind the first node's second interface,
and pods behind both nodes. Policies in, answers to questions out. Namespaces have no names and go with the process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
from pyroute2 import NFCTSocket

from bpfence.demo.connection import OpenConnection
from bpfence.demo.exchange import Exchange
from bpfence.demo.traffic import send_all
from bpfence.demo.world import Place
from bpfence.emit.artefact import Artefact
from bpfence.errors import InputError
from bpfence.flows import Flow
from bpfence.loader.frames import ipv4_header
from bpfence.loader.node import NodePaths, open_node
from bpfence.loader.status import StatusReport, read_status
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.loader.unload import unload
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.plan.layout import CONNECTION_KEY
from support.host_network import PERMANENT, HostNetwork, build, served
from support.host_objects import ADDRESSES, INVENTORY, NODE1_FAR, PROTOCOLS, SERVICES


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: who asks, at which address and port, over what, from which port (0: any), and whether an answer is
    expected. ``own``: the source address; empty = the asking place's first of that family.
    """

    source: str
    target: str
    protocol: str
    port: int
    answered: bool
    source_port: int = 0
    own: str = ""

    def __str__(self) -> str:
        own = f" sport {self.source_port}" if self.source_port else ""
        return f"{self.source}{own} -> {self.target} {self.protocol}/{self.port}"


@dataclass(slots=True)
class HostWorld:
    """The network, and bpfence's folders for each node."""

    folder: Path
    bpffs: Path
    network: HostNetwork

    def paths(self, node: str) -> NodePaths:
        return NodePaths(self.bpffs / f"{node}-{os.getpid()}-{self.folder.name}", self.folder / f"state-{node}")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        with self.network.places[name].namespace.inside():
            yield

    def compile(
        self, node: str, *documents: str, options: Options | None = None, inventory: str = INVENTORY
    ) -> Artefact:
        """Compile policies and further objects for the world's pods and nodes."""
        path = self.folder / "input.yaml"
        path.write_text("\n---\n".join((inventory, *documents)))
        chosen = (options or Options()).model_copy(update={"node": node})
        loaded = load_input([str(path)], chosen)
        try:
            return compile_artefact(loaded, chosen)
        except InputError as error:
            raise AssertionError("\n".join(map(str, error.diagnostics))) from error

    def apply(
        self,
        node: str,
        *documents: str,
        options: Options | None = None,
        force: bool = False,
        inventory: str = INVENTORY,
    ) -> ApplyReport:
        artefact = self.compile(node, *documents, options=options, inventory=inventory)
        with self.inside(node):
            return apply(artefact, ApplySettings(self.paths(node), force=force))

    def status(self, node: str) -> StatusReport:
        with self.inside(node):
            return read_status(self.paths(node))

    def connections(self, node: str) -> set[tuple[str, int, str, int]]:
        """(local address, port, remote address, port) of every flow that bpfence remembers there."""
        with ExitStack() as stack, self.inside(node):
            opened = open_node(self.paths(node).pins, stack)
            keys = [] if opened is None else [key for key, _ in opened.maps["connections"].iterate()]
        return {_tuple(np.frombuffer(key, dtype=CONNECTION_KEY.dtype)[0]) for key in keys}

    def forget_flows(self, node: str) -> None:
        """bpfence's flows and the kernel's."""
        with ExitStack() as stack, self.inside(node):
            opened = open_node(self.paths(node).pins, stack)
            assert opened is not None
            for key, _ in list(opened.maps["connections"].iterate()):
                opened.maps["connections"].delete(key)
            with NFCTSocket() as kernel:
                kernel.flush()

    def open(self, source: str, target: str, port: int) -> OpenConnection:
        """A TCP connection that stays open. Its server is there already."""
        address = ip_address(target)
        own = self.network.places[source].address(address.version)
        return OpenConnection(self, Flow(str(own), target, 6, destination_port=port), served=True)  # type: ignore[arg-type]

    def addressed(self, frame: bytes, interface: str) -> bytes:
        """The frame, sent to an interface of the first node."""
        return bytes.fromhex(self.hardware(interface).replace(":", "")) + frame[6:]

    def hardware(self, interface: str) -> str:
        """The hardware address of an interface of the first node."""
        ip = self.network.netlink["node1"]
        return str(ip.get_links(ip.link_lookup(ifname=interface)[0])[0].get_attr("IFLA_ADDRESS"))

    def set_neighbour(self, place: str, address: str) -> None:
        """To the place the address is the first node's."""
        ip = self.network.netlink[place]
        index = ip.link_lookup(ifname="eth0")[0]
        ip.neigh("replace", dst=address, lladdr=self.hardware("eth0"), ifindex=index, state=PERMANENT)

    def counted(self, node: str) -> Counter[str]:
        """Packets by outcome."""
        status = self.status(node)
        return Counter({**(status.passed or {}), **(status.drops or {})})

    def counted_since(self, node: str, before: Counter[str], reason: str) -> Counter[str]:
        """What was dropped or allowed since then, once something was counted for the reason: packets take a moment.
        Housekeeping of the links is left out.
        """
        for _ in range(100):
            found = self.counted(node) - before
            if found[reason]:
                break
            time.sleep(0.02)
        return Counter({name: number for name, number in found.items() if name not in ("untracked", "not-ip")})

    def send(self, place: str, frame: bytes) -> None:
        """A frame as it stands, from the place's link."""
        with self.inside(place), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(frame)

    def send_from(self, place: str, source: str, destination: str, protocol: int, payload: bytes) -> None:
        """An IPv4 packet to the first node's link address, from whatever address."""
        header = ipv4_header(ip_address(source).packed, ip_address(destination).packed, protocol, len(payload))
        ethernet = bytes(6) + b"\x02\0\0\0\0\5" + b"\x08\x00"
        self.send(place, self.addressed(ethernet + header + payload, "eth0"))

    def unload(self, node: str) -> None:
        with self.inside(node):
            unload(self.paths(node), force=True)

    def nft(self, node: str, rules: str) -> None:
        """Replace the namespace's nftables rules."""
        with self.inside(node):
            subprocess.run(["nft", "-f", "-"], input=f"flush ruleset\n{rules}", text=True, check=True)

    def forget_neighbours(self) -> None:
        """What ARP and neighbour discovery have found on the link."""
        for place in ("out", "node1", "node2"):
            with self.inside(place):
                subprocess.run(["ip", "neigh", "flush", "dev", "eth0"], check=True)

    def find(self, address: str) -> Place:
        """Who has the address; of a service's address nobody."""
        found = (place for place in self.network.places.values() if ip_address(address) in place.addresses)
        return next(found, self.network.places["switch"])

    def exchange(self, ask: Ask) -> Exchange:
        source, target = self.network.places[ask.source], ip_address(ask.target)
        own = ip_address(ask.own) if ask.own else source.address(target.version)
        assert own is not None
        protocol = PROTOCOLS[ask.protocol]
        if ask.protocol == "ping" and target.version == 6:
            protocol = 58
        return Exchange(source, source, own, target, protocol, ask.port, ask.source_port)

    def wrong(self, asks: Sequence[Ask], seconds: float = 0.35) -> list[str]:
        """The questions whose answer is not the expected one, in words."""
        answered = [False] * len(asks)
        left = list(range(len(asks)))
        for attempt in range(4):
            # what should be answered and was not is tried again with more time: the machine may be busy
            found = send_all([self.exchange(asks[n]) for n in left], seconds * (1 + attempt), served=True)
            for number, answer in zip(left, found, strict=True):
                answered[number] |= answer
            left = [n for n in left if asks[n].answered and not answered[n]]
            if not left:
                break
        return [
            f"{ask}: {'answered' if got else 'no answer'}"
            for ask, got in zip(asks, answered, strict=True)
            if got != ask.answered
        ]


def _tuple(key: Any) -> tuple[str, int, str, int]:
    def address(words: Any) -> str:
        raw = words.tobytes()
        return str(ip_address(raw[:4] if key["family"] == 4 else raw))

    def port(number: Any) -> int:
        return int.from_bytes(int(number).to_bytes(2, "little"), "big")

    return address(key["local"]), port(key["local_port"]), address(key["remote"]), port(key["remote_port"])


def both(text: str) -> str:
    """The IPv6 address that stands where an IPv4 address of the world does."""
    for four, six in (*ADDRESSES.values(), NODE1_FAR, *SERVICES.items()):
        if text == four:
            return six
    raise KeyError(text)


def twins(asks: Sequence[Ask]) -> list[Ask]:
    """The questions, and each over IPv6."""
    other = [replace(ask, target=both(ask.target), own=both(ask.own) if ask.own else "") for ask in asks]
    return [*asks, *other]


def asks(*lines: str) -> list[Ask]:
    """``SOURCE[:SPORT] TARGET PROTO/PORT yes|no``, in both families. TARGET: a place's name or an IPv4 address."""
    return twins([_ask(line) for line in lines])


def _ask(line: str) -> Ask:
    source, target, what, verdict = line.split()
    name, _, source_port = source.partition(":")
    protocol, _, port = what.partition("/")
    address = ADDRESSES[target][0] if target in ADDRESSES else target
    return Ask(name, address, protocol, int(port or 0), {"yes": True, "no": False}[verdict], int(source_port or 0))


@contextmanager
def host_world(bpffs: Path, folder: Path) -> Iterator[HostWorld]:
    """Everything made and served; all of it is gone afterwards."""
    with ExitStack() as stack:
        network = HostNetwork(stack)
        build(network)
        stack.enter_context(served(network))
        world = HostWorld(folder, bpffs, network)
        stack.callback(_unload_all, world)
        yield world


def _unload_all(world: HostWorld) -> None:
    for node in ("node1", "node2"):
        world.unload(node)
