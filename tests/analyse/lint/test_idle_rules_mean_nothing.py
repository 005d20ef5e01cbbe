"""Taking away a rule that is said to be without effect changes no verdict of any packet, at any endpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpfence.analyse.lint import LintInput, rule_usage
from bpfence.options import Options
from bpfence.pipeline import analyse
from packets.tables import PacketTable, all_tables, packet_tables
from support.idle_rules import endpoint_layers, verdicts, without


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.id)
def test_verdicts_stay(table: PacketTable, tmp_path: Path) -> None:
    loaded = table.load(tmp_path)
    analysed = analyse(loaded, table.options)
    program = endpoint_layers(analysed.program)
    given = LintInput(program, analysed.world, loaded.inventory, frozenset(), Options())
    for place in rule_usage(given).idle:
        for before, after in verdicts(program, without(program, place), analysed.world):
            assert np.array_equal(before, after), place


def test_some_table_has_such_a_rule(tmp_path: Path) -> None:
    idle = 0
    for number, table in enumerate(packet_tables()):
        loaded = table.load(tmp_path / str(number))
        analysed = analyse(loaded, table.options)
        given = LintInput(analysed.program, analysed.world, loaded.inventory, frozenset(), Options())
        idle += len(rule_usage(given).idle)
        if idle > 3:
            return
    pytest.fail(f"only {idle} in all tables")
