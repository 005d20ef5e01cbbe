"""What a file or the kernel refused and nobody nearer has put into words: an OSError in, a KernelError out; and what
such an error has to say besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bpfence.errors import BpfenceError, KernelError


@contextmanager
def node_refusals() -> Iterator[None]:
    """For a block, or for a whole function as its decorator. The errno's text and the file's name are kept."""
    try:
        yield
    except OSError as error:
        raise KernelError(f"the node refused: {error}") from error


@contextmanager
def told_with(done: Sequence[str]) -> Iterator[None]:
    """A failure of the block tells, line by line, what was done for good before it. ``done`` may grow in the block."""
    try:
        yield
    except BpfenceError as error:
        error.args = ("\n".join((str(error), *done)),)
        raise
