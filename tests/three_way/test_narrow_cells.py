"""Cells without decision numbers are a byte each: nothing but their width may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.loader.trial import Trial
from packets.tables import PacketTable, packet_tables
from support.agreement import TableAnswers

TABLES = packet_tables()[::12]


@pytest.mark.kernel
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_all_atoms_agree(
    table: PacketTable, tmp_path: Path, kernel_trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpfence.classify.classification.PROVENANCE_BUDGET", -1)
    answers = TableAnswers(table, tmp_path)
    for agreement in answers.verify_nodes(kernel_trial, 100):
        assert agreement.checked == agreement.kernel_checked
        assert not agreement.differing, agreement.counterexamples[0].document()
    assert all(answers.simulators.artefact(node).manifest.features["narrow_cells"] for node in answers.nodes)
