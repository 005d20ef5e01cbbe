"""Rows over classes of their own: every cell says what the flat layout says, in the simulator and in the kernel."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from bpfence.emit.artefact import Artefact
from bpfence.loader.trial import Trial
from bpfence.pipeline import compile_artefact
from bpfence.simulate.simulator import Simulator
from packets.tables import PacketTable, packet_tables
from support.agreement import TableAnswers
from support.layouts import force_fine_blocks, force_two_levels

TABLES = packet_tables("hosts", "services", "names")[::4]
KERNEL_TABLES = packet_tables("services")[5::12]


def compile_nodes(table: PacketTable, folder: Path) -> list[Artefact]:
    loaded = table.load(folder)
    nodes = sorted({pod.node for pod in loaded.inventory.pods if pod.node})
    return [compile_artefact(loaded, table.options.model_copy(update={"node": node})) for node in nodes]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_every_cell_is_that_of_the_flat_layout(
    table: PacketTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = compile_nodes(table, tmp_path / "flat")
    force_two_levels(monkeypatch)
    for one, other in zip(flat, compile_nodes(table, tmp_path / "two"), strict=True):
        assert other.manifest.features["two_level"] == bool(other.manifest.rows)
        assert not one.manifest.features["two_level"]
        _compare(one, other)


def _compare(flat: Artefact, levels: Artefact) -> None:
    """The rows have the same users and decisions; only what stands for them in the tables is different."""
    left, right = Simulator(flat), Simulator(levels)
    classes = list(product(range(flat.manifest.peer_classes), range(flat.manifest.l4_classes)))
    assert (levels.manifest.peer_classes, levels.manifest.l4_classes) == (
        flat.manifest.peer_classes,
        flat.manifest.l4_classes,
    )
    for row, twin in zip(flat.manifest.rows, levels.manifest.rows, strict=True):
        assert row.model_copy(update={"offset": twin.offset}) == twin
        seen = [left.cell_of(row.offset, peer, l4) for peer, l4 in classes]
        assert [right.cell_of(twin.offset, peer, l4) for peer, l4 in classes] == seen
    assert {name: image for name, image in levels.tables.items() if name.startswith("address")} == {
        name: image for name, image in flat.tables.items() if name.startswith("address")
    }


@pytest.mark.kernel
@pytest.mark.parametrize("narrow", [False, True], ids=["fine", "narrow"])
@pytest.mark.parametrize("table", KERNEL_TABLES, ids=lambda table: table.id)
def test_the_kernel_agrees_on_all_atoms(
    table: PacketTable, narrow: bool, tmp_path: Path, kernel_trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    force_two_levels(monkeypatch)
    if not narrow:
        force_fine_blocks(monkeypatch)
    else:
        monkeypatch.setattr("bpfence.classify.classification.PROVENANCE_BUDGET", -1)
    answers = TableAnswers(table, tmp_path)
    for agreement in answers.verify_nodes(kernel_trial, 100):
        assert agreement.checked == agreement.kernel_checked
        assert not agreement.differing, agreement.counterexamples[0].document()
    features = [answers.simulators.artefact(node).manifest.features for node in answers.nodes]
    assert any(item["two_level"] for item in features)
    assert all(item["narrow_cells"] == narrow for item in features)
    assert all(item["fine_blocks"] != narrow for item in features)
