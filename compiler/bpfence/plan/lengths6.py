"""In which order the prefix lengths of an IPv6 table are asked. In: lengths. Out: a tree of `LengthNode`s, root first.

A hit leads on to longer lengths, a miss to shorter ones, and the last hit counts. Few lengths are asked from the
longest on, and a hit ends it. More than `ADDRESS6_STEPS` are halved at each step; a prefix of a longer length then
needs a hit at every length that leads on to its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bpfence.plan.layout import ADDRESS6_STEPS


@dataclass(frozen=True, slots=True)
class LengthNode:
    """``longer``, ``shorter``: where in the list it goes on after a hit and after a miss; None: it ends there."""

    length: int
    longer: int | None
    shorter: int | None


def order_lengths(lengths: Iterable[int]) -> tuple[LengthNode, ...]:
    """The tree. No way through it has more than `ADDRESS6_STEPS` lengths, whatever prefix lengths (0 to 128) occur."""
    falling = sorted(set(lengths), reverse=True)
    if len(falling) <= ADDRESS6_STEPS:
        following = [*range(1, len(falling)), None]
        return tuple(LengthNode(length, None, after) for length, after in zip(falling, following, strict=False))
    nodes: list[LengthNode] = []
    _halve(falling, nodes)
    return tuple(nodes)


def _halve(falling: Sequence[int], nodes: list[LengthNode]) -> int | None:
    """Append the tree of these lengths; where its root is."""
    if not falling:
        return None
    middle, place = len(falling) // 2, len(nodes)
    nodes.append(LengthNode(falling[middle], None, None))
    longer = _halve(falling[:middle], nodes)
    nodes[place] = LengthNode(falling[middle], longer, _halve(falling[middle + 1 :], nodes))
    return place


def way_to(nodes: Sequence[LengthNode], length: int) -> tuple[int, ...]:
    """The lengths at which a hit leads on to this one, which occurs. Empty where no hit is needed on the way."""
    return tuple(passed for passed, hit in _passed(nodes, length) if hit)


def most_steps(nodes: Sequence[LengthNode]) -> int:
    """How many lengths the longest way asks."""
    return max((1 + sum(1 for _ in _passed(nodes, node.length)) for node in nodes), default=0)


def _passed(nodes: Sequence[LengthNode], length: int) -> Iterator[tuple[int, bool]]:
    """(length asked, whether a hit leads on) before it is this one's turn."""
    at: int | None = 0
    while at is not None and nodes[at].length != length:
        node = nodes[at]
        hit = node.length < length
        yield node.length, hit
        at = node.longer if hit else node.shorter
