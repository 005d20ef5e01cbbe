"""Flows of the tables about hosts, taken along every hook of their way: at each the kernel's program and the simulator
agree, and together they say what the table says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.loader.trial import Trial
from bpfence.simulate.host_hooks import HostHooks
from bpfence.simulate.hosts import Crossing, Transit, crossings
from bpfence.simulate.simulator import Simulator
from packets.tables import PacketTable, packet_tables, twin_tables
from support.agreement import TableAnswers

FEATURES = ("hosts", "services")
TABLES = [
    table for table in (*packet_tables(*FEATURES), *twin_tables(*FEATURES)) if table.needs & {"hosts", "services"}
]


def simulated(simulator: Simulator, item: Crossing) -> bool:
    hooks = HostHooks(simulator)
    if not item.workload:
        return hooks.at_interface(item.host, item.packet, party=item.party).passes
    return simulator.decide(item.packet).allowed and hooks.at_workload(item.packet, party=item.party)


def answers_of_kernel(table: PacketTable, answers: TableAnswers, trial: Trial) -> tuple[list[str], list[bool]]:
    """(hooks where simulator and kernel differ, by row whether the kernel lets its flow pass at all hooks).

    What a table says about a service leaves out the backends' own policies: where these deny, the simulator tells what
    the hosts say.
    """
    differing: list[str] = []
    verdicts = [True] * len(table.rows)
    met: dict[str, list[tuple[int, Transit]]] = {}
    for number, row in enumerate(table.rows):
        for node, transit in answers.transits(row.flow):
            met.setdefault(node, []).append((number, transit))
    for node, flows in met.items():
        simulator = answers.simulators.of_node(node)
        trial.use(answers.simulators.artefact(node))
        for number, transit in flows:
            way = crossings(simulator, transit)
            for item, kernel in zip(way, trial.crosses(way), strict=True):
                if kernel != simulated(simulator, item):
                    differing.append(f"{table.rows[number].name} on {node} at {item}: kernel {kernel}")
                if item.backend and not simulator.decide(item.packet).allowed:
                    verdicts[number] &= HostHooks(simulator).at_workload(item.packet, party=item.party)
                else:
                    verdicts[number] &= kernel
    return differing, verdicts


@pytest.mark.kernel
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_the_kernel_answers_at_every_hook(table: PacketTable, tmp_path: Path, kernel_trial: Trial) -> None:
    answers = TableAnswers(table, tmp_path)
    wrong, verdicts = answers_of_kernel(table, answers, kernel_trial)
    wrong += [
        f"{row.name}: expected {row.allow}, the hooks together say {verdict}"
        for row, verdict in zip(table.rows, verdicts, strict=True)
        if verdict != row.allow and not answers.is_beyond_hooks(row.flow)
    ]
    assert not wrong, "\n".join(wrong)
