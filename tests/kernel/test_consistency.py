"""One generation decides a packet at all hooks, while generations alternate as fast as they can under a flood.

Every flow's verdict differs between the two policies. Across two pods of the node the old one lets the source send what
the destination may not receive, the new one the other way round: whatever arrives was decided by both. One pair has a
queue between its hooks that holds packets longer than several generations last. BPFENCE_ALTERNATIONS sets how many.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfence.emit.artefact import Artefact
from bpfence.loader import standby, transaction
from bpfence.loader.counts import endpoint_counts
from bpfence.loader.maps import map_info
from bpfence.loader.node import Active, open_node
from bpfence.loader.programs import program_info
from bpfence.loader.stage import stage
from bpfence.loader.standby import wait_by_map, wait_for_programs
from bpfence.loader.status import read_status
from bpfence.loader.unload import unload
from support.flood import Flood, Sink, Stream, flooding
from support.netns import NodeUnderTest, hooks, node_under_test

pytestmark = pytest.mark.kernel

ALTERNATIONS = int(os.environ.get("BPFENCE_ALTERNATIONS", "60"))
LONG_ENOUGH = float("inf") if "BPFENCE_ALTERNATIONS" in os.environ else 12.0
"""Seconds after which fewer will do: the machine is busy."""
PODS = {f"shop/{name}": f"10.9.0.{number}" for number, name in enumerate(
    ("mark1", "mark2", "sink1", "sink2", "cross1", "cross2", "far1", "far2"), 1
)}  # fmt: skip
FIRST, SECOND = 1001, 1002
"""of two ports one generation opens the one, the next the other"""
ONE_WAY, OTHER_WAY, ALWAYS = 2001, 2002, 3000
WARM_UP = 8
WAITING = 1.4
"""Seconds that two packets of 700 bytes take through the slow queue, at least."""
BUCKET = 1600
"""Bytes that leave the slow queue at once."""


def policies(new: bool) -> tuple[str, ...]:
    first, second = (SECOND, FIRST) if new else (FIRST, SECOND)
    one, other = (OTHER_WAY, ONE_WAY) if new else (ONE_WAY, OTHER_WAY)
    return (
        egress("mark1", ("sink1", "UDP", first), ("mark2", "TCP", 80)),
        ingress("mark2", ("mark1", "TCP", 80)),
        egress("mark2", ("sink2", "UDP", second)),
        ingress("sink1", ("mark1", "UDP", first)),
        ingress("sink2", ("mark2", "UDP", second)),
        egress("cross1", ("far1", "UDP", one)),
        ingress("far1", ("cross1", "UDP", other)),
        egress("cross2", ("far2", "UDP", one), ("far2", "UDP", ALWAYS)),
        ingress("far2", ("cross2", "UDP", other), ("cross2", "UDP", ALWAYS)),
    )


def egress(pod: str, *rules: tuple[str, str, int]) -> str:
    return _policy(pod, "Egress", "to", rules)


def ingress(pod: str, *rules: tuple[str, str, int]) -> str:
    return _policy(pod, "Ingress", "from", rules)


def _policy(pod: str, kind: str, side: str, rules: tuple[tuple[str, str, int], ...]) -> str:
    written = ", ".join(
        f"{{{side}: [{{podSelector: {{matchLabels: {{app: {peer}}}}}}}], "
        f"ports: [{{protocol: {protocol}, port: {port}}}]}}"
        for peer, protocol, port in rules
    )
    return (
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {pod}-{kind.lower()}, namespace: shop}}\n"
        f"spec: {{podSelector: {{matchLabels: {{app: {pod}}}}}, policyTypes: [{kind}], {kind.lower()}: [{written}]}}"
    )


@pytest.fixture
def node(bpffs: Path, tmp_path: Path) -> Iterator[NodeUnderTest]:
    with node_under_test(bpffs, tmp_path, PODS) as made:
        yield made
        unload(made.paths, force=True)


@pytest.fixture(scope="module")
def quiet(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    """A node without flood, and a queue that holds a packet of 700 bytes for 0.7 seconds."""
    with node_under_test(bpffs, tmp_path_factory.mktemp("quiet"), PODS) as made:
        long_way(made, 2, "8kbit")
        yield made
        unload(made.paths, force=True)


def long_way(node: NodeUnderTest, number: int, rate: str = "") -> None:
    """What the pod crossN sends to farN goes round through two more interfaces of the node between its hooks.
    ``rate``: of a queue where it waits there.
    """
    source, target = node.world.find(f"shop/cross{number}").interface, PODS[f"shop/far{number}"]
    out, back = f"out{number}", f"back{number}"
    for words in (
        f"ip link add {out} type veth peer name {back}",
        f"ip link set {out} up",
        f"ip link set {back} up",
        f"sysctl -qw net.ipv4.conf.{back}.rp_filter=0",
        f"ip route add {target}/32 dev {out} table 7{number}",
        f"ip rule add iif {source} to {target} table 7{number}",
        *((f"tc qdisc add dev {out} root tbf rate {rate} burst {BUCKET} limit 20000",) if rate else ()),
    ):
        subprocess.run(words.split(), check=True)
    shown = subprocess.run(["ip", "-br", "link", "show", back], check=True, capture_output=True, text=True).stdout
    subprocess.run(["ip", "neigh", "add", target, "dev", out, "lladdr", shown.split()[2]], check=True)


@contextmanager
def traffic(node: NodeUnderTest, seconds: float) -> Iterator[None]:
    place = node.world.find
    floods = [
        Flood(place("shop/mark1"), PODS["shop/sink1"], (FIRST, SECOND)),
        Flood(place("shop/mark2"), PODS["shop/sink2"], (FIRST, SECOND)),
        Flood(place("shop/cross1"), PODS["shop/far1"], (ONE_WAY, OTHER_WAY)),
        Flood(place("shop/cross2"), PODS["shop/far2"], (ALWAYS, ONE_WAY, OTHER_WAY), size=1400, pause=2.0),
    ]
    # of the last the first packet empties the bucket, and one of the others waits for almost half a second
    with flooding(floods, seconds):
        yield


def denied_at_sinks(node: NodeUnderTest, artefact: Artefact) -> int:
    """Packets of marked flows that one hook let in and the other did not. Sinks send nothing themselves."""
    places = [entry.id for entry in artefact.manifest.endpoints if entry.name in ("shop/sink1", "shop/sink2")]
    with ExitStack() as stack:
        opened = open_node(node.paths.pins, stack)
        assert opened is not None
        return sum(endpoint_counts(slot.counters, at)["denied"] for slot in opened.slots.values() for at in places)


def things(node: NodeUnderTest) -> dict[str, object]:
    """What must not grow: descriptors, pins with the memory of their maps, attached filters, files."""
    found: dict[str, object] = {"hooks": hooks(), "descriptors": len(os.listdir("/proc/self/fd"))}
    found["files"] = sorted(len(path.parts) for path in node.paths.state.rglob("*"))
    found["pins"] = sorted(str(path) for path in node.paths.bpffs.rglob("*"))
    with ExitStack() as stack:
        opened = open_node(node.paths.pins, stack)
        assert opened is not None
        found["maps"] = {map_info(one.fd).id: memory(one.fd) for one in opened.maps.values()}
        for number, slot in opened.slots.items():
            found[f"maps {number}"] = {map_info(one.fd).id: memory(one.fd) for one in slot.tables.values()}
            found[f"programs {number}"] = {name: program_info(one.fd).id for name, one in slot.programs.items()}
    return found


def memory(descriptor: int) -> int:
    """Bytes that the kernel keeps for a map."""
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("memlock"))


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_every_packet_is_decided_by_one_generation(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    long_way(node, 1)
    long_way(node, 2, "24kbit")
    artefacts = [node.compile(*policies(new), pods=PODS) for new in (False, True)]
    for turn in range(4):
        assert node.apply(artefacts[turn % 2]).dry_run is False
    world, took = node.world.find, []
    with ExitStack() as stack:
        sinks = {name: stack.enter_context(Sink(world(f"shop/{name}"), ports)) for name, ports in {
            "sink1": (FIRST, SECOND), "sink2": (FIRST, SECOND),
            "far1": (ONE_WAY, OTHER_WAY), "far2": (ONE_WAY, OTHER_WAY, ALWAYS),
        }.items()}  # fmt: skip
        streams = [Stream.open(world("shop/mark1"), world("shop/mark2"), PODS["shop/mark2"], 80) for _ in range(3)]
        for stream in streams:
            stack.callback(stream.close)
        got: Counter[tuple[str, int]] = Counter()
        before: dict[str, object] = {}
        started = time.monotonic()
        with traffic(node, 10.0 + ALTERNATIONS * 2.0):
            for turn in range(ALTERNATIONS):
                if turn > 2 * WARM_UP and time.monotonic() - started > LONG_ENOUGH:
                    break
                if turn == min(WARM_UP, ALTERNATIONS // 2):
                    before, at_first = things(node), resident()
                begun = time.monotonic()
                report = node.apply(artefacts[turn % 2])
                took.append(time.monotonic() - begun)
                assert (report.programs_loaded, report.warnings) == (0, ())
                assert denied_at_sinks(node, artefacts[0]) == 0
                for name, sink in sinks.items():
                    for port in sink.ports:
                        got[name, port] += sink.received(port)
                for name in ("far1", "far2"):
                    assert not got[name, ONE_WAY] + got[name, OTHER_WAY], (turn, got)
                for stream in streams:
                    stream.push()
            taken = time.monotonic() - started
        assert all(stream.finish() for stream in streams)
        for name in ("sink1", "sink2"):
            assert got[name, FIRST], got
            assert got[name, SECOND], got
        assert got["far2", ALWAYS], got
        after, at_last = things(node), resident()
    assert after == before
    assert at_last - at_first < 8 << 20
    status = read_status(node.paths)
    passed, drops = status.passed or {}, status.drops or {}
    assert drops["denied"] > len(took)
    figures = {
        "alternations": len(took), "seconds": round(taken, 1), "applies per second": round(len(took) / taken, 1),
        "apply ms, median": round(sorted(took)[len(took) // 2] * 1000), "apply ms, most": round(max(took) * 1000),
        "packets": sum(passed.values()) + sum(drops.values()), "drops": drops,
        "TCP bytes": sum(stream.read for stream in streams), "RSS growth": at_last - at_first,
    }  # fmt: skip
    record_property("figures", str(figures))
    with capsys.disabled():
        if "BPFENCE_ALTERNATIONS" in os.environ:
            print(figures)


@pytest.mark.parametrize("flips", [1, 2, 3])
def test_a_packet_that_waits_longer_than_its_generation(
    quiet: NodeUnderTest, flips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One commit later its generation still decides it. Two later it is gone, and so is the packet. The third commit
    would give its number again: it waits for the queue.
    """
    artefacts = [quiet.compile(*policies(new), pods=PODS) for new in (False, True)]
    for turn in range(2):
        quiet.apply(artefacts[turn])
    world, target = quiet.world.find, PODS["shop/far2"]
    monkeypatch.setattr(standby, "REUSE_SECONDS", 2 * WAITING)
    time.sleep(2 * WAITING)
    before = Counter(read_status(quiet.paths).drops or {})
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(world("shop/far2"), (ONE_WAY, OTHER_WAY, ALWAYS)))
        with world("shop/cross2").namespace.inside():
            source = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        # the new generation is in force: it lets the other way out of the source, and into the destination the one
        source.sendto(bytes(BUCKET - 128), (target, ALWAYS))
        begun = time.monotonic()
        for port in (OTHER_WAY, ALWAYS):
            source.sendto(bytes(700), (target, port))
        for turn in range(flips):
            quiet.apply(artefacts[turn % 2])
        took = time.monotonic() - begun
        assert sink.received(ALWAYS) == 1, "the first packet did not wait"
        assert flips < 3 or took > WAITING, took
        time.sleep(max(0.0, WAITING + 0.6 - took))
        arrived = sink.received(ALWAYS)
        assert sink.received(ONE_WAY) + sink.received(OTHER_WAY) == 0
    dropped = Counter(read_status(quiet.paths).drops or {}) - before
    # by the old generation at the source and the new one at the destination is what must never be
    if flips == 1:
        assert (arrived, dropped) == (1, Counter(denied=1))
    else:
        # where the machine is slow the first of the two is through before the second commit
        assert (arrived, dropped["stale"]) in ((0, 1), (0, 2))
        assert dropped["stale"] + dropped["denied"] == 2


