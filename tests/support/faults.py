"""Faults at the steps of a command: every call by which it asks the kernel or touches a file, found by running it.

A command runs in a forked child. Its steps are listed there as they come: bpf(2), netlink, mounts, stores into mapped
tables, and whatever file operations Python's audit hooks report. At a chosen step the child is killed, interrupted, or
the call fails as the kernel would let it fail. Nothing of this is in the product: its own seams are wrapped.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import resource
import signal
import sys
import sysconfig
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Literal, Never

import bpfence
from bpfence.errors import BpfenceError, KernelError
from bpfence.loader import maps, namespaces
from bpfence.loader.rtnetlink import NetlinkError, RouteSocket
from bpfence.loader.syscalls import BpfCall, Command

How = Literal["error", "kill", "kill-after", "torn", "interrupt", "terminate"]

_PRODUCT = os.fspath(Path(bpfence.__file__).parent) + os.sep
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_PACKAGES = sysconfig.get_path("purelib") + os.sep
_HERE = __file__
_OF_PROCESSES = re.compile(r"/proc/\d")
_WAITING = "loader/in_flight.py"
_DEPTH = 4
"""callers that tell one place from another"""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TORN_BYTES = 10

_BPF_ERRORS = {
    Command.MAP_CREATE: errno.ENOMEM,
    Command.PROG_LOAD: errno.ENOMEM,
    Command.OBJ_PIN: errno.ENOMEM,
    Command.OBJ_GET: errno.EMFILE,
    Command.MAP_UPDATE_ELEM: errno.ENOMEM,
    Command.MAP_DELETE_ELEM: errno.EBUSY,
    Command.PROG_TEST_RUN: errno.ENOMEM,
    Command.PROG_GET_FD_BY_ID: errno.EMFILE,
}
_BPF_CHANGES = frozenset(
    (
        Command.OBJ_PIN,
        Command.MAP_UPDATE_ELEM,
        Command.MAP_DELETE_ELEM,
        Command.MAP_UPDATE_BATCH,
        Command.PROG_TEST_RUN,
    )
)
_FILE_EVENTS: dict[str, tuple[bool, int]] = {
    "os.mkdir": (True, errno.ENOSPC),
    "os.rename": (True, errno.ENOSPC),
    "os.link": (True, errno.ENOSPC),
    "os.symlink": (True, errno.ENOSPC),
    "os.remove": (True, errno.EIO),
    "os.rmdir": (True, errno.EIO),
    "os.chmod": (True, errno.EIO),
    "os.chown": (True, errno.EIO),
    "os.truncate": (True, errno.EIO),
    "os.utime": (True, errno.EIO),
    "os.listdir": (False, errno.EIO),
    "os.scandir": (False, errno.EIO),
    "fcntl.flock": (False, errno.ENOLCK),
    "fcntl.lockf": (False, errno.ENOLCK),
    "mmap.__new__": (False, errno.ENOMEM),
    "os.fork": (True, errno.EAGAIN),
    "os.posix_spawn": (True, errno.EAGAIN),
    "subprocess.Popen": (True, errno.EAGAIN),
    "socket.connect": (False, errno.ENOBUFS),
    "socket.bind": (False, errno.ENOBUFS),
    "socket.sendto": (False, errno.ENOBUFS),
    "socket.sendmsg": (False, errno.ENOBUFS),
}
"""Audit event -> whether it changes something that outlives the process, and how it fails."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call. ``site``: the product's frames that led to it, innermost first; ``nth``: the how manieth of this call
    there. ``changes``: something that outlives the process is different afterwards. ``failing``: it can fail.
    ``undoing``: it takes back what came before. ``waiting``: asked again as often as it takes.
    """

    call: str
    site: str
    nth: int
    changes: bool
    failing: bool = True
    undoing: bool = False
    waiting: bool = False

    def __str__(self) -> str:
        return f"{self.call} #{self.nth} at {self.site}"

    @property
    def place(self) -> tuple[str, str]:
        return self.call, self.site


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a step. ``torn``: killed in the middle of its bytes; all others but ``kill-after`` come before
    the call. ``interrupt`` and ``terminate`` are signals.
    """

    step: Step
    how: How

    def __str__(self) -> str:
        return f"{self.how} at {self.step}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. ``signal``: 0 when it came to its end; ``error``: the exception that the command let out, with
    ``refused``: one of bpfence's own; ``interrupted``: what a signal was made of. ``open_files``: descriptors that it
    left open.
    """

    signal: int
    done: bool = False
    refused: bool = False
    interrupted: bool = False
    error: str = ""
    trace: str = ""
    reached: bool = False
    open_files: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(slots=True)
class _Tracer:
    """Names steps as they come; acts when the chosen one has come. Lives in a child and ends with it."""

    faults: list[Fault]
    said: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    disk_full: bool = False
    on: bool = True

    def before(self, call: str, changes: bool, error: BaseException, failing: bool = True) -> Fault | None:
        """Called ahead of a call; raises ``error`` when it is the call's turn to fail. The fault, for `after`."""
        self._end_shortage()
        site = _site() if self.on else None
        if site is None:
            return None
        self.seen[call, site.text] += 1
        step = Step(call, site.text, self.seen[call, site.text], changes, failing, site.undoing, site.waiting)
        self.steps.append(step)
        if not self.faults or (self.faults[0].step.place, self.faults[0].step.nth) != (step.place, step.nth):
            return None
        fault = self.faults.pop(0)
        self.said("reached")
        match fault.how:
            case "error" if call == "write":
                self.disk_full = True
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            case "error":
                raise error
            case "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
            case "torn" if call == "write":
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (_TORN_BYTES, resource.RLIM_INFINITY))
        return fault

    def after(self, fault: Fault | None) -> None:
        """Called behind a call that is wrapped."""
        if fault is not None and fault.how == "kill-after":
            os.kill(os.getpid(), signal.SIGKILL)

    def _end_shortage(self) -> None:
        if self.disk_full:
            self.disk_full = False
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def run(work: Callable[[], object], faults: list[Fault]) -> Outcome:
    """Run a command in a child with faults at steps, one after the other."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _in_child(work, faults, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    reached = sum(line == b"reached" for line in lines) == len(faults)
    if ended:
        return Outcome(ended, reached=reached)
    document = json.loads(lines[-1])
    steps = tuple(Step(**item) for item in document.pop("steps"))
    return Outcome(0, reached=reached, steps=steps, **{**document, "open_files": tuple(document["open_files"])})


def _in_child(work: Callable[[], object], faults: list[Fault], writer: int) -> Never:
    def said(text: str) -> None:
        os.write(writer, text.encode() + b"\n")

    try:
        tracer = _Tracer(list(faults), said)
        before = _open_files()
        _install(tracer)
        ended = _ended(work)
        tracer.on = False
        left = sorted(_open_files() - before)
        recorded = [asdict(step) for step in tracer.steps]
        with suppress(BrokenPipeError):
            _write_all(writer, json.dumps({**ended, "open_files": left, "steps": recorded}).encode())
    finally:
        os._exit(0)


def _ended(work: Callable[[], object]) -> dict[str, Any]:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - it is judged in the parent
        return {
            "refused": isinstance(error, BpfenceError),
            "interrupted": isinstance(error, KeyboardInterrupt),
            "error": f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc(),
        }
    return {"done": True}


def _write_all(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]


def _open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {item for item in found if "/proc/" not in item}


def _install(tracer: _Tracer) -> None:
    """Wrap the product's seams. They end with the process."""
    _wrap_bpf(tracer)
    _wrap_mounts(tracer)
    _wrap_fsync(tracer)
    _wrap_netlink(tracer)
    maps.mmap = _traced_mmap(tracer)  # type: ignore[assignment]
    sys.addaudithook(_audit_hook(tracer))


