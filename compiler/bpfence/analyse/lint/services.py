"""Services that isolated pods can't use: some backends are denied and others are not, or none is ready.

In: the services' cells and, for every group of endpoints, its row. Out: one warning per service and policy, one note
per service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.groups import Group, GroupRow, TooLarge
from bpfence.analyse.lint.tables import TableBuilder
from bpfence.classify.decide import RowDecisions, decide_row
from bpfence.classify.services import ServiceCell, isolates
from bpfence.diagnostics import Diagnostics
from bpfence.flows import protocol_name
from bpfence.identity.inventory import Address, Inventory
from bpfence.ir.nodes import Direction, Origin, Point

MOST_CELLS = 100_000_000
"""cells of the tables of all rows together"""

Backend = tuple[Address, int]
Seen = tuple[int, int]
"""how a row sees a backend: (peer class, first L4 atom of its port)"""


@dataclass(frozen=True, slots=True)
class _Port:
    """A port of a service with its ready backends of one family. ``seen``: how each is seen."""

    cell: ServiceCell
    seen: tuple[Seen, ...]

    @property
    def words(self) -> str:
        return f"{self.cell.port}/{protocol_name(self.cell.protocol)}"


@dataclass(slots=True)
class ServiceLint:
    """Collects, over rows, what is to be said about services."""

    cells: Sequence[ServiceCell]
    inventory: Inventory
    _differing: dict[tuple[str, str, str], tuple[Origin, str]] = field(default_factory=dict)
    """(service, policy, field) -> the place and the message"""
    _isolated: Group | None = None

    def examine(self, items: Iterable[GroupRow], builder: TableBuilder) -> None:
        """Look at the rows of all groups. TooLarge when it would take too long."""
        egress = [item for item in items if _is_pod_egress(item)]
        self._isolated = next((item.group for item in egress if isolates(item.row)), None)
        ports = [port for port in self._ports(builder) if len(set(port.seen)) > 1]
        classes = sorted({number for port in ports for number, _ in port.seen})
        if len(egress) * len(classes) * builder.l4.count > MOST_CELLS:
            raise TooLarge
        if not ports:
            return
        peers, place = builder.peers.only(classes), {number: at for at, number in enumerate(classes)}
        for item in egress:
            decided = decide_row(item.row, peers, builder.l4, builder.cluster)
            allowed = np.array([decision.allowed for decision in decided.decisions], dtype=bool)
            if allowed.all() or not allowed.any():
                continue
            for port in ports:
                self._compare(item, port, _answers(port, decided, place, builder), allowed, decided)

    def report(self, diagnostics: Diagnostics) -> None:
        """The warnings, then the notes."""
        for (_, policy, _), (origin, message) in self._differing.items():
            hint = "allow every backend, or none: one that is denied closes the service's address"
            diagnostics.warning(codes.BACKENDS_DIFFER, origin.span, message, hint, policy)
        if self._isolated is not None:
            self._report_idle(self._isolated, diagnostics)

    def _ports(self, builder: TableBuilder) -> Iterator[_Port]:
        """Every port once, although a service has it at several addresses."""
        known: set[object] = set()
        for cell in self.cells:
            key = (cell.service, cell.protocol, cell.backends)
            if len(cell.backends) > 1 and key not in known:
                known.add(key)
                yield _Port(cell, tuple(_seen(address, cell.protocol, n, builder) for address, n in cell.backends))

    def _compare(
        self,
        item: GroupRow,
        port: _Port,
        answers: NDArray[np.int32],
        allowed: NDArray[np.bool_],
        decided: RowDecisions,
    ) -> None:
        verdicts = allowed[answers]
        mixed = verdicts.any(axis=0) & ~verdicts.all(axis=0)
        if not mixed.any():
            return
        column = int(np.flatnonzero(mixed)[0])
        denied = [port.cell.backends[at] for at in np.flatnonzero(~verdicts[:, column])]
        members = item.group.members
        if len(members) == 1 and {address for address, _ in denied} <= set(members[0].addresses):
            return
        first = port.cell.backends.index(denied[0])
        layers = decided.decisions[int(answers[first, column])].layers
        origin = next((layer.origin for layer in layers if not layer.allowed and layer.origin is not None), None)
        if origin is None:
            return
        key = (port.cell.service, origin.policy, origin.field)
        self._differing.setdefault(key, (origin, _message(item.group, port, denied)))

    def _report_idle(self, group: Group, diagnostics: Diagnostics) -> None:
        """What nobody answers: denied to whoever is isolated."""
        idle = _idle_ports(self.cells)
        if not idle:
            return
        spans = {f"{service.namespace}/{service.name}": service.span for service in self.inventory.services}
        whom = f"denied to pods whose egress is isolated ({group.words})"
        if not self.inventory.endpoints:
            message = f"the input has services and neither EndpointSlices nor Endpoints: their addresses are {whom}"
            span = min(spans[name] for name in idle)
            diagnostics.note(codes.NO_BACKEND, span, message, "add the EndpointSlices to the input")
            return
        for name, ports in idle.items():
            message = f"service {name} has no ready backend at {', '.join(ports)}: its address is {whom}"
            diagnostics.note(codes.NO_BACKEND, spans[name], message, "", f"Service {name}")


def _is_pod_egress(item: GroupRow) -> bool:
    row = item.row
    return row.direction is Direction.EGRESS and row.point is Point.ENDPOINT and item.group.members[0].kind == "pod"


def _seen(address: Address, protocol: int, port: int, builder: TableBuilder) -> Seen:
    peers = builder.peers
    return int(peers.class_of[peers.atoms.atom_of(address)]), builder.l4.atom(protocol, port, 0)


def _answers(port: _Port, decided: RowDecisions, place: Mapping[int, int], builder: TableBuilder) -> NDArray[np.int32]:
    """Decision numbers: a row per backend, a column per class of source ports."""
    space = builder.l4.spaces[port.cell.protocol]
    columns = 1 if space.second is None else space.second.count
    # Port 0 is in some class of source ports; the row of its atom begins a multiple of their number from the start.
    starts = [space.offset + (atom - space.offset) // columns * columns for _, atom in port.seen]
    found = [
        decided.numbers[place[number], start : start + columns]
        for (number, _), start in zip(port.seen, starts, strict=True)
    ]
    return np.stack(found)


def _message(group: Group, port: _Port, denied: Sequence[Backend]) -> str:
    address, number = denied[0]
    where = f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"
    more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
    return (
        f"{group.words} may reach some backends of service {port.cell.service} at {port.words}, but not {where}{more}: "
        "the service's address is denied"
    )


def _idle_ports(cells: Iterable[ServiceCell]) -> dict[str, list[str]]:
    """Service -> its ports that no ready backend answers in some family, in order."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.backends:
            continue
        family = " over IPv6" if cell.addresses[0].version == 6 else ""
        words = f"{cell.port}/{protocol_name(cell.protocol)}{family}"
        ports = found.setdefault(cell.service, [])
        if words not in ports:
            ports.append(words)
    return found
