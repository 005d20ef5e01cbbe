"""Every packet table, answered by the reference evaluator, by explain, by the emitted tables and by the kernel: all
must say what it says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS, Flow
from bpfence.loader.trial import Trial
from packets.tables import PacketTable, packet_tables, twin_tables
from support.agreement import TableAnswers

TABLES = [*packet_tables("services"), *twin_tables("services")]
FEATURES = ("hosts", "names", "services")
"""what explain and the tables know beyond that, and the kernel's programs do not"""
MORE_TABLES = [*packet_tables(*FEATURES), *twin_tables(*FEATURES)]


@pytest.mark.parametrize("table", MORE_TABLES, ids=lambda table: table.id)
def test_every_row_is_answered_as_written(table: PacketTable, tmp_path: Path) -> None:
    answers = TableAnswers(table, tmp_path)
    wrong = []
    for row in table.rows:
        reference, explained, simulated = answers.ask(row.flow)
        if (reference, explained, simulated) != (row.allow,) * 3:
            wrong.append(
                f"{row.name}: expected {row.allow}, reference {reference}, explain {explained}, tables {simulated}"
            )
    assert not wrong, "\n".join(wrong)


STAGED = [table for table in MORE_TABLES if any(row.pending is not None for row in table.rows)]


@pytest.mark.parametrize("table", STAGED, ids=lambda table: table.id)
def test_staged_policies_are_answered_as_pending(table: PacketTable, tmp_path: Path) -> None:
    answers = TableAnswers(table, tmp_path)
    asked = [row for row in table.rows if row.pending is not None]
    assert [answers.ask_pending(row.flow) for row in asked] == [(row.pending,) * 3 for row in asked]


def is_readable(flow: Flow) -> bool:
    """Whether the flow says what its L4 header says. A packet without is malformed, or a later fragment that follows
    its first one: the programs judge neither by the policies.
    """
    if flow.protocol in ICMP_PROTOCOLS:
        return flow.icmp_type is not None
    return flow.protocol not in PORT_PROTOCOLS or flow.destination_port is not None


@pytest.mark.kernel
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_the_kernel_answers_every_row(table: PacketTable, tmp_path: Path, kernel_trial: Trial) -> None:
    answers = TableAnswers(table, tmp_path)
    sent = [row for row in table.rows if is_readable(row.flow)]
    verdicts = answers.ask_kernel(kernel_trial, [row.flow for row in sent])
    wrong = [
        f"{row.name}: expected {row.allow}" for row, verdict in zip(sent, verdicts, strict=True) if row.allow != verdict
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.kernel
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_all_atoms_agree(table: PacketTable, tmp_path: Path, kernel_trial: Trial) -> None:
    """Not only the rows: packets that cover every atom of the table's world, at the pods of its nodes."""
    for agreement in TableAnswers(table, tmp_path).verify_nodes(kernel_trial, 400):
        assert agreement.checked == agreement.kernel_checked
        assert not agreement.differing, agreement.counterexamples[0].document()
