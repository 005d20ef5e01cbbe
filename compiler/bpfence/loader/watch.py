"""Following input files and the node's network: every change that matters becomes a generation.

- A change of files: after a short silence everything is compiled anew, in a thread, so that the network is followed
  meanwhile. What can't be used is told; the generation in force stays.
- A change of the network: the artefact in force is brought into force once more for the interfaces that there are now.
  Nothing is compiled. When neither interfaces nor the node's addresses differ, nothing is done. Such generations only
  refresh another: they take its place on disk, and `rollback` goes past them.
- Another command may bring something else into force, or take everything off. Then that is what is kept up to date,
  until a watched file changes or SIGHUP comes. Who decides last is heard: what was compiled takes the place of what was
  in force when its compilation began, and of nothing that somebody has brought since, however long it had to wait. It
  is told that it is dropped then. A start counts as a change of files.
- While a generation waits for its confirmation nothing is changed at all: what comes to the node meanwhile is seen to
  right after, on whatever the confirmation or its absence has left in force.

What the kernel or another command refuses is told once and tried again after a pause that grows.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from bpfence.emit.artefact import Artefact, Manifest
from bpfence.errors import FeatureMissing, KernelError, PermissionMissing
from bpfence.loader.in_force import NoLongerInForce, replaceable_contents
from bpfence.loader.inotify import Inotify
from bpfence.loader.kept import kept_artefact
from bpfence.loader.kernel import require_kernel
from bpfence.loader.net_events import NetEvents, packed_addresses
from bpfence.loader.node import NodePaths, active_word
from bpfence.loader.pending import AwaitsConfirmation, pending_confirmation, refuse_pending, seconds_left
from bpfence.loader.service_manager import notify
from bpfence.loader.stage import check_artefact
from bpfence.loader.state import WATCH
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply, refresh, settled_node
from bpfence.loader.watch_files import WRITE_PATIENCE, WatchedFiles

FILES_QUIET, FILES_MOST = 0.1, 1.0
NET_QUIET, NET_MOST = 0.01, 0.05
"""Seconds of silence after which a burst of changes is over, and the longest that one is waited for."""
FIRST_PAUSE, WAITING_PAUSE, LONGEST_PAUSE = 0.05, 0.5, 10.0
"""Seconds between two tries: the first, the longest while somebody has to confirm, the longest else."""
PATIENCE = 1.0
"""Seconds of pause from which on it is told that another command is always faster."""
LOCK_SECONDS = 1.0
"""How long another command's transaction is waited for before it is told of."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """``sources``: the files and folders to follow. ``force``: the lock-out guard lets everything pass."""

    paths: NodePaths
    sources: tuple[Path, ...]
    force: bool = False


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where the watch says what it does: each generation, what is wrong with input, what is refused or of note."""

    generation: Callable[[ApplyReport], None]
    problem: Callable[[BaseException], None]
    note: Callable[[str], None]


@dataclass(slots=True)
class Burst:
    """Changes that come close together are seen to at once. Times are of the monotonic clock."""

    quiet: float
    most: float
    _first: float = 0.0
    _last: float = 0.0

    def add(self, now: float) -> None:
        self._first = self._first or now
        self._last = now

    def clear(self) -> None:
        self._first = self._last = 0.0

    @property
    def due(self) -> float:
        """When to see to it; infinite when there is nothing."""
        return min(self._last + self.quiet, self._first + self.most) if self._first else float("inf")


@dataclass(slots=True)
class _Retry:
    """When to try again what was refused."""

    due: float = float("inf")
    pause: float = FIRST_PAUSE
    told: str = ""

    def says_anew(self, state: str) -> bool:
        """Whether this is another refusal than the last one that was told."""
        before, self.told = self.told, state
        return state != before

    def later(self, now: float, longest: float) -> None:
        self.due = now + min(self.pause, longest)
        self.pause = min(self.pause * 2, longest)

    def clear(self) -> None:
        self.due, self.pause, self.told = float("inf"), FIRST_PAUSE, ""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """``over``: contents of the artefacts whose place it takes; None = of any, for lack of knowledge."""

    artefact: Artefact
    over: frozenset[str] | None


@dataclass(slots=True)
class Watch:
    """``compiler``: makes the artefact of the sources as they are now; called in a thread of its own."""

    settings: WatchSettings
    compiler: Callable[[], Artefact]
    outlet: Outlet
    files: Burst = field(default_factory=lambda: Burst(FILES_QUIET, FILES_MOST))
    net: Burst = field(default_factory=lambda: Burst(NET_QUIET, NET_MOST))
    _retry: _Retry = field(default_factory=_Retry)
    _current: Artefact | None = None
    _waiting: _Compiled | None = None
    """not in force yet"""
    _over: frozenset[str] | None = None
    """what the compilation under way may take the place of"""
    _addresses: frozenset[bytes] = frozenset()
    _compiling: bool = False
    _results: list[Artefact | Exception] = field(default_factory=list)
    _caught: set[int] = field(default_factory=set)
    _wake: int = -1
    _foreign: int = 0
    """generation of another command that was told of"""

    def run(self) -> None:
        """Until SIGINT or SIGTERM. What is in force stays in force. Raises BpfenceError when it can't begin: the
        sources can't be used, or the kernel lacks something.
        """
        require_kernel()
        with ExitStack() as stack:
            woken = self._take_signals(stack)
            events = NetEvents()
            stack.callback(events.close)
            watched = WatchedFiles(self.settings.sources, stack.enter_context(Inotify()))
            # listening begins before anything is read, so that no change is lost
            watched.add()
            self._over = self._replaceable()
            self._results.append(self.compiler())
            poller = select.poll()
            for descriptor in (woken, events.fd, watched.inotify.fd):
                poller.register(descriptor, select.POLLIN)
            self._see_to(time.monotonic(), watched)
            while not self._caught & {signal.SIGINT, signal.SIGTERM}:
                self._listen(poller, woken, events, watched)
                self._see_to(time.monotonic(), watched)
        notify("STOPPING=1")

    def _take_signals(self, stack: ExitStack) -> int:
        """Signals are noted; returns the descriptor that polls readable when one came."""
        woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, woken)
        stack.callback(os.close, self._wake)
        for number in _SIGNALS:
            stack.callback(signal.signal, number, signal.signal(number, self._note))
        return woken

    def _note(self, number: int, _: FrameType | None) -> None:
        self._caught.add(number)
        self._wake_up()

    def _wake_up(self) -> None:
        """Called by signal handlers and by the compiler's thread."""
        try:
            os.write(self._wake, b".")
        except OSError:
            return  # the pipe is full, or closed at the end

    def _listen(self, poller: select.poll, woken: int, events: NetEvents, watched: WatchedFiles) -> None:
        """Wait for news or for the next thing that is due."""
        due = min(self.net.due, self._files_due(watched), watched.overdue_at, self._retry.due)
        left = None if due == float("inf") else max(0.0, due - time.monotonic()) * 1000
        ready = {descriptor for descriptor, _ in poller.poll(left)}
        now = time.monotonic()
        if woken in ready:
            os.read(woken, 4096)
        if events.fd in ready and events.read(self._addresses):
            self.net.add(now)
        if watched.inotify.fd in ready and watched.changed():
            self.files.add(now)

    def _see_to(self, now: float, watched: WatchedFiles) -> None:
        if signal.SIGHUP in self._caught:
            self._caught.discard(signal.SIGHUP)
            watched.forget_writers()
            self.files.add(now - FILES_MOST)
        for path in watched.overdue(now):
            self.outlet.note(
                f"{path} has been open for writing for {WRITE_PATIENCE:.0f} s: what is in force stays until it is "
                "closed, or SIGHUP comes"
            )
        if self._files_due(watched) <= now:
            self.files.clear()
            self._compile(watched)
        if self._results:
            self._take(self._results.pop(), now, watched)
        if min(self.net.due, self._retry.due) <= now or (self._waiting is not None and self._retry.due == float("inf")):
            self.net.clear()
            self._put_in_force()

    def _files_due(self, watched: WatchedFiles) -> float:
        """When to read the files; infinite when nothing in them has changed, or something is half written."""
        return float("inf") if self._compiling else max(self.files.due, watched.free_at)

    def _compile(self, watched: WatchedFiles) -> None:
        try:
            watched.add()
        except KernelError as error:
            self.outlet.problem(error)
        watched.torn = False
        self._over = self._replaceable()
        self._compiling = True
        threading.Thread(target=self._compile_apart, name="bpfence-compile", daemon=True).start()

    def _replaceable(self) -> frozenset[str] | None:
        try:
            return replaceable_contents(self.settings.paths)
        except (KernelError, OSError):
            return None  # whatever is wrong with the node is told when something is brought into force

    def _compile_apart(self) -> None:
        try:
            self._results.append(self.compiler())
        except Exception as error:  # noqa: BLE001 - told by the main thread; a bad file must not end the watch
            self._results.append(error)
        self._wake_up()

    def _take(self, result: Artefact | Exception, now: float, watched: WatchedFiles) -> None:
        self._compiling = False
        if watched.changed() or watched.torn:
            self.files.add(now)
        if watched.torn:
            return  # of files that were being written; they are read again when they are whole
        if isinstance(result, Exception):
            self.outlet.problem(result)
            return
        self._waiting = _Compiled(result, self._over)
        self._retry.clear()

    def _put_in_force(self) -> None:
        """What was compiled last, else what is in force, for the node as it is now."""
        try:
            self._settle()
            report = self._bring(self._waiting) if self._waiting is not None else self._follow()
        except (FeatureMissing, PermissionMissing):
            raise
        except Exception as error:  # noqa: BLE001 - told; who watches must not stop because of one moment's failure
            self._refused(error)
            return
        self._retry.clear()
        if report is not None:
            self.outlet.generation(report)
        notify("READY=1", *self._status())

    def _status(self) -> tuple[str, ...]:
        """For the service manager; nothing when another command is taking everything off just now."""
        with suppress(KernelError, OSError):
            return (f"STATUS=generation {active_word(self.settings.paths).generation} in force",)
        return ()

    def _settle(self) -> None:
        """Raise AwaitsConfirmation, without touching the lock, while a confirmation is waited for; what is overdue is
        taken back.
        """
        pending = pending_confirmation(self.settings.paths)
        if pending is None:
            return
        if seconds_left(pending) > 0:
            refuse_pending(self.settings.paths)
        with settled_node(self._apply_settings()) as late:
            pass
        for line in late:
            self.outlet.note(line)

    def _bring(self, compiled: _Compiled) -> ApplyReport | None:
        artefact = compiled.artefact
        check_artefact(artefact)
        there = None
        with suppress(KernelError):  # not on disk any more: then it is brought anew
            there = self._in_force()
        if there is not None and _means_the_same(there.manifest, artefact.manifest):
            artefact, report = there, refresh(there, self._apply_settings())
        else:
            report = self._replace(compiled)
        self._waiting = None
        self._foreign = 0
        if self._over is not None:  # a compilation that has begun meanwhile is newer than this
            self._over |= {artefact.manifest.content}
        self._adopt(artefact)
        return report

    def _replace(self, compiled: _Compiled) -> ApplyReport:
        """Raises NoLongerInForce, and forgets what was compiled, when somebody has decided later."""
        try:
            return apply(compiled.artefact, replace(self._apply_settings(), replaces=compiled.over))
        except NoLongerInForce:
            self._waiting = None
            self.outlet.note(
                "another command has brought something else into force, or taken it off, after the files were changed: "
                "they are not applied until they change again, or SIGHUP"
            )
            raise

    def _follow(self) -> ApplyReport | None:
        """Keep up to date what is in force, whoever brought it."""
        number = active_word(self.settings.paths).generation
        there = self._in_force()
        if there is None:
            self._told_of(-1, "nothing is in force any more: waiting for a change of the files, or SIGHUP")
            return None
        if self._current is not there:
            check_artefact(there)
            self._adopt(there)
            self._told_of(
                number,
                f"another command has brought generation {number} into force: it stays until the files change, or "
                "SIGHUP",
            )
        return refresh(there, self._apply_settings())

    def _in_force(self) -> Artefact | None:
        """The artefact in force, from memory when it is the one that is known; None when nothing is. KernelError when
        it is no longer on disk.
        """
        paths = self.settings.paths
        number = active_word(paths).generation
        record = paths.folder.read().record(number)
        if not number:
            return None
        if self._current is not None and record is not None and record.content == self._current.manifest.content:
            return self._current
        try:
            there = kept_artefact(paths.folder, number)
        except KernelError:
            if active_word(paths).generation == number:
                raise
            return self._in_force()  # it went from the disk because another has come
        if record is not None and record.content != there.manifest.content:
            raise KernelError(f"generation {number} on disk is not what has come into force; apply it from its source")
        return there

    def _told_of(self, number: int, text: str) -> None:
        if self._foreign != number:
            self._foreign = number
            self.outlet.note(text)

    def _adopt(self, artefact: Artefact) -> None:
        self._current = artefact
        endpoints = artefact.manifest.endpoints
        self._addresses = packed_addresses({text for item in endpoints for text in item.addresses})

    def _apply_settings(self) -> ApplySettings:
        return ApplySettings(self.settings.paths, force=self.settings.force, by=WATCH, wait=LOCK_SECONDS)

    def _refused(self, error: Exception) -> None:
        waits = isinstance(error, AwaitsConfirmation)
        silent = isinstance(error, NoLongerInForce) and self._retry.pause < PATIENCE
        self._retry.later(time.monotonic(), WAITING_PAUSE if waits else LONGEST_PAUSE)
        # what is read anew is nothing to tell of, and the seconds left are no other state
        state = f"confirmation of {error.generation}" if isinstance(error, AwaitsConfirmation) else str(error)
        if not silent and self._retry.says_anew(state):
            self.outlet.problem(error)


def _means_the_same(one: Manifest, other: Manifest) -> bool:
    """Whether two artefacts differ in nothing but the hashes of the files that they were made from."""
    blank: dict[str, object] = {"content": "", "inputs": {}}
    return one.model_copy(update=blank) == other.model_copy(update=blank)
