"""The kernel, as the loader sees it: what must be there, and one import for maps, programs and test runs."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

from bpfence.errors import FeatureMissing, KernelError, PermissionMissing
from bpfence.loader.clang import CompileError, bcc_library
from bpfence.loader.maps import (
    Map,
    MapInfo,
    create_array,
    create_map,
    map_info,
    open_pinned,
    open_pinned_fd,
    pin,
    possible_cpus,
    prog_array_set,
    read_array,
    read_per_cpu,
    write_array,
)
from bpfence.loader.programs import (
    Program,
    ProgramInfo,
    TestRun,
    TestRunner,
    load_programs,
    program_info,
    test_run,
    test_run_many,
)

__all__ = [
    "require_kernel",
    "require_root",
    "kernel_hz",
    "Map",
    "MapInfo",
    "create_array",
    "create_map",
    "open_pinned",
    "open_pinned_fd",
    "pin",
    "map_info",
    "write_array",
    "read_array",
    "read_per_cpu",
    "possible_cpus",
    "prog_array_set",
    "Program",
    "ProgramInfo",
    "CompileError",
    "load_programs",
    "program_info",
    "TestRun",
    "TestRunner",
    "test_run",
    "test_run_many",
]

_CLOCK_MONOTONIC_COARSE = 6  # linux/time.h; Python has no name for it


def require_kernel() -> None:
    """Return when programs can be compiled and loaded here.

    Raises PermissionMissing or FeatureMissing; the message says what is missing and how to get it.
    """
    require_root()
    _probe_map()
    bcc_library()


def require_root() -> None:
    """The part of `require_kernel` that asks the kernel for nothing, and loads no compiler: tables alone need none.

    Raises PermissionMissing or FeatureMissing.
    """
    if sys.platform != "linux":
        raise FeatureMissing("policies are enforced by Linux; compile, check and diff work anywhere")
    if sys.byteorder != "little":
        raise FeatureMissing("bpfence's tables are little-endian; this machine is not")
    if os.geteuid() != 0:
        raise PermissionMissing("loading BPF programs needs root; run the command with sudo")
    if "bpf" not in Path("/proc/filesystems").read_text().split():
        raise FeatureMissing("the kernel has no bpf file system (CONFIG_BPF_SYSCALL)")


def _probe_map() -> None:
    """Root in a container may still be refused the system call; a small map tells."""
    try:
        create_array("bpfence_probe", 8).close()
    except KernelError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.ENOSYS:
            raise FeatureMissing("the kernel has no bpf system call (CONFIG_BPF_SYSCALL)") from error
        raise


def kernel_hz() -> int:
    """Jiffies per second: the coarse clock ticks once a jiffy."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
