"""The evaluator's two questions: a flow between two parties, and one direction at one pod."""

from __future__ import annotations

from bpfence.errors import UsageError
from bpfence.flows import Flow
from bpfence.identity.inventory import Address
from bpfence.semantics.combine import judge
from bpfence.semantics.packet import Direction, Packet
from bpfence.semantics.verdict import SideVerdict, Verdict
from bpfence.semantics.world import Party, ReferenceWorld, parse_address

NOT_POLICED = SideVerdict(True)


def decide(world: ReferenceWorld, flow: Flow) -> Verdict:
    """The verdict on the first packet of a connection: egress at a source pod, ingress at a destination pod.

    Raises UsageError for a party the inventory does not know, or two parties without a common address family.
    """
    source, destination = _ends(world, flow)
    return Verdict(
        _side(world, flow, "egress", source, destination), _side(world, flow, "ingress", destination, source)
    )


def decide_side(
    world: ReferenceWorld,
    endpoint: str,
    direction: Direction,
    own_address: Address | str,
    peer_address: Address | str,
    protocol: int,
    source_port: int | None = None,
    destination_port: int | None = None,
    icmp_type: int | None = None,
    icmp_code: int | None = None,
) -> SideVerdict:
    """One direction at the pod ``namespace/name`` against whoever owns ``peer_address``. Ports in host order.

    A host-network pod is not policed. Raises UsageError for an unknown pod or a malformed address.
    """
    pod = world.pod(endpoint)
    if pod.host_network:
        return NOT_POLICED
    own = Party(parse_address(own_address), pod=pod)
    peer = world.owner(parse_address(peer_address))
    ports = (source_port, destination_port, icmp_type, icmp_code)
    return judge(world, Packet(pod, direction, own, peer, protocol, *ports))


def _side(world: ReferenceWorld, flow: Flow, direction: Direction, own: Party, peer: Party) -> SideVerdict:
    if own.pod is None:
        return NOT_POLICED
    ports = (flow.source_port, flow.destination_port, flow.icmp_type, flow.icmp_code)
    return judge(world, Packet(own.pod, direction, own, peer, flow.protocol, *ports))


def _ends(world: ReferenceWorld, flow: Flow) -> tuple[Party, Party]:
    """Both parties with addresses of one family: the flow's, else the first of the destination's that the
    source has too.
    """
    sources, destinations = _parties(world, flow.source), _parties(world, flow.destination)
    if sources[0].address is None or destinations[0].address is None:
        return sources[0], destinations[0]
    for destination in destinations:
        for source in sources:
            family = _version(source)
            if family == _version(destination) and flow.family in (None, family):
                return source, destination
    raise UsageError(f"{flow.source} and {flow.destination} have no common address family")


def _version(party: Party) -> int:
    return party.address.version if party.address else 0


def _parties(world: ReferenceWorld, text: str) -> list[Party]:
    """A party with each of its addresses; a workload without pods has none."""
    if "/" not in text:
        return [world.owner(parse_address(text))]
    if text.startswith("node/"):
        return _node_parties(world, text.removeprefix("node/"))
    pod = world.pod(text)
    if pod.host_network:
        return _node_parties(world, pod.node, pod.addresses)
    return [Party(address, pod=pod) for address in pod.addresses] or [Party(None, pod=pod)]


def _node_parties(world: ReferenceWorld, name: str, addresses: tuple[Address, ...] = ()) -> list[Party]:
    addresses = addresses or world.node_addresses.get(name, ())
    if not addresses:
        raise UsageError(f"no addresses known for node {name!r}")
    return [Party(address, node=name) for address in addresses]
