"""Connection tracking: replies, generations, TCP in the middle of a connection, SYNs, echoes, time."""

from __future__ import annotations

import pytest

from bpfence.plan.layout import CONNECTION_DENIED, CONNECTION_HOST, CONNECTION_INGRESS, CONNECTION_REPLIED, UNRESTRICTED
from kernel import frames
from kernel.frames import ACK, FIN, RST, SYN, TCP, UDP
from kernel.images import PLAIN, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

POD, POD6 = "10.0.0.5", "fd00::5"
PEER, PEER6 = "10.1.0.7", "fd01::7"
WEB, DNS, PING, GRE = 1, 2, 3, 4
OUT, IN = 0, 1


def policy(*allowed: tuple[int, int], generation: int = 1, egress: int = OUT, ingress: int = IN) -> Tables:
    """The endpoint's rows with these (row, L4 class) allowed for everybody."""
    tables = Tables(PLAIN, generation)
    tables.endpoint(0, 1, [POD, POD6], egress=egress, ingress=ingress)
    tables.port(TCP, 80, WEB)
    tables.port(UDP, 53, DNS)
    tables.icmp(4, 8, PING)
    tables.icmp(6, 128, PING)
    tables.protocol(47, GRE)
    for row, number in allowed:
        tables.cell(row, 0, number)
    return tables


def request(flags: int = SYN, port: int = 4000) -> bytes:
    """From the peer to the endpoint's web server."""
    return frames.tcp(PEER, port, POD, 80, flags)


def reply(flags: int = SYN | ACK, port: int = 4000) -> bytes:
    return frames.tcp(POD, 80, PEER, port, flags)


def establish(plane: Plane) -> None:
    assert plane.ingress(request()) == "allowed"
    assert plane.egress(reply()) == "allowed"
    assert plane.ingress(request(ACK)) == "allowed"


