"""A node under faults: what it enforces, everything of bpfence that is on it, and bringing it back.

Looked at from outside: packets through whatever stands at the hooks, kernel objects by their ids, files by their bytes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from bpfence.demo.traffic import send_flows
from bpfence.demo.world import World
from bpfence.emit.artefact import Artefact
from bpfence.loader import objects, spare, transaction
from bpfence.loader.frames import first_frame
from bpfence.loader.kernel import read_array
from bpfence.loader.maps import Map, map_info, open_pinned_fd
from bpfence.loader.namespaces import unmount
from bpfence.loader.netlink import HOOK_PARENT, Netlink
from bpfence.loader.node import Node, NodePaths, open_node
from bpfence.loader.pending import TIMER
from bpfence.loader.programs import Program, TestRunner, program_by_id, program_info
from bpfence.loader.syscalls import BpfCall, Command, ProgramTestRun
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.loader.unload import unload
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from support.fault_objects import KernelObjects, note_objects
from support.host_objects import gnp, hep
from support.netns import NODE_ADDRESS, PODS, inventory, tcp

OUT = "198.51.100.9"
UPLINK = "uplink1"
_DROP, _XDP_DROP = 2, 1
_EVERY = 12
_WAITING = [
    module
    for name, module in sorted(sys.modules.items())
    if name.startswith("bpfence.loader.") and hasattr(module, "GRACE_SECONDS")
]
_FOLDER_MODE, _FILE_MODE = "700", "600"


@dataclass(frozen=True, slots=True)
class Question:
    """A packet at a hook. ``passes``: under which policies."""

    interface: str
    hook: str
    frame: bytes
    passes: frozenset[str]


@dataclass(slots=True)
class FaultWorld:
    """The namespaces, bpfence's folders, and the policies in turn."""

    world: World
    folder: Path
    paths: NodePaths
    kernel: KernelObjects
    netlink: Netlink
    raw: Any
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    indices: dict[str, int] = field(default_factory=dict)

    def apply(self, name: str, *, dry_run: bool = False) -> ApplyReport:
        return apply(self.artefacts[name], ApplySettings(self.paths, dry_run))

    def unload(self) -> None:
        unload(self.paths)

    def clear(self) -> None:
        """Unload, and the mount goes in any case."""
        try:
            unload(self.paths, force=True)
        finally:
            if (self.folder / "bpf").is_mount():
                unmount(str(self.folder / "bpf"))

    def compile(self, name: str, pods: Mapping[str, str], *policies: str) -> None:
        path = self.folder / "input.yaml"
        path.write_text("\n---\n".join((inventory(pods), *policies)))
        options = Options(node="here")
        self.artefacts[name] = compile_artefact(load_input([str(path)], options), options)

    def contents(self) -> tuple[str, str]:
        """Names of what the slot in force holds and of what the other does; empty when that is no whole generation."""
        names = {artefact.manifest.content: name for name, artefact in self.artefacts.items()}
        with ExitStack() as stack:
            node = open_node(self.paths.pins, stack)
            if node is None or not node.active.generation:
                return "", ""
            state, active = self.paths.folder.read(), node.active
            slots = [node.slots.get(number) for number in (active.slot, 1 - active.slot)]
            records = [state.record(slot.generation) if slot else None for slot in slots]
            found = [names.get(record.content, "") if record else "" for record in records]
            return found[0], found[1]

    def kept(self, name: str) -> bool:
        """Whether its artefact is on disk."""
        content = self.artefacts[name].manifest.content
        kept = self.paths.folder.kept()
        return any(one.content == content and one.number in kept for one in self.paths.folder.read().generations)

    def timers(self) -> list[str]:
        """Processes that wait for a confirmation in this world's namespace."""
        here, found = os.stat("/proc/thread-self/ns/net").st_ino, []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if TIMER.encode() in (path / "cmdline").read_bytes() and (path / "ns/net").stat().st_ino == here:
                    found.append(path.name)
        return found

    def answers(self) -> dict[Question, bool]:
        """Whether each packet passes. Flows that they open are forgotten, others are not."""
        with ExitStack() as stack:
            hooks = self._programs(stack)
            tables = _flow_tables(open_node(self.paths.pins, stack))
            before = [{key for key, _ in table.iterate()} for table in tables]
            found = {question: self._passes(question, hooks) for question in QUESTIONS}
            for table, known in zip(tables, before, strict=True):
                for key in {key for key, _ in table.iterate()} - known:
                    table.delete(key)
        return found

    def talks(self, policy: str) -> bool:
        """Whether real packets between pods are answered as the policy has it. Their flows are forgotten."""
        expected = tuple(policy in names for names in FLOWS.values())
        answered = send_flows(self.world, tuple(FLOWS), 0.2, expected)
        with ExitStack() as stack:
            for table in _flow_tables(open_node(self.paths.pins, stack)):
                for key, _ in list(table.iterate()):
                    table.delete(key)
        return answered == expected

    def _programs(self, stack: ExitStack) -> dict[tuple[int, str], list[Program]]:
        """What stands at the hooks of interest, opened, in the kernel's order."""
        hooks: dict[tuple[int, str], list[Program]] = defaultdict(list)
        at_tc = [
            (index, "arrives" if HOOK_PARENT[item.direction] == HOOK_PARENT["egress"] else "leaves", item.program)
            for index in {self.indices[question.interface] for question in QUESTIONS}
            for item in self.netlink.filters(index)
        ]
        at_xdp = [(item.index, "xdp", item.program) for item in self.netlink.xdp_programs()]
        for index, hook, number in (*at_tc, *at_xdp):
            program = program_by_id(number)
            assert program is not None
            hooks[index, hook].append(stack.enter_context(program))
        return hooks

    def _passes(self, question: Question, hooks: Mapping[tuple[int, str], list[Program]]) -> bool:
        index = self.indices[question.interface]
        programs = hooks.get((index, question.hook), [])
        if question.hook == "xdp":
            return all(_run_xdp(program.fd, index, question.frame) != _XDP_DROP for program in programs)
        received = index if question.hook == "arrives" else 0
        return all(
            TestRunner(program.fd, ifindex=index, received=received).run(question.frame) != _DROP
            for program in programs
        )

    def policy(self) -> str:
        """The one policy that explains every answer; the answers in words when there is none."""
        answers = self.answers()
        fitting = [name for name in POLICIES if all(got == (name in q.passes) for q, got in answers.items())]
        if len(fitting) == 1:
            return fitting[0]
        return "mixed: " + ", ".join(f"{q.interface} {q.hook} {sorted(q.passes)}: {got}" for q, got in answers.items())

    def nobodys(self) -> dict[str, list[tuple[int, str]]]:
        """Maps and programs that no pin holds. The kernel is about to free them, or somebody has kept them."""
        pins = (path for path in (self.folder / "bpf").rglob("*") if path.is_file() and path.suffix != ".debug")
        held = {one for path in pins for one in _pinned(path)}
        return {
            kind: [one for one in found if (kind, one[0]) not in held] for kind, found in self.kernel.found().items()
        }

    def snapshot(self) -> dict[str, Any]:
        """Everything of bpfence on the node; equal snapshots, equal nodes."""
        found: dict[str, Any] = {
            "files": dict(_files(self.paths.state)),
            "pins": dict(_pins(self.folder / "bpf")),
            "mounted": (self.folder / "bpf").is_mount(),
            "hooks": self._hooks(),
            "kernel": self.kernel.found(),
        }
        with ExitStack() as stack:
            node = open_node(self.paths.pins, stack)
            if node is not None:
                found["active"] = node.active
                found["flows"] = [key.hex() for table in _flow_tables(node) for key, _ in table.iterate()]
                for number, slot in node.slots.items():
                    tables = {name: read_array(table) for name, table in slot.tables.items()}
                    found[f"tables {number}"] = {name: _digest(data) for name, data in tables.items()}
                    found[f"counts {number}"] = _digest(b"".join(value for _, value in slot.counters.iterate()))
                for name in ("programs", "xdp_programs"):
                    found[name] = [(key.hex(), value.hex()) for key, value in _entries(node.maps[name])]
        return found

    def _hooks(self) -> list[tuple[object, ...]]:
        qdiscs = [
            (int(q["index"]), str(q.get_attr("TCA_KIND")), int(q["parent"]), int(q["handle"]))
            for q in self.raw.get_qdiscs()
        ]
        indices = {index for index, kind, *_ in qdiscs if kind in ("clsact", "ingress")}
        filters = [
            (f.index, HOOK_PARENT[f.direction], f.kind, f.priority, f.handle, f.name, f.program)
            for index in sorted(indices)
            for f in self.netlink.filters(index)
        ]
        xdp = [(item.index, "xdp", item.program, item.mode) for item in self.netlink.xdp_programs()]
        return [*sorted(qdiscs), *filters, *xdp]


