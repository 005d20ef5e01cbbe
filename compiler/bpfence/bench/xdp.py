"""Runs of XDP programs, timed or with consequences. In: a program and a frame. Out: what became of it."""

from __future__ import annotations

import ctypes

from bpfence.errors import KernelError
from bpfence.loader.programs import Program
from bpfence.loader.syscalls import BpfCall, Command, ProgramTestRun, address_of

LIVE_FRAMES = 1 << 1
"""BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18: what the program answers is done to the frame."""


def timed_xdp(program: Program, frame: bytes, runs: int) -> float:
    """Nanoseconds of a run; the frame comes from the loopback device and goes nowhere."""
    return float(_run(program, frame, runs, 0).duration)


def xdp_answer(program: Program, frame: bytes) -> int:
    """What the program says to a frame from the loopback device, with no consequences."""
    return int(_run(program, frame, 1, 0).retval)


def run_live(program: Program, frame: bytes, count: int) -> None:
    """Run the program on ``count`` frames of the calling thread's network namespace, with consequences."""
    _run(program, frame, count, LIVE_FRAMES)


def _run(program: Program, frame: bytes, count: int, flags: int) -> ProgramTestRun:
    buffer = ctypes.create_string_buffer(frame, len(frame))
    attributes = ProgramTestRun(
        prog_fd=program.fd, repeat=count, data_in=address_of(buffer), data_size_in=len(frame), flags=flags
    )
    try:
        BpfCall()(Command.PROG_TEST_RUN, attributes)
    except OSError as error:
        hint = "; live frames need Linux 5.18" if flags else ""
        raise KernelError(f"the test run of {program.name} failed: {error.strerror}{hint}") from error
    return attributes
