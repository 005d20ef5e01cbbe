"""Programs without the rules of one place, and what that changes: cell by cell, at every pod.

In: a program, a place, the world. Out: the verdicts before and after, and who decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bpfence.analyse.lint.usage import Place, place_of
from bpfence.classify.classification import classify, index_program, subjects_of
from bpfence.classify.decide import decide_row
from bpfence.classify.rows import RowBuilder
from bpfence.identity.named_ports import cluster_ports
from bpfence.identity.world import World
from bpfence.ir.nodes import Direction, Layer, Policy, Program, Section, Tier


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


def deciding(program: Program, world: World) -> frozenset[Place]:
    """The places of all rules that decide some packet at some pod."""
    rows = classify(program, world, list(subjects_of(world.pods))).rows
    used = (row.decisions[number] for row in rows for number in np.unique(row.numbers).tolist())
    layers = (layer for decision in used for layer in decision.layers)
    return frozenset(place_of(layer.rule) for layer in layers if layer.rule is not None)