def test_the_slot_that_is_filled_decides_nothing_meanwhile(
    quiet: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefacts = [quiet.compile(*policies(new), pods=PODS) for new in (False, True)]
    for turn in range(2):
        quiet.apply(artefacts[turn])
    before = in_force(quiet)
    seen: list[Active] = []

    def staged(*arguments: Any) -> Any:
        seen.append(in_force(quiet))
        return stage(*arguments)

    monkeypatch.setattr(transaction, "stage", staged)
    quiet.apply(artefacts[0], dry_run=True)
    assert before.standby
    assert seen == [replace(before, standby=0)]
    assert in_force(quiet) == before
    quiet.apply(artefacts[0])
    after = in_force(quiet)
    assert (after.standby, after.slot) == (before.number, 1 - before.slot)
    assert after.number not in (before.number, before.standby)


def in_force(node: NodeUnderTest) -> Active:
    with ExitStack() as stack:
        opened = open_node(node.paths.pins, stack)
        assert opened is not None
        return opened.active


@pytest.mark.parametrize("wait", [wait_for_programs, wait_by_map])
def test_waiting_for_programs_ends(kernel: None, wait: Callable[[], None]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    begun = time.monotonic()
    wait()
    assert time.monotonic() - begun < 5
    assert len(os.listdir("/proc/self/fd")) == before
