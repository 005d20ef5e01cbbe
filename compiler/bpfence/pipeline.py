"""The whole compiler on one screen: loaded input to program, to classification, to artefact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bpfence.assembly import (
    Analysed,
    Compiled,
    choose_node,
    compile_analysed,
    local_endpoints,
    local_hosts,
)
from bpfence.classify.services import service_cells
from bpfence.collection import collection_paused
from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico
from bpfence.dialects.calico import codes as calico_codes
from bpfence.dialects.cilium import codes as cilium_codes
from bpfence.emit.artefact import Artefact
from bpfence.identity.inventory import Inventory
from bpfence.identity.world import build_world
from bpfence.ir.nodes import Program
from bpfence.loading import LoadedInput
from bpfence.lowering import lint_policies, lower_policies
from bpfence.options import Options
from bpfence.passes import run_measured, run_passes
from bpfence.timing import Stopwatch

__all__ = (
    "Analysed",
    "Compiled",
    "analyse",
    "check_program",
    "choose_node",
    "compile_artefact",
    "compile_with_classification",
    "local_endpoints",
    "local_hosts",
)

_REFERENCES = frozenset(
    (
        calico_codes.TIER_MISSING,
        calico_codes.PROFILE_MISSING,
        calico_codes.INVENTORY_MISSING,
        cilium_codes.GROUP_MISSING,
        cilium_codes.SERVICE_UNRESOLVED,
    )
)
"""what can't be told while other objects of the input can't be read"""


@collection_paused()
def check_program(loaded: LoadedInput, options: Options) -> None:
    """Everything `check` says beyond reading: lowering, references, lint. Adds to ``loaded.diagnostics``."""
    if loaded.diagnostics.has_errors:
        _check_the_rest(loaded, options)
        return
    program = lower_policies(loaded.policies, loaded.inventory, options, loaded.diagnostics)
    if not loaded.diagnostics.has_errors:
        lint_policies(loaded.policies, loaded.inventory, options, loaded.diagnostics)
        _lint_program(program, loaded, options)


def _check_the_rest(loaded: LoadedInput, options: Options) -> None:
    """Some objects can't be used: all that is wrong with the others, so that one run tells everything.

    References stay untold, since what they name may be among the objects that can't be used.
    """
    found = Diagnostics()
    lower_policies(loaded.policies, loaded.inventory, options, found)
    loaded.diagnostics.extend(item for item in found.items if item.is_error and item.code not in _REFERENCES)


def _lint_program(program: Program, loaded: LoadedInput, options: Options) -> None:
    """What only the program shows. NetworkPolicy and its relatives have their own lint for a part of that."""
    # Not at the top: compiling needs neither the lint nor the graph library behind it, which takes a while to import.
    from bpfence.analyse.lint import LintInput, lint_program

    host_endpoints = calico.host_endpoints(loaded.policies.calico, loaded.inventory, Diagnostics())
    world = build_world(loaded.inventory, host_endpoints)
    spoken_of = frozenset(item.span() for item in loaded.policies.kubernetes)
    lint_program(LintInput(program, world, loaded.inventory, spoken_of, options), loaded.diagnostics)


def analyse(
    loaded: LoadedInput, options: Options, watch: Stopwatch | None = None, lowered_for: Inventory | None = None
) -> Analysed:
    """Lower and check. InputError with every diagnostic when the input can't be used.

    ``lowered_for``: the same inventory, where somebody wants to know what the lowering looks at.
    """
    watch = watch or Stopwatch()
    loaded.diagnostics.stop_on_errors()
    with watch.stage("lower"):
        program = lower_policies(loaded.policies, lowered_for or loaded.inventory, options, loaded.diagnostics)
        loaded.diagnostics.stop_on_errors()
        pending = _lower_pending(loaded, options)
        host_endpoints = calico.host_endpoints(loaded.policies.calico, loaded.inventory, Diagnostics())
    with watch.stage("passes"):
        program, sizes = run_measured(program)
        pending = None if pending is None else run_passes(pending)
    with watch.stage("identity"):
        world = build_world(loaded.inventory, host_endpoints)
    settings = calico.host_settings(loaded.policies.calico)
    nodes = sorted({*world.nodes, *(item.node for item in host_endpoints)})
    own = {node: calico.host_settings(loaded.policies.calico, node) for node in nodes}
    return Analysed(program, world, loaded.diagnostics, service_cells(loaded.inventory), settings, own, pending, sizes)


def _lower_pending(loaded: LoadedInput, options: Options) -> Program | None:
    """The program with the staged policies in force; what is wrong with them has been said."""
    if not any(item.kind.startswith("Staged") for item in loaded.policies.calico):
        return None
    return lower_policies(loaded.policies, loaded.inventory, options, Diagnostics(), pending=True)


def compile_artefact(
    loaded: LoadedInput,
    options: Options,
    previous_identities: Mapping[str, Any] | None = None,
    watch: Stopwatch | None = None,
) -> Artefact:
    """The artefact for one node."""
    return compile_with_classification(loaded, options, previous_identities, watch).artefact


@collection_paused()
def compile_with_classification(
    loaded: LoadedInput,
    options: Options,
    previous_identities: Mapping[str, Any] | None = None,
    watch: Stopwatch | None = None,
) -> Compiled:
    """The artefact for one node, and what it was made from."""
    watch = watch or Stopwatch()
    return compile_analysed(analyse(loaded, options, watch), loaded.files, options, previous_identities, watch)
