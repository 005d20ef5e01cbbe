"""The benchmarks by name, each imported when it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from bpfence.bench.results import Effort, Note, Result, Say
from bpfence.errors import UsageError

Run = Callable[[Effort, Say], Iterable[Result | Note]]


@dataclass(frozen=True, slots=True)
class LazyBench:
    """``module`` has the function ``run``. ``kernel``: needs root, bcc and a kernel with BPF."""

    module: str
    summary: str
    kernel: bool = True


BENCHES: Mapping[str, LazyBench] = {
    "compile": LazyBench(
        "bpfence.bench.compile_bench",
        "wall time and memory of compiling a cluster for one node, per stage",
        kernel=False,
    ),
    "apply": LazyBench("bpfence.bench.apply", "a small change in a large cluster brought into force, per stage"),
    "memory": LazyBench("bpfence.bench.memory", "bytes of tables for very many prefixes and rows", kernel=False),
    "verdict": LazyBench(
        "bpfence.bench.verdict", "cost of one decision over 65,536 addresses, beside two LPM policy lookups"
    ),
    "path": LazyBench(
        "bpfence.bench.path", "cost of a whole program by what the packet is: established, new, untracked, dropped"
    ),
    "flood": LazyBench("bpfence.bench.flood", "packets a second that one CPU can refuse, beside nftables and iptables"),
    "connect": LazyBench(
        "bpfence.bench.connect", "new connections and round trips between two pods, beside stateful nftables"
    ),
}


def chosen_benches(names: Sequence[str]) -> tuple[str, ...]:
    """The named benchmarks in the order of the registry, all when none is named. UsageError for a name that is none."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise UsageError(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    return tuple(name for name in BENCHES if name in names or not names)


def load_bench(name: str) -> Run:
    """The function that runs a benchmark."""
    run: Run = import_module(BENCHES[name].module).run
    return run
