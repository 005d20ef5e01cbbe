"""Bench ``apply``: a small change brought into force on a node of a large cluster, from the start of the command.

In: a made-up cluster (see `apply_cluster`): 5,000 pods in full, 50 of them on this node, 1,000 policies of three
languages in a file each; a network namespace with a veth pair and a host route for every local pod. Out: wall seconds
per stage and programs loaded, for two changes:

- ``data``: one pod's labels, back and forth. Tables change, programs do not.
- ``shape``: ``--automatic-notrack`` on and off, so that every slot gets programs that it did not have; they were
  compiled before and are kept, and the kernel verifies them anew.

Each apply is the real command in a process of its own. Stages are the command's own (``-o json``): ``kernel`` lasts
from the first system call about maps, programs or interfaces to the commit. ``committed`` is the time from the start of
the process to the commit, ``total`` to its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bpfence.bench.apply_cluster import local_addresses, with_tier, write_apply_cluster, write_inventory
from bpfence.bench.cluster import ClusterSize
from bpfence.bench.results import Effort, Parameter, Result, Say
from bpfence.demo.sandbox import run_isolated
from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.namespaces import NetworkNamespace
from bpfence.loader.node import NodePaths

NODE = "worker-0"
WHOLE = ClusterSize(local=50)
SMALL = ClusterSize(pods=100, policies=30, local=4, namespaces=4)
CHANGES = ("data", "shape")
TIERS = ("front", "data")
_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class ApplyRun:
    """One command: wall seconds per stage, and how many programs it loaded."""

    seconds: dict[str, float]
    programs: int


def run(effort: Effort, say: Say) -> Iterator[Result]:
    """Measure in a process of its own, which leaves nothing behind however it ends."""
    require_kernel()
    yield from run_isolated(partial(_measure, effort, say))


def _measure(effort: Effort, say: Say, paths: NodePaths) -> list[Result]:
    size = SMALL if effort.quick else WHOLE
    with tempfile.TemporaryDirectory(prefix="bpfence-bench-") as folder:
        source = Path(folder)
        say(f"apply: preparing {size.policies} policies and {size.pods} pods")
        inventory = write_apply_cluster(source, size)
        namespace = NetworkNamespace.create()
        with namespace.inside():
            make_interfaces(local_addresses(size))
            runs = {change: _runs(change, source, inventory, paths, effort, say) for change in CHANGES}
        namespace.close()
    say("")
    return [row for change in CHANGES for row in _results(change, runs[change], size)]


def _runs(change: str, source: Path, inventory: str, paths: NodePaths, effort: Effort, say: Say) -> list[ApplyRun]:
    """Both slots are filled before the first run that counts, and everything that is kept for later has been."""
    idle = 4
    runs = []
    for number in range(idle + effort.samples):
        say(f"apply: {change}, run {number + 1} of {idle + effort.samples}")
        write_inventory(source, with_tier(inventory, TIERS[number % 2] if change == "data" else TIERS[0]))
        # two in a row: the slots take turns, and each is to get another shape than it had
        notrack = change == "shape" and number // 2 % 2 == 1
        runs.append(apply_once(source, paths, ("--automatic-notrack",) if notrack else ()))
    return runs[idle:]


def apply_once(source: Path, paths: NodePaths, options: Sequence[str] = ()) -> ApplyRun:
    """Run the command in this namespace. KernelError with what it said when it fails."""
    where = ("--state", str(paths.state), "--bpffs", str(paths.bpffs), "--node", NODE)
    command = [sys.executable, "-m", "bpfence", "apply", str(source), *where, *options, "-o", "json"]
    began, at = time.perf_counter(), time.time()
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT, cwd="/")
    total = time.perf_counter() - began
    if process.returncode:
        raise KernelError(f"the apply that was to be measured failed: {process.stderr.strip()[-2000:]}")
    report = json.loads(process.stdout)
    stages: dict[str, float] = report["seconds"]
    committed = _committed_at(paths, report["generation"]) - at
    seconds = {"total": total, "committed": committed, "start": total - sum(stages.values()), **stages}
    return ApplyRun(seconds, report["programs_loaded"])


def _committed_at(paths: NodePaths, generation: int) -> float:
    record = paths.folder.read().record(generation)
    if record is None:
        raise KernelError(f"generation {generation} left no record")
    return record.since


def make_interfaces(addresses: Sequence[Sequence[str]]) -> None:
    """A veth pair for each pod, its near end in the current namespace with host routes to the pod's addresses. The far
    ends share a namespace that lasts as long as the process.
    """
    from pyroute2 import IPRoute

    pods = NetworkNamespace.create()
    with IPRoute() as ip:
        for number, own in enumerate(addresses):
            name = f"pod{number}"
            ip.link("add", ifname=name, kind="veth", peer={"ifname": f"eth{number}", "net_ns_fd": pods.descriptor})
            (index,) = ip.link_lookup(ifname=name)
            ip.link("set", index=index, state="up")
            for address in own:
                ip.route("add", dst=f"{address}/{128 if ':' in address else 32}", oif=index)


def _results(change: str, runs: Sequence[ApplyRun], size: ClusterSize) -> Iterator[Result]:
    params: dict[str, Parameter] = {"change": change, "pods": size.pods, "policies": size.policies, "local": size.local}
    stages: dict[str, list[float]] = defaultdict(list)
    for one in runs:
        for stage, seconds in one.seconds.items():
            stages[stage].append(seconds)
    for stage, samples in stages.items():
        yield Result("apply", "bpfence", {**params, "stage": stage}, "wall", "s", tuple(samples))
    loaded = tuple(float(one.programs) for one in runs)
    yield Result("apply", "bpfence", {**params, "stage": "total"}, "programs-loaded", "count", loaded)
