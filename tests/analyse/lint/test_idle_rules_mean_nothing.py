"""Taking away a rule that is said to be without effect changes no verdict of any packet, at any endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpfence.analyse.lint import LintInput, rule_usage
from bpfence.analyse.lint.usage import Place, place_of
from bpfence.classify.classification import classify, index_program, subjects_of
from bpfence.classify.decide import decide_row
from bpfence.classify.rows import RowBuilder
from bpfence.identity.named_ports import cluster_ports
from bpfence.identity.world import World
from bpfence.ir.nodes import Direction, Layer, Policy, Program, Section, Tier
from bpfence.options import Options
from bpfence.pipeline import analyse
from packets.tables import PacketTable, all_tables, packet_tables


def without(program: Program, place: Place) -> Program:
    """The program without the rules made from the place."""
    return Program(tuple(replace(layer, tiers=tuple(_tier(t, place) for t in layer.tiers)) for layer in program.layers))


def _tier(tier: Tier, place: Place) -> Tier:
    return replace(tier, policies=tuple(_policy(policy, place) for policy in tier.policies))


def _policy(policy: Policy, place: Place) -> Policy:
    return replace(policy, ingress=_section(policy.ingress, place), egress=_section(policy.egress, place))


def _section(section: Section | None, place: Place) -> Section | None:
    if section is None:
        return None
    return replace(section, rules=tuple(rule for rule in section.rules if place_of(rule) != place))


def verdicts(program: Program, reduced: Program, world: World) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Allowed or not, per cell, by either program, for every endpoint and direction; the cells are the first's."""
    subjects = list(subjects_of(world.pods))
    classes = classify(program, world, subjects)
    cluster = cluster_ports(world.entities)
    builders = [RowBuilder(item, world, index_program(program, world)) for item in (program, reduced)]
    for subject in subjects:
        for direction in Direction:
            rows = [builder.row(subject, direction) for builder in builders]
            if rows[0] is None or rows[1] is None:
                assert rows[0] is rows[1]
                continue
            tables = [decide_row(row, classes.peers, classes.l4, cluster) for row in rows if row is not None]
            allowed = [np.array([d.allowed for d in table.decisions])[table.numbers] for table in tables]
            yield allowed[0], allowed[1]


def endpoint_layers(program: Program) -> Program:
    """The layers of pods."""
    return Program(tuple(layer for layer in program.layers if _is_pod_layer(layer)))


def _is_pod_layer(layer: Layer) -> bool:
    return layer.point.value == "endpoint"


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
