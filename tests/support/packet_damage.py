"""Frames as an attacker would send them: fragments in every order and overlap, tags, wrong lengths, flipped bits, cuts.

A scene is a short sequence of frames that belong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from support.packet_pieces import TCP, Ends, PacketMaker, fragment_header, ipv4, ipv6, joined

MACS = bytes.fromhex("020000000001020000000002")
IP_TYPES = {4: 0x0800, 6: 0x86DD}
OTHER_TYPES = (0x0806, 0x88CC, 0x8847, 0x8864, 0x9100, 0x0000, 0x0026, 0x05FF, 0x0600, 0x0801, 0x86DC)
TAGS = (0x8100, 0x88A8)
LARGEST = 3600
"""more does not go into a test run"""
LEAST_BARE = {0x0800: 34, 0x86DD: 54}
"""shorter frames of these types the kernel refuses to run, without a tag"""
IDENTS = 12
"""few, so that fragments of different datagrams meet"""


class FrameSource:
    """Draws scenes, without end."""

    def __init__(self, maker: PacketMaker) -> None:
        self._maker = maker
        self._draw = maker.draw

    def scenes(self) -> Iterator[list[bytes]]:
        while True:
            ends = self._maker.ends()
            packets = self._fragments(ends) if self._maker.chance(0.1) else [self._packet(ends)]
            yield [self._frame(packet, ends.version) for packet in packets]

    def _packet(self, ends: Ends) -> bytes:
        maker = self._maker
        protocol, payload = maker.transport(ends)
        hop_limit = maker.hop_limit(protocol)
        if ends.version == 4:
            return ipv4(ends, protocol, payload, options=maker.options(), hop_limit=hop_limit)
        chain = maker.chain(most=9)
        if maker.chance(0.1):
            atomic = fragment_header(0, maker.chance(0.1), self._draw.randrange(IDENTS))
            chain.insert(self._draw.randrange(len(chain) + 1), atomic)
        return ipv6(ends, *joined(chain, protocol, payload), hop_limit=hop_limit)

    def _fragments(self, ends: Ends) -> list[bytes]:
        """The fragments of one or two datagrams of one identification, in some order, some of them more than once."""
        ident = self._draw.randrange(IDENTS)
        packets = self._datagram(ends, ident)
        if self._maker.chance(0.3):
            packets += self._datagram(ends, ident)
        if self._maker.chance(0.5):
            self._draw.shuffle(packets)
        if self._maker.chance(0.3):
            packets.append(self._draw.choice(packets))
        if self._maker.chance(0.2):
            packets.pop(0)
        return packets

    def _datagram(self, ends: Ends, ident: int) -> list[bytes]:
        protocol, payload = self._maker.transport(ends)
        payload += self._draw.randbytes(self._draw.choice((0, 8, 24, 64)))
        if ends.version == 4:
            options = self._maker.options()
            return [
                ipv4(ends, self._later(protocol, at), part, options=options, field=at >> 3 | more << 13, ident=ident)
                for at, more, part in self._cuts(payload)
            ]
        before = self._maker.chain(most=9 if self._maker.chance(0.2) else 2)
        unused = self._draw.choice((0, 0, 0, 2, 6))  # bits beside the offset, which a receiver ignores
        first, payload = joined(self._maker.chain(most=2), protocol, payload)
        return [
            ipv6(ends, *joined([*before, fragment_header(at | unused, more, ident)], self._later(first, at), part))
            for at, more, part in self._cuts(payload)
        ]

    def _later(self, protocol: int, at: int) -> int:
        """A later fragment may lie about its protocol."""
        return TCP if at and self._maker.chance(0.1) else protocol

    def _cuts(self, payload: bytes) -> list[tuple[int, bool, bytes]]:
        """(offset, more to come, bytes); some begin too early, or say that they are the last when they are not."""
        size = self._draw.choice((8, 8, 16, 24, 32, 48))
        found = []
        for at in range(0, max(len(payload), 1), size):
            start = self._draw.choice((at, at, at, 8, 16, 24)) if at else 0
            more = at + size < len(payload) if self._maker.chance(0.95) else self._maker.chance(0.5)
            found.append((start, more, payload[at : at + size]))
        return found

    def _frame(self, packet: bytes, version: int) -> bytes:
        if self._maker.chance(0.25):
            packet = self._damaged(packet)
        kind = IP_TYPES[version]
        if self._maker.chance(0.03):
            kind = self._draw.choice((*IP_TYPES.values(), *OTHER_TYPES))
        tags = self._draw.choices(TAGS, k=self._draw.choice((1, 1, 2, 2, 3))) if self._maker.chance(0.15) else []
        return runnable(ethernet(kind, packet, tags), self._maker.chance(0.02))

    def _damaged(self, packet: bytes) -> bytes:
        """One or two things wrong with an IP packet."""
        for _ in range(self._draw.choice((1, 1, 1, 2))):
            packet = self._draw.choice(DAMAGES)(self._maker, packet)
        return packet


def flip_bit(maker: PacketMaker, packet: bytes) -> bytes:
    reach = min(len(packet), maker.draw.choice((8, 24, 48, 80)))
    return _with_byte(packet, maker.draw.randrange(reach), 1 << maker.draw.randrange(8)) if reach else packet


def set_byte(maker: PacketMaker, packet: bytes) -> bytes:
    reach = min(len(packet), maker.draw.choice((8, 24, 48, 80)))
    value = maker.draw.choice((0, 1, 0x7F, 0x80, 0xFF, 44, 60, maker.draw.randrange(256)))
    at = maker.draw.randrange(reach) if reach else 0
    return packet[:at] + bytes([value]) + packet[at + 1 :]


def cut(maker: PacketMaker, packet: bytes) -> bytes:
    """Fewer bytes than its lengths say."""
    return packet[: maker.draw.randrange(len(packet))] if packet else packet


def cut_honestly(maker: PacketMaker, packet: bytes) -> bytes:
    """Fewer bytes, and the IP length says so."""
    return with_length(cut(maker, packet))


def pad(maker: PacketMaker, packet: bytes) -> bytes:
    """More bytes behind the packet's end."""
    return packet + maker.draw.randbytes(maker.draw.choice((1, 6, 20, 40)))


