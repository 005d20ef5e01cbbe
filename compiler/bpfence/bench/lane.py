"""A lane: a pod joined by a veth pair to a node of its own, where frames made in the kernel arrive in the pod's name.

In: a place for maps. Out: `Lane`s, and how many frames a second one takes. All frames of a sample are made, carried
and judged on the CPU of the calling thread.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from bpfence.bench.place import Place
from bpfence.bench.traffic import CONTROL, FLOOD, NODE_ADDRESS, PEERS, POD_ADDRESS, Traffic
from bpfence.bench.xdp import run_live
from bpfence.demo.world import World
from bpfence.emit.c_text import fragment, pinned_map
from bpfence.errors import KernelError
from bpfence.loader.maps import Map, write_array
from bpfence.loader.programs import XDP, Program

POD = "flood/sender"
BATCH = 64
"""frames that the kernel makes at a time"""
_LOCAL_TABLE = 255
_SIOCETHTOOL, _ETHTOOL_SGRO = 0x8946, 0x2C


@dataclass(frozen=True, slots=True)
class Programs:
    """The generator, and the barest receivers."""

    control: Map
    generate: Program
    drop_xdp: Program
    drop_tc: Program


@dataclass(frozen=True, slots=True)
class Lane:
    """``interface``: on the node, where the frames arrive; ``sender``: of the pod, where they are put in."""

    world: World
    ip: Any
    interface: int
    sender: int
    programs: Programs

    def send(self, count: int, traffic: Traffic = FLOOD) -> float:
        """Make frames and have them judged; returns the seconds that took."""
        write_array(self.programs.control, traffic.control(self.sender))
        with self.world.places[POD].namespace.inside():
            begun = time.perf_counter()
            run_live(self.programs.generate, traffic.frame, count)
            return time.perf_counter() - begun

    def begin_seconds(self, traffic: Traffic = FLOOD) -> float:
        """What a run costs whatever its length, and one batch: much, for the kernel makes pages for it and waits."""
        return min(self.send(BATCH, traffic) for _ in range(3))

    def rate(self, count: int, begin_seconds: float, traffic: Traffic = FLOOD) -> float:
        """Frames a second over so many, without what a run costs whatever its length."""
        before = self.arrived()
        seconds = self.send(BATCH + count, traffic)
        return (self.arrived() - before - BATCH) / max(seconds - begin_seconds, seconds / 2)

    def arrived(self) -> int:
        """Frames that the node's interface has taken since it was made, whatever became of them."""
        (link,) = self.ip.get_links(self.interface)
        return int(link.get_attr("IFLA_STATS64")["rx_packets"])

    def has_xdp(self) -> bool:
        """Whether an XDP program stands at the node's interface."""
        (link,) = self.ip.get_links(self.interface)
        xdp = link.get_attr("IFLA_XDP")
        return bool(xdp and xdp.get_attr("IFLA_XDP_ATTACHED"))

    def passing(self, count: int, traffic: Traffic = FLOOD) -> int:
        """How many of so many frames no filter stops: those that UDP finds no socket for. For this once the node takes
        the peers' addresses for its own.
        """
        with self._peers_here() if not traffic.inbound else nullcontext():
            before = self._unreachable()
            self.send(count, traffic)
            return self._unreachable() - before

    @contextmanager
    def _peers_here(self) -> Iterator[None]:
        route = {"dst": str(PEERS), "table": _LOCAL_TABLE, "type": "local", "oif": 1, "scope": 254}
        self.ip.route("add", **route)
        try:
            yield
        finally:
            self.ip.route("del", **route)

    def _unreachable(self) -> int:
        with self.world.node.namespace.inside():
            lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Udp:"))
        return int(values[names.index("NoPorts")])


def load_generator(place: Place) -> Programs:
    """Put the flood's own programs into the kernel."""
    control = place.array("flood_control", bytes(CONTROL.size))
    parts = [
        fragment("protocols.h"),
        CONTROL.c_text(),
        pinned_map("array", "__u32", CONTROL.size, "flood_control", 1, "what to send"),
        fragment("bench/flood.h"),
    ]
    text = "\n".join(parts)
    loaded = place.programs(text, ("flood_generate", "flood_drop_xdp"), {}, XDP)
    drop_tc = place.programs(text, ("flood_drop_tc",), {})["flood_drop_tc"]
    return Programs(control, loaded["flood_generate"], loaded["flood_drop_xdp"], drop_tc)


def open_lane(programs: Programs, stack: ExitStack) -> Lane:
    """A pod and its node; gone with ``stack``."""
    world = stack.enter_context(World({POD: (POD_ADDRESS,)}, (NODE_ADDRESS,)))
    with world.node.namespace.inside():
        ip = stack.enter_context(IPRoute())
        interface = int(ip.link_lookup(ifname=world.places[POD].interface)[0])
        ip.route("add", dst=str(PEERS), type="blackhole")
        _collect_frames(world.places[POD].interface)
    with world.places[POD].namespace.inside(), IPRoute() as pod:
        sender = int(pod.link_lookup(ifname="eth0")[0])
    return Lane(world, ip, interface, sender, programs)


def _collect_frames(interface: str) -> None:
    """Turn receive offload on: without it a veth takes no frame from XDP."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_SGRO, 1))
    request = struct.pack("16sP24x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError as error:
            raise KernelError(f"{interface}: can't turn GRO on: {error.strerror}") from error
