"""News of the node's network: links, addresses, routes, neighbours and tc filters, told by rtnetlink(7).

What changed is looked up afterwards; here it only matters that something did.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection
from ipaddress import ip_address

from bpfence.errors import KernelError

_LINK, _NEIGHBOUR, _TC, _ADDRESS4, _ROUTE4, _ADDRESS6, _ROUTE6 = 1, 3, 4, 5, 7, 9, 11
_GROUPS = sum(1 << group - 1 for group in (_LINK, _NEIGHBOUR, _TC, _ADDRESS4, _ROUTE4, _ADDRESS6, _ROUTE6))
_NEW_NEIGHBOUR, _DELETED_NEIGHBOUR = 28, 29
_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NEIGHBOUR_SIZE = 12
_BRIDGE = bytes((socket.AF_BRIDGE,))
_DESTINATION = 1
_ROOM = 1 << 20
_BUFFER = 1 << 16


class NetEvents:
    """A socket in the network namespace where it was made; it polls readable when there is news."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            self._socket.setblocking(False)
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            raise KernelError(f"can't listen for changes of interfaces and routes: {error.strerror}") from error
        self.fd = self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self, addresses: Collection[bytes]) -> bool:
        """Whether something of interest has happened since. ``addresses``: of the endpoints, packed; a neighbour
        matters only when it is one of them, and the node's neighbours come and go all the time. What a bridge has
        learnt matters, for it knows no such addresses; what it forgets does not.
        """
        wanted = False
        while True:
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return wanted
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"can't read changes of interfaces and routes: {error.strerror}") from error
                wanted = True  # more than the socket could keep: look at everything
                continue
            wanted = wanted or _matters(data, addresses)


def packed_addresses(texts: Collection[str]) -> frozenset[bytes]:
    """Addresses in network order, as messages have them."""
    return frozenset(ip_address(text).packed for text in texts)


def _matters(data: bytes, addresses: Collection[bytes]) -> bool:
    place = 0
    while place + _MESSAGE.size <= len(data):
        length, kind, *_ = _MESSAGE.unpack_from(data, place)
        if length < _MESSAGE.size:
            return True
        if kind not in (_NEW_NEIGHBOUR, _DELETED_NEIGHBOUR):
            return True
        content = data[place + _MESSAGE.size : place + length]
        if content.startswith(_BRIDGE):
            if kind == _NEW_NEIGHBOUR:
                return True
        elif _neighbour(content) in addresses:
            return True
        place += (length + 3) & ~3
    return False


def _neighbour(message: bytes) -> bytes:
    """The address that the message is about; empty when it has none."""
    place = _NEIGHBOUR_SIZE
    while place + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, place)
        if length < _ATTRIBUTE.size:
            return b""
        if kind == _DESTINATION:
            return message[place + _ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3
    return b""
