"""The evaluator's two questions: a flow between two parties, and one direction at one endpoint."""

from __future__ import annotations

from bpfence.errors import UsageError
from bpfence.flows import Flow
from bpfence.identity.inventory import Address
from bpfence.semantics.calico_hosts import Point, decide_host_endpoint
from bpfence.semantics.combine import judge, judge_node
from bpfence.semantics.packet import Direction, Packet
from bpfence.semantics.path import Way, enter, leave, pass_on
from bpfence.semantics.verdict import SideVerdict, Verdict
from bpfence.semantics.world import Party, ReferenceWorld, parse_address

NOT_POLICED = SideVerdict(True)
HOST_ENDPOINT, NODE = "hep/", "node/"


def decide(world: ReferenceWorld, flow: Flow) -> Verdict:
    """The verdict on the first packet of a connection: what the source's side says, and the destination's.

    A flow between two outside addresses is judged only when it names the interface by which a node passes it on.
    Raises UsageError for a party the inventory does not know, or two parties without a common address family.
    """
    source, destination = _ends(world, flow)
    way = Way(world, flow, source, destination)
    if flow.out_interface and not (source.pod or source.host or destination.pod or destination.host):
        return Verdict(NOT_POLICED, pass_on(way, _passing_node(world)).side())
    return Verdict(leave(way), enter(way))


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
    point: Point = "endpoint",
    fqdn: str = "",
) -> SideVerdict:
    """One direction at one endpoint against whoever owns ``peer_address``. Ports in host order.

    ``endpoint``: a pod ``namespace/name``; ``hep/NAME``, asked at ``point`` for its policies and profiles;
    ``node/NAME``, for the policies that select nodes; failsafe ports are left aside at both. A host-network pod is not
    policed. Raises UsageError for an unknown endpoint or a malformed address.
    """
    own, peer = world.owner(parse_address(own_address)), world.owner(parse_address(peer_address))
    ports = (source_port, destination_port, icmp_type, icmp_code)
    if endpoint.startswith(HOST_ENDPOINT):
        host = world.host_interface(endpoint.removeprefix(HOST_ENDPOINT))
        packet = Packet(host.node, direction, own, peer, protocol, *ports, fqdn=fqdn)
        verdict = decide_host_endpoint(world, packet, host, point, with_failsafes=False)
        return SideVerdict(verdict.allowed, (verdict,))
    if endpoint.startswith(NODE):
        node = endpoint.removeprefix(NODE)
        layers = judge_node(
            world, Packet(node, direction, own, peer, protocol, *ports, fqdn=fqdn), with_failsafes=False
        )
        return SideVerdict(all(layer.allowed for layer in layers), layers)
    pod = world.pod(endpoint)
    if pod.host_network:
        return NOT_POLICED
    own = Party(own.address, pod=pod)
    return judge(world, Packet(pod.node, direction, own, peer, protocol, *ports, fqdn=fqdn))


def _passing_node(world: ReferenceWorld) -> str:
    """The node that passes traffic on: the chosen one, else the only one with host endpoints."""
    nodes = sorted({item.node for item in world.host_interfaces})
    if world.options.node is not None:
        return world.options.node
    if len(nodes) != 1:
        raise UsageError("choose the node that passes the traffic on")
    return nodes[0]


def _ends(world: ReferenceWorld, flow: Flow) -> tuple[Party, Party]:
    """Both parties with addresses of one family: the flow's, else the first of the destination's that the
    source has too.
    """
    sources, destinations = _parties(world, flow.source), _parties(world, flow.destination)
    if sources[0].address is None or destinations[0].address is None:
        return _of_family(sources, flow.family), _of_family(destinations, flow.family)
    for destination in destinations:
        for source in sources:
            family = _version(source)
            if family == _version(destination) and flow.family in (None, family):
                return source, destination
    raise UsageError(f"{flow.source} and {flow.destination} have no common address family")


def _of_family(parties: list[Party], family: int | None) -> Party:
    """The first party whose address is of the family; without one, or without a wish, the first."""
    return next((party for party in parties if family in (None, _version(party))), parties[0])


def _version(party: Party) -> int:
    return party.address.version if party.address else 0


def _parties(world: ReferenceWorld, text: str) -> list[Party]:
    """A party with each of its addresses; a workload without pods has none."""
    if "/" not in text:
        return [world.owner(parse_address(text))]
    if text.startswith(NODE):
        return _node_parties(world, text.removeprefix(NODE))
    if text.startswith(HOST_ENDPOINT):
        host = world.host_interface(text.removeprefix(HOST_ENDPOINT))
        return _node_parties(world, host.node, host.addresses)
    pod = world.pod(text)
    if pod.host_network:
        return _node_parties(world, pod.node, pod.addresses)
    return [Party(address, pod=pod) for address in pod.addresses] or [Party(None, pod=pod)]


def _node_parties(world: ReferenceWorld, name: str, addresses: tuple[Address, ...] = ()) -> list[Party]:
    addresses = addresses or world.node_addresses.get(name, ())
    if not addresses:
        raise UsageError(f"no addresses known for node {name!r}")
    return [Party(address, node=name, host=name) for address in addresses]
