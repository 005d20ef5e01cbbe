"""The lock-out guard: would the new tables cut the connection that the operator is using now? Environment in, a
refusal or nothing out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from bpfence.emit.artefact import Artefact
from bpfence.errors import KernelError
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


def _session(text: str) -> _Session | None:
    try:
        client, client_port, server, server_port = text.split()
        return _Session(ip_address(client), int(client_port), ip_address(server), int(server_port))
    except ValueError:
        return None
