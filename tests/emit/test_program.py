"""The C text is a function of the plan: the parts it needs, its sizes, and nothing of the policies."""

from __future__ import annotations

import dataclasses
import re

import pytest

from bpfence.emit.program import emit_dispatcher_program, emit_workload_program
from bpfence.plan.plan import Features, Geometry, Plan

GEOMETRY = Geometry(16, 4, 2, 1, 4, 16, 64, 8, 32, 1024)
PARTS = {
    "address6": "address6_hash(",
    "source_ports": "source_ports.lookup(",
    "icmp_codes": "<< 8 | (code)",
    "wide_blocks": "typedef __u32 address4_l2_block;",
    "fine_blocks": "typedef __u32 address4_l1_block;",
    "two_level": "policy_rows.lookup(",
}


def plan(**features: bool) -> Plan:
    return Plan(Features(**features), GEOMETRY)


@pytest.mark.parametrize("feature", PARTS)
def test_a_part_is_there_only_for_its_feature(feature: str) -> None:
    assert PARTS[feature] in emit_workload_program(plan(**{feature: True}))
    assert PARTS[feature] not in emit_workload_program(plan())


def test_every_table_of_the_plan_is_declared_once() -> None:
    full = plan(address6=True, source_ports=True)
    declared = re.findall(
        r"BPF_TABLE_PINNED\(\"array\", __u32, struct (\w+)_table, \1, 1, PIN_\1\)", emit_workload_program(full)
    )
    assert declared == [table.name for table in full.tables()]


def test_sizes_become_constants() -> None:
    text = emit_workload_program(Plan(Features(), dataclasses.replace(GEOMETRY, cells=4096)))
    assert "#define CELLS 4096\n" in text
    assert "struct cells_table { char bytes[8192]; };" in text


def test_notes_stay_inside_their_comment() -> None:
    text = emit_workload_program(plan(), ["for */ int evil; /*", "two\nlines"])
    comment = text[: text.index("*/", text.index("/*\n"))]
    assert "for * / int evil; / *" in comment
    assert " * two lines\n" in comment


def test_the_same_plan_gives_the_same_text() -> None:
    assert emit_workload_program(plan(), ["note"]) == emit_workload_program(plan(), ["note"])
    assert emit_dispatcher_program() == emit_dispatcher_program()


def test_no_name_of_the_text_is_left_open() -> None:
    """Every constant in capitals is defined in the text, or given when it is compiled."""
    text = emit_workload_program(plan(address6=True, source_ports=True, icmp_codes=True))
    code = re.sub(r"/\*.*?\*/|\"[^\"]*\"", "", text, flags=re.DOTALL)
    used = set(re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", code))
    defined = set(re.findall(r"#define (\w+)", code))
    given = {name for name in used if name.startswith("PIN_")} | {"BPF_TABLE_PINNED", "BPF_PERCPU_ARRAY", "NULL"}
    assert used - defined - given <= {"ULL"}
