"""What the lock-out guard finds out about the machine: name servers, ssh sessions, sockets of the session."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfence.emit.artefact import GuardedEntry
from bpfence.loader import guard_sockets
from bpfence.loader.guard_flows import guarded_flows, name_servers, parse_name_servers, session_of
from bpfence.loader.guard_sockets import Connection, connections, read_sockets, session_sockets


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", ()),
        ("nameserver 10.0.0.53\n", ("10.0.0.53",)),
        ("# nameserver 1.1.1.1\n; x\nsearch a b\nnameserver\t9.9.9.9  # quad\n", ("9.9.9.9",)),
        ("nameserver fe80::1%eth0\nnameserver 2001:db8::53\n", ("fe80::1", "2001:db8::53")),
        ("nameserver ::ffff:10.0.0.1\n", ("10.0.0.1",)),
        ("nameserver nonsense\nnameserver\nnameserver 10.0.0.1 extra\n", ("10.0.0.1",)),
        ("  nameserver 10.0.0.1\noptions timeout:1", ("10.0.0.1",)),
    ],
)
def test_name_servers_of_a_resolv_conf(text: str, servers: tuple[str, ...]) -> None:
    assert parse_name_servers(text) == tuple(map(ip_address, servers))


def test_a_server_on_this_machine_asks_those_of_the_other_file(tmp_path: Path) -> None:
    stub, upstream = tmp_path / "stub", tmp_path / "upstream"
    stub.write_text("nameserver 127.0.0.53\nnameserver 10.0.0.1\n")
    upstream.write_text("nameserver 10.0.0.2\nnameserver 10.0.0.1\n")
    assert name_servers(stub, upstream) == (ip_address("10.0.0.1"), ip_address("10.0.0.2"))
    stub.write_text("nameserver 10.0.0.1\n")
    assert name_servers(stub, upstream) == (ip_address("10.0.0.1"),)
    assert name_servers(tmp_path / "none", upstream) == ()


@pytest.mark.parametrize("text", ["", "a b c d", "10.0.0.1 1 10.0.0.2", "10.0.0.1 x 10.0.0.2 22"])
def test_nonsense_in_place_of_a_session_is_none(text: str) -> None:
    assert list(session_of(text)) == []


def test_an_ssh_session_is_opened_by_its_client() -> None:
    (flow,) = session_of("fe80::9%eth0 50000 2001:db8::1 22")
    assert (str(flow.peer), flow.peer_port, str(flow.own), flow.own_port) == ("fe80::9", 50000, "2001:db8::1", 22)
    assert flow.incoming


@contextmanager
def connected(family: int, bound: str, target: str) -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """(listener, client, accepted)"""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::"))
        port = listener.getsockname()[1]
        client = stack.enter_context(socket.create_connection((target, port)))
        accepted = stack.enter_context(listener.accept()[0])
        yield listener, client, accepted


def test_sockets_of_the_session_are_found_and_loopback_is_not_guarded() -> None:
    with connected(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, client, accepted):
        mine = session_sockets()
        for one in (client, accepted):
            assert mine[os.fstat(one.fileno()).st_ino].title.endswith(f"process {os.getpid()}")
        inodes = {os.fstat(one.fileno()).st_ino for one in (client, accepted)}
        assert inodes.isdisjoint(item.inode for item in connections())


def test_who_talks_to_himself_is_no_way_in() -> None:
    with connected(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, client, accepted):
        own, peer = (ip_address(one.getsockname()[0]) for one in (client, accepted))
        ports = client.getsockname()[1], accepted.getsockname()[1]
        item = Connection(os.fstat(client.fileno()).st_ino, own, ports[0], peer, ports[1], False)
        holder = session_sockets()[item.inode]
        assert holder.holds_both_ends(item)
        accepted.close()
        assert not holder.holds_both_ends(item)


@pytest.mark.parametrize(("family", "bound"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_the_kernel_and_its_files_tell_the_same(family: int, bound: str) -> None:
    with connected(family, bound, "127.0.0.1") as made:
        inodes = [os.fstat(one.fileno()).st_ino for one in made]
        files = [item for name in ("tcp", "tcp6") for item in read_sockets(Path("/proc/thread-self/net") / name)]
        from_files = {item.inode: item for item in files if item.inode in inodes}
        from_kernel = {item.inode: item for item in guard_sockets._sockets() if item.inode in inodes}
        assert from_kernel == from_files
        assert len(from_kernel) == 3
        port = made[0].getsockname()[1]
        assert sorted(item.own_port == port for item in from_kernel.values()) == [False, True, True]


def test_flows_are_named_once() -> None:
    api = GuardedEntry(name="default/kubernetes", protocol=6, address="192.0.2.1", port=443)
    environment = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.8 22"}
    flows = guarded_flows(environment, (api, api), lambda own, peer: True)
    assert len({flow.place for flow in flows}) == len(flows)
    assert [flow.what for flow in flows if flow.peer == ip_address("192.0.2.1")] == [
        "the API server (default/kubernetes)"
    ]
