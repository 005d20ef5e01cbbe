"""First match wins, for every peer class and L4 atom of a row at once.

In: one `Row`, the peer classes, the L4 atoms. Out: `RowDecisions`: a decision number per (peer class, L4 atom) and
what each number means.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.fingerprints import equal_rows
from bpfence.classify.l4 import L4Atoms
from bpfence.classify.peers import PeerClasses
from bpfence.classify.rows import ActiveLayer, ActiveTier, Row
from bpfence.identity.named_ports import PortNumbers, rule_terms
from bpfence.ir.nodes import Action, Origin, Rule

Matrix = NDArray[np.int32]
Open = NDArray[np.bool_]
UNDECIDED = "undecided"
PROFILES = "profiles"
"""the tier of host endpoints' profiles; no other tier has this name"""
MANY_PEERS = 4096
"""classes from which a row is kept by groups"""


@dataclass(frozen=True, slots=True)
class LayerOutcome:
    """Why one layer allows or denies. ``rule`` with the reasons rule, exempt and profile.

    ``reason``: rule, exempt, default-deny, unmatched; profile (what a host endpoint's profiles say, or that it has
    none); undecided (the layer does not decide everything and the next point is asked: ``allowed`` is true then);
    and, of no layer's rules, no-backend, failsafe, workload-to-host.
    """

    layer: str
    allowed: bool
    reason: str
    tier: str = ""
    rule: Rule | None = None
    isolating: tuple[Origin, ...] = ()
    """default-deny: the sections that turned it on"""

    @property
    def origin(self) -> Origin | None:
        """The place that decided: the rule, or the first section that isolates."""
        if self.rule is not None:
            return self.rule.origin
        return self.isolating[0] if self.isolating else None


@dataclass(frozen=True, slots=True)
class Decision:
    """One meaning of a cell: all layers' outcomes; allowed when every layer allows. ``logged``: some LOG rule matched
    on the way.
    """

    layers: tuple[LayerOutcome, ...]
    logged: bool = False
    spares_host: bool = False
    """at a point before translation: holds only for what the node passes on, the rest goes to the next point"""

    @property
    def allowed(self) -> bool:
        return all(layer.allowed for layer in self.layers)

    @property
    def undecided(self) -> bool:
        """Whether no layer denies and some layer leaves it to the next point."""
        return self.allowed and any(layer.reason == UNDECIDED for layer in self.layers)


@dataclass(frozen=True, slots=True)
class RowDecisions:
    """``few``: a decision number, index into ``decisions``, for each (group of peer classes, L4 atom).

    ``group_of``: peer class -> its group; None where every class is one.
    """

    row: Row
    few: Matrix
    decisions: tuple[Decision, ...]
    group_of: NDArray[np.int64] | None = None

    @property
    def numbers(self) -> Matrix:
        """Decision numbers, shape (peer classes, L4 atoms). Made anew each time where there are groups."""
        return self.few if self.group_of is None else self.few[self.group_of]


def grouped(row: RowDecisions) -> RowDecisions:
    """The same row with its equal peer classes grouped, where there are so many that a matrix of all would weigh."""
    if row.group_of is not None or len(row.few) < MANY_PEERS:
        return row
    group_of, first = equal_rows(row.few)
    return RowDecisions(row.row, row.few[first], row.decisions, group_of)


def rule_reason(tier: ActiveTier) -> str:
    """The reason of a decision by one of the tier's policies."""
    return "profile" if tier.tier.name == PROFILES else "rule"


def end_reason(tier: ActiveTier) -> str:
    """The reason of a deny at the tier's end."""
    return "profile" if tier.tier.name == PROFILES else "default-deny"


def spared_outcome(layer: ActiveLayer, tier: ActiveTier) -> LayerOutcome:
    """What a tier that spares them says of endpoints that reach themselves."""
    return LayerOutcome(layer.layer.name, True, "exempt", tier.tier.name)


def open_outcome(layer: ActiveLayer) -> LayerOutcome:
    """What the layer says when no tier has decided."""
    return LayerOutcome(layer.layer.name, True, "unmatched" if layer.layer.decides_all else UNDECIDED)


def decide_row(
    row: Row, peers: PeerClasses, l4: L4Atoms, cluster: PortNumbers, *, itself: bool = False
) -> RowDecisions:
    """Evaluate every layer of the row and join their outcomes. ``itself``: for packets by which the subject reaches
    itself through a service.
    """
    shape = (peers.count, l4.count)
    combined = np.zeros(shape, dtype=np.int32)
    meanings: list[Decision] = [Decision(())]
    for layer in row.layers:
        table = _LayerTable(layer, shape)
        for tier in layer.tiers:
            if itself and tier.tier.spares_itself:
                table.spare(tier)
                break
            table.run_tier(tier, row, peers, l4, cluster)
        numbers, outcomes = table.finish()
        combined, meanings = _join(combined, meanings, numbers, outcomes)
    return RowDecisions(row, combined, tuple(meanings))


