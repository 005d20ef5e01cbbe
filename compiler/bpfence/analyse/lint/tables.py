"""A row's rules as small matrices: peers and L4 points that no rule of the row can tell apart are one.

In: rows. Out: per row a `RowTable`, exact for every packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.lint.groups import TooLarge
from bpfence.classify.fingerprints import equal_rows
from bpfence.classify.l4 import L4Atoms, cut_l4
from bpfence.classify.peers import PeerClasses, classify_peers
from bpfence.classify.rows import Row, used_rules
from bpfence.errors import BudgetError
from bpfence.identity.labels import LabelIndex
from bpfence.identity.named_ports import Term, cluster_ports, rule_terms
from bpfence.identity.world import World
from bpfence.ir.expressions import PeerExpr
from bpfence.ir.nodes import L4Match, Rule

Bits = NDArray[np.bool_]
Matrix = NDArray[np.bool_]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Marks:
    """Expressions beside the rules' that the tables must tell apart, because somebody asks for them."""

    peers: tuple[PeerExpr, ...] = ()
    l4: tuple[L4Match, ...] = ()


@dataclass(frozen=True, slots=True)
class RowTable:
    """``peers``, ``l4``: expression -> which of the table's rows (columns) satisfy it."""

    row: Row
    shape: tuple[int, int]
    peers: dict[PeerExpr, Bits]
    l4: dict[L4Match, Bits]
    terms: dict[int, tuple[Term, ...]]
    """identity of a rule -> its terms"""
    _matrices: dict[int, Matrix] = field(default_factory=dict)

    def matrix(self, rule: Rule) -> Matrix:
        """Which cells the rule matches. Do not write to it."""
        known = self._matrices.get(id(rule))
        if known is None:
            known = self._matrices[id(rule)] = self._evaluate(rule)
        return known

    def _evaluate(self, rule: Rule) -> Matrix:
        result = np.zeros(self.shape, dtype=bool)
        for term in self.terms[id(rule)]:
            block = np.outer(self.peers[term.peer], self.l4[term.l4])
            for where, place in term.excluded:
                block &= ~np.outer(self.peers[where], self.l4[place])
            result |= block
        return result


class TableBuilder:
    """Makes the tables of some rows. ``most``: elements of all their matrices; TooLarge beyond. ``peers``, ``l4``,
    ``cluster``: what the rules of all these rows tell apart, and the world's port names.
    """

    def __init__(self, rows: Sequence[Row], world: World, labels: LabelIndex, marks: Marks, most: int) -> None:
        self._marks = marks
        self._left = most
        self.cluster = cluster_ports(world.entities)
        self._terms = {id(row): {id(rule): self._of(rule, row) for rule in used_rules((row,))} for row in rows}
        terms = [term for by_rule in self._terms.values() for own in by_rule.values() for term in own]
        peers, l4 = _expressions(terms, marks)
        try:
            self.l4: L4Atoms = cut_l4(l4)
        except BudgetError:
            raise TooLarge from None
        self.peers: PeerClasses = classify_peers(world.entities, labels, peers, (row.node for row in rows))

    def _of(self, rule: Rule, row: Row) -> tuple[Term, ...]:
        return rule_terms(rule, row.direction, row.own_ports, self.cluster)

    def table(self, row: Row) -> RowTable:
        """The table of one of the rows."""
        terms = self._terms[id(row)]
        peers, l4 = _expressions((term for own in terms.values() for term in own), self._marks)
        self._spend(len(peers) * self.peers.count + len(l4) * self.l4.count)
        peer_bits = _join({peer: self.peers.matches(peer, row.node) for peer in peers})
        l4_bits = _join({match: self._l4_bits(match) for match in l4})
        shape = (_width(peer_bits.values()), _width(l4_bits.values()))
        self._spend(len(terms) * shape[0] * shape[1])
        return RowTable(row, shape, peer_bits, l4_bits, terms)

    def _l4_bits(self, match: L4Match) -> Bits:
        bits = np.zeros(self.l4.count, dtype=bool)
        bits[self.l4.matches(match)] = True
        return bits

    def _spend(self, elements: int) -> None:
        self._left -= elements
        if self._left < 0:
            raise TooLarge


def _expressions(terms: Iterable[Term], marks: Marks) -> tuple[dict[PeerExpr, None], dict[L4Match, None]]:
    peers: dict[PeerExpr, None] = dict.fromkeys(marks.peers)
    l4: dict[L4Match, None] = dict.fromkeys(marks.l4)
    for term in terms:
        peers[term.peer] = None
        l4[term.l4] = None
        for where, place in term.excluded:
            peers[where] = None
            l4[place] = None
    return peers, l4


def _width(columns: Iterable[Bits]) -> int:
    """The length they share; without any nothing is told apart."""
    return next((len(bits) for bits in columns), 1)


def _join(columns: dict[Key, Bits]) -> dict[Key, Bits]:
    """Places where all columns agree become one."""
    if not columns:
        return {}
    packed = np.packbits(np.stack(list(columns.values())), axis=0)
    _, first = equal_rows(np.ascontiguousarray(packed.T))
    return {key: bits[first] for key, bits in columns.items()}
