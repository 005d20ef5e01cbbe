"""Programs: loaded into the kernel, pinned, asked about, and run on test packets."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bpfence.errors import KernelError, PermissionMissing, VerifierError
from bpfence.loader.clang import INSTRUCTION, Instructions
from bpfence.loader.descriptor import Descriptor
from bpfence.loader.direct import address_directly
from bpfence.loader.maps import NAME_LENGTH, Map, create_map, open_pinned, pin
from bpfence.loader.objects import ObjectStore, PrivateMap
from bpfence.loader.syscalls import (
    BpfCall,
    Command,
    ObjectInfo,
    ProgramById,
    ProgramLoad,
    ProgramTestRun,
    SocketBuffer,
    address_of,
)

SCHED_CLS = 3
XDP = 6
"""Kinds of programs, as the kernel numbers them."""
LICENSE = b"Dual BSD/GPL"
VERIFIER_LOG = 16 << 20
USEFUL_LINES = 12
DATA_OUT = 65536
_MOST_TRIES = 5
_USUAL_MAPS = 64


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says about a program. ``tag``: its hash over the instructions, map numbers left out."""

    id: int
    name: str
    tag: str
    bytecode: int
    """bytes of BPF after the verifier's rewriting"""
    machine_code: int
    """bytes of JITed code; 0 = interpreted"""
    verified_instructions: int
    map_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TestRun:
    """Outcome of a test run. ``retval``: the program's answer, signed; ``mark``: afterwards; ``duration_ns``: the
    average of one run."""

    __test__ = False  # pytest would take the name for a test class

    retval: int
    mark: int
    duration_ns: int
    data: bytes


class _KernelProgramInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("between", ctypes.c_uint8 * 136),
        ("verified_insns", ctypes.c_uint32),
        ("attach_btf_obj_id", ctypes.c_uint32),
    )


class Program(Descriptor):
    """A loaded program, open in this process; ``load_seconds`` is the time the kernel took (verifier and JIT)."""

    def __init__(self, name: str, fd: int, load_seconds: float = 0.0) -> None:
        super().__init__(fd)
        self.name = name
        self.load_seconds = load_seconds

    @cached_property
    def info(self) -> ProgramInfo:
        """What the kernel says about it, asked once: a program does not change. Raises KernelError."""
        return program_info(self.fd)


def load_programs(
    text: str,
    functions: Sequence[str],
    maps: Mapping[str, str | Path],
    defines: Mapping[str, int | str] | None = None,
    store: ObjectStore | None = None,
    kind: int = SCHED_CLS,
) -> dict[str, Program]:
    """Compile ``text`` and load its ``functions`` as programs of one kind, tc classifiers if not said.

    ``maps``: C map name -> where that map is pinned; the text finds the path in the macro ``PIN_<name>``. The caller
    closes the programs. ``store``: where the compiled text is kept for the next time. Raises CompileError,
    VerifierError (``log`` has everything the verifier said), KernelError, FeatureMissing, PermissionMissing.
    """
    pins = {name: os.fspath(path) for name, path in maps.items()}
    missing = sorted(str(path) for path in maps.values() if not Path(path).exists())
    if missing:
        raise KernelError(f"no map is pinned at {', '.join(missing)}")
    loaded: dict[str, Program] = {}
    try:
        objects = (store or ObjectStore()).objects(text, functions, defines or {}, pins)
        with ExitStack() as opened:
            used = {name for item in objects for _, name in item.maps} & pins.keys()
            shared = {name: opened.enter_context(open_pinned(pins[name])) for name in sorted(used)}
            descriptors = {name: table.fd for name, table in shared.items()}
            single = {table.fd for table in shared.values() if (table.info.kind, table.info.entries) == ("array", 1)}
            private = {made.name: made for item in objects for made in item.private}
            descriptors |= {name: opened.enter_context(_make(made)).fd for name, made in private.items()}
            for item in objects:
                loaded[item.name] = _load(address_directly(item.bound(descriptors), single), kind)
    except BaseException:
        for program in loaded.values():
            program.close()
        raise
    return loaded


def pin_programs(programs: Mapping[str, Program], places: Mapping[str, Path]) -> None:
    """Pin each where ``places`` says, and close all of them. Raises KernelError."""
    with ExitStack() as opened:
        for program in programs.values():
            opened.enter_context(program)
        for name, program in programs.items():
            pin(program.fd, places[name])


def _make(made: PrivateMap) -> Map:
    return create_map(made.kind, made.key_size, made.value_size, made.entries, made.flags, made.name)


def _load(part: Instructions, kind: int) -> Program:
    began = time.perf_counter()
    try:
        fd = _program_load_again(part, kind)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise PermissionMissing(f"can't load {part.name}: {error.strerror}; run as root") from error
        raise _rejection(part, kind, error) from error
    return Program(part.name, fd, time.perf_counter() - began)


def _program_load_again(part: Instructions, kind: int) -> int:
    """The verifier gives up (EAGAIN) when a signal comes: its handler runs, and the program is loaded again."""
    for _ in range(_MOST_TRIES - 1):
        try:
            return _program_load(part, kind, 0, 0, 0)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    return _program_load(part, kind, 0, 0, 0)


def _program_load(part: Instructions, kind: int, level: int, log: int, log_size: int) -> int:
    code = ctypes.create_string_buffer(part.code, len(part.code))
    license_text = ctypes.create_string_buffer(LICENSE)
    attributes = ProgramLoad(
        kind,
        len(part.code) // INSTRUCTION,
        address_of(code),
        address_of(license_text),
        level,
        log_size,
        log,
        0,
        0,
        part.name.encode()[:NAME_LENGTH],
    )
    return BpfCall()(Command.PROG_LOAD, attributes)