@pytest.mark.parametrize(("pod", "peer"), [(POD, PEER), (POD6, PEER6)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("outward", [False, True], ids=["in", "out"])
def test_replies_need_no_rule(plane: Plane, pod: str, peer: str, outward: bool) -> None:
    plane.fill(policy((OUT if outward else IN, DNS)))
    first, second = (plane.egress, plane.ingress) if outward else (plane.ingress, plane.egress)
    near, far = (pod, peer) if outward else (peer, pod)
    answer = frames.udp(far, 53, near, 4000)
    assert second(answer) == "denied"
    assert first(frames.udp(near, 4000, far, 53)) == "allowed"
    assert second(answer) == "allowed"
    assert second(frames.udp(far, 53, near, 4001)) == "denied"
    assert second(frames.udp(far, 54, near, 4000)) == "denied"


def test_a_flow_is_counted_and_stamped(plane: Plane) -> None:
    plane.fill(policy((IN, WEB), generation=7))
    establish(plane)
    ((key, value),) = plane.connections()
    assert (key["family"], key["protocol"], key["ifindex"]) == (4, TCP, 1)
    assert int(key["local_port"]) == int.from_bytes((80).to_bytes(2, "big"), "little")
    assert (value["packets"], value["bytes"], value["generation"]) == (3, 3 * 54, 7)
    # No interface received what a test run sends in: it counts as the node's own.
    assert value["flags"] == CONNECTION_INGRESS | CONNECTION_REPLIED | CONNECTION_HOST


def test_a_new_generation_decides_again_on_the_next_request(plane: Plane) -> None:
    plane.fill(policy((IN, WEB), generation=1))
    establish(plane)
    plane.fill(policy((IN, WEB), generation=2))
    assert plane.ingress(request(ACK)) == "allowed"
    assert plane.connections()[0][1]["generation"] == 2
    plane.fill(policy(generation=3))
    assert plane.ingress(request(ACK)) == "denied"
    assert plane.egress(reply(ACK)) == "denied"


def test_a_new_generation_decides_again_on_the_next_reply(plane: Plane) -> None:
    """The reply asks in the direction in which the flow was opened, not in its own."""
    plane.fill(policy((IN, WEB), generation=1))
    establish(plane)
    plane.fill(policy((IN, WEB), generation=2))
    assert plane.egress(reply(ACK)) == "allowed"
    plane.fill(policy((OUT, WEB), (OUT, 0), generation=3))
    assert plane.egress(reply(ACK)) == "denied"


def test_a_cut_connection_stays_cut_although_the_other_way_is_open(plane: Plane) -> None:
    """Its packets must not pass as those of a connection older than the table."""
    plane.fill(policy((IN, WEB), generation=1, egress=UNRESTRICTED))
    establish(plane)
    plane.fill(policy(generation=2, egress=UNRESTRICTED))
    for _ in range(2):
        assert plane.ingress(request(ACK)) == "denied"
        assert plane.egress(reply(ACK)) == "denied"
    assert plane.connections()[0][1]["flags"] & CONNECTION_DENIED
    assert plane.ingress(request(SYN)) == "denied"


def test_a_cut_connection_lives_again_when_it_is_allowed_again(plane: Plane) -> None:
    plane.fill(policy((IN, WEB), generation=1))
    establish(plane)
    plane.fill(policy(generation=2))
    assert plane.ingress(request(ACK)) == "denied"
    plane.fill(policy((IN, WEB), generation=3))
    assert plane.egress(reply(ACK)) == "allowed"
    assert plane.ingress(request(ACK)) == "allowed"


def test_a_cut_datagram_flow_is_forgotten(plane: Plane) -> None:
    plane.fill(policy((IN, DNS), generation=1))
    assert plane.ingress(frames.udp(PEER, 4000, POD, 53)) == "allowed"
    plane.fill(policy((OUT, 0), generation=2))
    assert plane.egress(frames.udp(POD, 53, PEER, 4000)) == "denied"
    assert plane.connections() == []


def test_what_neither_way_allows_is_denied_whatever_is_remembered(plane: Plane) -> None:
    """The flow's entry is left alone, and is of no use until a generation allows the flow again."""
    plane.fill(policy((IN, DNS), generation=1))
    request, answer = frames.udp(PEER, 4000, POD, 53), frames.udp(POD, 53, PEER, 4000)
    assert plane.ingress(request) == "allowed"
    plane.fill(policy(generation=2))
    assert (plane.egress(answer), plane.ingress(request)) == ("denied", "denied")
    plane.fill(policy((IN, DNS), generation=3))
    assert (plane.egress(answer), plane.ingress(request)) == ("allowed", "allowed")


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, RST, 0])
def test_the_middle_of_a_connection_passes_where_either_side_may_open(plane: Plane, flags: int) -> None:
    plane.fill(policy((IN, WEB)))
    assert plane.egress(reply(flags)) == "allowed"
    plane.forget()
    assert plane.ingress(request(flags)) == "allowed"
    plane.forget()
    assert plane.egress(frames.tcp(POD, 81, PEER, 4000, flags)) == "denied"
    assert plane.ingress(frames.tcp(PEER, 4000, POD, 81, flags)) == "denied"
    assert plane.connections() == []


def test_a_guess_about_who_opened_is_not_held_against_the_connection(plane: Plane) -> None:
    """Both directions allowed, first seen from the side that answered: the next generation allows only the true one."""
    plane.fill(policy((IN, WEB), generation=1, egress=UNRESTRICTED))
    assert plane.egress(reply(ACK)) == "allowed"
    plane.fill(policy((IN, WEB), generation=2))
    assert plane.egress(reply(ACK)) == "allowed"
    assert plane.ingress(request(ACK)) == "allowed"


def test_a_syn_is_always_a_new_flow(plane: Plane) -> None:
    plane.fill(policy((IN, WEB)))
    assert plane.egress(reply(SYN)) == "denied"
    establish(plane)
    assert plane.ingress(request(SYN)) == "allowed"
    assert plane.egress(reply(SYN)) == "denied"
    assert plane.egress(reply(ACK)) == "allowed"


def test_a_syn_of_the_answering_side_passes_by_its_own_rule(plane: Plane) -> None:
    plane.fill(policy((IN, WEB), (OUT, 0)))
    establish(plane)
    assert plane.egress(reply(SYN)) == "allowed"
    ((_, value),) = plane.connections()
    assert value["flags"] & CONNECTION_INGRESS