def _wrap_bpf(tracer: _Tracer) -> None:
    kept = BpfCall.__call__

    def call(self: BpfCall, command: int, attributes: Any) -> int:
        known = Command(command)
        code = _BPF_ERRORS.get(known, errno.EIO)
        fault = tracer.before(f"bpf {known.name}", known in _BPF_CHANGES, OSError(code, os.strerror(code)))
        result = kept(self, command, attributes)
        tracer.after(fault)
        return result

    BpfCall.__call__ = call  # type: ignore[method-assign]


def _wrap_mounts(tracer: _Tracer) -> None:
    kept = namespaces._call

    def call(name: str, *arguments: object) -> None:
        refusal = KernelError(f"{name}: {os.strerror(errno.ENOMEM)}")
        fault = tracer.before(name, name in ("mount", "umount2"), refusal)
        kept(name, *arguments)
        tracer.after(fault)

    namespaces._call = call


def _wrap_fsync(tracer: _Tracer) -> None:
    kept = os.fsync

    def fsync(descriptor: int) -> None:
        fault = tracer.before("fsync", False, OSError(errno.EIO, os.strerror(errno.EIO)))
        kept(descriptor)
        tracer.after(fault)

    os.fsync = fsync


def _wrap_netlink(tracer: _Tracer) -> None:
    made, asked, changed = RouteSocket.__init__, RouteSocket._ask, RouteSocket._through_library

    def make(self: RouteSocket, *arguments: Any) -> None:
        tracer.before("netlink socket", False, OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        made(self, *arguments)

    def ask(self: RouteSocket, kind: int, *rest: Any) -> Any:
        tracer.before(f"netlink dump {kind}", False, NetlinkError(errno.ENOMEM))
        return asked(self, kind, *rest)

    def change(self: RouteSocket, name: str, arguments: tuple[Any, ...], values: dict[str, Any]) -> Any:
        fault = tracer.before(f"netlink {name} {arguments[0]}", True, NetlinkError(errno.ENOMEM))
        result = changed(self, name, arguments, values)
        tracer.after(fault)
        return result

    RouteSocket.__init__ = make  # type: ignore[method-assign]
    RouteSocket._ask = ask  # type: ignore[method-assign]
    RouteSocket._through_library = change  # type: ignore[method-assign]


def _traced_mmap(tracer: _Tracer) -> Any:
    class Traced(mmap.mmap):
        """A mapped table."""

        def __setitem__(self, place: Any, content: Any) -> None:
            fault = tracer.before("store", True, AssertionError("a store can't fail"), failing=False)
            if fault is not None and fault.how == "torn":
                half = len(content) // 2
                mmap.mmap.__setitem__(self, slice(place.start, place.start + half), content[:half])
                os.kill(os.getpid(), signal.SIGKILL)
            mmap.mmap.__setitem__(self, place, content)
            tracer.after(fault)

    return SimpleNamespace(**{**vars(mmap), "mmap": Traced})


def _audit_hook(tracer: _Tracer) -> Callable[[str, tuple[Any, ...]], None]:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            _open(tracer, *arguments)
            return
        known = _FILE_EVENTS.get(event)
        if known is None or (arguments and _OF_PROCESSES.match(str(arguments[0]))):
            return
        changes, code = known
        tracer.before(event, changes, OSError(code, os.strerror(code)))

    return hook


def _open(tracer: _Tracer, path: object, mode: str | None, flags: int) -> None:
    """Of a path, or of a descriptor: then bytes are about to be written to it, and the disk may be full. What other
    processes have open is not the same in each run.
    """
    if isinstance(path, str) and _OF_PROCESSES.match(path):
        return
    writing = bool(flags & _WRITING) if mode is None else any(letter in mode for letter in "wax+")
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE), path if isinstance(path, str) else None)
    if isinstance(path, int):
        if writing:
            tracer.before("write", True, error)
        return
    tracer.before("open for writing" if writing else "open", writing, error)


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a call comes from, see `Step`."""

    text: str
    undoing: bool
    waiting: bool


def _site() -> _Site | None:
    """The product's frames above; None when it was not the product's own call (its netlink library's, an import)."""
    frames = list(_frames(sys._getframe(2)))
    names = [f"{frame.f_code.co_filename[len(_PRODUCT) :]}:{frame.f_lineno}" for frame in frames if _is_ours(frame)]
    if not names:
        return None
    called = {frame.f_code.co_name for frame in frames}
    undoing = "_exit_wrapper" in called or {"locked_folder", "remove_unused"} <= called
    return _Site(" < ".join(names[:_DEPTH]), undoing, any(name.startswith(_WAITING) for name in names))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """From the call up, unless it is somebody else's."""
    ours = False
    while frame is not None:
        ours = ours or _is_ours(frame)
        if not ours and not _is_between(frame.f_code.co_filename):
            return
        yield frame
        frame = frame.f_back


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PRODUCT)


def _is_between(name: str) -> bool:
    """The harness itself, or Python's library between the product and the call."""
    if name == _HERE or (name.startswith("<frozen ") and "importlib" not in name):
        return True
    return name.startswith(_STDLIB) and not name.startswith(_PACKAGES) and "importlib" not in name
