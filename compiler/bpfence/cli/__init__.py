"""The command line: arguments in, output and an exit code out. Sub-commands are imported when they are called.

Exit codes, in every command: 0 fine, 1 findings, 2 the run can't be trusted (bad input, usage, unsupported, a bug of
bpfence), 3 the kernel or the node refused; 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main", "run"]


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    # numpy's linear algebra would start threads that nothing here uses, and that takes as long as all the rest of it
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    from bpfence.cli.edge import run_guarded  # click is not needed to import the package

    return run_guarded(arguments)