@pytest.mark.parametrize("end", ["reset", "both fins"])
def test_a_syn_after_the_end_is_decided_again(plane: Plane, end: str) -> None:
    plane.fill(policy((IN, WEB), (OUT, 0)))
    establish(plane)
    if end == "reset":
        assert plane.egress(reply(RST)) == "allowed"
    else:
        assert plane.egress(reply(FIN | ACK)) == "allowed"
        assert plane.ingress(request(FIN | ACK)) == "allowed"
    assert plane.egress(reply(SYN)) == "allowed"
    ((_, value),) = plane.connections()
    assert not value["flags"] & CONNECTION_INGRESS
    assert value["state"] == 0


TIMES = [
    ("opening", 60, lambda p: p.ingress(request())),
    ("established", 8000, establish),
    ("reset", 10, lambda p: (establish(p), p.egress(reply(RST)))),
    ("closed", 10, lambda p: (establish(p), p.egress(reply(FIN | ACK)), p.ingress(request(FIN | ACK)))),
    ("half closed", 8000, lambda p: (establish(p), p.egress(reply(FIN | ACK)))),
]


@pytest.mark.parametrize(("seconds", "scene"), [item[1:] for item in TIMES], ids=[item[0] for item in TIMES])
def test_how_long_tcp_is_remembered(plane: Plane, seconds: int, scene) -> None:
    """Seen by an error that quotes the flow: it passes only while the flow is remembered."""
    plane.fill(policy((IN, WEB)))
    scene(plane)
    plane.age(seconds - 2)
    assert plane.egress(frames.icmp(POD, PEER, 3, 1, payload=frames.quote(request()))) == "allowed"
    plane.age(3)
    assert plane.egress(frames.icmp(POD, PEER, 3, 1, payload=frames.quote(request()))) == "denied"


def test_how_long_datagrams_are_remembered(plane: Plane) -> None:
    plane.fill(policy((IN, DNS), (IN, PING), (IN, GRE)))
    question, answer = frames.udp(PEER, 4000, POD, 53), frames.udp(POD, 53, PEER, 4000)
    plane.ingress(question)
    plane.age(31)
    assert plane.egress(answer) == "denied"
    plane.ingress(question)
    assert plane.egress(answer) == "allowed"
    plane.age(58)
    assert plane.egress(answer) == "allowed"
    plane.age(61)
    assert plane.egress(answer) == "denied"
    plane.ingress(frames.icmp(PEER, POD, 8, ident=1))
    plane.age(31)
    assert plane.egress(frames.icmp(POD, PEER, 0, ident=1)) == "denied"
    plane.ingress(frames.ip(PEER, POD, 47, bytes(4)))
    plane.age(598)
    assert plane.egress(frames.ip(POD, PEER, 47, bytes(4))) == "allowed"
    plane.age(601)
    assert plane.egress(frames.ip(POD, PEER, 47, bytes(4))) == "denied"


@pytest.mark.parametrize(
    ("pod", "peer", "ask", "tell"), [(POD, PEER, 8, 0), (POD6, PEER6, 128, 129)], ids=["ipv4", "ipv6"]
)
def test_an_echo_reply_needs_its_request(plane: Plane, pod: str, peer: str, ask: int, tell: int) -> None:
    plane.fill(policy((IN, PING)))
    assert plane.egress(frames.icmp(pod, peer, tell, ident=9)) == "denied"
    assert plane.ingress(frames.icmp(peer, pod, ask, ident=9)) == "allowed"
    assert plane.egress(frames.icmp(pod, peer, tell, ident=9)) == "allowed"
    assert plane.egress(frames.icmp(pod, peer, tell, ident=10)) == "denied"
    assert plane.ingress(frames.icmp(peer, pod, tell, ident=9)) == "denied"
    assert plane.egress(frames.icmp(pod, peer, ask, ident=9)) == "denied"


def test_both_sides_may_ask_with_one_identifier(plane: Plane) -> None:
    plane.fill(policy((IN, PING), (OUT, PING)))
    assert plane.ingress(frames.icmp(PEER, POD, 8, ident=9)) == "allowed"
    assert plane.egress(frames.icmp(POD, PEER, 8, ident=9)) == "allowed"
    assert plane.egress(frames.icmp(POD, PEER, 0, ident=9)) == "allowed"
    assert plane.ingress(frames.icmp(PEER, POD, 0, ident=9)) == "allowed"
    assert len(plane.connections()) == 2


