"""Bench ``connect``: new TCP connections and round trips between two pods of one node, with no filter, nftables and
bpfence on their way.

In: worlds of two pods each. Out: connections per second and microseconds per round trip.

Method: one thread holds both ends. It listens in one pod and connects from the other, so no scheduler stands between
them: the handshake is over when ``connect`` returns. A connection is opened, accepted and reset; the reset keeps ports
from waiting. A round trip is one byte there and one back on an open connection. All worlds stand side by side; their
samples are interleaved in shuffled order. bpfence judges each packet twice, at both pods; nftables once, in the forward
chain, statefully: established ones, then the one port. The pods' policies allow the port, and nothing else.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bpfence.bench.machine import pinned, undisturbed
from bpfence.bench.results import Effort, Note, Result, Say
from bpfence.demo.sandbox import run_isolated
from bpfence.demo.world import World
from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.node import NodePaths
from bpfence.loader.transaction import ApplySettings, apply
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact

SPACE, CLIENT, SERVER, PORT, OTHER_PORT = "bench", "client", "server", 8080, 8081
ADDRESSES = {CLIENT: IPv4Address("10.63.0.1"), SERVER: IPv4Address("10.63.0.2")}
SECONDS, QUICK_SECONDS = 0.15, 0.05
ROUNDS = 3
"""Samples here are short and many, for differences are small."""
TIMEOUT = 5.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets the connection."""
_STATEFUL = f"""
table ip bench {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr {ADDRESSES[CLIENT]} ip daddr {ADDRESSES[SERVER]} tcp dport {PORT} ct state new accept
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pods with what stands between them, and what was measured there."""

    subject: str
    world: World
    listener: socket.socket
    connections: list[float]
    roundtrips: list[float]

    def client(self) -> socket.socket:
        """A socket of the calling thread's namespace."""
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(TIMEOUT)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return made


def run(effort: Effort, say: Say) -> Iterator[Result | Note]:
    """Measure in a process of its own, which leaves nothing behind however it ends."""
    require_kernel()
    yield from run_isolated(partial(_connect, effort, say))


def _connect(effort: Effort, say: Say, paths: NodePaths) -> list[Result | Note]:
    installers: dict[str, Callable[[World], None]] = {"none": _install_nothing, "bpfence": partial(_bpfence, paths)}
    notes = []
    if shutil.which("nft"):
        installers["nftables-conntrack"] = _nftables
    else:
        notes.append(Note("nftables-conntrack is left out: there is no nft here"))
    with ExitStack() as stack, pinned():
        pairs = []
        for subject, install in installers.items():
            say(f"connect: preparing {subject}")
            pairs.append(_open_pair(subject, install, stack))
        _measure(pairs, effort, say)
    say("")
    found = [Result("connect", pair.subject, {}, "connections", "1/s", tuple(pair.connections)) for pair in pairs]
    found += [Result("connect", pair.subject, {}, "roundtrip", "us", tuple(pair.roundtrips)) for pair in pairs]
    return [*found, *notes]


def _open_pair(subject: str, install: Callable[[World], None], stack: ExitStack) -> Pair:
    world = stack.enter_context(World({f"{SPACE}/{name}": (address,) for name, address in ADDRESSES.items()}))
    install(world)
    listener = stack.enter_context(_listen(world, PORT))
    pair = Pair(subject, world, listener, [], [])
    with stack.enter_context(_listen(world, OTHER_PORT)), _inside_client(pair):
        _check(pair)
    return pair


def _listen(world: World, port: int) -> socket.socket:
    made = world.places[f"{SPACE}/{SERVER}"].socket(4, socket.SOCK_STREAM)
    made.settimeout(TIMEOUT)
    made.bind((str(ADDRESSES[SERVER]), port))
    made.listen(64)
    return made


def _inside_client(pair: Pair) -> Any:
    return pair.world.places[f"{SPACE}/{CLIENT}"].namespace.inside()


