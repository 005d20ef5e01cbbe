"""One compile in a process of its own: ``python -m bpfence.bench.compile_worker INPUT OUTPUT NODE`` prints its times
as JSON.

Out: ``{"stages": {name: seconds}, "peak_memory": bytes}``; what the interpreter needs to start is for the caller to
see.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from bpfence.emit.folder import write_artefact
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.timing import Stopwatch


def peak_memory() -> int:
    """The most bytes this process had resident."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            # ru_maxrss would count the parent's memory too, which the process had before it became Python.
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main(source: str, target: str, node: str) -> None:
    """Compile as `bpfence compile` does and print the times."""
    watch = Stopwatch()
    options = Options(node=node)
    with watch.stage("parse"):
        loaded = load_input([source], options)
    artefact = compile_artefact(loaded, options, watch=watch)
    with watch.stage("write"):
        write_artefact(artefact, target)
    print(json.dumps({"stages": watch.seconds, "peak_memory": peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
