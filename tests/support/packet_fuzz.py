"""Frames through a program in the kernel and through what it ought to answer; every verdict and reason is compared.

A `Target` joins a program with its simulator, a `Ground` is the state that the kernel keeps between packets. Both are
all that is asked of a program under test.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from bpfence.loader.kernel import Map
from bpfence.plan.layout import CONNECTION_KEY, REASONS
from bpfence.simulate.frame import Outcome
from bpfence.simulate.headers import ICMP_OF, Headers
from support.packet_damage import LARGEST, FrameSource
from support.packet_pieces import PacketMaker, Surroundings

ECHO_REQUEST = {4: 8, 6: 128}
LOOPBACK = 1
WRONG_WAY = 0.02
"""share of the frames that meet another program than their scene's"""


@dataclass(frozen=True, slots=True)
class Target:
    """``run``: the program's answer. ``judge``: what it ought to be. ``passing``, ``dropping``: what the program
    returns then. ``outbound``: its packets come from the endpoint. ``decides``: what it lets pass is counted, and may
    be remembered as a flow. ``largest``: bytes of a frame that a test run of it takes.
    """

    name: str
    run: Callable[[bytes], int]
    judge: Callable[[bytes], Outcome]
    outbound: bool
    passing: int
    dropping: int
    decides: bool = True
    largest: int = LARGEST


@dataclass(slots=True)
class Ground:
    """What the kernel keeps. No flow outlives its packet; first fragments stay until `clear`. ``counted``: packets so
    far for a reason, by its number.
    """

    counted: Callable[[int], int]
    connections: Map
    fragments: Map
    expected: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.expected = [self.counted(number) for number in range(len(REASONS))]

    def other_reasons(self, expected: int) -> list[str]:
        """What the last packet counted as, when not as expected."""
        return [name for n, name in enumerate(REASONS) if self.counted(n) != self.expected[n] - (n == expected)]

    def forget(self, headers: Headers, outbound: bool) -> None:
        """Remove the flow that an allowed packet may have left."""
        key = flow_key(headers, outbound)
        if key is not None:
            self.connections.delete(key)

    def clear(self) -> None:
        """Forget every first fragment. No flow may be left."""
        for key, _ in list(self.fragments.iterate()):
            self.fragments.delete(key)
        assert not list(self.connections.iterate()), "a flow outlived its packet"


@dataclass(frozen=True, slots=True)
class Tally:
    """Frames by the name of the target and the reason."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def frames(self) -> int:
        return self.counts.total()

    def reasons(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, reason), count in self.counts.items():
            found[reason] += count
        return found


def fuzz(targets: Sequence[Target], ground: Ground, around: Surroundings, seed: str, frames: int, tally: Tally) -> None:
    """At least ``frames`` frames through the targets. AssertionError at the first answer that differs."""
    draw = Random(seed)
    sources = [FrameSource(PacketMaker(draw, around, target.outbound)).scenes() for target in targets]
    sent: list[tuple[str, bytes]] = []
    while len(sent) < frames:
        number = draw.randrange(len(targets))
        for frame in next(sources[number]):
            target = draw.choice(targets) if draw.random() < WRONG_WAY else targets[number]
            frame = frame[: target.largest]
            sent.append((target.name, frame))
            try:
                tally.counts[target.name, send(target, ground, frame)] += 1
            except AssertionError as error:
                error.add_note(f"seed {seed!r}, frame {len(sent)}; before it: {_recent(sent)}")
                raise


def send(target: Target, ground: Ground, frame: bytes) -> str:
    """One frame; the reason that both voices name."""
    expected = target.judge(frame)
    answer = target.run(frame)
    number = REASONS.index(expected.reason)
    ground.expected[number] += target.decides or not expected.passes
    wanted = target.passing if expected.passes else target.dropping
    if answer != wanted or ground.counted(number) != ground.expected[number]:
        raise AssertionError(
            f"{target.name}: the simulator says {expected.reason} ({wanted}), the kernel {answer}, counted "
            f"{ground.other_reasons(number)}\nframe {frame.hex()}\n{expected.headers}"
        )
    if target.decides and expected.reason == "allowed" and expected.headers is not None:
        ground.forget(expected.headers, target.outbound)
    return expected.reason


def flow_key(headers: Headers, outbound: bool, ifindex: int = LOOPBACK) -> bytes | None:
    """The key of the flow that a packet opens; None when it can open none."""
    if headers.is_later_fragment:
        return None
    ends = (headers.source, headers.destination)
    ports = [(headers.source_port or 0).to_bytes(2, "big"), (headers.destination_port or 0).to_bytes(2, "big")]
    role = 0
    if headers.protocol == ICMP_OF[headers.version]:
        if headers.icmp_code or headers.icmp_type != ECHO_REQUEST[headers.version]:
            return None
        ports = [headers.identifier.to_bytes(2, "big")] * 2
        role = int(not outbound)
    if not outbound:
        ends, ports = ends[::-1], ports[::-1]
    addresses = b"".join(end.packed.ljust(16, b"\0") for end in ends)
    key = addresses + b"".join(ports) + struct.pack("<IBBH", ifindex, headers.version, headers.protocol, role)
    assert len(key) == CONNECTION_KEY.size
    return key


def batches(total: int, size: int) -> Iterator[int]:
    """Sizes that add up to ``total``."""
    while total > 0:
        yield min(size, total)
        total -= size


def _recent(sent: Sequence[tuple[str, bytes]]) -> str:
    return " ".join(f"{name}:{frame.hex()}" for name, frame in sent[-7:-1])
