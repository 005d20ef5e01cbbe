"""The lock-out guard on real namespaces: what would cut the operator, name servers, the API server or the default route
is refused, and everything is named at once.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bpfence.emit.artefact import Artefact
from bpfence.errors import BpfenceError
from bpfence.loader.guard import LockOut
from bpfence.loader.node import NodePaths
from bpfence.loader.transaction import ApplySettings, apply
from support.host_objects import NODE1, OUT, felix, gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel

HEP = hep("h0")
NO_FAILSAFES = felix(failsafeInboundHostPorts="[]", failsafeOutboundHostPorts="[]")
OPEN = gnp("open", "hep == 'h0'", "ingress: [{action: Allow}], egress: [{action: Allow}]")
SSHD_PORT = 2222
CLIENTS = {"IPv4": (socket.AF_INET, NODE1[0], OUT[0]), "IPv6": (socket.AF_INET6, NODE1[1], OUT[1])}


@pytest.fixture(autouse=True)
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)


def refusal(hosts: HostWorld, *documents: str) -> str:
    """What the guard says; the generation in force stays."""
    before = hosts.status("node1").generation
    with pytest.raises(LockOut) as caught:
        hosts.apply("node1", *documents)
    assert hosts.status("node1").generation == before
    assert caught.value.exit_code == 3
    assert str(caught.value).endswith("--force applies it all the same")
    return str(caught.value)


def below_sshd(hosts: HostWorld, artefact: Artefact, target: tuple[int, str], client: str) -> tuple[int, str]:
    """Apply in a process below one that has accepted a connection, as a shell below sshd does; in a session of its own
    and without the environment that sshd gives. Returns (sshd's process, what `apply` said).
    """
    ready, told, paths = os.pipe(), os.pipe(), hosts.paths("node1")
    family, address = target
    sshd = os.fork()
    if sshd == 0:
        code = 1
        try:
            with hosts.inside("node1"):
                _serve(paths, artefact, ready[1], told[1])
            code = 0
        finally:
            os._exit(code)
    for end in (ready[1], told[1]):
        os.close(end)
    with ExitStack() as stack:
        stack.callback(os.close, told[0])
        stack.callback(os.close, ready[0])
        assert os.read(ready[0], 1)
        with hosts.inside("out"):
            connection = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        connection.bind((client, 0))
        connection.settimeout(5)
        connection.connect((address, SSHD_PORT))
        said = b"".join(iter(lambda: os.read(told[0], 4096), b"")).decode()
        assert os.waitpid(sshd, 0)[1] == 0
    return sshd, said


def _serve(paths: NodePaths, artefact: Artefact, ready: int, told: int) -> None:
    with socket.create_server(("::", SSHD_PORT), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        os.write(ready, b"!")
        accepted, _ = listener.accept()
        shell = os.fork()
        if shell == 0:
            try:
                os.setsid()
                accepted.close()
                listener.close()
                os.write(told, _said(paths, artefact).encode())
            finally:
                os._exit(0)
        os.waitpid(shell, 0)
        accepted.close()


def _said(paths: NodePaths, artefact: Artefact) -> str:
    try:
        apply(artefact, ApplySettings(paths, dry_run=True))
    except BpfenceError as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


@pytest.mark.parametrize("family", sorted(CLIENTS))
def test_a_session_below_sshd_is_found_without_its_environment(hosts: HostWorld, family: str) -> None:
    hosts.apply("node1", HEP, OPEN)
    version, server, client = CLIENTS[family]
    sshd, said = below_sshd(hosts, hosts.compile("node1", HEP), (version, server), client)
    assert said.startswith("LockOut"), said
    shown = rf"\[?{re.escape(client)}\]?:\d+ to \[?{re.escape(server)}\]?:{SSHD_PORT}"
    assert re.search(rf"a connection of your session \(.+, process {sshd}\): TCP {shown}", said), said
    assert "(hep/h0, interface eth0, ingress)" in said
    allowed = gnp(
        "ssh", "hep == 'h0'", f"ingress: [{{action: Allow, protocol: TCP, destination: {{ports: [{SSHD_PORT}]}}}}]"
    )
    assert below_sshd(hosts, hosts.compile("node1", HEP, allowed), (version, server), client)[1] == "fine"


def test_a_rule_is_named_with_its_place(hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{OUT[0]} 50000 {NODE1[0]} 22")
    deny = gnp(
        "wall", "hep == 'h0'", "ingress: [{action: Log}, {action: Deny, source: {nets: [198.51.100.0/24]}}]", order=50
    )
    text = refusal(hosts, HEP, deny, OPEN, felix(failsafeInboundHostPorts="[]"))
    assert re.search(r": denied by GlobalNetworkPolicy wall \S*ingress\[1\] \(input\.yaml:\d+\)", text), text


def test_what_hosts_say_before_tracking_is_asked_about_answers(
    hosts: HostWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is let in without an entry; what answers it meets a wall."""
    monkeypatch.setenv("SSH_CONNECTION", f"{OUT[0]} 50000 {NODE1[0]} 443")
    nets = ("198.51.100.9/32", "2001:db8:1::9/128")
    inbound = ", ".join(f"{{action: Allow, source: {{nets: ['{net}']}}}}" for net in nets)
    outbound = ", ".join(
        f"{{action: {action}, destination: {{nets: ['{net}']}}}}" for action in ("Deny", "Allow") for net in nets
    )
    wall = gnp(
        "wall", "hep == 'h0'", f"doNotTrack: true, applyOnForward: true, ingress: [{inbound}], egress: [{outbound}]"
    )
    text = refusal(hosts, HEP, wall, OPEN)
    assert re.search(r": its answers are denied by GlobalNetworkPolicy wall \S*egress\[0\]", text), text
    hosts.apply("node1", HEP, wall, OPEN, force=True)
    assert hosts.wrong(asks("out node1 tcp/443 no")) == []
    both_ways = wall.replace("action: Deny", "action: Allow")
    hosts.apply("node1", HEP, both_ways, OPEN)
    assert hosts.wrong(asks("out node1 tcp/443 yes")) == []


API = """
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{name: https, port: 443, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 8080, protocol: TCP}]
endpoints: [{addresses: [198.51.100.9], conditions: {ready: true}}]
"""


def test_the_api_server_stays_in_reach(hosts: HostWorld) -> None:
    text = refusal(hosts, API, HEP)
    assert f"the API server (default/kubernetes): TCP {NODE1[0]} to {OUT[0]}:8080" in text
    assert "10.96.0.10" not in text
    without, _, _ = API.rpartition("---")
    assert f"the API server (default/kubernetes): TCP {NODE1[0]} to 10.96.0.10:443" in refusal(hosts, without, HEP)
    to_it = "{action: Allow, protocol: TCP, destination: {nets: [198.51.100.9/32], ports: [8080]}}"
    hosts.apply("node1", API, HEP, gnp("api", "hep == 'h0'", f"egress: [{to_it}]"))


def test_connections_of_the_api_server_stay(hosts: HostWorld) -> None:
    to_it = "{action: Allow, protocol: TCP, destination: {nets: [198.51.100.9/32], ports: [8080]}}"
    narrow = gnp("api", "hep == 'h0'", f"egress: [{to_it}]")
    hosts.apply("node1", HEP, OPEN)
    with hosts.open("out", NODE1[0], 10250) as connection:
        assert connection.established
        text = refusal(hosts, API, HEP, narrow)
    assert re.search(rf"a connection with the API server.*: TCP {OUT[0]}:\d+ to {NODE1[0]}:10250", text), text


@contextmanager
def default_route(hosts: HostWorld, family: int) -> Iterator[None]:
    gateway = OUT[0] if family == socket.AF_INET else OUT[1]
    ip = hosts.network.netlink["node1"]
    ip.route("add", family=family, dst="default", gateway=gateway)
    try:
        yield
    finally:
        ip.route("del", family=family, dst="default", gateway=gateway)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_default_route_by_which_nothing_may_leave(hosts: HostWorld, family: int) -> None:
    name = "IPv4" if family == socket.AF_INET else "IPv6"
    line = f"everything that this host sends by its {name} default route (hep/h0, interface eth0, egress) but failsafe"
    wall = gnp("wall", "hep == 'h0'", "egress: [{action: Deny}]")
    one = gnp("one", "hep == 'h0'", "egress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]")
    dns = gnp("dns", "hep == 'h0'", "egress: [{action: Allow, protocol: UDP, destination: {ports: [53]}},"
              " {action: Allow, protocol: TCP, destination: {ports: [53]}}]")  # fmt: skip
    with default_route(hosts, family):
        text = refusal(hosts, HEP, wall)
        rule = r" ports: denied by GlobalNetworkPolicy wall \S*egress\[0\] \(input"
        assert re.search(re.escape(line) + rule, text), text
        assert line in refusal(hosts, HEP, wall, NO_FAILSAFES)
        # no policy says so: that is what a host endpoint is
        assert line not in _warned(hosts, HEP)
        assert line not in _warned(hosts, HEP, one)
        assert line not in _warned(hosts, HEP, dns)
        # by another interface it does not leave
        assert line not in _warned(hosts, hep("h1", interface="eth1"))
    hosts.apply("node1", HEP)


def _warned(hosts: HostWorld, *documents: str) -> str:
    """What the guard says, if anything; nothing is applied."""
    artefact = hosts.compile("node1", *documents)
    with hosts.inside("node1"):
        return _said(hosts.paths("node1"), artefact)


def test_everything_is_named_at_once(hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{OUT[1]} 50000 {NODE1[1]} 22")
    with default_route(hosts, socket.AF_INET):
        wall = gnp("wall", "hep == 'h0'", "egress: [{action: Deny}]")
        text = refusal(hosts, API, HEP, NO_FAILSAFES, wall)
    lines = text.splitlines()
    assert lines[0] == "the new policy would cut"
    for part in ("the ssh connection", "the API server", "IPv4 default route"):
        assert any(part in line for line in lines[1:-1]), part
    many = "".join(
        f"\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        f"metadata: {{name: k{n}, namespace: default, labels: {{kubernetes.io/service-name: kubernetes}}}}\n"
        f"addressType: IPv4\nports: [{{name: https, port: 8080, protocol: TCP}}]\n"
        f"endpoints: [{{addresses: [198.51.100.{n}], conditions: {{ready: true}}}}]"
        for n in range(30, 60)
    )
    lines = refusal(hosts, API + many, HEP).splitlines()
    assert len(lines) == 13
    assert lines[11].startswith("  and ")


def test_sockets_that_keep_marks_would_be_cut_later(hosts: HostWorld) -> None:
    setting = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")
    with hosts.inside("node1"):
        setting.write_text("1")
    try:
        assert "sysctl -w net.ipv4.tcp_fwmark_accept=0" in refusal(hosts, HEP, OPEN)
    finally:
        with hosts.inside("node1"):
            setting.write_text("0")
    hosts.apply("node1", HEP, OPEN)


NAMED = (
    "apiVersion: v1\nkind: Node\nmetadata: {name: here}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.2}]}"
)
SERVER = "192.0.2.53"


@contextmanager
def named_namespace(name: str, folder: Path) -> Iterator[None]:
    """A namespace as `ip netns` has it, with a resolv.conf of its own and one interface with the default route."""
    own = Path("/etc/netns") / name
    parent_was_there = own.parent.exists()
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        own.mkdir(parents=True)
        (own / "resolv.conf").write_text(f"nameserver {SERVER}\n")
        for words in (
            "link set lo up",
            "link add eth0 type ifb",
            "addr add 192.0.2.2/24 dev eth0",
            "link set eth0 up",
            "route add default via 192.0.2.1",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        (own / "resolv.conf").unlink(missing_ok=True)
        own.rmdir()
        if not parent_was_there:
            own.parent.rmdir()


def test_the_name_servers_of_the_machine_stay_in_reach(bpffs: Path, tmp_path: Path) -> None:
    """As a command, with the resolv.conf that the machine has."""
    name = f"guard-{os.getpid()}"
    policy = tmp_path / "policy"
    policy.mkdir()

    def said(rules: str) -> tuple[int, str]:
        one = gnp("one", "hep == 'h0'", f"egress: [{rules}]")
        (policy / "all.yaml").write_text("\n---\n".join((NAMED, hep("h0", node="here"), one, NO_FAILSAFES)))
        command = [sys.executable, "-m", "bpfence", "apply", str(policy), "--dry-run"]
        folders = ["--state", str(tmp_path / "state"), "--bpffs", str(bpffs / name)]
        done = subprocess.run(
            ["ip", "netns", "exec", name, *command, *folders], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    with named_namespace(name, tmp_path):
        code, text = said("{action: Allow, protocol: TCP, destination: {ports: [443]}}")
        assert code == 3, text
        assert f"the name server of this host: UDP 192.0.2.2 to {SERVER}:53 (hep/h0, interface eth0, egress)" in text
        assert "default route" not in text
        code, text = said("{action: Allow, destination: {nets: [192.0.2.53/32]}}")
        assert code == 0, text
    assert not (tmp_path / "state").exists()


def test_what_is_denied_already_is_not_cut(hosts: HostWorld) -> None:
    wall = gnp("wall", "hep == 'h0'", "egress: [{action: Deny}]")
    with default_route(hosts, socket.AF_INET):
        refusal(hosts, HEP, wall)
        artefact = hosts.compile("node1", HEP, wall)
        with hosts.inside("node1"):
            apply(artefact, ApplySettings(hosts.paths("node1"), force=True))
        hosts.apply("node1", HEP, wall)
        hosts.apply("node1", HEP, OPEN)
        refusal(hosts, HEP, wall)
