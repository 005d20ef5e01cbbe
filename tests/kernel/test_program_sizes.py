"""The largest programs that a plan can ask for: how much the kernel's verifier has to look at before it takes them.

It gives up at a million instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bpfence.emit.program import ENDPOINT_COUNTERS, SHARED_BY_SLOTS, XDP_PROGRAMS, emit_slot_programs, slot_programs
from bpfence.loader.bpffs import remove_tree
from bpfence.loader.counts import create_endpoint_counters
from bpfence.loader.kernel import create_array, kernel_hz, load_programs, pin
from bpfence.loader.programs import SCHED_CLS, XDP, program_info
from bpfence.loader.shared import create_shared_map
from bpfence.plan.plan import Features, Geometry, Plan

pytestmark = pytest.mark.kernel

MOST_VERIFIED = 600_000
EVERYTHING = Features(**{field.name: True for field in fields(Features)})
ROOM = Geometry(
    interfaces=1024, endpoints=256, own4=8, own6=8, l2_blocks=256, l3_blocks=65536, address6_slots=4096,
    address6_lengths=129, port_pairs=4096, cells=65536, address6_blocks=64, policy_rows=256, row_peers=4096,
    row_l4=4096, hosts=8, own_rows=4096, failsafes=256, local_addresses=1024,
)  # fmt: skip
PLANS = {
    "hosts at workloads": Plan(replace(EVERYTHING, stateless=False), ROOM),
    "without state": Plan(replace(EVERYTHING, hosts_at_workloads=False, two_level=False), ROOM),
}


@contextmanager
def tables(folder: Path, plan: Plan) -> Iterator[Mapping[str, Path]]:
    """Where the maps of a slot are pinned, empty."""
    folder.mkdir()
    with ExitStack() as stack:
        made = {spec.name: create_array(spec.name, spec.size) for spec in plan.tables()}
        made |= {name: create_shared_map(name) for name in SHARED_BY_SLOTS}
        made[ENDPOINT_COUNTERS] = create_endpoint_counters(plan.geometry)
        stack.callback(remove_tree, folder)
        for name, table in made.items():
            stack.enter_context(table)
            pin(table.fd, folder / name)
        yield {name: folder / name for name in made}


@pytest.mark.parametrize("name", PLANS)
def test_the_verifier_takes_the_largest_programs(bpffs: Path, name: str) -> None:
    plan = PLANS[name]
    found: dict[str, int] = {}
    with tables(bpffs / "largest", plan) as pins:
        for file, text in emit_slot_programs(plan).items():
            names = slot_programs(plan.features)[file]
            kind = XDP if names == XDP_PROGRAMS else SCHED_CLS
            for program, loaded in load_programs(text, names, pins, {"HZ": kernel_hz()}, kind=kind).items():
                with loaded:
                    found[program] = program_info(loaded.fd).verified_instructions
    print(name, found)
    assert sorted(found) == ["host_egress", "host_ingress", "host_xdp", "workload_egress", "workload_ingress"]
    assert max(found.values()) < MOST_VERIFIED, found
