"""One of two states that are compared: tables with the endpoints they are in force for; in: tables, out: questions.

The questions of an endpoint are those of each of its addresses and directions, see `bpfence.analyse.table_questions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import numpy as np

from bpfence.analyse.table_origins import RowEntries
from bpfence.analyse.table_questions import Fixed, HostedRow, HostRows, Question, Step, WorkloadRow, host_rows
from bpfence.emit.artefact import Manifest
from bpfence.plan.layout import HOST_DROPS_WORKLOADS, HOST_POINTS, UNRESTRICTED
from bpfence.simulate.arrays import Address, Ints, OwnAddress, TableArrays, halves

DIRECTIONS = ("egress", "ingress")
_PLACE = {place: index for index, place in enumerate(HOST_POINTS)}
_HOST_STEPS = {
    ("ingress", True): ("untracked", "pre-dnat", "endpoint"),
    ("ingress", False): ("untracked", "pre-dnat", "forward"),
    ("egress", True): ("untracked", "endpoint"),
    ("egress", False): ("forward",),
}
"""(direction, whether the node is a party) -> the points of the host endpoint"""


@dataclass(frozen=True, slots=True)
class Side:
    """``tables`` None: nothing is enforced. ``places``: endpoint -> its number in the tables, None when no interface
    leads to it; ``host_places``: the same for hosts.
    """

    tables: TableArrays | None
    places: Mapping[str, int | None]
    host_places: Mapping[str, int | None] = field(default_factory=dict)
    entries: RowEntries = field(default_factory=lambda: RowEntries(None))

    @property
    def manifest(self) -> Manifest | None:
        return None if self.tables is None else self.tables.manifest

    def own(self, name: str) -> tuple[OwnAddress, ...] | None:
        """Addresses of an endpoint that is in force; None when it is not, or its number is none of the table's."""
        number = self.places.get(name)
        return None if number is None or self.tables is None else self.tables.own(number)

    def question(self, name: str, direction: str, address: Address) -> Question:
        """What decides about packets of the endpoint's address."""
        number = self.places.get(name)
        if number is None or self.tables is None:
            return Fixed("not-enforced")
        own = self.tables.own(number)
        if own is None:
            return Fixed("table-error")
        found = next((one for one in own if one.address == address), None)
        if found is None and direction == "egress":
            return Fixed("source-check")
        found = found or _first(own, address.version)
        if found is None:
            return Fixed("table-error")
        number = found.row(direction)
        entry = -1 if number == UNRESTRICTED else self.entries.find(direction, number, f"{name}@{found.address}")
        row = WorkloadRow(number, entry)
        if self.tables.manifest.features["hosts_at_workloads"]:
            return self._hosted(row, direction, address)
        return Fixed("unrestricted") if number == UNRESTRICTED else row

    def _hosted(self, row: WorkloadRow, direction: str, own: Address) -> Question:
        assert self.tables is not None
        header = self.tables.header
        drops = bool(int(header["host_flags"]) & HOST_DROPS_WORKLOADS)
        every, node = int(header["every_host"]) - 1, int(header["node_host"]) - 1
        return HostedRow(row, direction, int(class_of(self.tables, own)[0]), every, node, drops)

    def host_question(self, name: str, direction: str, party: bool, own: Address) -> Question:
        """What decides at an interface of a host about packets whose own side is the address."""
        number = self.host_places.get(name)
        if number is None or self.tables is None:
            return Fixed("not-enforced")
        hosts = self.tables.manifest.hosts
        steps = []
        if not name.startswith("node/"):
            points = _HOST_STEPS[direction, party]
            steps = [self._step(number, direction, point, own, point) for point in points]
        node = next((place for place, host in enumerate(hosts) if host.name.startswith("node/")), None)
        if party and node is not None:
            steps.append(self._step(node, direction, "endpoint", own, "node"))
        if all(step.row == UNRESTRICTED for step in steps):
            return Fixed("unrestricted")
        return HostRows(tuple(steps), party)

    def _step(self, number: int, direction: str, point: str, own: Address, title: str) -> Step:
        assert self.tables is not None
        [row] = host_rows(self.tables, number, _PLACE[direction, point], class_of(self.tables, own)).tolist()
        return Step(title, row, self.entries.find_host(number, direction, point, row))


def class_of(tables: TableArrays, address: Address) -> Ints:
    """The peer class of one address, as an array of one."""
    if address.version == 4:
        return tables.classes4(np.array([int(address)], dtype=np.int64))
    return tables.classes6(*halves([int(address)]))


def _first(own: tuple[OwnAddress, ...], version: int) -> OwnAddress | None:
    """Whose rows hold for packets to an address that is none of the endpoint's."""
    four = next((one for one in own if one.address.version == 4), None)
    six = next((one for one in own if one.address.version == 6), None)
    return (four or six) if version == 4 else (six or four)


def declared(manifest: Manifest | None, name: str) -> tuple[Address, ...]:
    """An endpoint's addresses as the manifest has them."""
    found = next((one for one in (manifest.endpoints if manifest else ()) if one.name == name), None)
    return tuple(ip_address(text) for text in found.addresses) if found else ()


def everywhere(manifest: Manifest | None, tables: TableArrays | None) -> Side:
    """A side all of whose endpoints are in force."""
    if manifest is None or tables is None:
        return Side(None, {})
    places: dict[str, int | None] = {entry.name: entry.id for entry in manifest.endpoints}
    hosts: dict[str, int | None] = {host.name: number for number, host in enumerate(manifest.hosts)}
    return Side(tables, places, hosts, RowEntries(manifest))


def host_ways() -> Iterator[tuple[str, bool]]:
    """(direction, whether the node is a party)."""
    return iter(_HOST_STEPS)
