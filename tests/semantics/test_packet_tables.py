"""The evaluator against every packet table, and against the IPv6 twin of every table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from bpfence.semantics import ReferenceWorld, Verdict, decide, pending_world
from packets.tables import PacketRow, PacketTable, all_tables, all_twins

TABLES = (*all_tables(), *all_twins())
ROWS = [pytest.param(table, row, id=row.name) for table in TABLES for row in table.rows]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[PacketTable], ReferenceWorld]:
    """The world of a table, read once."""
    folder = tmp_path_factory.mktemp("tables")
    return cache(lambda table: load_world(table, folder / table.id))


def load_world(table: PacketTable, folder: Path) -> ReferenceWorld:
    loaded = table.load(folder)
    assert not loaded.diagnostics.has_errors, [str(item) for item in loaded.diagnostics.sorted() if item.is_error]
    return ReferenceWorld(loaded.inventory, loaded.policies, table.options)


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_verdict(worlds: Callable[[PacketTable], ReferenceWorld], table: PacketTable, row: PacketRow) -> None:
    verdict = decide(worlds(table), row.flow)
    assert verdict.allowed is row.allow, verdict
    assert_explained(verdict)


PENDING = [param for param in ROWS if isinstance(param.values[1], PacketRow) and param.values[1].pending is not None]


@pytest.mark.parametrize(("table", "row"), PENDING)
def test_pending(worlds: Callable[[PacketTable], ReferenceWorld], table: PacketTable, row: PacketRow) -> None:
    assert decide(pending_world(worlds(table)), row.flow).allowed is row.pending


def assert_explained(verdict: Verdict) -> None:
    """A rule or a default deny always names its policy and its place; a denied side has a denying layer."""
    for side in (verdict.egress, verdict.ingress):
        assert side.allowed is all(layer.allowed for layer in side.layers)
        for layer in side.layers:
            named = layer.reason in ("rule", "default-deny", "no-backend", "profile", "workload-to-host")
            assert named is bool(layer.policy)
            assert named is (layer.span is not None)
