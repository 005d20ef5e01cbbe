"""The machine that a benchmark ran on: facts without which its figures mean nothing. Reads /proc and /sys, changes
only this process's CPU.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_CPU = Path("/sys/devices/system/cpu")
_ROOT = Path("/")


def machine_facts() -> dict[str, Any]:
    """Kernel, CPU, JIT, mitigations and clock, as JSON shows them; what can't be read is empty."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count() or 0,
        "caches": _caches(),
        "governor": _text(_CPU / "cpu0/cpufreq/scaling_governor"),
        "hypervisor": _is_virtual(),
        "steal_ticks": steal_ticks(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "jit": _text(_ROOT / "proc/sys/net/core/bpf_jit_enable"),
        "jit_harden": _text(_ROOT / "proc/sys/net/core/bpf_jit_harden"),
        "mitigations": _mitigations(),
        "clock": _text(_ROOT / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def last_level_cache() -> int:
    """Bytes of the largest cache of the first CPU; 32 MiB when the machine does not tell."""
    return max((cache["bytes"] for cache in _caches()), default=0) or 32 << 20


@contextmanager
def pinned() -> Iterator[int]:
    """This thread stays on one CPU, the last it may use, for the length of the block; yields its number."""
    allowed = os.sched_getaffinity(0)
    cpu = max(allowed)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def undisturbed(seconds: float) -> Iterator[None]:
    """No ordinary process takes the CPU during the block, where the system lets us; afterwards others have their turn.

    ``seconds``: about how long the block takes, less than 0.9: the kernel throttles a thread that never rests.
    """
    ordinary = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *ordinary)
        time.sleep(seconds / 5)


def _cpu_model() -> str:
    for line in _text(_ROOT / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.processor()


def _caches() -> list[dict[str, Any]]:
    found = []
    for folder in sorted((_CPU / "cpu0/cache").glob("index*")):
        kind, size = _text(folder / "type"), _text(folder / "size")
        if kind != "Instruction" and size.endswith("K"):
            found.append({"level": int(_text(folder / "level") or 0), "type": kind, "bytes": int(size[:-1]) << 10})
    return found


def _mitigations() -> dict[str, str]:
    """Those that touch indirect jumps and speculation; "Not affected" is left out."""
    folder = _CPU / "vulnerabilities"
    texts = {path.name: _text(path) for path in sorted(folder.glob("*"))} if folder.is_dir() else {}
    return {name: text for name, text in texts.items() if text and text != "Not affected"}


def _is_virtual() -> bool:
    return any(" hypervisor" in line for line in _text(_ROOT / "proc/cpuinfo").splitlines() if line.startswith("flags"))


def steal_ticks() -> int:
    """Clock ticks since boot, of all CPUs, that the hypervisor gave to others."""
    fields = _text(_ROOT / "proc/stat").partition("\n")[0].split()
    return int(fields[8]) if len(fields) > 8 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
