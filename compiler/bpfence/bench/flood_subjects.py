"""Who takes the flood: a `Lane` in, the same lane with a filter on it out. One subject with its parameters each."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpfence.bench import flood_rules
from bpfence.bench.lane import POD, Lane
from bpfence.bench.results import Parameter
from bpfence.errors import KernelError
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import NodePaths
from bpfence.loader.transaction import ApplySettings, apply
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact

Install = Callable[[Lane, NodePaths], None]
"""Put the filter on the lane; the paths are for this lane alone."""
TIMEOUT = 60


class NotHereError(KernelError):
    """A subject that can't be measured here; the others can."""


@dataclass(frozen=True, slots=True)
class Subject:
    """``rules``: 0 for those that have none. ``filters``: drops all of the flood before routing does. ``inbound``:
    judges packets from the peers to the node, the others those from the pod to the peers.
    """

    name: str
    install: Install
    rules: int = 0
    filters: bool = True
    inbound: bool = False
    facts: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name} {self.rules}" if self.rules else self.name

    @property
    def params(self) -> dict[str, Parameter]:
        return {**({"rules": self.rules} if self.rules else {}), **self.facts}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rules each kind is measured with."""

    linear: tuple[int, ...] = (10, 100, 1_000)
    iptables: tuple[int, ...] = (100, 1_000)
    table: int = flood_rules.MOST
    ours: tuple[int, ...] = (10, 100, 1_000, 10_000)
    early: tuple[int, ...] = (10, 1_000, 10_000)


QUICK_SIZES = Sizes((10,), (100,), 100, (10, 100), (10,))


def subjects(sizes: Sizes) -> tuple[list[Subject], list[str]]:
    """All that this machine can run, and a note for each kind that it can't."""
    notes: list[str] = []
    found = [
        Subject("none", _install_nothing, filters=False),
        Subject("xdp-drop", _install_xdp_drop),
        Subject("tc-drop", _install_tc_drop),
        *_nftables(sizes, notes),
        *_iptables(sizes, notes),
        *(Subject("bpfence-tc", _bpfence_tc(count), count) for count in sizes.ours),
        *(Subject("bpfence-xdp", _bpfence_xdp(count), count, inbound=True) for count in sizes.early),
    ]
    return found, notes


def _nftables(sizes: Sizes, notes: list[str]) -> Iterator[Subject]:
    nft = shutil.which("nft")
    if nft is None:
        notes.append("nftables-drop, nftables-linear and nftables-map are left out: there is no nft here")
        return
    command = (nft, "-f", "-")
    yield Subject("nftables-drop", _fed(command, flood_rules.nft_linear, 0))
    for count in sizes.linear:
        yield Subject("nftables-linear", _fed(command, flood_rules.nft_linear, count), count)
    yield Subject("nftables-map", _fed(command, flood_rules.nft_map, sizes.table), sizes.table)


def _iptables(sizes: Sizes, notes: list[str]) -> Iterator[Subject]:
    """The older kernel interface where it is installed: it is the faster one."""
    restore = shutil.which("iptables-legacy-restore") or shutil.which("iptables-restore")
    if restore is None:
        notes.append("iptables and iptables-ipset are left out: there is no iptables-restore here")
        return
    facts: dict[str, Parameter] = {"backend": _backend(restore)}
    for count in sizes.iptables:
        yield Subject("iptables", _fed((restore,), flood_rules.iptables, count), count, facts=facts)
    ipset = shutil.which("ipset")
    if ipset is None:
        notes.append("iptables-ipset is left out: there is no ipset here")
        return
    yield Subject("iptables-ipset", _ipset(ipset, restore, sizes.table), sizes.table, facts=facts)


def _backend(restore: str) -> str:
    """``legacy`` or ``nf_tables``, as the program says behind its version."""
    answer = subprocess.run([restore, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    return "nf_tables" if "nf_tables" in answer.stdout else "legacy"


def _install_nothing(lane: Lane, paths: NodePaths) -> None:
    """The stack alone."""


def _install_xdp_drop(lane: Lane, paths: NodePaths) -> None:
    lane.ip.link("set", index=lane.interface, xdp_fd=lane.programs.drop_xdp.fd)


def _install_tc_drop(lane: Lane, paths: NodePaths) -> None:
    with lane.world.node.namespace.inside(), Netlink() as netlink:
        netlink.add_clsact(lane.interface)
        netlink.add_filter(lane.interface, "egress", lane.programs.drop_tc.fd)


def _fed(command: tuple[str, ...], text: Callable[[int], str], count: int) -> Install:
    def install(lane: Lane, paths: NodePaths) -> None:
        _feed(lane, command, text(count))

    return install


def _ipset(ipset: str, restore: str, count: int) -> Install:
    def install(lane: Lane, paths: NodePaths) -> None:
        _feed(lane, (ipset, "restore"), flood_rules.ipset(count))
        _feed(lane, (restore,), flood_rules.iptables_with_set())

    return install


def _feed(lane: Lane, command: tuple[str, ...], text: str) -> None:
    """Run a peer's tool on the lane's node."""
    with lane.world.node.namespace.inside():
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode:
        raise KernelError(f"{Path(command[0]).name} refuses the rules: {done.stderr.strip()[:400]}")


def _bpfence_tc(count: int) -> Install:
    def install(lane: Lane, paths: NodePaths) -> None:
        _apply(lane, paths, lambda source: flood_rules.write_policies(source, count))

    return install


def _bpfence_xdp(count: int) -> Install:
    """The node's end of the lane as a host endpoint with untracked policies."""

    def install(lane: Lane, paths: NodePaths) -> None:
        interface = lane.world.places[POD].interface
        _apply(lane, paths, lambda source: flood_rules.write_host_policies(source, count, interface))
        if not lane.has_xdp():
            raise NotHereError("no XDP program stands at the interface")

    return install


def _apply(lane: Lane, paths: NodePaths, write: Callable[[Path], None]) -> None:
    paths.state.mkdir(parents=True, exist_ok=True)
    source = paths.state.parent / f"{paths.state.name}.json"
    write(source)
    options = Options(node="here")
    artefact = compile_artefact(load_input([str(source)], options), options)
    with lane.world.node.namespace.inside():
        report = apply(artefact, ApplySettings(paths))
    if not report.attached:
        raise KernelError(f"bpfence attached nothing: {'; '.join(report.warnings)}")