def _rejection(part: Instructions, kind: int, error: OSError) -> KernelError:
    """Load once more with the log on, for the reason."""
    log = ctypes.create_string_buffer(VERIFIER_LOG)
    try:
        os.close(_program_load(part, kind, 1, address_of(log), VERIFIER_LOG))
    except OSError:
        text = log.value.decode(errors="replace")
        useful = [line for line in text.splitlines() if line and not line.startswith("processed ")]
        return VerifierError(
            f"the kernel rejects {part.name} ({error.strerror}):\n" + "\n".join(useful[-USEFUL_LINES:]), text
        )
    return KernelError(f"can't load {part.name}: {error.strerror}")


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says about the program. Raises KernelError when ``fd`` is no program."""
    if not os.readlink(f"/proc/self/fd/{fd}").endswith("bpf-prog"):
        raise KernelError(f"descriptor {fd} is not a program")
    ids, raw = _kernel_info(fd, _USUAL_MAPS)
    if raw.nr_map_ids > _USUAL_MAPS:  # somebody may bind more to it
        ids, raw = _kernel_info(fd, raw.nr_map_ids)
    return ProgramInfo(
        raw.id,
        raw.name.decode(),
        bytes(raw.tag).hex(),
        raw.xlated_prog_len,
        raw.jited_prog_len,
        raw.verified_insns,
        tuple(sorted(ids[: raw.nr_map_ids])),
    )


def _kernel_info(fd: int, maps: int) -> tuple[ctypes.Array[ctypes.c_uint32], _KernelProgramInfo]:
    ids = (ctypes.c_uint32 * maps)()
    raw = _KernelProgramInfo(nr_map_ids=maps, map_ids=ctypes.addressof(ids))
    BpfCall()(Command.OBJ_GET_INFO_BY_FD, ObjectInfo(fd, ctypes.sizeof(raw), address_of(raw)))
    return ids, raw


def program_by_id(number: int) -> Program | None:
    """The program with a kernel id, open; None when it is gone. Raises KernelError."""
    try:
        fd = BpfCall()(Command.PROG_GET_FD_BY_ID, ProgramById(number))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise KernelError(f"can't open program {number}: {error.strerror}") from error
    try:
        return Program(program_info(fd).name, fd)
    except BaseException:
        os.close(fd)
        raise


class TestRunner:
    """Runs one program on many packets: every structure is made once, a run costs a system call and little else."""

    __test__ = False  # pytest would take the name for a test class
    __slots__ = ("_attributes", "_call", "_context_in", "_context_out", "_data_out")

    def __init__(
        self, program_fd: int, *, ifindex: int = 0, repeat: int = 1, keep_data: bool = False, received: int = 0
    ) -> None:
        """``ifindex``: 0 or 1 is the loopback device; others must exist in the current network namespace.
        ``received``: the interface by which the packet came to this machine; 0: by none.
        """
        self._call = BpfCall()
        self._context_in = SocketBuffer(ifindex=ifindex, ingress_ifindex=received)
        self._context_out = SocketBuffer()
        self._data_out = ctypes.create_string_buffer(DATA_OUT if keep_data else 1)
        size = ctypes.sizeof(SocketBuffer)
        self._attributes = ProgramTestRun(
            prog_fd=program_fd,
            repeat=repeat,
            ctx_size_in=size,
            ctx_in=address_of(self._context_in),
            ctx_out=address_of(self._context_out),
            data_out=address_of(self._data_out) if keep_data else 0,
        )

    def at(self, ifindex: int, received: int) -> None:
        """From now on as at another interface (see `__init__`)."""
        self._context_in.ifindex, self._context_in.ingress_ifindex = ifindex, received

    def run(self, packet: bytes, mark: int = 0) -> int:
        """The program's answer to a frame (from its Ethernet header on), signed. Raises KernelError."""
        attributes = self._attributes
        attributes.data_in = ctypes.cast(ctypes.c_char_p(packet), ctypes.c_void_p).value or 0
        attributes.data_size_in = len(packet)
        attributes.data_size_out = DATA_OUT if attributes.data_out else 0
        attributes.ctx_size_out = attributes.ctx_size_in
        self._context_in.mark = mark
        try:
            self._call(Command.PROG_TEST_RUN, attributes)
        except OSError as error:
            raise KernelError(f"the test run failed: {error.strerror}") from error
        retval: int = attributes.retval
        return retval

    @property
    def last(self) -> TestRun:
        """Everything about the last run."""
        attributes = self._attributes
        data = self._data_out.raw[: attributes.data_size_out] if attributes.data_out else b""
        return TestRun(attributes.retval, self._context_out.mark, attributes.duration, data)


def test_run(  # named for the kernel's test run; it is no test
    program_fd: int,
    packet: bytes,
    *,
    mark: int = 0,  # noqa: PT028
    ifindex: int = 0,  # noqa: PT028
    repeat: int = 1,  # noqa: PT028
) -> TestRun:
    """Run a program on one frame, ``repeat`` times on the same buffer. Raises KernelError."""
    runner = TestRunner(program_fd, ifindex=ifindex, repeat=repeat, keep_data=True)
    runner.run(packet, mark)
    return runner.last


def test_run_many(  # no test either
    program_fd: int,
    packets: Iterable[bytes],
    *,
    mark: int = 0,  # noqa: PT028
    ifindex: int = 0,  # noqa: PT028
) -> list[int]:
    """The program's signed answers to many frames, in order. Raises KernelError."""
    runner = TestRunner(program_fd, ifindex=ifindex)
    return [runner.run(packet, mark) for packet in packets]


test_run.__test__ = False  # type: ignore[attr-defined]  # pytest would collect the two by their names
test_run_many.__test__ = False  # type: ignore[attr-defined]
