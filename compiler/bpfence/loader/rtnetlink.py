"""What the kernel says about interfaces, routes and filters, asked for directly: a dump in, messages out.

Reading is what every command does, for every interface, so it must cost little; changes are few, and go through the
netlink library, which takes a while to import and is imported when the first change comes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import TracebackType
from typing import Any, Self

from bpfence.errors import KernelError

_REQUEST = 0x1
_DUMP = _REQUEST | 0x300
"""NLM_F_REQUEST, and with it NLM_F_ROOT | NLM_F_MATCH"""
_CHANGE, _NEW = _REQUEST | 0x4, 0x400 | 0x200
"""NLM_F_REQUEST | NLM_F_ACK; NLM_F_CREATE | NLM_F_EXCL"""
_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_BITS = 0x3FFF
_BUFFER = 1 << 17
_MOST_TRIES = 10
_EXTENDED, _WITHOUT_STATISTICS = 29, 1 << 3
"""IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS"""


class NetlinkError(Exception):
    """The kernel refused. ``code``: its errno."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message or os.strerror(code))
        self.code = code


Reader = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class FilterPlace:
    """Where a tc filter stands, as the kernel numbers it. ``info``: priority and protocol."""

    index: int
    parent: int
    chain: int
    info: int
    handle: int
    kind: str


@dataclass(frozen=True)
class _Form:
    """How a message is laid out: its fixed part with the names of its fields, and its attributes by name."""

    head: struct.Struct = field(default_factory=lambda: struct.Struct(""))
    names: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[int, Reader]] = field(default_factory=dict)

    @cached_property
    def wanted(self) -> frozenset[int]:
        """Numbers of the attributes that have a name here."""
        return frozenset(number for number, _ in self.attributes.values())


class Message:
    """One answer. Attributes are looked for and decoded when they are asked for."""

    __slots__ = ("_attributes", "_data", "_form", "_head")

    def __init__(self, form: _Form, data: bytes) -> None:
        self._form = form
        self._data = data
        self._head = form.head.unpack_from(data)
        self._attributes: dict[int, bytes] | None = None

    def __getitem__(self, name: str) -> Any:
        return self._head[self._form.names.index(name)]

    @property
    def tail(self) -> bytes:
        """All attributes, as they came."""
        return self._data[_aligned(self._form.head.size) :]

    def get_attr(self, name: str) -> Any:
        """The attribute's value; None when the message has none."""
        number, reader = self._form.attributes[name]
        if self._attributes is None:
            self._attributes = _attributes(self._data, _aligned(self._form.head.size), self._form.wanted)
        raw = self._attributes.get(number)
        return None if raw is None else reader(raw)


