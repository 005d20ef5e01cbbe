"""Packet tables: policies, a world, and the verdict each packet must get. Read from the YAML files beside this module.

Every document of a table file has ``name``, ``world`` (a file below this folder), ``engine``, ``policies`` (YAML text),
``flows`` (keys as in a batch of ``explain``, ``expect`` and ``pending``), and optionally ``options`` (names of
`Options`), ``twin: false`` (the table has no IPv6 twin) and ``needs``: names of what the compiler has to know to answer
it. Only who names these features gets such a table; the evaluator answers all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bpfence.flows import PROTOCOL_NUMBERS, Flow
from bpfence.loading import LoadedInput, load_input
from bpfence.options import Options

VERDICTS = {"allow": True, "deny": False}
HERE = Path(__file__).parent
IPV4 = re.compile(r"(?<![\w.])(\d+)\.(\d+)\.(\d+)\.(\d+)(?:/(\d+))?(?![\w.])")


@dataclass(frozen=True, slots=True)
class PacketRow:
    """One packet and whether it must pass; ``pending``: with the staged policies in force, None = nobody asks."""

    name: str
    flow: Flow
    allow: bool
    pending: bool | None = None


@dataclass(frozen=True, slots=True)
class PacketTable:
    """``name`` begins with a short word that all its rows share."""

    name: str
    world: Path
    policies: str
    options: Options
    rows: tuple[PacketRow, ...]
    twin: bool = True
    needs: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return self.name.split()[0]

    def load(self, folder: Path) -> LoadedInput:
        """The table's world and policies, read like a user's files; the policy file is written into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "policies.yaml"
        file.write_text(self.policies)
        return load_input([str(self.world), str(file)], self.options)


def packet_tables(*features: str) -> tuple[PacketTable, ...]:
    """The tables that need nothing but these features, by file and place."""
    return tuple(table for table in all_tables() if table.needs <= set(features))


def twin_tables(*features: str) -> tuple[PacketTable, ...]:
    """The same tables with every IPv4 address and prefix replaced by its IPv6 twin, every flow over IPv6."""
    return tuple(table for table in all_twins() if table.needs <= set(features))


@cache
def all_tables() -> tuple[PacketTable, ...]:
    """Every table of every file, by file and place."""
    documents = (
        document
        for file in sorted(HERE.glob("*.yaml"))
        for document in yaml.load_all(file.read_text(), yaml.CSafeLoader)
    )
    return tuple(_table(document) for document in documents)


@cache
def all_twins() -> tuple[PacketTable, ...]:
    """The IPv6 twin of every table that has one."""
    return tuple(_twin(table) for table in all_tables() if table.twin)


def _table(document: dict[str, Any]) -> PacketTable:
    options = Options(engine=document["engine"], **document.get("options", {}))
    rows = tuple(_row(item) for item in document["flows"])
    world = HERE / document["world"]
    needs = frozenset(document.get("needs", ()))
    return PacketTable(document["name"], world, document["policies"], options, rows, document.get("twin", True), needs)


def _row(item: dict[str, Any]) -> PacketRow:
    protocol = item["protocol"]
    number = PROTOCOL_NUMBERS[protocol.upper()] if isinstance(protocol, str) else protocol
    flow = Flow(
        item["src"], item["dst"], number, item.get("src_port"), item.get("dst_port"),
        item.get("icmp_type"), item.get("icmp_code"), item.get("family"),
        item.get("interface", ""), item.get("out_interface", ""),
        item.get("original_dst", ""), item.get("original_dst_port"), item.get("fqdn", ""),
    )  # fmt: skip
    pending = None if "pending" not in item else VERDICTS[item["pending"]]
    return PacketRow(item["name"], flow, VERDICTS[item["expect"]], pending)


def _twin(table: PacketTable) -> PacketTable:
    """Rows that name an IPv6 address themselves stay out."""
    rows = tuple(_twin_row(row) for row in table.rows if ":" not in row.flow.source + row.flow.destination)
    return replace(table, name=f"{table.id}-v6", policies=twin_text(table.policies), rows=rows)


def _twin_row(row: PacketRow) -> PacketRow:
    flow = row.flow
    source, destination = (twin_address(text) for text in (flow.source, flow.destination))
    original = twin_address(flow.original_destination)
    echo = (
        (58, 128, 0) if (flow.protocol, flow.icmp_type) == (1, 8) else (flow.protocol, flow.icmp_type, flow.icmp_code)
    )
    protocol, icmp_type, icmp_code = echo
    twin = replace(
        flow, source=source, destination=destination, family=6, original_destination=original,
        protocol=protocol, icmp_type=icmp_type, icmp_code=icmp_code,
    )  # fmt: skip
    return PacketRow(f"{row.name} v6", twin, row.allow, row.pending)


def twin_text(text: str) -> str:
    """Text with every IPv4 address and prefix replaced, in quotes."""
    return IPV4.sub(lambda found: f'"{twin_address(found.group())}"', text)


def twin_address(text: str) -> str:
    """``a.b.c.d`` -> ``fd00:a:b:c::d``; prefixes of whole bytes keep their meaning; anything else stays as it is."""
    found = IPV4.fullmatch(text)
    if not found:
        return text
    *parts, length = found.groups()
    if length is None:
        return "fd00:{}:{}:{}::{}".format(*parts)
    if int(length) % 8:
        raise ValueError(f"{text} has no IPv6 twin")
    kept = int(length) // 8
    if kept == 0:
        return "::/0"
    if kept == 4:
        return "fd00:{}:{}:{}::{}/128".format(*parts)
    return f"fd00:{':'.join(parts[:kept])}::/{16 + 16 * kept}"
