"""The lock-out guard: would the new tables cut the connection that the operator is using now? Environment in, a
refusal or nothing out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from bpfence.emit.artefact import Artefact
from bpfence.errors import KernelError
from bpfence.loader.host_interfaces import HostInterface
from bpfence.simulate.host_hooks import HostHooks
from bpfence.simulate.simulator import Packet, Simulator

Address = IPv4Address | IPv6Address
_TCP = 6


class LockOut(KernelError):  # noqa: N818 - the design's word
    """The new policy would cut the operator's own connection."""


@dataclass(frozen=True, slots=True)
class _Session:
    client: Address
    client_port: int
    server: Address
    server_port: int


def refuse_lock_out(artefact: Artefact, environment: Mapping[str, str]) -> None:
    """Raise LockOut when the ssh session in ``environment`` passes a local endpoint that would deny it.

    ``SSH_CONNECTION``: client address and port, server address and port, as sshd sets it. Without it nothing is
    known and nothing refused.
    """
    session = _session(environment.get("SSH_CONNECTION", ""))
    if session is None:
        return
    simulator = Simulator(artefact)
    ports = (session.client_port, session.server_port)
    for own, peer, direction in (
        (session.client, session.server, "egress"),
        (session.server, session.client, "ingress"),
    ):
        for entry in artefact.manifest.endpoints:
            if str(own) not in entry.addresses:
                continue
            if not simulator.decide(Packet(entry.name, direction, own, peer, _TCP, *ports)).allowed:
                raise LockOut(
                    f"the new policy would cut the ssh connection you are using ({direction} of {entry.name}, "
                    f"{session.client}:{session.client_port} to {session.server}:{session.server_port}); "
                    "--force applies it all the same"
                )


def refuse_host_lock_out(
    artefact: Artefact,
    hosts: Iterable[HostInterface],
    addresses: Iterable[tuple[int, str]],
    environment: Mapping[str, str],
) -> None:
    """Raise LockOut when the ssh session in ``environment`` ends in the node and its host endpoint, or a policy that
    selects the node, would deny it.

    ``hosts``: the node's interfaces that are policed; ``addresses``: (interface, own address). The session is taken
    to use the interface that has its address.
    """
    session = _session(environment.get("SSH_CONNECTION", ""))
    if session is None:
        return
    there = {index for index, text in addresses if ip_address(text) == session.server}
    ports = (session.client_port, session.server_port)
    packet = Packet("", "ingress", session.server, session.client, _TCP, *ports)
    hooks = HostHooks(Simulator(artefact))
    for item in hosts:
        host = None if item.number < 0 else artefact.manifest.hosts[item.number]
        if item.index in there and not hooks.at_interface(host, packet, party=True).passes:
            raise LockOut(
                f"the new policy would cut the ssh connection you are using ({item.host}, interface {item.name}, "
                f"{session.client}:{session.client_port} to {session.server}:{session.server_port}); "
                "--force applies it all the same"
            )


def _session(text: str) -> _Session | None:
    try:
        client, client_port, server, server_port = text.split()
        return _Session(ip_address(client), int(client_port), ip_address(server), int(server_port))
    except ValueError:
        return None