def _attributes(data: bytes, offset: int, wanted: frozenset[int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        length, kind = unpack(data, offset)
        if length < 4 or offset + length > end:
            break
        if kind & _TYPE_BITS in wanted:
            found[kind & _TYPE_BITS] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _attribute(kind: int, content: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(size, kind) + content + bytes(_aligned(size) - size)


def _word(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def _hardware(raw: bytes) -> str:
    return raw.hex(":")


def _address(raw: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _hops(raw: bytes) -> list[Mapping[str, int]]:
    """The next hops of a route: length, flags, hops, interface; then attributes of their own."""
    found: list[Mapping[str, int]] = []
    while len(raw) >= 8:
        length, _, _, index = struct.unpack_from("=HBBi", raw)
        found.append({"oif": index})
        raw = raw[max(_aligned(length), 8) :]
    return found


_XDP = _Form(
    attributes={
        "IFLA_XDP_ATTACHED": (2, _number),
        "IFLA_XDP_PROG_ID": (4, _number),
        "IFLA_XDP_DRV_PROG_ID": (5, _number),
        "IFLA_XDP_SKB_PROG_ID": (6, _number),
        "IFLA_XDP_HW_PROG_ID": (7, _number),
    }
)
_LINK_INFO = _Form(attributes={"IFLA_INFO_KIND": (1, _text)})
_LINK = _Form(
    struct.Struct("=BxHiII"),
    ("family", "type", "index", "flags", "change"),
    {
        "IFLA_ADDRESS": (1, _hardware),
        "IFLA_IFNAME": (3, _text),
        "IFLA_LINK": (5, _number),
        "IFLA_MASTER": (10, _number),
        "IFLA_LINKINFO": (18, partial(Message, _LINK_INFO)),
        "IFLA_XDP": (43, partial(Message, _XDP)),
    },
)
_ADDRESS = _Form(
    struct.Struct("=BBBBI"),
    ("family", "prefixlen", "flags", "scope", "index"),
    {"IFA_ADDRESS": (1, _address), "IFA_LOCAL": (2, _address), "IFA_BROADCAST": (4, _address)},
)
_ROUTE = _Form(
    struct.Struct("=BBBBBBBBI"),
    ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
    {"RTA_DST": (1, _address), "RTA_OIF": (4, _number), "RTA_PREFSRC": (7, _address), "RTA_MULTIPATH": (9, _hops)},
)
_NEIGHBOUR = _Form(
    struct.Struct("=BxxxiHBB"),
    ("family", "ifindex", "state", "flags", "ndm_type"),
    {"NDA_DST": (1, _address), "NDA_LLADDR": (2, _hardware), "NDA_MASTER": (9, _number)},
)
_BPF = _Form(
    attributes={
        "TCA_BPF_NAME": (7, _text),
        "TCA_BPF_FLAGS": (8, _number),
        "TCA_BPF_FLAGS_GEN": (9, _number),
        "TCA_BPF_ID": (11, _number),
    }
)
_QUEUE = _Form(struct.Struct("=I"), ("qlen",))
_STATISTICS = _Form(attributes={"TCA_STATS_QUEUE": (3, partial(Message, _QUEUE))})
_TRAFFIC = _Form(
    struct.Struct("=BxxxiIII"),
    ("family", "index", "handle", "parent", "info"),
    {
        "TCA_KIND": (1, _text),
        "TCA_OPTIONS": (2, partial(Message, _BPF)),
        "TCA_STATS2": (7, partial(Message, _STATISTICS)),
        "TCA_CHAIN": (11, _number),
    },
)


_INTERNET_SOCKET = _Form(
    struct.Struct("=BBBB2s2s16s16sI8sIIIII"),
    (
        "family", "state", "timer", "retransmits", "sport", "dport", "src", "dst", "interface", "cookie", "expires",
        "receiving", "sending", "uid", "inode"
    ),
)  # fmt: skip
_SOCKET_DIAGNOSIS = 4
_TCP = 6


class RouteSocket:
    """Dumps of the namespace where it was made, and changes there. Raises NetlinkError; OSError when there is none."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise
        self._sequence = 0
        self._answers = bytearray(_BUFFER)
        self._library: Any = None
        self._remembered: dict[tuple[int, bytes], list[Message]] | None = None

    def close(self) -> None:
        self._socket.close()
        if self._library is not None:
            self._library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within the block what was read once is not asked for again; a change through this socket forgets it."""
        outside = self._remembered
        self._remembered = {} if outside is None else outside
        try:
            yield
        finally:
            self._remembered = outside

    def get_links(self) -> list[Message]:
        mask = _ATTRIBUTE.pack(8, _EXTENDED) + _WITHOUT_STATISTICS.to_bytes(4, "little")
        return self._dump(18, _LINK, _LINK.head.pack(0, 0, 0, 0, 0) + mask)

    def get_addr(self) -> list[Message]:
        return self._dump(22, _ADDRESS, _ADDRESS.head.pack(0, 0, 0, 0, 0))

    def get_routes(self, family: int) -> list[Message]:
        return self._dump(26, _ROUTE, _ROUTE.head.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))

    def get_route_to(self, address: str) -> list[Message]:
        """The route that the kernel would choose for an address, alone."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        raw = socket.inet_pton(family, address)
        head = _ROUTE.head.pack(family, len(raw) * 8, 0, 0, 0, 0, 0, 0, 0)
        return self._ask(26, _ROUTE, head + _ATTRIBUTE.pack(4 + len(raw), 1) + raw, _REQUEST) or []

    def get_neighbours(self, family: int) -> list[Message]:
        return self._dump(30, _NEIGHBOUR, _NEIGHBOUR.head.pack(family, 0, 0, 0, 0))

    def get_bridge_entries(self) -> list[Message]:
        """The forwarding tables of all bridges."""
        return self._dump(30, _NEIGHBOUR, _LINK.head.pack(socket.AF_BRIDGE, 0, 0, 0, 0))

    def get_qdiscs(self) -> list[Message]:
        return self._dump(38, _TRAFFIC, _TRAFFIC.head.pack(0, 0, 0, 0, 0))

    def get_filters(self, index: int, parent: int) -> list[Message]:
        return self._dump(46, _TRAFFIC, _TRAFFIC.head.pack(0, index, 0, parent, 0))

    def add_bpf_filter(self, place: FilterPlace, program_fd: int, name: str, flags: int, general_flags: int) -> None:
        """A filter where none is."""
        numbers = ((6, program_fd), (8, flags), (9, general_flags))
        options = _attribute(7, name.encode() + b"\0") + b"".join(_attribute(key, _word(one)) for key, one in numbers)
        self._change_filter(44, place, _NEW, _attribute(2, options))

    def remove_filter(self, place: FilterPlace) -> None:
        """Just this one."""
        self._change_filter(45, place, 0, b"")

    def _change_filter(self, kind: int, place: FilterPlace, flags: int, rest: bytes) -> None:
        if self._remembered is not None:
            self._remembered.clear()
        head = _TRAFFIC.head.pack(0, place.index, place.handle, place.parent, place.info)
        attributes = _attribute(1, place.kind.encode() + b"\0") + _attribute(11, _word(place.chain)) + rest
        self._ask(kind, _TRAFFIC, head + attributes, _CHANGE | flags)

    def get_tcp_sockets(self, family: int, states: int) -> list[Message]:
        """TCP sockets; ``states``: a bit for each that is wanted. Addresses and ports are bytes, in network order."""
        return self._dump(20, _INTERNET_SOCKET, struct.pack("=BBxxI48x", family, _TCP, states))

    def link(self, *arguments: Any, **values: Any) -> Any:
        """A change of an interface, as the netlink library has it."""
        return self._through_library("link", arguments, values)

    def tc(self, *arguments: Any, **values: Any) -> Any:
        """A change of qdiscs or filters, as the netlink library has it."""
        return self._through_library("tc", arguments, values)

    def _through_library(self, name: str, arguments: tuple[Any, ...], values: dict[str, Any]) -> Any:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError as LibraryError

        if self._remembered is not None:
            self._remembered.clear()
        if self._library is None:
            self._library = IPRoute()
        try:
            return getattr(self._library, name)(*arguments, **values)
        except LibraryError as error:
            raise NetlinkError(error.code, str(error.args[1]) if len(error.args) > 1 else "") from error

    def _dump(self, kind: int, form: _Form, body: bytes) -> list[Message]:
        """Ask until an answer is of one piece: the kernel says when things changed under it."""
        known = None if self._remembered is None else self._remembered.get((kind, body))
        if known is not None:
            return known
        for _ in range(_MOST_TRIES):
            try:
                found = self._ask(kind, form, body, _DUMP)
            except OSError as error:
                raise KernelError(f"can't read the node's interfaces: {error.strerror}") from error
            except NetlinkError as error:
                raise KernelError(f"can't read the node's interfaces: {error.args[1]}") from error
            if found is not None:
                if self._remembered is not None:
                    self._remembered[kind, body] = found
                return found
        raise KernelError("the node's interfaces change too fast to be read; try again")

    def _ask(self, kind: int, form: _Form, body: bytes, flags: int) -> list[Message] | None:
        """The answers; None when they don't belong together."""
        self._sequence += 1
        size = _MESSAGE.size + len(body)
        self._socket.sendto(_MESSAGE.pack(size, kind, flags, self._sequence, 0) + body, (0, 0))
        found: list[Message] = []
        whole = True
        while True:
            size, sender = self._socket.recvfrom_into(self._answers)
            if sender[0]:  # somebody else's, not the kernel's
                continue
            for answer, state, sequence, content in _messages(self._answers, size):
                if sequence != self._sequence:
                    continue
                whole = whole and not state & _INTERRUPTED
                if answer in (_DONE, _ERROR):
                    _raise(content)
                    return found if whole else None
                found.append(Message(form, content))
            if found and flags != _DUMP:
                return found


def tcp_sockets(states: int) -> list[Message]:
    """TCP sockets of the current namespace, of both families (see `RouteSocket.get_tcp_sockets`)."""
    with RouteSocket(_SOCKET_DIAGNOSIS) as diagnosis:
        families = (socket.AF_INET, socket.AF_INET6)
        return [message for family in families for message in diagnosis.get_tcp_sockets(family, states)]


def _messages(data: bytearray, size: int) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, content) of each message of a datagram of so many bytes."""
    offset = 0
    while offset + _MESSAGE.size <= size:
        length, kind, flags, sequence, _ = _MESSAGE.unpack_from(data, offset)
        if length < _MESSAGE.size:
            return
        yield kind, flags, sequence, bytes(data[offset + _MESSAGE.size : min(offset + length, size)])
        offset += _aligned(length)


def _raise(content: bytes) -> None:
    """The error that an answer begins with, if there is one."""
    code = -int.from_bytes(content[:4], "little", signed=True)
    if code:
        raise NetlinkError(code if code in errno.errorcode else errno.EIO)
