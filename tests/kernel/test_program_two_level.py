"""Rows over classes of their own in the kernel: what decides, and indices beyond the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bpfence.plan.layout import POLICY_ROW
from bpfence.plan.plan import Features, Plan
from kernel import frames
from kernel.frames import UDP
from kernel.images import PLAIN, ROW, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

GEOMETRY = replace(PLAIN.geometry, policy_rows=2 * ROW, row_peers=1024, row_l4=1024)
NARROW = Plan(Features(two_level=True, narrow_cells=True), GEOMETRY)
WIDE = Plan(Features(two_level=True, wide_row_peers=True), GEOMETRY)
POD, PEER, OTHER = "10.0.0.5", "10.1.0.7", "10.1.0.8"
EGRESS, INGRESS = 0, ROW
"""places in policy_rows, as `Tables.endpoint` makes them of rows 0 and 1"""
PEER_CLASS, DNS_CLASS = 3, 2
LINE, COLUMN = 5, 1
"""what the ingress row makes of them"""


def tables_of(plan: Plan) -> Tables:
    """One endpoint, isolated both ways. PEER may send to port 53, and nothing else may pass."""
    tables = Tables(plan)
    tables.endpoint(0, 1, [POD], egress=0, ingress=1)
    tables.peer4(f"{PEER}/32", PEER_CLASS)
    tables.port(UDP, 53, DNS_CLASS)
    rows = tables.images["policy_rows"].view(POLICY_ROW.dtype)
    rows[EGRESS] = (0, 0, 0, 1)
    rows[INGRESS] = (100, 200, 300, 4)
    row_peers(tables)[100 + PEER_CLASS] = LINE
    tables.images["row_l4"].view(np.uint16)[200 + DNS_CLASS] = COLUMN
    allow = (np.uint8, 0x80) if plan.features.narrow_cells else (np.uint16, 0x8000)
    tables.images["cells"].view(allow[0])[300 + LINE * 4 + COLUMN] = allow[1]
    return tables


def row_peers(tables: Tables) -> np.ndarray:
    return tables.images["row_peers"].view(np.uint16 if tables.plan.features.wide_row_peers else np.uint8)


@pytest.mark.parametrize("plan", [NARROW, WIDE], ids=["narrow", "wide"])
def test_one_cell_opens_one_peer_and_port_in_one_direction(plane: Plane, plan: Plan) -> None:
    plane.fill(tables_of(plan))
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "allowed"
    assert plane.ingress(frames.udp(PEER, 5, POD, 54)) == "denied"
    assert plane.ingress(frames.udp(OTHER, 5, POD, 53)) == "denied"
    plane.forget()
    assert plane.egress(frames.udp(POD, 5, PEER, 53)) == "denied"


def _row(tables: Tables, field: str, value: int) -> None:
    tables.images["policy_rows"].view(POLICY_ROW.dtype)[INGRESS][field] = value


BREAKERS: dict[str, Callable[[Tables], None]] = {
    "peers": lambda tables: _row(tables, "peers", 1024 - PEER_CLASS),
    "peers, far": lambda tables: _row(tables, "peers", 0xFFFFFFFF),
    "L4": lambda tables: _row(tables, "l4", 1024 - DNS_CLASS),
    "L4, far": lambda tables: _row(tables, "l4", 0xFFFFFFFF),
    "cells": lambda tables: _row(tables, "cells", 1024 - LINE * 4 - COLUMN),
    "cells, far": lambda tables: _row(tables, "cells", 0xFFFFFFFF),
    "width": lambda tables: _row(tables, "width", 0xFFFFFFFF),
    "place": lambda tables: tables.endpoint(0, 1, [POD], egress=0, ingress=2),
}


@pytest.mark.parametrize("broken", BREAKERS)
def test_an_index_beyond_its_table_is_a_drop(plane: Plane, broken: str) -> None:
    tables = tables_of(WIDE)
    tables.images["cells"].fill(0xFF)
    if broken == "place":
        tables.images["endpoints"].fill(0)
    BREAKERS[broken](tables)
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "table-error"


def test_the_last_places_of_the_tables_are_read(plane: Plane) -> None:
    tables = tables_of(WIDE)
    rows = tables.images["policy_rows"].view(POLICY_ROW.dtype)
    rows[INGRESS] = (1023 - PEER_CLASS, 1023 - DNS_CLASS, 1023 - 7 * 2 - 1, 2)
    row_peers(tables)[1023] = 7
    tables.images["row_l4"].view(np.uint16)[1023] = 1
    tables.images["cells"].view(np.uint16)[1023] = 0x8000
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "allowed"
