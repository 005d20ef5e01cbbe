"""One question between two parties of a world: who asks whom, over what."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from bpfence.demo.world import Address, Place, World
from bpfence.errors import UsageError
from bpfence.flows import Flow

_ICMP6 = 58


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question from a place to an address. Ports are 0 for a ping; a source port of 0 is the kernel's to choose."""

    source: Place
    destination: Place
    own: Address
    target: Address
    protocol: int
    port: int = 0
    source_port: int = 0

    @classmethod
    def of(cls, world: World, flow: Flow) -> Exchange:
        """The exchange that a flow stands for. UsageError when its parties do not share an address family."""
        source, destination = world.find(flow.source), world.find(flow.destination)
        family = _family(flow)
        own, target = (
            _address(name, place, family) for name, place in ((flow.source, source), (flow.destination, destination))
        )
        if own is None or target is None:
            raise UsageError(f"{flow.source} and {flow.destination} do not share address family {family}")
        return cls(source, destination, own, target, flow.protocol, flow.destination_port or 0, flow.source_port or 0)

    @property
    def family(self) -> int:
        return self.target.version


def _family(flow: Flow) -> int:
    """As asked for, else as an address in the flow or its protocol says, else IPv4."""
    if flow.family is not None:
        return flow.family
    written = [ip_address(name).version for name in (flow.destination, flow.source) if "/" not in name]
    return written[0] if written else 6 if flow.protocol == _ICMP6 else 4


def _address(name: str, place: Place, family: int) -> Address | None:
    """The address written, or the party's first of the family."""
    if "/" in name:
        return place.address(family)
    address = ip_address(name)
    return address if address.version == family else None
