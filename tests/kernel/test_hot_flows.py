"""Notes about hot flows: they spare the connection table a question and never change an answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random

import numpy as np
import pytest

from bpfence.loader.kernel import TestRunner, kernel_hz, write_array
from bpfence.plan.layout import CONNECTION, CONNECTION_REPLIED, TCP_ESTABLISHED, TCP_RESET, UNRESTRICTED
from kernel import frames
from kernel.frames import ACK, FIN, RST, SYN, TCP, UDP
from kernel.hot_notes import clear_notes, noted, read_notes
from kernel.images import PLAIN, Tables
from kernel.plane import DROP, PASS, Plane

pytestmark = pytest.mark.kernel

POD, POD6 = "10.0.0.5", "fd00::5"
OTHER, OTHER6 = "10.0.0.6", "fd00::6"
PEER, PEER6 = "10.1.0.7", "fd01::7"
GROUP = "239.1.1.1"
WEB, DNS = 1, 2
OUT, IN = 0, 1
MANY = 500
TRIES = 50


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Notes are per CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def policy(*allowed: tuple[int, int], generation: int = 1, egress: int = OUT) -> Tables:
    tables = Tables(PLAIN, generation)
    tables.endpoint(0, 1, [POD, POD6, OTHER, OTHER6], egress=egress, ingress=IN)
    tables.port(TCP, 80, WEB)
    tables.port(UDP, 53, DNS)
    for row, number in allowed:
        tables.cell(row, 0, number)
    return tables


def rewrite(plane: Plane, tables: Tables) -> None:
    """As `Plane.fill`, with all notes left as they are."""
    assert plane.current is not None
    for name, image in tables.images.items():
        write_array(plane.current.tables[name], image.tobytes())


def send(plane: Plane, direction: str, frame: bytes, times: int = 1) -> int:
    assert plane.current is not None
    return TestRunner(plane.current.programs[f"workload_{direction}"].fd, repeat=times).run(frame)


def heat(plane: Plane, direction: str, frame: bytes) -> None:
    """The flow is open; afterwards its note has answered, and most likely still would."""
    assert plane.current is not None
    for _ in range(TRIES):
        assert send(plane, direction, frame, MANY) == PASS
        if read_notes(plane.current.notes)["packets"].sum():
            return
    raise AssertionError("no note ever answered")


def request(flags: int = SYN, port: int = 4000) -> bytes:
    return frames.tcp(PEER, port, POD, 80, flags)


def reply(flags: int = SYN | ACK, port: int = 4000) -> bytes:
    return frames.tcp(POD, 80, PEER, port, flags)


def establish(plane: Plane, port: int = 4000) -> None:
    assert plane.ingress(request(port=port)) == "allowed"
    assert plane.egress(reply(port=port)) == "allowed"
    assert plane.ingress(request(ACK, port)) == "allowed"


def test_a_frequent_flow_is_counted_as_before(plane: Plane) -> None:
    plane.fill(policy((IN, WEB)))
    establish(plane)
    sent = 3
    while not any(noted(slot.notes, key)[0] for slot in plane.slots.values() for key, _ in plane.connections()):
        assert send(plane, "ingress", request(ACK), MANY) == PASS
        sent += MANY
    ((_, value),) = plane.connections()
    assert (value["packets"], value["bytes"]) == (sent, sent * 54)
    assert plane.ingress(request(FIN | ACK)) == "allowed"
    ((_, raw),) = plane.shared["connections"].iterate()
    assert np.frombuffer(raw, CONNECTION.dtype)[0]["packets"] == sent + 1, "the end of a connection settles its counts"


def test_a_generation_is_asked_from_its_first_packet_on(plane: Plane) -> None:
    plane.fill(policy((IN, WEB), generation=1))
    for generation in range(1, 40, 2):
        port = 4000 + generation
        rewrite(plane, policy((IN, WEB), generation=generation))
        establish(plane, port)
        heat(plane, "ingress", request(ACK, port))
        heat(plane, "egress", reply(ACK, port))
        rewrite(plane, policy(generation=generation + 1))
        ways = [("ingress", request(ACK, port)), ("egress", reply(ACK, port))]
        for way in ways if generation % 4 == 1 else reversed(ways):
            assert send(plane, *way) == DROP


def neighbours(family: int) -> Iterator[bytes]:
    """Packets like the answer of `test_a_note_is_of_one_flow_alone`, each with another key."""
    own, other, peer = (POD, OTHER, PEER) if family == 4 else (POD6, OTHER6, PEER6)
    yield frames.udp(own, 54, peer, 4000)
    yield frames.udp(own, 53, peer, 4001)
    yield frames.udp(own, 4000, peer, 53)
    yield frames.udp(other, 53, peer, 4000)
    yield frames.sctp(own, 53, peer, 4000)
    number = int(ip_address(peer))
    for bit in range(32 if family == 4 else 128):
        yield frames.udp(own, 53, str(ip_address(number ^ 1 << bit)), 4000)


@pytest.mark.parametrize("family", [4, 6])
def test_a_note_is_of_one_flow_alone(plane: Plane, family: int) -> None:
    own, peer = (POD, PEER) if family == 4 else (POD6, PEER6)
    answer = frames.udp(own, 53, peer, 4000)
    plane.fill(policy((IN, DNS)))
    assert plane.ingress(frames.udp(peer, 4000, own, 53)) == "allowed"
    for frame in neighbours(family):
        heat(plane, "egress", answer)
        assert send(plane, "egress", frame) == DROP, frame.hex()


def test_a_note_is_of_one_direction_alone(plane: Plane) -> None:
    """What the endpoint receives for an address that is not its own it may still not send from there."""
    frame = frames.udp(PEER, 4000, GROUP, 53)
    plane.fill(policy((IN, DNS), egress=UNRESTRICTED))
    assert plane.ingress(frame) == "allowed"
    for _ in range(20):
        heat(plane, "ingress", frame)
        assert plane.egress(frames.udp(GROUP, 53, PEER, 4000)) == "source-check"


@pytest.mark.parametrize("flag", [RST, RST | ACK])
def test_what_ends_a_connection_is_seen_at_once(plane: Plane, flag: int) -> None:
    plane.fill(policy((IN, WEB)))
    establish(plane)
    heat(plane, "egress", reply(ACK))
    heat(plane, "ingress", request(ACK))
    assert plane.ingress(request(flag)) == "allowed"
    assert plane.connections()[0][1]["state"] == TCP_ESTABLISHED | TCP_RESET
    assert plane.egress(frames.tcp(POD, 80, PEER, 4000, SYN)) == "denied"


def test_the_first_answer_to_a_busy_flow_is_seen(plane: Plane) -> None:
    plane.fill(policy((IN, DNS)))
    frame = frames.udp(PEER, 4000, POD, 53)
    assert plane.ingress(frame) == "allowed"
    heat(plane, "ingress", frame)
    assert not plane.connections()[0][1]["flags"] & CONNECTION_REPLIED
    assert plane.egress(frames.udp(POD, 53, PEER, 4000)) == "allowed"
    assert plane.connections()[0][1]["flags"] & CONNECTION_REPLIED


def test_a_connection_that_nobody_answers_gets_no_note(plane: Plane) -> None:
    """Its state is not settled yet: it would never be seen to be established."""
    plane.fill(policy((IN, WEB)))
    assert plane.ingress(request()) == "allowed"
    assert send(plane, "ingress", request(ACK), MANY) == PASS
    assert plane.current is not None
    assert not read_notes(plane.current.notes)["since"].any()


def test_a_note_does_not_outlive_its_flow_for_long(plane: Plane) -> None:
    plane.fill(policy((IN, DNS)))
    answer = frames.udp(POD, 53, PEER, 4000)
    assert plane.ingress(frames.udp(PEER, 4000, POD, 53)) == "allowed"
    heat(plane, "egress", answer)
    for key, _ in list(plane.shared["connections"].iterate()):
        plane.shared["connections"].delete(key)
    time.sleep(0.03)
    assert plane.egress(answer) == "denied"


def test_a_busy_flow_never_looks_idle(plane: Plane) -> None:
    plane.fill(policy((IN, DNS)))
    frame = frames.udp(PEER, 4000, POD, 53)
    assert plane.ingress(frame) == "allowed"
    for port in range(4001, 4060):
        assert plane.ingress(frames.udp(PEER, port, POD, 53)) == "allowed"
        assert send(plane, "ingress", frame, MANY) == PASS
        seen = {int.from_bytes(key["remote_port"].tobytes(), "big"): value for key, value in plane.connections()}
        assert int(seen[port]["last_seen"]) - int(seen[4000]["last_seen"]) <= kernel_hz() // 100 + 1


def test_fragments_of_a_busy_flow_follow_their_first_one(plane: Plane) -> None:
    plane.fill(policy((IN, DNS)))
    assert plane.ingress(frames.udp(PEER, 4000, POD, 53)) == "allowed"
    heat(plane, "ingress", frames.udp(PEER, 4000, POD, 53))
    payload = frames.udp_header(4000, 53, bytes(64))
    first = frames.ethernet(0x0800, frames.ipv4(PEER, POD, UDP, payload[:32], fragment=0x2000, ident=7))
    later = frames.ethernet(0x0800, frames.ipv4(PEER, POD, UDP, payload[32:], fragment=4, ident=7))
    assert plane.ingress(later) == "fragment"
    assert plane.ingress(first) == "allowed"
    assert plane.ingress(later) == "allowed"


def test_flows_that_share_a_place_lose_no_count(plane: Plane) -> None:
    """More flows than places, by turns, with pauses in which notes grow old."""
    plane.fill(policy((IN, DNS)))
    ports = range(1000, 1300)
    for turn in range(4):
        for port in ports:
            assert send(plane, "ingress", frames.udp(PEER, port, POD, 53), 25) == PASS
            if port % 50 == turn:
                time.sleep(0.01)
    flows = plane.connections()
    assert len(flows) == len(ports)
    assert {int(value["packets"]) for _, value in flows} == {100}


Event = tuple[str, bytes, int] | Tables


def events(draw: Random, count: int) -> Iterator[Event]:
    """Packets of few flows in both directions, some in bursts, and generations that allow now this, now that."""
    choices = [(IN, WEB), (IN, DNS), (OUT, 0)]
    generation = 1
    for _ in range(count):
        if draw.random() < 0.03:
            generation += 1
            yield policy(*draw.sample(choices, draw.randrange(1, 4)), generation=generation)
            continue
        port, times = draw.randrange(4000, 4003), draw.choice((1, 1, 3, 40))
        flags = draw.choice((SYN, SYN | ACK, ACK, ACK, ACK, ACK, ACK, FIN | ACK, RST)) if draw.random() < 0.3 else ACK
        udp = draw.random() < 0.4
        if draw.random() < 0.5:
            yield "ingress", frames.udp(PEER, port, POD, 53) if udp else request(flags, port), times
        else:
            yield "egress", frames.udp(POD, 53, PEER, port) if udp else reply(flags, port), times


def outcome(plane: Plane, seed: int, *, notes: bool) -> tuple[list[int], dict[bytes, tuple[int, ...]]]:
    """Every answer, and what is remembered of each flow in the end."""
    plane.forget()
    plane.fill(policy((IN, WEB), (IN, DNS), generation=1))
    assert plane.current is not None
    answers = []
    for event in events(Random(seed), 1200):
        if isinstance(event, Tables):
            rewrite(plane, event)
            continue
        direction, frame, times = event
        for _ in range(1 if notes else times):
            if not notes:
                clear_notes(plane.current.notes)
            answer = send(plane, direction, frame, times if notes else 1)
        answers.append(answer)
    fields = ("flags", "state", "generation")
    return answers, {key.tobytes(): tuple(int(value[name]) for name in fields) for key, value in plane.connections()}


@pytest.mark.parametrize("seed", range(4))
def test_notes_change_no_answer(plane: Plane, seed: int) -> None:
    answers, flows = outcome(plane, seed, notes=True)
    assert (answers, flows) == outcome(plane, seed, notes=False)
    assert {PASS, DROP} == set(answers)
