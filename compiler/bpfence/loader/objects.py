"""Compiled programs kept for the next time: the same C text is compiled once, not at every load.

In: C text, functions and macros. Out: `Relocatable`s, instructions with a note where each map's descriptor belongs.
INVARIANT: what is kept is found by the hash of everything that went into it, and the kernel verifies it again at every
load; a file whose content is not that of its own digest is compiled anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from bpfence import __version__
from bpfence.loader.clang import INSTRUCTION, Instructions, bcc_library, compiled
from bpfence.loader.maps import map_info, open_pinned

_LOAD_64 = 0x18
_MAP_DESCRIPTOR = 1
"""Source register of a 64-bit load whose constant is a map's descriptor (BPF_PSEUDO_MAP_FD)."""
MOST_KEPT = 16
"""objects in the folder; the longest unused go first"""


@dataclass(frozen=True, slots=True)
class PrivateMap:
    """A map that no pin names: it is made at every load, for the functions loaded together. Sizes in bytes."""

    name: str
    kind: str
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Relocatable:
    """One function. ``maps``: (instruction, map name) of each reference; the descriptors in ``code`` are zero.
    ``private``: those of the maps that are not pinned.
    """

    name: str
    code: bytes
    maps: tuple[tuple[int, str], ...]
    private: tuple[PrivateMap, ...] = ()

    def bound(self, descriptors: Mapping[str, int]) -> Instructions:
        """With the maps' descriptors in their places."""
        code = bytearray(self.code)
        for place, name in self.maps:
            code[place * INSTRUCTION + 4 : place * INSTRUCTION + 8] = descriptors[name].to_bytes(4, "little")
        return Instructions(self.name, bytes(code))


@dataclass(slots=True)
class ObjectStore:
    """Keeps objects in memory, and in ``folder`` when there is one (made on demand, root only)."""

    folder: Path | None = None
    _known: dict[str, tuple[Relocatable, ...]] = field(default_factory=dict)

    def objects(
        self, text: str, functions: Sequence[str], defines: Mapping[str, int | str], pins: Mapping[str, str]
    ) -> tuple[Relocatable, ...]:
        """Compile, or find what was compiled before. ``pins``: map name -> path; raises what `compiled` raises."""
        key = _key(text, functions, defines, pins)
        found = self._known.get(key) or self._read(key)
        if found is None:
            macros = {**defines, **{f"PIN_{name}": path for name, path in pins.items()}}
            with compiled(text, functions, macros) as parts:
                names = _names(pins)
                found = tuple(_relocatable(part, names) for part in parts)
            self._write(key, found)
        self._known[key] = found
        return found

    def _read(self, key: str) -> tuple[Relocatable, ...] | None:
        if self.folder is None:
            return None
        path = self.folder / key
        try:
            digest, _, content = path.read_bytes().partition(b"\n")
            if digest.decode() != hashlib.sha256(content).hexdigest():
                return None
            found = _decode(json.loads(content))
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    def _write(self, key: str, objects: tuple[Relocatable, ...]) -> None:
        """A cache that can't be written is no failure."""
        if self.folder is None:
            return
        fresh = self.folder / f"{key}.new"
        content = json.dumps(_encode(objects))
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")
            fresh.replace(self.folder / key)
            kept = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            # a command that died while it wrote one has left it unfinished
            unfinished = [path for path in kept if path.suffix == fresh.suffix]
            for path in (*unfinished, *kept[MOST_KEPT:]):
                path.unlink(missing_ok=True)
        except OSError:
            fresh.unlink(missing_ok=True)


def _key(text: str, functions: Sequence[str], defines: Mapping[str, int | str], pins: Mapping[str, str]) -> str:
    facts = [__version__, _compiler(), text, list(functions), sorted(defines.items()), sorted(pins)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _compiler() -> str:
    """Which compiler it is, as far as its file says."""
    name = str(getattr(bcc_library(), "_name", ""))
    found = sorted(path for folder in ("/usr/lib", "/lib", "/usr/local/lib") for path in Path(folder).glob(f"*/{name}"))
    facts = [path.stat() for path in found]
    return json.dumps([name, [[fact.st_size, fact.st_mtime_ns] for fact in facts]])


def _names(pins: Mapping[str, str]) -> dict[int, str]:
    """The kernel's number of a map -> its name."""
    found = {}
    for name, path in pins.items():
        with open_pinned(path) as opened:
            found[opened.info.id] = name
    return found


def _relocatable(part: Instructions, names: Mapping[int, str]) -> Relocatable:
    """Of code whose maps are open. ``names``: the kernel's number of a map -> its name."""
    code = bytearray(part.code)
    maps, private = [], {}
    place = 0
    while place < len(code) // INSTRUCTION:
        at = place * INSTRUCTION
        wide = code[at] == _LOAD_64
        if wide and code[at + 1] >> 4 == _MAP_DESCRIPTOR:
            info = map_info(int.from_bytes(code[at + 4 : at + 8], "little"))
            name = names.get(info.id)
            if name is None:
                name = info.name
                sizes = (info.key_size, info.value_size, info.entries, info.flags)
                private[name] = PrivateMap(name, info.kind, *sizes)
            maps.append((place, name))
            code[at + 4 : at + 8] = bytes(4)
        place += 2 if wide else 1
    return Relocatable(part.name, bytes(code), tuple(maps), tuple(private.values()))


def _encode(objects: Sequence[Relocatable]) -> Any:
    return [
        {
            "name": item.name,
            "code": item.code.hex(),
            "maps": item.maps,
            "private": [astuple(made) for made in item.private],
        }
        for item in objects
    ]


def _decode(document: Any) -> tuple[Relocatable, ...]:
    return tuple(
        Relocatable(
            str(item["name"]),
            bytes.fromhex(item["code"]),
            tuple((int(place), str(name)) for place, name in item["maps"]),
            tuple(PrivateMap(str(name), str(kind), *map(int, sizes)) for name, kind, *sizes in item["private"]),
        )
        for item in document
    )
