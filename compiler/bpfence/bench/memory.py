"""Bench ``memory``: what policies weigh as tables, by what they consist of.

In: fixtures that are hard on tables. Out: bytes of the tables of one slot (a node holds two) and of the part that
finds a peer's class, cells and peer classes, and the seconds that compiling took.

- ``prefixes``: 100,000 distinct CIDRs, /16 to /32, all over the IPv4 address space, on 16 ports.
- ``rows``: 65,536 pods, and 128 local ones each with rules of its own in both directions: 256 rows.
- ``cidr``, ``cidr-ports``: 1,000 CIDR rules with 1,000 CIDR denies over 3,000 identities, on all ports or each on one
  of about a hundred. They are among the results of ``verdict``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bpfence.bench.cidr_fixture import load_cidr_rules, load_prefixes
from bpfence.bench.fixture import options
from bpfence.bench.results import Effort, Note, Parameter, Result, Say
from bpfence.bench.rows_fixture import RowsSize, load_rows
from bpfence.emit.artefact import Artefact
from bpfence.loading import LoadedInput
from bpfence.pipeline import compile_artefact

PREFIXES, QUICK_PREFIXES = 100_000, 1_000
QUICK_ROWS = RowsSize(local=8, rules=4, apps=32)
_ADDRESS_TABLES = "address"
"""how the names of the tables begin that find a peer's class"""


def run(effort: Effort, say: Say) -> Iterator[Result | Note]:
    """Compile each once: sizes are the same every time."""
    prefixes, rows = (QUICK_PREFIXES, QUICK_ROWS) if effort.quick else (PREFIXES, RowsSize())
    fixtures: dict[str, tuple[Callable[[Path], LoadedInput], dict[str, Parameter]]] = {
        "prefixes": (partial(load_prefixes, count=prefixes), {"prefixes": prefixes}),
        "rows": (partial(load_rows, size=rows), {"rows": 2 * rows.local, "pods": rows.apps * 64}),
    }
    for name, (load, facts) in fixtures.items():
        say(f"memory: compiling {name}")
        yield from _sizes("memory", name, load, facts)
    say("")


def cidr_results(bench: str) -> Iterator[Result]:
    """What the CIDR-heavy fixtures weigh."""
    for name, ports in (("cidr", False), ("cidr-ports", True)):
        yield from _sizes(bench, name, partial(load_cidr_rules, ports=ports), {})


def _sizes(
    bench: str, fixture: str, load: Callable[[Path], LoadedInput], facts: dict[str, Parameter]
) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="bpfence-bench-") as folder:
        loaded = load(Path(folder))
    begun = time.perf_counter()
    artefact = compile_artefact(loaded, options())
    seconds = time.perf_counter() - begun
    params: dict[str, Parameter] = {"fixture": fixture, **facts}
    sizes = {name: len(image) for name, image in artefact.tables.items()}
    finding = sum(size for name, size in sizes.items() if name.startswith(_ADDRESS_TABLES))
    peers, cells = used_cells(artefact)
    figures = (
        ("bytes", "bytes", sum(sizes.values())),
        ("address-bytes", "bytes", finding),
        ("cells", "count", cells),
        ("peer-classes", "count", peers),
        ("compile", "s", seconds),
    )
    for metric, unit, value in figures:
        yield Result(bench, "bpfence", params, metric, unit, (float(value),))


def used_cells(artefact: Artefact) -> tuple[int, int]:
    """Peer classes and cells that the tables use; capacities are larger."""
    manifest = artefact.manifest
    return manifest.peer_classes, next(entry.used for entry in manifest.tables if entry.name == "cells")
