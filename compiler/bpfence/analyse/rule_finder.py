"""The rule behind a verdict that the tables keep without its reason: large tables have no room for decision numbers.

In: a program and the world it is about, and a packet at a workload. Out: its `Origin`, worked out rule by rule. A world
that is not quite the one that the tables were made for may tell another verdict; then nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfence.analyse.judge import L4Facts, judge
from bpfence.analyse.table_origins import NOT_RECORDED, Origin, origin_of
from bpfence.classify.classification import index_program
from bpfence.classify.rows import RowBuilder, Subject, place_of
from bpfence.emit.provenance import layer_entry
from bpfence.identity.inventory import Address
from bpfence.identity.named_ports import PortNumbers, cluster_ports
from bpfence.identity.world import World
from bpfence.ir.nodes import Direction, Program

MOST = 2000
"""packets that are looked into: a rule by rule search is slow"""


class RuleFinder:
    """Answers for one program; it is made when first needed."""

    def __init__(self, program: Callable[[], Program | None], world: World | None) -> None:
        self._make = program
        self._world = world
        self._rows: RowBuilder | None = None
        self._cluster: PortNumbers = {}
        self._asked = 0
        self._known: dict[tuple[Direction, Address, Address, L4Facts], Origin | None] = {}

    def better(self, origin: Origin, direction: str, own: Address, peer: Address, l4: L4Facts) -> Origin:
        """The origin with its rule, if it has none and the rule can be told."""
        if origin.reason != NOT_RECORDED:
            return origin
        key = (Direction(direction), own, peer, l4)
        if key not in self._known:
            if self._asked >= MOST or not self._ready():
                return origin
            self._asked += 1
            self._known[key] = self._find(*key)
        found = self._known[key]
        return found if found is not None and found.verdict == origin.verdict else origin

    def _ready(self) -> bool:
        if self._rows is None and self._world is not None:
            program = self._make()
            if program is None:
                self._world = None
                return False
            self._rows = RowBuilder(program, self._world, index_program(program, self._world))
            self._cluster = cluster_ports(self._world.entities)
        return self._rows is not None

    def _find(self, direction: Direction, own: Address, peer: Address, l4: L4Facts) -> Origin | None:
        assert self._world is not None
        assert self._rows is not None
        entity = next((one for one in self._world.by_address.get(own, ()) if one.kind == "pod"), None)
        row = None if entity is None else self._rows.row(Subject(entity, own), direction)
        if row is None:
            return None
        judged = judge(row, place_of(peer, self._world), l4, self._cluster)
        return origin_of([layer_entry(outcome) for outcome in judged.layers], judged.allowed)