def lie_about_length(maker: PacketMaker, packet: bytes) -> bytes:
    if len(packet) < 6:
        return packet
    at = 2 if packet[0] >> 4 == 4 else 4
    length = int.from_bytes(packet[at : at + 2], "big") + maker.draw.choice((-40, -20, -8, -4, -1, 1, 4, 40))
    if maker.chance(0.2):
        length = maker.draw.choice((0, 1, 20, 65535))
    return packet[:at] + (length & 0xFFFF).to_bytes(2, "big") + packet[at + 2 :]


def lie_about_header(maker: PacketMaker, packet: bytes) -> bytes:
    """Another version or header length, or another next header."""
    if not packet:
        return packet
    if maker.chance(0.5):
        return bytes([maker.draw.choice((0x40, 0x44, 0x46, 0x4F, 0x45, 0x60, 0x65, 0x05))]) + packet[1:]
    at = 9 if packet[0] >> 4 == 4 else 6
    return packet[:at] + bytes([maker.draw.choice((0, 6, 17, 43, 44, 51, 58, 59, 60, 132, 1))]) + packet[at + 1 :]


def fragment_field(maker: PacketMaker, packet: bytes) -> bytes:
    """Flags and fragment offset of an IPv4 header."""
    value = maker.draw.choice((0x2000, 0x2001, 0x0001, 0x0002, 0x0003, 0x4000, 0x8000, 0x6000, 0xC000, 0x1FFF, 0x3FFF))
    return packet[:6] + value.to_bytes(2, "big") + packet[8:] if packet[:1] >= b"\x40" and packet[0] < 0x50 else packet


DAMAGES = (flip_bit, flip_bit, set_byte, cut, cut_honestly, pad, lie_about_length, lie_about_header, fragment_field)


def with_length(packet: bytes) -> bytes:
    """The IP length of what is there."""
    if len(packet) < 6:
        return packet
    if packet[0] >> 4 == 4:
        return packet[:2] + len(packet).to_bytes(2, "big") + packet[4:]
    return packet[:4] + max(len(packet) - 40, 0).to_bytes(2, "big") + packet[6:]


def ethernet(kind: int, packet: bytes, tags: Sequence[int]) -> bytes:
    """``tags``: VLAN ethertypes, outermost first."""
    kinds = [*tags, kind]
    inner = b"".join(b"\0\7" + one.to_bytes(2, "big") for one in kinds[1:])
    return MACS + kinds[0].to_bytes(2, "big") + inner + packet


def runnable(frame: bytes, cut_short: bool = False) -> bytes:
    """A frame that a test run takes. ``cut_short``: in the middle of its tags where it has any."""
    if cut_short and frame[12:14] in (b"\x81\x00", b"\x88\xa8"):
        frame = frame[:16]
    frame = frame[:LARGEST]
    kind = int.from_bytes(frame[12:14], "big")
    return frame if len(frame) >= LEAST_BARE.get(kind, 0) else frame[:12] + b"\x81\x00\0\7" + frame[12:]


def _with_byte(packet: bytes, at: int, mask: int) -> bytes:
    return packet[:at] + bytes([packet[at] ^ mask]) + packet[at + 1 :]
