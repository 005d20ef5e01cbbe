"""What must stay open: the operator's connections, the node's name servers, and its API server.

In: the environment, the manifest, the namespace's sockets. Out: `GuardedFlow`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from bpfence.emit.artefact import GuardedEntry
from bpfence.loader.guard_sockets import Connection, connections, session_sockets

Address = IPv4Address | IPv6Address
RESOLV_CONF = Path("/etc/resolv.conf")
_UPSTREAM_CONF = Path("/run/systemd/resolve/resolv.conf")
"""What a name server on this machine asks."""
_MOST_BYTES = 1 << 16
_TCP, _UDP, _DNS = 6, 17, 53


@dataclass(frozen=True, slots=True)
class GuardedFlow:
    """A flow as the machine here sees it. ``own`` None: whatever address the route says; ports 0: any.

    ``incoming``: the peer opens it.
    """

    what: str
    protocol: int
    peer: Address
    peer_port: int
    own: Address | None = None
    own_port: int = 0
    incoming: bool = False

    @property
    def place(self) -> tuple[object, ...]:
        """The same for flows that are one."""
        return self.protocol, self.own, self.own_port, self.peer, self.peer_port, self.incoming


def guarded_flows(
    environment: Mapping[str, str], api: Iterable[GuardedEntry], matters: Callable[[Address, Address], bool]
) -> tuple[GuardedFlow, ...]:
    """Everything to guard in the current network namespace, each flow once. ``api``: where the API server answers;
    ``matters``: whether any policy could concern a connection between an own address and a peer's.
    """
    servers = {(item.protocol, ip_address(item.address), item.port): item.name for item in api}
    known = [item for item in connections() if matters(item.own, item.peer)]
    found = (
        *session_of(environment.get("SSH_CONNECTION", "")),
        *_of_operator(known),
        *dns_flows(name_servers()),
        *(GuardedFlow(_api(name), protocol, peer, port) for (protocol, peer, port), name in servers.items()),
        *_with_servers(known, {peer: name for (_, peer, _), name in servers.items()}),
    )
    return tuple({flow.place: flow for flow in reversed(found)}.values())[::-1]


def session_of(text: str) -> Iterator[GuardedFlow]:
    """``SSH_CONNECTION``: client address and port, server address and port, as sshd sets it."""
    try:
        client, client_port, server, server_port = text.split()
        flow = GuardedFlow(
            "the ssh connection you are using",
            _TCP,
            _plain(client),
            int(client_port),
            _plain(server),
            int(server_port),
            incoming=True,
        )
    except ValueError:
        return
    yield flow


def _of_operator(known: Sequence[Connection]) -> Iterator[GuardedFlow]:
    owners = session_sockets() if known else {}
    for item in known:
        owner = owners.get(item.inode)
        if owner is not None and not owner.holds_both_ends(item):
            yield _flow(f"a connection of your session ({owner.title})", item)


def _with_servers(known: Iterable[Connection], servers: Mapping[Address, str]) -> Iterator[GuardedFlow]:
    return (_flow(f"a connection with {_api(servers[item.peer])}", item) for item in known if item.peer in servers)


def _flow(what: str, item: Connection) -> GuardedFlow:
    return GuardedFlow(what, _TCP, item.peer, item.peer_port, item.own, item.own_port, item.incoming)


def _api(name: str) -> str:
    return f"the API server ({name})"


def dns_flows(servers: Iterable[Address]) -> tuple[GuardedFlow, ...]:
    """Questions to name servers. Over UDP: TCP is for long answers, and Calico's failsafe ports leave it out, too."""
    return tuple(GuardedFlow("the name server of this host", _UDP, server, _DNS) for server in servers)


def name_servers(path: Path = RESOLV_CONF, upstream: Path = _UPSTREAM_CONF) -> tuple[Address, ...]:
    """The name servers that leave this machine. One on the machine itself asks those of ``upstream``."""
    found = parse_name_servers(_text(path))
    if any(server.is_loopback for server in found):
        found = (*found, *parse_name_servers(_text(upstream)))
    return tuple(dict.fromkeys(server for server in found if not server.is_loopback))


def parse_name_servers(text: str) -> tuple[Address, ...]:
    """Addresses of the ``nameserver`` lines of a resolv.conf; what is none is left out, as the resolver does."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(_plain(words[1]))
            except ValueError:
                continue
    return tuple(found)


def _text(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return ""


def _plain(text: str) -> Address:
    """Without a zone, and IPv4 where it only looks like IPv6. ValueError."""
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
