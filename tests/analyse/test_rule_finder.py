"""Tables too large for decision numbers: the rules behind a change are found all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.analyse.rule_finder import RuleFinder
from bpfence.analyse.table_diff import diff_tables
from bpfence.analyse.table_names import known_names
from bpfence.analyse.table_origins import NOT_RECORDED
from bpfence.analyse.table_rows import NO_RULES, ChangeRow, Rules, rows_of
from bpfence.analyse.table_sides import everywhere
from bpfence.assembly import Analysed
from bpfence.emit.artefact import Artefact
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import analyse, compile_artefact
from bpfence.simulate.arrays import TableArrays
from support.netns import PODS, allow_ingress, inventory

OLD = (allow_ingress("one", "db", "web"), allow_ingress("two", "db", "cart", port=81))
NEW = (allow_ingress("three", "db", "cart"), allow_ingress("four", "db", "web", "cart", port=82))


def compiled(folder: Path, *policies: str) -> tuple[Artefact, Analysed]:
    path = folder / "input.yaml"
    path.write_text("\n---\n".join((inventory(PODS), *policies)))
    artefact = compile_artefact(load_input([str(path)], Options()), Options())
    return artefact, analyse(load_input([str(path)], Options()), Options())


def changes(folder: Path, found: bool) -> list[ChangeRow]:
    (old, before), (new, after) = compiled(folder, *OLD), compiled(folder, *NEW)
    sides = [everywhere(one.manifest, TableArrays(one.manifest, one.tables)) for one in (old, new)]
    groups = diff_tables(sides[0], sides[1], known_names((after.world,), (old.manifest, new.manifest))).groups
    rules = Rules(RuleFinder(lambda: before.program, before.world), RuleFinder(lambda: after.program, after.world))
    return sorted(
        (row for group in groups for row in rows_of(group, rules if found else NO_RULES)),
        key=lambda row: (row.kind, row.source, row.ports),
    )


def test_rules_are_those_of_the_tables_that_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = changes(tmp_path, found=False)
    assert {row.before.policy for row in kept} >= {"NetworkPolicy shop/one", "NetworkPolicy shop/two"}
    monkeypatch.setattr("bpfence.classify.classification.PROVENANCE_BUDGET", 0)
    lost = changes(tmp_path, found=False)
    assert NOT_RECORDED in {row.before.reason for row in lost}
    for row in changes(tmp_path, found=True):
        [same] = [one for one in kept if _holds(one, row)]
        assert (row.before, row.after) == (same.before, same.after)


def _holds(kept: ChangeRow, row: ChangeRow) -> bool:
    """Whether a row has the other's example: without numbers, ports that change for several reasons are in one row."""
    port = int(row.example["dst_port"])
    ends = (row.kind, row.source, row.destination, row.protocol)
    inside = any(low <= port <= high for low, high in kept.ports)
    return inside and ends == (kept.kind, kept.source, kept.destination, kept.protocol)


def test_a_rule_that_says_otherwise_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world or the text may be another one than the tables were made from."""
    monkeypatch.setattr("bpfence.classify.classification.PROVENANCE_BUDGET", 0)
    (old, before), (new, after) = compiled(tmp_path, *OLD), compiled(tmp_path, *NEW)
    sides = [everywhere(one.manifest, TableArrays(one.manifest, one.tables)) for one in (old, new)]
    groups = diff_tables(sides[0], sides[1], known_names((after.world,), (old.manifest, new.manifest))).groups
    swapped = Rules(RuleFinder(lambda: after.program, after.world), RuleFinder(lambda: before.program, before.world))
    for group in groups:
        for plain, row in zip(rows_of(group), rows_of(group, swapped), strict=True):
            assert (row.before, row.after) == (plain.before, plain.after)
            assert NOT_RECORDED in (row.before.reason, row.after.reason)