def _join(
    left: Matrix, meanings: list[Decision], right: Matrix, outcomes: list[tuple[LayerOutcome, bool]]
) -> tuple[Matrix, list[Decision]]:
    """Number the pairs that occur, in the order of (left, right)."""
    pairs = left.astype(np.int64) * len(outcomes) + right
    occurring, numbers = _number_occurring(pairs.reshape(-1), len(meanings) * len(outcomes))
    joined = []
    for pair in occurring.tolist():
        before = meanings[pair // len(outcomes)]
        outcome, logged = outcomes[pair % len(outcomes)]
        joined.append(Decision((*before.layers, outcome), before.logged or logged))
    return numbers.reshape(left.shape).astype(np.int32), joined


def _number_occurring(values: NDArray[np.int64], bound: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(the distinct values in order, the place of each value among them). ``bound``: above all values."""
    if bound > len(values):
        return np.unique(values, return_inverse=True)
    occurring = np.flatnonzero(np.bincount(values, minlength=bound))
    place = np.zeros(bound, dtype=np.int64)
    place[occurring] = np.arange(len(occurring))
    return occurring, place[values]


@dataclass(slots=True)
class _LayerTable:
    """The state of one layer while its tiers run."""

    layer: ActiveLayer
    shape: tuple[int, int]
    outcomes: list[LayerOutcome] = field(default_factory=list)
    numbers: Matrix = field(init=False)
    live: Open = field(init=False)
    logged: Open | None = None

    def __post_init__(self) -> None:
        self.numbers = np.full(self.shape, -1, dtype=np.int32)
        self.live = np.ones(self.shape, dtype=bool)

    def run_tier(self, tier: ActiveTier, row: Row, peers: PeerClasses, l4: L4Atoms, cluster: PortNumbers) -> None:
        """Rules in order on what is still open; then the tier's end."""
        undecided = self.live.copy()
        exempt = frozenset(map(id, tier.tier.exemptions(row.direction)))
        for rule in tier.rules:
            self._run_rule(rule, tier, undecided, _rule_blocks(rule, row, peers, l4, cluster), id(rule) in exempt)
        if tier.isolating and tier.tier.end is Action.DENY:
            isolating = tuple(section.origin for section in tier.isolating)
            self._settle(
                undecided,
                LayerOutcome(self.layer.layer.name, False, end_reason(tier), tier.tier.name, None, isolating),
            )

    def spare(self, tier: ActiveTier) -> None:
        """The tier lets pass what is still open."""
        self._settle(self.live.copy(), spared_outcome(self.layer, tier))

    def _run_rule(
        self,
        rule: Rule,
        tier: ActiveTier,
        undecided: Open,
        blocks: list[tuple[NDArray[np.int64], NDArray[np.int64], Open | None]],
        exempt: bool,
    ) -> None:
        number = None
        for peer_index, l4_index, mask in blocks:
            block = np.ix_(peer_index, l4_index)
            hit = undecided[block] if mask is None else undecided[block] & mask
            if not hit.any():
                continue
            if rule.action is Action.LOG:
                self._log(block, hit)
                continue
            undecided[block] &= ~hit
            if rule.action is Action.PASS:
                continue
            if number is None:
                number = self._outcome(
                    LayerOutcome(
                        self.layer.layer.name,
                        rule.action is Action.ALLOW,
                        "exempt" if exempt else rule_reason(tier),
                        tier.tier.name,
                        rule,
                    )
                )
            self.numbers[block] = np.where(hit, number, self.numbers[block])
            self.live[block] &= ~hit

    def _log(self, block: tuple[NDArray[np.int64], ...], hit: Open) -> None:
        if self.logged is None:
            self.logged = np.zeros(self.shape, dtype=bool)
        self.logged[block] |= hit

    def _outcome(self, outcome: LayerOutcome) -> int:
        self.outcomes.append(outcome)
        return len(self.outcomes) - 1

    def _settle(self, undecided: Open, outcome: LayerOutcome) -> None:
        if undecided.any():
            self.numbers[undecided] = self._outcome(outcome)
            self.live &= ~undecided

    def finish(self) -> tuple[Matrix, list[tuple[LayerOutcome, bool]]]:
        """Allow, or leave open, what no tier decided; tell logged and unlogged cells of one outcome apart."""
        self._settle(self.live.copy(), open_outcome(self.layer))
        pairs = [(outcome, False) for outcome in self.outcomes]
        if self.logged is not None and self.logged.any():
            self.numbers = np.where(self.logged, self.numbers + len(pairs), self.numbers).astype(np.int32)
            pairs += [(outcome, True) for outcome in self.outcomes]
        return self.numbers, pairs


def _rule_blocks(
    rule: Rule, row: Row, peers: PeerClasses, l4: L4Atoms, cluster: PortNumbers
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], Open | None]]:
    """The rule as blocks of the table: (peer classes, L4 atoms, mask inside the block or None for all of it)."""
    blocks = []
    for term in rule_terms(rule, row.direction, row.own_ports, cluster):
        peer_bits = peers.matches(term.peer, row.node)
        peer_index, l4_index = np.flatnonzero(peer_bits), l4.matches(term.l4)
        if not len(peer_index) or not len(l4_index):
            continue
        mask: Open | None = None
        for where, place in term.excluded:
            hit = np.outer(peers.matches(where, row.node)[peer_index], np.isin(l4_index, l4.matches(place)))
            mask = ~hit if mask is None else mask & ~hit
        blocks.append((peer_index, l4_index, mask))
    return blocks
