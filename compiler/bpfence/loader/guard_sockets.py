"""TCP connections of the current network namespace, and which of them the operator works through: those that the
calling process or one of its ancestors holds, up to sshd (sudo hides SSH_CONNECTION, not its parent).
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from bpfence.errors import KernelError
from bpfence.loader.namespaces import current_inode
from bpfence.loader.rtnetlink import Message, NetlinkError, tcp_sockets

Address = IPv4Address | IPv6Address
_PROC = Path("/proc")
_PIDFD_GETFD = 438
"""The same on every machine; Linux 5.6."""
_ESTABLISHED, _LISTEN = 0x01, 0x0A
_STATES = 1 << _ESTABLISHED | 1 << _LISTEN
_ANCESTORS = 64
"""Process trees are not deeper; a guard against one that changes while it is read."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An established TCP connection. ``incoming``: the peer opened it."""

    inode: int
    own: Address
    own_port: int
    peer: Address
    peer_port: int
    incoming: bool


@dataclass(frozen=True, slots=True)
class _Socket:
    inode: int
    own: Address
    own_port: int
    peer: Address
    peer_port: int
    state: int


def connections() -> tuple[Connection, ...]:
    """Every established TCP connection of the namespace that leaves the machine's own addresses.

    A connection to a port where somebody listens is taken for incoming, and so is one to a port that only root may
    use from one that anybody may.
    """
    sockets = _sockets()
    served = {item.own_port for item in sockets if item.state == _LISTEN}
    return tuple(
        Connection(
            item.inode,
            item.own,
            item.own_port,
            item.peer,
            item.peer_port,
            item.own_port in served or item.own_port < 1024 <= item.peer_port,
        )
        for item in sockets
        if item.state == _ESTABLISHED and not item.peer.is_loopback and item.own != item.peer
    )


def _sockets() -> list[_Socket]:
    """TCP sockets that listen or are established, from the kernel's socket diagnosis (the files of ``/proc`` take ten
    times as long); from the files where the kernel has no such thing.
    """
    try:
        return [_diagnosed(message) for message in tcp_sockets(_STATES)]
    except (NetlinkError, KernelError, OSError):
        return [item for name in ("tcp", "tcp6") for item in read_sockets(_PROC / "thread-self" / "net" / name)]


def _diagnosed(message: Message) -> _Socket:
    size = 4 if message["family"] == socket.AF_INET else 16
    own, peer = (_plain(ip_address(message[name][:size])) for name in ("src", "dst"))
    ports = (int.from_bytes(message[name], "big") for name in ("sport", "dport"))
    return _Socket(message["inode"], own, next(ports), peer, next(ports), message["state"])


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds sockets."""

    pid: int

    @property
    def title(self) -> str:
        return f"{_name_of(self.pid)}, process {self.pid}"

    def holds_both_ends(self, item: Connection) -> bool:
        """Whether the process talks to itself: it holds the connection's other end, too, in whatever namespace."""
        return (item.peer, item.peer_port, item.own, item.own_port) in _ends_of(self.pid)


def session_sockets() -> dict[int, Holder]:
    """Inode of each socket that the operator's processes hold -> whose it is."""
    here = current_inode()
    found: dict[int, Holder] = {}
    for pid in _operators_processes():
        if _namespace_of(pid) == here:
            for _, inode in _sockets_of(pid):
                found.setdefault(inode, Holder(pid))
    return found


def _operators_processes() -> Iterator[int]:
    """The caller and its ancestors, from the nearest on. What else was started from the same shell is no way in."""
    pid = os.getpid()
    for _ in range(_ANCESTORS):
        if pid <= 1:
            break
        yield pid
        pid = _parent_of(pid)


def _parent_of(pid: int) -> int:
    """Zero when the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def _name_of(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def _namespace_of(pid: int) -> int:
    try:
        return os.stat(_PROC / str(pid) / "ns" / "net").st_ino
    except OSError:
        return 0


def _ends_of(pid: int) -> set[tuple[Address, int, Address, int]]:
    """(own address and port, peer's) of each connected socket of a process; none where the kernel hands none out."""
    found: set[tuple[Address, int, Address, int]] = set()
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return found
    try:
        for number, _ in _sockets_of(pid):
            taken = ctypes.CDLL(None).syscall(_PIDFD_GETFD, process, number, 0)
            if taken >= 0:
                with socket.socket(fileno=taken) as copy, suppress(OSError, ValueError):
                    if copy.family in (socket.AF_INET, socket.AF_INET6):
                        (own, own_port), (peer, peer_port) = copy.getsockname()[:2], copy.getpeername()[:2]
                        found.add((_plain(ip_address(own)), own_port, _plain(ip_address(peer)), peer_port))
    finally:
        os.close(process)
    return found


def _sockets_of(pid: int) -> Iterator[tuple[int, int]]:
    """(descriptor, inode) of each."""
    folder = _PROC / str(pid) / "fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            target = os.readlink(folder / name)
        except OSError:
            continue
        if target.startswith("socket:["):
            yield int(name), int(target[8:-1])


def read_sockets(path: Path) -> Iterable[_Socket]:
    """The sockets of ``/proc/net/tcp`` or its like."""
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError:
        return ()
    return [_socket(line.split()) for line in lines]


def _socket(words: list[str]) -> _Socket:
    """A line of ``/proc/net/tcp``: number, own place, peer's place, state, ..., inode as the tenth word."""
    return _Socket(int(words[9]), *_place(words[1]), *_place(words[2]), int(words[3], 16))


def _place(text: str) -> tuple[Address, int]:
    """``0100007F:0016``: words of the address in host order, then the port."""
    address, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    if len(raw) == 4:
        return IPv4Address(raw), int(port, 16)
    return _plain(IPv6Address(raw)), int(port, 16)


def _plain(address: Address) -> Address:
    """IPv4 where it only looks like IPv6."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