def _check(pair: Pair) -> None:
    """The port answers, and the one beside it only where nothing filters."""
    _open_and_reset(pair, 1)
    with pair.client() as other:
        other.settimeout(0.2)
        refused = other.connect_ex((str(ADDRESSES[SERVER]), OTHER_PORT)) != 0
    if refused != (pair.subject != "none"):
        raise KernelError(f"{pair.subject} {'denies' if refused else 'allows'} the port that no rule names")


def _measure(pairs: Sequence[Pair], effort: Effort, say: Say) -> None:
    choose = random.Random(1)
    seconds = QUICK_SECONDS if effort.quick else SECONDS
    most = effort.samples * ROUNDS
    for number in range(most):
        for pair in choose.sample(pairs, len(pairs)):
            say(f"connect: sample {number + 1} of {most}, {pair.subject}")
            with _inside_client(pair):
                pair.connections.append(1 / _time_each(partial(_open_and_reset, pair), seconds))
                with ExitStack() as ends:
                    pair.roundtrips.append(_time_each(_round_trips(pair, ends), seconds) * 1e6)


def _time_each(work: Callable[[int], None], seconds: float) -> float:
    """Seconds for one piece of work that is done for about so long."""
    begun = time.perf_counter()
    work(50)
    count = max(50, round(50 * seconds / (time.perf_counter() - begun)))
    with undisturbed(seconds):
        begun = time.perf_counter()
        work(count)
        taken = time.perf_counter() - begun
    return taken / count


def _open_and_reset(pair: Pair, count: int) -> None:
    target, accept, client = (str(ADDRESSES[SERVER]), PORT), pair.listener.accept, pair.client
    for _ in range(count):
        with client() as near:
            near.connect(target)
            far, _ = accept()
        far.close()


def _round_trips(pair: Pair, ends: ExitStack) -> Callable[[int], None]:
    """Work on a connection that stays open until ``ends`` is closed."""
    near = ends.enter_context(pair.client())
    near.connect((str(ADDRESSES[SERVER]), PORT))
    far = ends.enter_context(pair.listener.accept()[0])
    far.settimeout(TIMEOUT)
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def work(count: int) -> None:
        for _ in range(count):
            near.send(b"?")
            far.recv(1)
            far.send(b"!")
            near.recv(1)

    return work


def _install_nothing(world: World) -> None:
    """The node forwards."""


def _nftables(world: World) -> None:
    with world.node.namespace.inside():
        done = subprocess.run(["nft", "-f", "-"], input=_STATEFUL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"nft refuses the rules: {done.stderr.strip()[:400]}")


def _bpfence(paths: NodePaths, world: World) -> None:
    paths.state.mkdir(parents=True, exist_ok=True)
    source = paths.state.parent / "connect.json"
    write_policies(source)
    artefact = compile_artefact(load_input([str(source)], Options()), Options())
    with world.node.namespace.inside():
        report = apply(artefact, ApplySettings(paths))
    if len(report.attached) != len(ADDRESSES):
        raise KernelError(f"bpfence attached too little: {'; '.join(report.warnings)}")


def write_policies(path: Path) -> None:
    """Each pod may talk to the other on the port, the client outwards and the server inwards, and to nobody else."""
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}},
        *(_pod(name, str(address)) for name, address in ADDRESSES.items()),
        _policy(CLIENT, "Egress", {"to": [_peer(SERVER)]}),
        _policy(SERVER, "Ingress", {"from": [_peer(CLIENT)]}),
    ]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def _pod(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE, "labels": {"app": name}},
        "spec": {"nodeName": "here"},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def _peer(name: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": name}}}


def _policy(name: str, direction: str, rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {
            **_peer(name),
            "policyTypes": [direction],
            direction.lower(): [{**rule, "ports": [{"protocol": "TCP", "port": PORT}]}],
        },
    }
