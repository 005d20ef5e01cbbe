"""A place in the kernel for benchmarks: pinned maps, programs bound to them, all gone at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpfence.loader.bpffs import Pins, ensure_root, remove_tree
from bpfence.loader.kernel import (
    Map,
    Program,
    create_array,
    create_map,
    kernel_hz,
    load_programs,
    pin,
    require_kernel,
    write_array,
)
from bpfence.loader.maps import NO_PREALLOC
from bpfence.loader.programs import SCHED_CLS

Records = NDArray[np.void]
_ROOT, _PREFIX = Path("/sys/fs/bpf"), "bpfence-bench-"


@dataclass(frozen=True, slots=True)
class Place:
    """A pin folder. What is made in it is closed and unpinned when the `bench_place` ends."""

    folder: Path
    stack: ExitStack

    def below(self, name: str) -> Place:
        """A folder inside, for maps whose names come again."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        return Place(folder, self.stack)

    def array(self, name: str, image: bytes) -> Map:
        """A single-element array with that content."""
        made = self._keep(create_array(name, len(image)), name)
        write_array(made, image)
        return made

    def prefixes(self, name: str, keys: Records, values: Records) -> Map:
        """A longest-prefix map with those entries."""
        sizes = keys.dtype.itemsize, values.dtype.itemsize
        made = self._keep(create_map("lpm_trie", *sizes, len(keys), NO_PREALLOC, name), name)
        fill_map(made, keys, values)
        return made

    def programs(
        self, text: str, functions: tuple[str, ...], maps: Mapping[str, Path], kind: int = SCHED_CLS
    ) -> dict[str, Program]:
        """Compile and load; ``maps``: names in the text to pins, those of this folder added."""
        loaded = load_programs(text, functions, {**maps, **self.pins()}, {"HZ": kernel_hz()}, kind=kind)
        for program in loaded.values():
            self.stack.enter_context(program)
        return loaded

    def pins(self) -> dict[str, Path]:
        """What is pinned here, by name."""
        return {path.name: path for path in self.folder.iterdir() if path.is_file()}

    def _keep(self, made: Map, name: str) -> Map:
        self.stack.enter_context(made)
        pin(made.fd, self.folder / name)
        return made


@contextmanager
def bench_place() -> Iterator[Place]:
    """A fresh place. KernelError (PermissionMissing, FeatureMissing) when there can be none."""
    require_kernel()
    _remove_stale()
    pins = Pins(_ROOT / f"{_PREFIX}{os.getpid()}")
    with ExitStack() as stack:
        ensure_root(pins, stack)
        stack.callback(remove_tree, pins.root)
        yield Place(pins.root, stack)


def _remove_stale() -> None:
    """Remove what benchmarks left whose process was killed."""
    for folder in _ROOT.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX)
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove_tree(folder)


def fill_map(target: Map, keys: Records, values: Records) -> None:
    """Enter all pairs, in one system call. KernelError when the kernel takes fewer."""
    target.update_many(keys.tobytes(), values.tobytes())
