"""Python's cyclic collector, paused while large inputs are read and compiled, and while a node is changed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Reading and compiling make millions of objects and no cycles; the collector would look at them in vain, for a
    third of a second and at any moment, also between the first and the last step of a transaction.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
