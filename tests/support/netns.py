"""A node under test: a world of network namespaces, folders of its own, policies written in the test."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from bpfence.demo.world import World
from bpfence.emit.artefact import Artefact
from bpfence.flows import Flow
from bpfence.loader.attach import survey_hooks
from bpfence.loader.maps import read_array
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import NodePaths, active_word, open_node
from bpfence.loader.programs import program_info
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact

PODS = {"shop/web": "10.9.0.1", "shop/db": "10.9.0.2", "shop/cart": "10.9.0.3"}
NODE_ADDRESS = "10.9.255.1"


@dataclass(frozen=True, slots=True)
class NodeUnderTest:
    """The world, and where bpfence keeps its things. Commands run in the node's namespace while the fixture lives."""

    world: World
    paths: NodePaths
    folder: Path

    def compile(self, *policies: str, pods: Mapping[str, str] = PODS) -> Artefact:
        """Compile policies for the world's pods (or for ``pods``)."""
        path = self.folder / "input.yaml"
        path.write_text("\n---\n".join((inventory(pods), *policies)))
        loaded = load_input([str(path)], Options())
        return compile_artefact(loaded, Options())

    def apply(self, artefact: Artefact, *, dry_run: bool = False, force: bool = False) -> ApplyReport:
        return apply(artefact, ApplySettings(self.paths, dry_run, force))

    def snapshot(self) -> dict[str, object]:
        """Everything that a transaction could change: pins and their content, hooks, files."""
        found: dict[str, object] = {"files": _files(self.paths.state), "hooks": hooks()}
        with ExitStack() as stack:
            node = open_node(self.paths.pins, stack)
            found["pins"] = sorted(str(path) for path in self.paths.bpffs.rglob("*"))
            if node is not None:
                found["active"] = node.active
                found["connections"] = [key for key, _ in node.maps["connections"].iterate()]
                for number, slot in node.slots.items():
                    tables = {name: read_array(table) for name, table in slot.tables.items()}
                    found[f"tables {number}"] = {
                        name: hashlib.sha256(data).hexdigest() for name, data in tables.items()
                    }
                    found[f"programs {number}"] = {name: program_info(p.fd).id for name, p in slot.programs.items()}
        return found


@contextmanager
def node_under_test(bpffs: Path, folder: Path, pods: Mapping[str, str] = PODS) -> Iterator[NodeUnderTest]:
    """A node with pods; the calling thread is in its namespace for the block."""
    name = f"node{os.getpid()}-{folder.name}"
    paths = NodePaths(bpffs / name, folder / "state")
    addresses = {pod: (ip_address(address),) for pod, address in pods.items()}
    with World(addresses, (ip_address(NODE_ADDRESS),)) as world, world.node.namespace.inside():
        yield NodeUnderTest(world, paths, folder)


def generation(node: NodeUnderTest) -> int:
    """What is in force, 0 for nothing."""
    return active_word(node.paths).generation


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def hooks() -> list[tuple[object, ...]]:
    """Qdiscs and filters of the current namespace, in comparable form."""
    with Netlink() as netlink:
        found = survey_hooks(netlink)
    filters = [(f.index, f.direction, f.kind, f.priority, f.handle, f.name, f.program) for f in found.filters]
    return [*sorted(found.qdiscs.items()), *filters]


def inventory(pods: Mapping[str, str]) -> str:
    """Objects of one node and its pods; each pod is labelled with its name."""
    namespaces = sorted({name.split("/")[0] for name in pods})
    texts = [
        "apiVersion: v1\nkind: Node\nmetadata: {name: here}\n"
        f"status: {{addresses: [{{type: InternalIP, address: {NODE_ADDRESS}}}]}}"
    ]
    texts += [f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}" for name in namespaces]
    texts += [_pod(*name.split("/"), address) for name, address in pods.items()]
    return "\n---\n".join(texts)


def _pod(namespace: str, name: str, address: str) -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n"
        f"spec: {{nodeName: here}}\nstatus: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}"
    )


def allow_ingress(name: str, to: str, *peers: str, port: int = 80) -> str:
    """A NetworkPolicy of namespace shop: pods ``to`` are reached by ``peers`` on one TCP port, and by nobody else."""
    sources = ", ".join(f"{{podSelector: {{matchLabels: {{app: {peer}}}}}}}" for peer in peers)
    rule = f"[{{from: [{sources}], ports: [{{protocol: TCP, port: {port}}}]}}]" if peers else "[]"
    return (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{podSelector: {{matchLabels: {{app: {to}}}}}, policyTypes: [Ingress], ingress: {rule}}}"
    )


def tcp(source: str, destination: str, port: int = 80) -> Flow:
    return Flow(source, destination, 6, destination_port=port)


def killed_during(work: Callable[[], object]) -> int:
    """Run ``work`` in a child process; the number of the signal that ended it (0: it came to its end)."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def die(*_: object, **__: object) -> None:
    """Put in place of a step: the process is gone at that moment, without any clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


def _files(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file below a folder, but the lock and the cache of compiled programs."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock" and path.parent.name != "objects"
    }
