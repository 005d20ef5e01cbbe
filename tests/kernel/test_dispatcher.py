"""The dispatchers: which slot a packet goes to, what they write into its mark, and what a missing program means."""

from __future__ import annotations

import pytest

from bpfence.loader.kernel import test_run as run
from bpfence.plan.layout import MARK_MASK, MARK_SLOT0, MARK_SLOT1
from kernel import frames
from kernel.images import PLAIN, Tables
from kernel.plane import DROP, PASS, Plane

pytestmark = pytest.mark.kernel

POD, PEER = "10.0.0.5", "10.1.0.7"
PACKETS = {
    "dispatch_ingress": frames.ip(PEER, POD, 89, b""),
    "dispatch_egress": frames.ip(POD, PEER, 89, b""),
}
HOOKS = sorted(PACKETS)
FOREIGN = 0xFF00_00FF


@pytest.fixture(autouse=True)
def slots(plane: Plane) -> None:
    """Slot 0 allows everything, slot 1 nothing."""
    for number in (0, 1):
        tables = Tables(PLAIN, generation=number + 1)
        tables.endpoint(0, 1, [POD], egress=0, ingress=1)
        if number == 0:
            tables.cell(0, 0, 0)
            tables.cell(1, 0, 0)
        plane.fill(tables, number)


def send(plane: Plane, hook: str, mark: int = 0) -> tuple[int, int]:
    outcome = run(plane.dispatchers[hook].fd, PACKETS[hook], mark=mark)
    for key, _ in list(plane.shared["connections"].iterate()):
        plane.shared["connections"].delete(key)
    return outcome.retval, outcome.mark


@pytest.mark.parametrize("hook", HOOKS)
def test_nothing_is_judged_before_the_first_commit(plane: Plane, hook: str) -> None:
    assert send(plane, hook, mark=FOREIGN) == (PASS, FOREIGN)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_active_word_chooses_the_slot_and_the_mark_keeps_it(plane: Plane, hook: str) -> None:
    for slot, verdict, mark in ((0, PASS, MARK_SLOT0), (1, DROP, MARK_SLOT1)):
        plane.commit(5, slot)
        assert send(plane, hook) == (verdict, mark)
        assert send(plane, hook, FOREIGN) == (verdict, FOREIGN | mark)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_marked_packet_stays_with_its_slot(plane: Plane, hook: str) -> None:
    for active in (0, 1):
        plane.commit(5, active)
        assert send(plane, hook, FOREIGN | MARK_SLOT0) == (PASS, FOREIGN | MARK_SLOT0)
        assert send(plane, hook, FOREIGN | MARK_SLOT1) == (DROP, FOREIGN | MARK_SLOT1)


def test_both_marks_are_no_choice(plane: Plane) -> None:
    plane.commit(5, 0)
    assert send(plane, "dispatch_ingress", MARK_MASK) == (PASS, MARK_SLOT0)


def remove_program(plane: Plane, index: int) -> None:
    key = index.to_bytes(4, "little")
    assert plane.shared["programs"].delete(key)


@pytest.mark.parametrize(("hook", "index"), [("dispatch_egress", 8), ("dispatch_ingress", 9)])
def test_a_missing_program_is_a_drop(plane: Plane, hook: str, index: int) -> None:
    plane.commit(5, 1)
    remove_program(plane, index)
    before = plane.counters()["tail-call"]
    assert send(plane, hook)[0] == DROP
    assert plane.counters()["tail-call"] == before + 1
