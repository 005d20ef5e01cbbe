"""What the manifest says about the node's hosts: where their cells are, and the settings that no cell holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bpfence.classify.classification import Classification
from bpfence.classify.services import ServiceCell
from bpfence.emit.artefact import FailsafeEntry, GuardedEntry, HostEntry, HostRowEntry, HostSettingsEntry
from bpfence.emit.provenance import range_text
from bpfence.identity.inventory import FailsafePort, HostSettings
from bpfence.identity.world import Entity
from bpfence.plan.build import PlannedTables

API_SERVER = "default/kubernetes"
"""The service by which every cluster offers its API server."""


def host_entries(
    hosts: tuple[Entity, ...], settings: HostSettings, planned: PlannedTables, classification: Classification
) -> tuple[HostEntry, ...]:
    """One entry per host that is asked (see `asked_hosts`), in the order of their numbers in the tables."""
    rows: dict[str, list[HostRowEntry]] = {}
    for item, number in zip(classification.host_rows, classification.host_row_numbers, strict=True):
        entry = HostRowEntry(
            direction=str(item.direction),
            point=str(item.point),
            own=range_text(item.own),
            offset=None if number is None else planned.row_offsets[number],
        )
        rows.setdefault(item.host, []).append(entry)
    return tuple(
        HostEntry(
            name=host.name,
            interface=host.interface,
            addresses=tuple(str(address) for address in host.addresses),
            settings=_settings(settings),
            rows=tuple(rows.get(host.name, ())),
        )
        for host in hosts
    )


def asked_hosts(hosts: Sequence[Entity], settings: HostSettings, classification: Classification) -> tuple[Entity, ...]:
    """The host endpoints, and the node when some policy selects it or it drops what workloads send to it."""
    named = {row.host for row in classification.host_rows}
    drops = settings.workload_to_host == "Drop"
    return tuple(host for host in hosts if host.kind == "hostendpoint" or host.name in named or drops)


def guarded_entries(services: Iterable[ServiceCell]) -> tuple[GuardedEntry, ...]:
    """Where the API server answers. What the node itself sends to a service is translated before it meets a host's
    policy, so these are the places behind the service; its own addresses only where nobody is known behind them.
    """
    found = {
        (cell.protocol, address, port)
        for cell in services
        if cell.service == API_SERVER
        for address, port in cell.backends or ((address, cell.port) for address in cell.addresses)
    }
    ordered = sorted(found, key=lambda item: (item[1].version, int(item[1]), item[0], item[2]))
    return tuple(
        GuardedEntry(name=API_SERVER, protocol=protocol, address=str(address), port=port)
        for protocol, address, port in ordered
    )


def _settings(settings: HostSettings) -> HostSettingsEntry:
    return HostSettingsEntry(
        failsafe_ingress=tuple(map(_failsafe, settings.failsafe_ingress)),
        failsafe_egress=tuple(map(_failsafe, settings.failsafe_egress)),
        workload_to_host=settings.workload_to_host,
    )


def _failsafe(item: FailsafePort) -> FailsafeEntry:
    return FailsafeEntry(
        protocol=item.protocol, port=item.port, network="" if item.network is None else str(item.network)
    )
