"""`verify` goes over the points of hosts too, and finds a table that says something else there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpfence.analyse import verify as module
from bpfence.analyse.verify import verify
from bpfence.ir.nodes import Point
from bpfence.loading import LoadedInput
from bpfence.options import Options
from bpfence.pipeline import Compiled, compile_with_classification
from bpfence.plan.layout import CELL_ALLOW, CELL_NARROW_SHIFT
from packets.tables import PacketTable, packet_tables

TABLES = [table for table in packet_tables("hosts", "services") if "hosts" in table.needs]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_the_tables_of_hosts_say_what_the_reference_says(table: PacketTable, tmp_path: Path) -> None:
    loaded = table.load(tmp_path)
    for node in sorted(item.name for item in loaded.inventory.nodes):
        agreement = verify(loaded, table.options.model_copy(update={"node": node}), 400, None)
        assert not agreement.differing, agreement.counterexamples[0].document()
        assert bool(agreement.host_checked) == bool(agreement.hosts)


def test_a_wrong_cell_of_a_host_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict turned round: at each point that has one."""
    table = next(table for table in TABLES if table.id == "HF1")
    loaded = table.load(tmp_path)

    def broken(loaded: LoadedInput, options: Options) -> Compiled:
        compiled = compile_with_classification(loaded, options)
        tables = compiled.artefact.tables
        narrow = compiled.artefact.manifest.features["narrow_cells"]
        cells = np.frombuffer(tables["cells"], dtype="u1" if narrow else "<u2").copy()
        cells ^= CELL_ALLOW >> CELL_NARROW_SHIFT if narrow else CELL_ALLOW
        tables["cells"] = cells.tobytes()
        return compiled

    monkeypatch.setattr(module, "compile_with_classification", broken)
    agreement = verify(loaded, table.options.model_copy(update={"node": "edge7"}), 2000, None)
    hosts = [item for item in agreement.counterexamples if item.packet.endpoint.startswith("hep/")]
    assert agreement.host_checked
    assert hosts
    assert {item.point for item in hosts} - {Point.ENDPOINT}


def test_the_limit_holds_for_workloads_and_hosts_together(tmp_path: Path) -> None:
    table = next(table for table in TABLES if table.id == "HF1")
    agreement = verify(table.load(tmp_path), table.options.model_copy(update={"node": "edge7"}), 1500, None)
    assert agreement.host_space > 1500
    assert 0 < agreement.host_checked <= 1500
    assert agreement.document()["host_checked"] == agreement.host_checked
