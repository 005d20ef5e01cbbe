"""Keys of the connection table: packets as the simulator reads them in, bytes out. And quick questions about a key."""

from __future__ import annotations

import ctypes
import errno
import struct
from contextlib import suppress

from bpfence.errors import KernelError
from bpfence.loader.maps import Map
from bpfence.loader.syscalls import BpfCall, Command, MapElement, address_of
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX, Packet

_KEY = struct.Struct("<16s16s2s2sIBBH")
"""`CONNECTION_KEY` of the layout, which tests hold it to."""
_MOST_TRIES = 3
_ECHO_IDENTIFIER = b"\x62\x66"


def connection_key(packet: Packet, ifindex: int) -> bytes:
    """The packet's key in the connection table, seen at the endpoint's interface (see CONNECTION_KEY)."""
    version, protocol = packet.own.version, packet.protocol
    is_echo = (version, protocol) in ICMP_INDEX
    role = int(is_echo and packet.direction == "ingress")
    ports = _ports(packet, is_echo)
    return _KEY.pack(packet.own.packed, packet.peer.packed, *ports, ifindex, version, protocol, role)


def _ports(packet: Packet, is_echo: bool) -> tuple[bytes, bytes]:
    """Own and peer port in network order; an ICMP echo has its identifier on both sides."""
    if packet.protocol in PORT_INDEX:
        source = (packet.source_port or 0).to_bytes(2, "big")
        destination = (packet.destination_port or 0).to_bytes(2, "big")
        return (source, destination) if packet.direction == "egress" else (destination, source)
    identifier = _ECHO_IDENTIFIER if is_echo else b"\0\0"
    return identifier, identifier


class FlowEntries:
    """The connection table, asked about many keys one by one: every structure is made once."""

    __slots__ = ("_call", "_element", "_key", "_table", "_value")

    def __init__(self, table: Map) -> None:
        self._table = table
        self._call = BpfCall()
        self._key = ctypes.create_string_buffer(table.info.key_size)
        self._value = ctypes.create_string_buffer(table.stored_size)
        self._element = MapElement(table.fd, address_of(self._key), address_of(self._value), 0)

    def has(self, key: bytes) -> bool:
        """Whether the table has an entry. Raises KernelError."""
        return self._ask(Command.MAP_LOOKUP_ELEM, key)

    def remove(self, key: bytes) -> bool:
        """Remove an entry; False when it was not there. Raises KernelError.

        Kernels may say that another CPU is busy with the entry's neighbours: then it is asked again.
        """
        for _ in range(_MOST_TRIES - 1):
            with suppress(KernelError):
                return self._ask(Command.MAP_DELETE_ELEM, key)
        return self._ask(Command.MAP_DELETE_ELEM, key)

    def _ask(self, command: Command, key: bytes) -> bool:
        if len(key) != len(self._key):
            raise ValueError(f"map {self._table.name}: a key has {len(self._key)} bytes, not {len(key)}")
        ctypes.memmove(self._key, key, len(key))
        self._element.value = address_of(self._value) if command is Command.MAP_LOOKUP_ELEM else 0
        try:
            self._call(command, self._element)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise KernelError(f"map {self._table.name}: {command.name.lower()} failed: {error.strerror}") from error
        return True