def essence(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot without what depends on how often something was applied: ids, generations, which slot."""
    files = [name for name in snapshot["files"] if not name.startswith("generations/")]
    objects_kept = [name for name in files if name.startswith(("objects/", "programs/"))]
    kernel = snapshot["kernel"]
    return {
        "files": sorted(set(files) - set(objects_kept)),
        "unfinished": [name for name in snapshot["files"] if name.endswith(".new")],
        "pins": sorted(snapshot["pins"]),
        "mounted": snapshot["mounted"],
        "hooks": sorted(str(_without_id(hook)) for hook in snapshot["hooks"]),
        "kernel": {kind: Counter(name for _, name in found) for kind, found in kernel.items()},
        "flows": snapshot.get("flows"),
        "programs": [len(snapshot.get(name, ())) for name in ("programs", "xdp_programs")],
    }


def _without_id(hook: tuple[object, ...]) -> tuple[object, ...]:
    """Without the program's id, and without the mode of one before the stack: where the driver refuses it once, it
    stands in the other for good.
    """
    return hook[:2] if hook[1] == "xdp" else hook[:6]


def untidy(world: FaultWorld, snapshot: Mapping[str, Any]) -> list[str]:
    """What should not be in the state folder: generations that nobody knows, modes that are too open."""
    if not world.paths.state.exists():
        return []
    state = world.paths.folder.read()
    found_qdiscs = ""
    ours = {hook[0] for hook in snapshot["hooks"] if hook[1] == "clsact"}
    if state.generations and set(state.qdiscs) != ours:
        found_qdiscs = f"node.json has the qdiscs {state.qdiscs}, there are {sorted(ours)}"
    known = {str(record.number) for record in state.generations}
    found = [found_qdiscs] if found_qdiscs else []
    found += [
        f"generation {n} is on disk and in no record" for n in map(str, world.paths.folder.kept()) if n not in known
    ]
    for path in (world.paths.state, *world.paths.state.rglob("*")):
        wanted = _FOLDER_MODE if path.is_dir() else _FILE_MODE
        if f"{path.stat().st_mode & 0o777:o}" != wanted:
            found.append(f"{path} has mode {path.stat().st_mode & 0o777:o}")
    for number in world.paths.folder.kept():
        if not (world.paths.folder.generation(number) / "manifest.json").is_file():
            found.append(f"generation {number} has no manifest")
    return found


def _run_xdp(program_fd: int, index: int, frame: bytes) -> int:
    """An XDP program's answer to a frame that arrives at an interface."""
    context = (ctypes.c_uint32 * 6)(0, len(frame), 0, index, 0, 0)
    data = ctypes.create_string_buffer(frame, len(frame))
    run = ProgramTestRun(
        prog_fd=program_fd, repeat=1, data_size_in=len(frame), data_in=ctypes.addressof(data),
        ctx_size_in=ctypes.sizeof(context), ctx_in=ctypes.addressof(context),
    )  # fmt: skip
    BpfCall()(Command.PROG_TEST_RUN, run)
    return int(run.retval)


def _flow_tables(node: Node | None) -> list[Map]:
    return [] if node is None else [table for table in node.maps.values() if table.info.kind.endswith("hash")]


def _entries(table: Map) -> Iterator[tuple[bytes, bytes]]:
    for index in range(table.info.entries):
        key = index.to_bytes(4, "little")
        value = table.lookup(key)
        if value is not None:
            yield key, value


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    if not folder.exists():
        return
    yield ".", "folder"
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            yield name, "folder"
        elif name == "lock" or name.startswith(("objects/", "programs/")):
            yield name, "file"
        else:
            yield name, _digest(path.read_bytes())


def _pins(folder: Path) -> Iterator[tuple[str, int]]:
    """Path -> kernel id; folders have 0."""
    for path in sorted(folder.rglob("*")):
        if path.name in ("maps.debug", "progs.debug"):
            continue
        yield str(path.relative_to(folder)), 0 if path.is_dir() else _pinned(path)[0][1]


def _pinned(path: Path) -> list[tuple[str, int]]:
    """The object that a pin holds, then the maps that a program holds: kinds and kernel ids."""
    fd = open_pinned_fd(path)
    try:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("bpf-map"):
            return [("maps", map_info(fd).id)]
        facts = program_info(fd)
        return [("programs", facts.id), *(("maps", number) for number in facts.map_ids)]
    finally:
        os.close(fd)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _tcp(source: str, destination: str, port: int) -> bytes:
    return first_frame(ip_address(source), ip_address(destination), 6, 40000, port)


_WEB, _DB, _CART = PODS.values()
_ALL = frozenset(("none", "old", "new", "other", "moved"))
POLICIES = tuple(sorted(_ALL))
"""none: nothing in force. other: of another shape. moved: on other interfaces."""


def _only(*names: str) -> frozenset[str]:
    return frozenset((*names, "none"))


QUESTIONS = (
    Question("pod2", "leaves", _tcp(_WEB, _DB, 80), _only("old")),
    Question("pod2", "leaves", _tcp(_CART, _DB, 80), _only("new", "other", "moved")),
    Question("pod2", "leaves", _tcp(_WEB, _DB, 82), _only("other")),
    Question("pod1", "arrives", _tcp(_WEB, _DB, 80), _only("old", "moved")),
    Question("pod1", "arrives", _tcp(_WEB, _DB, 81), _only("new", "other", "moved")),
    Question("pod3", "arrives", _tcp(_CART, _DB, 80), _only("old", "new", "other")),
    Question(UPLINK, "xdp", _tcp("198.51.100.66", _DB, 443), _only("new", "other", "moved")),
    Question(UPLINK, "xdp", _tcp("198.51.100.67", _DB, 443), _only("old")),
    Question(UPLINK, "arrives", _tcp("198.51.100.66", NODE_ADDRESS, 9100), _only()),
    Question(UPLINK, "arrives", _tcp(OUT, NODE_ADDRESS, 9100), _only("old")),
    Question(UPLINK, "arrives", _tcp(OUT, NODE_ADDRESS, 9200), _only("new", "other", "moved")),
)
"""``arrives``: at the node by the interface; ``leaves``: the node by it."""


FLOWS = {tcp("shop/web", "shop/db"): _only("old"), tcp("shop/cart", "shop/db"): _only("new", "other")}
"""Conversations, and under which policies they come about."""


def _network_policy(name: str, pod: str, body: str) -> str:
    return (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: shop}}\nspec: {{podSelector: {{matchLabels: {{app: {pod}}}}}, {body}}}"
    )


