"""What a file or the kernel refused and nobody nearer has put into words: an OSError in, a KernelError out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bpfence.errors import KernelError


@contextmanager
def node_refusals() -> Iterator[None]:
    """For a block, or for a whole function as its decorator. The errno's text and the file's name are kept."""
    try:
        yield
    except OSError as error:
        raise KernelError(f"the node refused: {error}") from error
