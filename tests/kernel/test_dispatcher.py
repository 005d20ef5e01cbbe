"""The dispatchers: which slot a packet goes to, what they write into its mark, what happens to one whose generation is
gone, and what a missing program means.
"""

from __future__ import annotations

import pytest

from bpfence.loader.kernel import test_run as run
from bpfence.plan.layout import MARK_MASK, MARK_NUMBERS, MARK_SHIFT
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
NUMBERS = range(1, MARK_NUMBERS + 1)


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


def mark_of(number: int) -> int:
    return FOREIGN | number << MARK_SHIFT


@pytest.mark.parametrize("hook", HOOKS)
def test_nothing_is_judged_before_the_first_commit(plane: Plane, hook: str) -> None:
    for mark in (FOREIGN, FOREIGN | MARK_MASK):
        assert send(plane, hook, mark) == (PASS, mark)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_active_word_chooses_the_slot_and_the_mark_keeps_it(plane: Plane, hook: str) -> None:
    for slot, verdict in ((0, PASS), (1, DROP)):
        for number in NUMBERS:
            plane.commit(5, slot, number)
            assert send(plane, hook, FOREIGN) == (verdict, mark_of(number))
            assert send(plane, hook, mark_of(number)) == (verdict, mark_of(number))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_packet_of_the_generation_before_stays_with_it(plane: Plane, hook: str, number: int) -> None:
    after = number % MARK_NUMBERS + 1
    for active, verdict in ((0, DROP), (1, PASS)):
        plane.commit(5, active, after, standby=number)
        assert send(plane, hook, mark_of(number)) == (verdict, mark_of(number))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("slot", [0, 1])
def test_a_packet_whose_generation_is_gone_is_stale(plane: Plane, hook: str, number: int, slot: int) -> None:
    current = number % MARK_NUMBERS + 1
    other = current % MARK_NUMBERS + 1
    for standby in (0, other):
        plane.commit(5, slot, current, standby)
        before = plane.counters()
        assert send(plane, hook, mark_of(number)) == (DROP, mark_of(number))
        after = plane.counters()
        assert {name for name in after if after[name] != before[name]} == {"stale"}


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
