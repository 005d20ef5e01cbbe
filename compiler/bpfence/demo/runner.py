"""The demonstration itself: sample policies in; flows with the verdict expected and the answer seen out.

Expected is what the reference evaluator says, which shares nothing with the compiler; seen is what became of real
packets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bpfence.demo.connection import OpenConnection
from bpfence.demo.scene import AFTER, BEFORE, OUTSIDE, demo_flows, open_flows
from bpfence.demo.traffic import send_flows
from bpfence.demo.world import World
from bpfence.emit.artefact import Artefact
from bpfence.flows import Flow, protocol_name
from bpfence.loader.node import NodePaths
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.loading import LoadedInput, load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.semantics.decide import decide
from bpfence.semantics.verdict import LayerVerdict, Verdict
from bpfence.semantics.world import ReferenceWorld


@dataclass(frozen=True, slots=True)
class Row:
    """One flow. ``rule``: what decided, with file and line."""

    flow: str
    expected: bool
    seen: bool
    rule: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One generation of the policy under traffic. ``connections``: those that were open when it came into force."""

    title: str
    apply: ApplyReport
    rows: tuple[Row, ...]
    connections: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class DemoReport:
    """``seconds``: wall time of everything in the world."""

    pods: int
    scenes: tuple[Scene, ...]
    seconds: float

    @property
    def differing(self) -> tuple[Row, ...]:
        """Rows where the kernel did something else than the evaluator says."""
        rows = (row for scene in self.scenes for row in (*scene.connections, *scene.rows))
        return tuple(row for row in rows if row.expected != row.seen)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"format_version": "1.0", **asdict(self), "differing": len(self.differing)}


@dataclass(frozen=True, slots=True)
class Chapter:
    """A compiled policy with its evaluator."""

    loaded: LoadedInput
    artefact: Artefact
    reference: ReferenceWorld


def compile_chapters(folder: Path) -> tuple[Chapter, Chapter]:
    """Before and after the change. Raises InputError."""
    options = Options()
    before = _compile(folder, BEFORE, options, None)
    return before, _compile(folder, AFTER, options, before)


def _compile(folder: Path, names: Sequence[str], options: Options, previous: Chapter | None) -> Chapter:
    loaded = load_input([str(folder / name) for name in names], options)
    artefact = compile_artefact(loaded, options, previous.artefact.identities if previous else None)
    return Chapter(loaded, artefact, ReferenceWorld(loaded.inventory, loaded.policies, options))


def run_demo(chapters: tuple[Chapter, Chapter], paths: NodePaths) -> DemoReport:
    """Build the world, apply, send, change, send again. Leaves nothing behind but what is below ``paths``."""
    before, after = chapters
    begun = time.perf_counter()
    inventory = before.loaded.inventory
    pods = {f"{pod.namespace}/{pod.name}": pod.addresses for pod in inventory.pods}
    with World(pods, inventory.nodes[0].addresses, OUTSIDE) as world, ExitStack() as stack:
        stack.enter_context(world.node.namespace.inside())
        first = apply(before.artefact, ApplySettings(paths))
        scene = Scene("the policies of three languages", first, _send(world, before, demo_flows()))
        opened = [stack.enter_context(OpenConnection(world, flow)) for flow in open_flows()]
        up = [connection.talk() for connection in opened]
        second = apply(after.artefact, ApplySettings(paths))
        kept = [before_change and connection.talk() for before_change, connection in zip(up, opened, strict=True)]
        rows = _rows(after, open_flows(), kept)
        change = Scene("the change, while connections are open", second, _send(world, after, demo_flows()), rows)
    return DemoReport(len(pods), (scene, change), time.perf_counter() - begun)


def _send(world: World, chapter: Chapter, flows: Sequence[Flow]) -> tuple[Row, ...]:
    expected = [decide(chapter.reference, flow).allowed for flow in flows]
    return _rows(chapter, flows, send_flows(world, flows, expected=expected))


def _rows(chapter: Chapter, flows: Sequence[Flow], seen: Sequence[bool]) -> tuple[Row, ...]:
    verdicts = [decide(chapter.reference, flow) for flow in flows]
    return tuple(
        Row(describe(flow), verdict.allowed, answered, deciding_rule(verdict))
        for flow, verdict, answered in zip(flows, verdicts, seen, strict=True)
    )


def describe(flow: Flow) -> str:
    """``shop/web -> data/db tcp/5432``; IPv6 is named."""
    port = "" if flow.destination_port is None else f"/{flow.destination_port}"
    what = "ping" if flow.icmp_type is not None else f"{protocol_name(flow.protocol).lower()}{port}"
    return f"{flow.source} -> {flow.destination} {what}" + (" (IPv6)" if flow.family == 6 else "")


def deciding_rule(verdict: Verdict) -> str:
    """The layer that denies, else the rules that allow; with file and line."""
    sides = (("egress", verdict.egress), ("ingress", verdict.ingress))
    layers = [(name, layer) for name, side in sides for layer in side.layers]
    denying = [_rule(name, layer) for name, layer in layers if not layer.allowed]
    if denying:
        return denying[0]
    allowing = [_rule(name, layer) for name, layer in layers if layer.reason in ("rule", "exempt")]
    return ", ".join(allowing) or "no policy selects either end"


def _rule(direction: str, layer: LayerVerdict) -> str:
    place = f" {Path(layer.span.path).name}:{layer.span.line}" if layer.span else ""
    reason = "" if layer.reason == "rule" else f" ({layer.reason})"
    return f"{direction}: {layer.policy or layer.layer}{place}{reason}"
