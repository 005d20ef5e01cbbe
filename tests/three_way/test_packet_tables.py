"""Every packet table, answered by the reference evaluator, by explain and by the emitted tables: all must say what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from packets.tables import PacketTable, packet_tables, twin_tables
from support.agreement import TableAnswers

TABLES = [*packet_tables(), *twin_tables()]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id + ("6" if table in twin_tables() else ""))
def test_every_row_is_answered_as_written(table: PacketTable, tmp_path: Path) -> None:
    answers = TableAnswers(table, tmp_path)
    wrong = [
        f"{row.name}: expected {row.allow}, reference {reference}, explain {explained}, simulator {simulated}"
        for row in table.rows
        if (answer := answers.ask(row.flow)) != (row.allow,) * 3
        for reference, explained, simulated in [answer]
    ]
    assert not wrong, "\n".join(wrong)