def _reached_by(*sources: tuple[str, int]) -> str:
    rules = ", ".join(
        f"{{from: [{{ipBlock: {{cidr: {address}/32}}}}], ports: [{{protocol: TCP, port: {port}}}]}}"
        for address, port in sources
    )
    return _network_policy("reached", "db", f"policyTypes: [Ingress], ingress: [{rules}]")


def _reaches(pod: str, port: int) -> str:
    return _network_policy(
        "reaches", pod, f"policyTypes: [Egress], egress: [{{ports: [{{protocol: TCP, port: {port}}}]}}]"
    )


def _host(bad: str, port: int) -> tuple[str, ...]:
    """A host endpoint that drops one address before connection tracking and serves one port."""
    early = f"ingress: [{{action: Deny, source: {{nets: ['{bad}/32']}}}}]"
    served = f"ingress: [{{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}]"
    return (
        hep("h0", "here", UPLINK),
        gnp("drop", "has(hep)", f"doNotTrack: true, applyOnForward: true, {early}", 10),
        gnp("base", "has(hep)", f"{served}, egress: [{{action: Allow}}]"),
    )


_CODES = (
    "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: codes, namespace: shop}\n"
    "spec: {selector: app == 'db', types: [Ingress],\n"
    "  ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}]}"
)
_TWO = {name: PODS[name] for name in ("shop/web", "shop/db")}
_MOVED = {name: PODS[name] for name in ("shop/db", "shop/cart")}


