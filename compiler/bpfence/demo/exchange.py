"""One question between two parties of a world: who asks whom, over what."""

from __future__ import annotations

from dataclasses import dataclass

from bpfence.demo.world import Place, World
from bpfence.errors import UsageError
from bpfence.flows import Flow

_ICMP6 = 58


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question from a place to an address; ``port`` is 0 for a ping."""

    source: Place
    destination: Place
    family: int
    protocol: int
    port: int = 0

    @classmethod
    def of(cls, world: World, flow: Flow) -> Exchange:
        """The exchange that a flow between two named parties of the world stands for."""
        source, destination = world.places[flow.source], world.places[flow.destination]
        family = flow.family or (6 if flow.protocol == _ICMP6 else 4)
        if source.address(family) is None or destination.address(family) is None:
            raise UsageError(f"{flow.source} and {flow.destination} do not share address family {family}")
        return cls(source, destination, family, flow.protocol, flow.destination_port or 0)

    @property
    def target(self) -> str:
        return str(self.destination.address(self.family))
