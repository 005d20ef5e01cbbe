"""Maps: made, pinned, opened, read and written. A `Map` owns its descriptor; bytes in, bytes out."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bpfence.errors import FeatureMissing, KernelError, PermissionMissing
from bpfence.loader.descriptor import Descriptor
from bpfence.loader.syscalls import (
    BpfCall,
    Command,
    MapBatch,
    MapCreate,
    MapElement,
    ObjectInfo,
    ObjectPath,
    ProgramById,
    address_of,
)

KINDS = {
    "hash": 1,
    "array": 2,
    "prog_array": 3,
    "percpu_hash": 5,
    "percpu_array": 6,
    "lru_hash": 9,
    "lpm_trie": 11,
    "array_of_maps": 12,
    "ringbuf": 27,
}
_NAMES = {number: name for name, number in KINDS.items()}
_PER_CPU = frozenset({"percpu_hash", "percpu_array"})

NO_PREALLOC = 1 << 0
MMAPABLE = 1 << 10
BATCH = 4096
NAME_LENGTH = 15


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says about a map. ``kind``: a key of `KINDS`, else the kernel's number as text."""

    id: int
    kind: str
    key_size: int
    value_size: int
    entries: int
    flags: int
    name: str


class _KernelMapInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class Map(Descriptor):
    """One map, open in this process. ``close`` (or leaving a ``with``) gives the descriptor back; pins keep the map."""

    __slots__ = ("_call", "info", "stored_size")

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._call = BpfCall()
        self.info = map_info(fd)
        rounded = (self.info.value_size + 7) & ~7
        self.stored_size = rounded * possible_cpus() if self.info.kind in _PER_CPU else self.info.value_size

    @property
    def name(self) -> str:
        return self.info.name

    def lookup(self, key: bytes) -> bytes | None:
        """The value of ``key``, None when it is not there. Per-CPU kinds: one per possible CPU, in steps of 8."""
        value = ctypes.create_string_buffer(self.stored_size)
        found = self._element(Command.MAP_LOOKUP_ELEM, key, value)
        return value.raw if found else None

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set ``key``. ``flags``: 0 any, 1 only when new, 2 only when there."""
        if len(value) != self.stored_size:
            raise ValueError(f"map {self.name}: a value has {self.stored_size} bytes, not {len(value)}")
        stored = ctypes.create_string_buffer(value, len(value))
        if not self._element(Command.MAP_UPDATE_ELEM, key, stored, flags):
            raise KernelError(f"map {self.name} has no such entry to update")

    def update_many(self, keys: bytes, values: bytes) -> None:
        """Set many entries, keys and values one behind the other, with one system call. Raises KernelError; what
        comes before the first that the kernel refuses is set then.
        """
        count = len(keys) // self.info.key_size
        if (len(keys), len(values)) != (count * self.info.key_size, count * self.stored_size):
            raise ValueError(f"map {self.name}: {len(keys)} bytes of keys do not go with {len(values)} of values")
        stored = [ctypes.create_string_buffer(data, len(data)) for data in (keys, values)]
        batch = MapBatch(0, 0, *map(address_of, stored), count, self.fd)
        try:
            self._call(Command.MAP_UPDATE_BATCH, batch)
        except OSError as error:
            raise KernelError(f"map {self.name} took {batch.count} of {count} entries: {error.strerror}") from error

    def delete(self, key: bytes) -> bool:
        """Remove ``key``; False when it was not there."""
        return self._element(Command.MAP_DELETE_ELEM, key, None)

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after ``key`` (None: the first), None at the end."""
        found = ctypes.create_string_buffer(self.info.key_size)
        return found.raw if self._element(Command.MAP_GET_NEXT_KEY, key, found) else None

    def iterate(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry, a batch per system call. Entries that come or go meanwhile may or may not be seen."""
        key_size, value_size = self.info.key_size, self.stored_size
        for keys, values in self.batches():
            for index in range(len(keys) // key_size):
                yield keys[index * key_size :][:key_size], values[index * value_size :][:value_size]

    def batches(self) -> Iterator[tuple[bytes, bytes]]:
        """The same as (keys, values) of up to BATCH entries, one behind the other."""
        key_size, value_size = self.info.key_size, self.stored_size
        room = min(BATCH, max(self.info.entries, 1))
        keys = ctypes.create_string_buffer(room * key_size)
        values = ctypes.create_string_buffer(room * value_size)
        token = ctypes.create_string_buffer(max(key_size, 8))
        position = 0
        while True:
            batch = MapBatch(position, address_of(token), address_of(keys), address_of(values), room, self.fd)
            more = self._lookup_batch(batch)
            yield keys.raw[: batch.count * key_size], values.raw[: batch.count * value_size]
            if not more:
                return
            position = address_of(token)

    def _lookup_batch(self, batch: MapBatch) -> bool:
        """True while there is more."""
        try:
            self._call(Command.MAP_LOOKUP_BATCH, batch)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise KernelError(f"map {self.name} can't be read: {error.strerror}") from error
        return True

    def _element(
        self, command: Command, key: bytes | None, value: ctypes.Array[ctypes.c_char] | None, flags: int = 0
    ) -> bool:
        if key is not None and len(key) != self.info.key_size:
            raise ValueError(f"map {self.name}: a key has {self.info.key_size} bytes, not {len(key)}")
        stored = ctypes.create_string_buffer(key, len(key)) if key is not None else None
        attributes = MapElement(self.fd, address_of(stored) if stored else 0, address_of(value) if value else 0, flags)
        try:
            self._call(command, attributes)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise KernelError(f"map {self.name}: {command.name.lower()} failed: {error.strerror}") from error
        return True


def create_map(
    kind: str, key_size: int, value_size: int, entries: int, flags: int = 0, name: str = "", inner_fd: int = 0
) -> Map:
    """Make a map. ``kind``: a key of `KINDS`; ``name``: shown by the kernel's tools, cut to 15 bytes; ``inner_fd``: a
    map like those that a map of maps will hold.

    Raises PermissionMissing, FeatureMissing (the kind is unknown to the kernel) or KernelError (memory).
    """
    shown = name.encode()[:NAME_LENGTH]
    attributes = MapCreate(KINDS[kind], key_size, value_size, entries, flags, inner_fd, 0, shown)
    try:
        fd = BpfCall()(Command.MAP_CREATE, attributes)
    except OSError as error:
        raise _creation_error(kind, name, entries * value_size, error) from error
    return _owned(fd)


def _owned(fd: int) -> Map:
    """The map of a descriptor, which is closed when that is no map."""
    try:
        return Map(fd)
    except BaseException:
        os.close(fd)
        raise


def create_array(name: str, size: int, mmapable: bool = True) -> Map:
    """An array with one element of ``size`` bytes: looked up inline by the JIT, filled by memcpy when ``mmapable``."""
    return create_map("array", 4, size, 1, MMAPABLE if mmapable else 0, name)


def create_array_of_maps(name: str, inner_fd: int) -> Map:
    """A map with room for one map like ``inner_fd``."""
    return create_map("array_of_maps", 4, 4, 1, name=name, inner_fd=inner_fd)


def _creation_error(kind: str, name: str, size: int, error: OSError) -> KernelError:
    what = f"can't make the map {name or kind} ({kind}, {size} bytes): {error.strerror}"
    if error.errno == errno.EPERM:
        return PermissionMissing(f"{what}; run as root")
    if error.errno == errno.EINVAL:
        return FeatureMissing(f"{what}; the kernel does not know this kind of map or its size")
    return KernelError(what)


def pin(fd: int, path: str | Path) -> None:
    """Pin a map or program below a bpf file system. Raises KernelError, also when something is pinned there already."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    try:
        BpfCall()(Command.OBJ_PIN, ObjectPath(address_of(name), fd))
    except OSError as error:
        hint = "; is a bpf file system mounted there?" if error.errno in (errno.EPERM, errno.EINVAL) else ""
        raise KernelError(f"can't pin {path}: {error.strerror}{hint}") from error


def open_pinned_fd(path: str | Path) -> int:
    """A new descriptor of what is pinned at ``path``. Raises KernelError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    try:
        return BpfCall()(Command.OBJ_GET, ObjectPath(address_of(name)))
    except OSError as error:
        raise KernelError(f"can't open the pin {path}: {error.strerror}") from error


def open_pinned(path: str | Path) -> Map:
    """The map that is pinned at ``path``. Raises KernelError, also when a program is pinned there."""
    return _owned(open_pinned_fd(path))


def map_info(fd: int) -> MapInfo:
    """What the kernel says about the map. Raises KernelError when ``fd`` is no map."""
    if not os.readlink(f"/proc/self/fd/{fd}").endswith("bpf-map"):
        raise KernelError(f"descriptor {fd} is not a map")
    raw = _KernelMapInfo()
    BpfCall()(Command.OBJ_GET_INFO_BY_FD, ObjectInfo(fd, ctypes.sizeof(raw), address_of(raw)))
    kind = _NAMES.get(raw.type, str(raw.type))
    return MapInfo(raw.id, kind, raw.key_size, raw.value_size, raw.max_entries, raw.map_flags, raw.name.decode())


def map_name(number: int) -> str:
    """The name of the map with a kernel id, as it was made with; empty when it is gone. Raises KernelError."""
    try:
        fd = BpfCall()(Command.MAP_GET_FD_BY_ID, ProgramById(number))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return ""
        raise KernelError(f"can't open map {number}: {error.strerror}") from error
    with Descriptor(fd):
        return map_info(fd).name


def write_array(target: Map, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
    """Copy ``data`` into a memory-mapped array at byte ``offset``.

    Not atomic as a whole: publish through a generation word.
    """
    with memoryview(data) as view, view.cast("B") as content:
        if offset < 0 or offset + len(content) > _array_size(target):
            size = _array_size(target)
            raise ValueError(f"map {target.name} has {size} bytes: no room for {len(content)} at {offset}")
        with mmap.mmap(target.fd, _mapped_size(target), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
            memory[offset : offset + len(content)] = content


def read_array(source: Map) -> bytes:
    """All bytes of a memory-mapped array (single element: exactly its value)."""
    with mmap.mmap(source.fd, _mapped_size(source), mmap.MAP_SHARED, mmap.PROT_READ) as memory:
        return memory[: _array_size(source)]


def prog_array_set(target: Map, index: int, program_fd: int) -> None:
    """Put a program into a program array; direct jumps to that index are patched by the kernel at once."""
    target.update(index.to_bytes(4, "little"), program_fd.to_bytes(4, "little"))


def prog_array_get(source: Map, index: int) -> int:
    """The kernel's id of the program at ``index``, 0 for none."""
    return int.from_bytes(source.lookup(index.to_bytes(4, "little")) or b"", "little")


def read_per_cpu(source: Map, index: int) -> int:
    """The sum over all CPUs of element ``index`` of a per-CPU array of u64."""
    stored = source.lookup(index.to_bytes(4, "little")) or b""
    return sum(int.from_bytes(stored[at : at + 8], "little") for at in range(0, len(stored), 8))


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel keeps per-CPU values for."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").rsplit("-", 1)[-1]) + 1


def _array_size(target: Map) -> int:
    info = target.info
    return info.value_size if info.entries == 1 else info.entries * ((info.value_size + 7) & ~7)


def _mapped_size(target: Map) -> int:
    page = mmap.PAGESIZE
    return (_array_size(target) + page - 1) // page * page