@contextmanager
def fault_world(folder: Path) -> Iterator[FaultWorld]:
    """A node with three pods and an uplink; the calling thread is in its namespace for the block. bpfence mounts its
    own file system below ``folder``.
    """
    addresses = {pod: (ip_address(address),) for pod, address in PODS.items()}
    paths = NodePaths(folder / "bpf" / "bpfence", folder / "state")
    (folder / "bpf").mkdir()
    with ExitStack() as stack:
        kernel = KernelObjects(os.open(folder / "objects", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
        stack.callback(os.close, kernel.ledger)
        world = stack.enter_context(World(addresses, (ip_address(NODE_ADDRESS),), {"out": (ip_address(OUT),)}))
        stack.enter_context(world.node.namespace.inside())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        note_objects(patch, kernel)
        _compile_once(patch)
        for module in _WAITING:
            patch.setattr(module, "GRACE_SECONDS", 0.0)
        _thin_out(patch)
        netlink, raw = stack.enter_context(Netlink()), stack.enter_context(IPRoute())
        made = FaultWorld(world, folder, paths, kernel, netlink, raw)
        made.indices = {link.name: link.index for link in netlink.links()}
        made.compile("old", _TWO, _reached_by((_WEB, 80)), _reaches("web", 80), *_host("198.51.100.66", 9100))
        made.compile("new", _TWO, _reached_by((_CART, 80)), _reaches("web", 81), *_host("198.51.100.67", 9200))
        made.compile("other", _TWO, _reached_by((_CART, 80), (_WEB, 82)), _reaches("web", 81), _CODES,
                     *_host("198.51.100.67", 9200))  # fmt: skip
        made.compile("moved", _MOVED, _reached_by((_CART, 80)), _reaches("cart", 81), *_host("198.51.100.67", 9200))
        stack.callback(made.clear)
        yield made


def _thin_out(patch: pytest.MonkeyPatch) -> None:
    """Of the proof's packets only some: each is three steps, all alike."""
    kept = transaction.prove

    def prove(slot: Any, probes: Any, *rest: Any) -> Any:
        return kept(slot, tuple(probes)[::_EVERY], *rest)

    for module in (transaction, spare):
        patch.setattr(module, "prove", prove)


def _compile_once(patch: pytest.MonkeyPatch) -> None:
    """The C compiler runs once for each text of the session, and everything around it as ever."""
    known: dict[tuple[object, ...], tuple[objects.Relocatable, ...]] = {}
    compiled, relocatable = objects.compiled, objects._relocatable

    @contextmanager
    def recalled(text: str, functions: Any, defines: Mapping[str, Any]) -> Iterator[Any]:
        plain = tuple(sorted((name, value) for name, value in defines.items() if not name.startswith("PIN_")))
        key = (text, tuple(functions), plain)
        if key not in known:
            names = {map_id: name for name, map_id in _pinned_ids(defines)}
            with compiled(text, functions, defines) as parts:
                known[key] = tuple(relocatable(part, names) for part in parts)
        yield known[key]

    patch.setattr(objects, "compiled", recalled)
    patch.setattr(objects, "_relocatable", lambda part, names: part)


def _pinned_ids(defines: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, path in defines.items():
        if name.startswith("PIN_"):
            fd = open_pinned_fd(path)
            try:
                yield name.removeprefix("PIN_"), map_info(fd).id
            finally:
                os.close(fd)
