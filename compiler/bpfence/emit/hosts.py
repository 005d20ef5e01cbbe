"""What the manifest says about the node's hosts: where their cells are, and the settings that no cell holds."""

from __future__ import annotations

from dataclasses import replace

from bpfence.classify.classification import Classification
from bpfence.emit.artefact import FailsafeEntry, HostEntry, HostRowEntry, HostSettingsEntry
from bpfence.emit.provenance import range_text
from bpfence.identity.inventory import FailsafePort, HostSettings
from bpfence.identity.world import Entity
from bpfence.plan.build import PlannedTables


def host_entries(
    hosts: tuple[Entity, ...], settings: HostSettings, planned: PlannedTables, classification: Classification
) -> tuple[HostEntry, ...]:
    """One entry per host endpoint, and one for the node when some policy selects it or it drops what pods send it."""
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
            settings=_settings(settings, host.kind),
            rows=tuple(rows.get(host.name, ())),
        )
        for host in hosts
        if host.kind == "hostendpoint" or host.name in rows or settings.workload_to_host == "Drop"
    )


def _settings(settings: HostSettings, kind: str) -> HostSettingsEntry:
    """Failsafe ports belong to host endpoints: policies that select nodes know none."""
    if kind == "node":
        settings = replace(settings, failsafe_ingress=(), failsafe_egress=())
    return HostSettingsEntry(
        failsafe_ingress=tuple(map(_failsafe, settings.failsafe_ingress)),
        failsafe_egress=tuple(map(_failsafe, settings.failsafe_egress)),
        workload_to_host=settings.workload_to_host,
    )


def _failsafe(item: FailsafePort) -> FailsafeEntry:
    return FailsafeEntry(
        protocol=item.protocol, port=item.port, network="" if item.network is None else str(item.network)
    )