def test_an_echo_is_decided_again_as_the_request(plane: Plane) -> None:
    plane.fill(policy((IN, PING), generation=1))
    plane.ingress(frames.icmp(PEER, POD, 8, ident=9))
    plane.fill(policy((IN, PING), generation=2))
    assert plane.egress(frames.icmp(POD, PEER, 0, ident=9)) == "allowed"
    plane.fill(policy(generation=3))
    assert plane.egress(frames.icmp(POD, PEER, 0, ident=9)) == "denied"


def test_other_icmp_leaves_no_state(plane: Plane) -> None:
    tables = policy((IN, PING))
    tables.icmp(4, 13, PING)
    plane.fill(tables)
    assert plane.ingress(frames.icmp(PEER, POD, 13)) == "allowed"
    assert plane.egress(frames.icmp(POD, PEER, 13)) == "denied"
    assert plane.connections() == []


def test_an_unrestricted_direction_still_remembers_for_the_other(plane: Plane) -> None:
    plane.fill(policy(egress=UNRESTRICTED))
    assert plane.ingress(frames.udp(PEER, 53, POD, 4000)) == "denied"
    assert plane.egress(frames.udp(POD, 4000, PEER, 53)) == "allowed"
    assert plane.ingress(frames.udp(PEER, 53, POD, 4000)) == "allowed"


ERRORS = [(3, 1), (3, 3), (11, 0), (12, 0)]


@pytest.mark.parametrize(("kind", "code"), ERRORS)
def test_an_error_follows_the_flow_it_quotes(plane: Plane, kind: int, code: int) -> None:
    plane.fill(policy((OUT, DNS)))
    question = frames.udp(POD, 4000, PEER, 53)
    router = frames.icmp("10.7.7.7", POD, kind, code, payload=frames.quote(question))
    assert plane.ingress(router) == "denied"
    assert plane.egress(question) == "allowed"
    assert plane.ingress(router) == "allowed"
    other = frames.quote(frames.udp(POD, 4001, PEER, 53))
    assert plane.ingress(frames.icmp("10.7.7.7", POD, kind, code, payload=other)) == "denied"
    backwards = frames.quote(frames.udp(PEER, 53, POD, 4000))
    assert plane.ingress(frames.icmp("10.7.7.7", POD, kind, code, payload=backwards)) == "denied"


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_an_icmpv6_error_follows_the_flow_it_quotes(plane: Plane, kind: int) -> None:
    plane.fill(policy((OUT, DNS), (IN, WEB)))
    question = frames.udp(POD6, 4000, PEER6, 53)
    plane.egress(question)
    assert plane.ingress(frames.icmp(PEER6, POD6, kind, payload=frames.quote(question))) == "allowed"
    call = frames.tcp(PEER6, 4000, POD6, 80)
    plane.ingress(call)
    assert plane.egress(frames.icmp(POD6, PEER6, kind, payload=frames.quote(call))) == "allowed"
    assert plane.egress(frames.icmp(POD6, PEER6, kind, payload=frames.quote(question))) == "denied"


def test_an_error_about_a_flow_of_an_older_generation_asks_for_it_again(plane: Plane) -> None:
    question = frames.udp(POD, 4000, PEER, 53)
    router = frames.icmp("10.7.7.7", POD, 3, 1, payload=frames.quote(question))
    plane.fill(policy((OUT, DNS), generation=1))
    plane.egress(question)
    plane.fill(policy((OUT, DNS), generation=2))
    assert plane.ingress(router) == "allowed"
    plane.fill(policy(generation=3))
    assert plane.ingress(router) == "denied"


def test_an_error_with_a_broken_quotation_is_decided_for_itself(plane: Plane) -> None:
    tables = policy()
    plane.fill(tables)
    short = frames.icmp(PEER, POD, 3, 1, payload=bytes(12))
    assert plane.ingress(short) == "denied"
    tables.icmp(4, 3, PING)
    tables.cell(IN, 0, PING)
    plane.fill(tables)
    assert plane.ingress(short) == "allowed"
