"""A lowered program, kept for the next run on the same policies: reading a thousand policies of three languages takes
longer than everything that a changed pod changes.

INVARIANT: a kept program is used only where reading, checking and lowering anew would give this very program and these
very messages. What goes into that is its key (every byte of the files that are not inventory alone, their paths, the
options, the compiler's own files) or its `Inventory`'s digest. Labels and places of pods are left out of the digest
only when the lowering has not looked at any, which `watch_pods` sees.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from bpfence import __version__
from bpfence.diagnostics import Diagnostic
from bpfence.identity.inventory import ContainerPort, Inventory, Pod
from bpfence.ir.nodes import Program
from bpfence.ir.records import from_records, to_records
from bpfence.kept_files import read_kept, write_kept
from bpfence.options import Options
from bpfence.passes.size import ProgramSize
from bpfence.resources import resource_dir
from bpfence.source.read import RawFile
from bpfence.source.spans import Span

FORMAT = 1
_WATCHED = ("labels", "span")
"""fields of a pod that change without the program's changing"""


@dataclass(frozen=True, slots=True)
class KeptProgram:
    """``program``: after the passes. ``diagnostics``: all that was said about the policies. ``mentioned``: namespaces
    that they name. ``declared``: kinds of the objects among them that count as inventory. ``digest``: of the inventory;
    ``pods_matter``: with the watched fields of pods.
    """

    program: Program
    sizes: Mapping[str, ProgramSize]
    text: str
    diagnostics: tuple[Diagnostic, ...]
    mentioned: Mapping[str, Span]
    declared: frozenset[str]
    digest: str
    pods_matter: bool

    def fits(self, inventory: Inventory) -> bool:
        """Whether lowering for this inventory would give the same."""
        return self.digest == inventory_digest(inventory, self.pods_matter)


@dataclass(slots=True)
class PodReads:
    """Which of the watched fields somebody has looked at."""

    fields: set[str] = field(default_factory=set)


def watch_pods(inventory: Inventory) -> tuple[Inventory, PodReads]:
    """The same inventory, and a note of the watched fields of pods that are read from it."""
    reads = PodReads()
    kind = _watched_kind(reads)
    return replace(inventory, pods=tuple(_copy(pod, kind) for pod in inventory.pods)), reads


def _watched_kind(reads: PodReads) -> type[Pod]:
    def watched(name: str) -> property:
        read = vars(Pod)[name].__get__

        def get(pod: Pod) -> Any:
            reads.fields.add(name)
            return read(pod, Pod)

        return property(get)

    return type("WatchedPod", (Pod,), {"__slots__": (), **{name: watched(name) for name in _WATCHED}})


def _copy(pod: Pod, kind: type[Pod]) -> Pod:
    made = object.__new__(kind)
    for item in fields(Pod):
        vars(Pod)[item.name].__set__(made, getattr(pod, item.name))
    return made


def program_key(files: Iterable[RawFile], options: Options) -> str:
    """The name under which the program of these files is kept; ``files``: those that are not inventory alone."""
    facts = {
        "format": FORMAT,
        "version": __version__,
        "python": sys.version,
        "compiler": list(_compiler_files()),
        "options": options.model_dump(mode="json"),
        "files": [(raw.info.path, raw.info.relative, raw.info.sha256) for raw in files],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _compiler_files() -> Iterator[tuple[str, int, int]]:
    """(path, size, time of change in ns) of every file that says how policies are read: one that is edited in place
    makes another compiler of the same version.
    """
    package = Path(__file__).parent
    folders = [package, *(entry.path for entry in os.scandir(package) if entry.is_dir()), resource_dir("grammar")]
    folders += [entry.path for entry in os.scandir(package / "dialects") if entry.is_dir()]
    for folder in sorted(map(str, folders)):
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith((".py", ".lark"))]
        for name, facts in sorted(found, key=lambda item: item[0]):
            yield f"{folder}/{name}", facts.st_size, facts.st_mtime_ns


def inventory_digest(inventory: Inventory, pods_matter: bool) -> str:
    """Hash of everything that an inventory says, with the watched fields of its pods or without them."""
    plain = tuple(item.name for item in fields(Pod) if item.name not in {"addresses", "ports", *_WATCHED})
    plainly, watched = attrgetter(*plain), attrgetter(*_WATCHED)
    of_port = attrgetter(*(item.name for item in fields(ContainerPort)))
    pods = [
        (
            plainly(pod),
            [(address.version, int(address)) for address in pod.addresses],
            [of_port(port) for port in pod.ports],
            repr(watched(pod)) if pods_matter else "",
        )
        for pod in inventory.pods
    ]
    others = [
        repr(sorted(value) if isinstance(value, frozenset) else value)
        for value in (getattr(inventory, item.name) for item in fields(Inventory) if item.name != "pods")
    ]
    return hashlib.sha256(json.dumps([plain, pods, others]).encode()).hexdigest()


def read_program(folder: Path, key: str) -> KeptProgram | None:
    """The program that was kept under the key."""
    document = read_kept(folder, key)
    try:
        if not isinstance(document, dict) or document["key"] != key:
            return None
        program, diagnostics, mentioned = from_records(document["records"])
        return KeptProgram(
            program=program,
            sizes={name: ProgramSize(*numbers) for name, numbers in document["sizes"].items()},
            text=document["text"],
            diagnostics=diagnostics,
            mentioned=dict(mentioned),
            declared=frozenset(document["declared"]),
            digest=document["digest"],
            pods_matter=document["pods_matter"],
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def write_program(folder: Path, key: str, kept: KeptProgram) -> None:
    """Keep a program. One that can't be kept is no failure."""
    values = (kept.program, kept.diagnostics, tuple(sorted(kept.mentioned.items())))
    document = {
        "key": key,
        "records": to_records(values),
        "sizes": {name: [getattr(size, one.name) for one in fields(size)] for name, size in kept.sizes.items()},
        "text": kept.text,
        "declared": sorted(kept.declared),
        "digest": kept.digest,
        "pods_matter": kept.pods_matter,
    }
    write_kept(folder, key, document)
