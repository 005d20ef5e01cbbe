"""Bench ``compile``: a cluster's policies for one node, from files to the artefact folder, each time in a fresh
process.

In: a made-up cluster (see `cluster`) of 5,000 pods, 1,000 CiliumNetworkPolicies and 100 local pods, the inventory as
``kubectl get -o json`` prints it. Out: wall seconds per stage, ``total`` with the start of the interpreter and all
imports, CPU seconds of the whole, and the peak of resident memory. The processes are not pinned: the compiler may use
what the machine has.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpfence.bench.cluster import ClusterSize, write_cluster
from bpfence.bench.results import Effort, Parameter, Result, Say
from bpfence.errors import BpfenceError

NODE = "worker-0"
SMALL = ClusterSize(pods=200, policies=40, local=10, namespaces=4)
WORKER = "bpfence.bench.compile_worker"


@dataclass(frozen=True, slots=True)
class CompileRun:
    """One process: wall seconds per stage, ``total`` and ``start`` (interpreter, imports, exit) among them; seconds of
    CPU time, which others on the machine do not lengthen as they do wall time; peak bytes.
    """

    seconds: dict[str, float]
    cpu: float
    peak_memory: int


def run(effort: Effort, say: Say) -> Iterator[Result]:
    """Compile several times; one result per stage and one for memory."""
    size = SMALL if effort.quick else ClusterSize()
    with tempfile.TemporaryDirectory(prefix="bpfence-bench-") as folder:
        source, target = Path(folder, "input"), Path(folder, "artefact")
        write_cluster(source, size)
        runs = []
        for number in range(effort.samples):
            say(f"compile: {size.policies} policies, {size.pods} pods, run {number + 1} of {effort.samples}")
            runs.append(compile_once(source, target))
    say("")
    yield from _results(runs, size)


def compile_once(source: Path, target: Path) -> CompileRun:
    """Compile in a fresh process. BpfenceError with what it said when it fails."""
    begun, used = time.perf_counter(), _children_cpu()
    process = subprocess.run(
        [sys.executable, "-m", WORKER, str(source), str(target), NODE], capture_output=True, text=True, check=False
    )
    total, cpu = time.perf_counter() - begun, _children_cpu() - used
    if process.returncode:
        raise BpfenceError(f"the compile that was to be measured failed: {process.stderr.strip()[-2000:]}")
    answer = json.loads(process.stdout)
    stages: dict[str, float] = answer["stages"]
    return CompileRun({"total": total, "start": total - sum(stages.values()), **stages}, cpu, answer["peak_memory"])


def _children_cpu() -> float:
    """Seconds of CPU time of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _results(runs: list[CompileRun], size: ClusterSize) -> Iterator[Result]:
    params: dict[str, Parameter] = {"pods": size.pods, "policies": size.policies, "local": size.local}
    for stage in runs[0].seconds:
        samples = tuple(item.seconds[stage] for item in runs)
        yield Result("compile", "bpfence", {**params, "stage": stage}, "wall", "s", samples)
    total: dict[str, Parameter] = {**params, "stage": "total"}
    yield Result("compile", "bpfence", total, "cpu", "s", tuple(item.cpu for item in runs))
    memory = tuple(item.peak_memory / 1e6 for item in runs)
    yield Result("compile", "bpfence", total, "peak-memory", "MB", memory)
