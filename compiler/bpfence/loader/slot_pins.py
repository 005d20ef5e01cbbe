"""A slot's maps and programs, made and pinned in a folder of their own: an artefact in, a folder that `open_slot`
takes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bpfence.emit.artefact import Artefact
from bpfence.emit.program import ENDPOINT_COUNTERS, SHARED_BY_SLOTS, XDP_PROGRAMS, slot_programs
from bpfence.loader.bpffs import SHAPE, Pins, make_folder
from bpfence.loader.counts import create_endpoint_counters
from bpfence.loader.kernel import kernel_hz
from bpfence.loader.maps import create_array, pin, write_array
from bpfence.loader.node import Slot
from bpfence.loader.objects import ObjectStore
from bpfence.loader.programs import SCHED_CLS, XDP, load_programs, pin_programs
from bpfence.plan.plan import Features, Geometry


def same_shape(slot: Slot, artefact: Artefact) -> bool:
    """Whether the slot's programs and tables can take the artefact: then only bytes are written."""
    sizes = {name: table.info.value_size for name, table in slot.tables.items()}
    wanted = {entry.name: entry.size for entry in artefact.manifest.tables}
    programs = {name for names in slot_programs(Features(**artefact.manifest.features)).values() for name in names}
    return slot.shape == artefact.manifest.shape and sizes == wanted and set(slot.programs) == programs


def make_slot_pins(
    folder: Path, pins: Pins, artefact: Artefact, images: Mapping[str, bytes], store: ObjectStore
) -> None:
    """Make ``folder`` anew, with tables that hold ``images`` and programs bound to them and to the shared maps.

    ``store``: where compiled programs are kept. Raises KernelError, and what `load_programs` raises.
    """
    make_folder(folder)
    for name, image in images.items():
        _make_table(folder / name, name, image)
    with create_endpoint_counters(Geometry(**artefact.manifest.geometry)) as counters:
        pin(counters.fd, folder / ENDPOINT_COUNTERS)
    _load(pins, folder, artefact, store)
    _make_table(folder / SHAPE, SHAPE, bytes.fromhex(artefact.manifest.shape))


def _make_table(path: Path, name: str, image: bytes) -> None:
    with create_array(name, len(image)) as table:
        write_array(table, image)
        pin(table.fd, path)


def _load(pins: Pins, folder: Path, artefact: Artefact, store: ObjectStore) -> None:
    """Compile, load and pin the programs."""
    maps = {entry.name: folder / entry.name for entry in artefact.manifest.tables}
    maps |= {name: pins.shared(name) for name in SHARED_BY_SLOTS}
    maps[ENDPOINT_COUNTERS] = folder / ENDPOINT_COUNTERS
    for file, functions in slot_programs(Features(**artefact.manifest.features)).items():
        kind = XDP if functions == XDP_PROGRAMS else SCHED_CLS
        programs = load_programs(artefact.programs[file], functions, maps, {"HZ": kernel_hz()}, store, kind)
        pin_programs(programs, {name: folder / name for name in programs})
