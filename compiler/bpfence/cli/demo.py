"""`bpfence demo`: policies of three languages against real traffic, in a small world that is gone afterwards."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import partial

import click

from bpfence.cli.common import output_option
from bpfence.cli.printable import printable
from bpfence.cli.status import columns
from bpfence.demo.runner import DemoReport, Row, Scene, compile_chapters, run_demo
from bpfence.demo.sandbox import run_isolated
from bpfence.demo.scene import demo_folder
from bpfence.loader.kernel import require_kernel


@click.command("demo")
@output_option("text", "json")
def command(output: str) -> None:
    """Build a small world of network namespaces, apply sample policies, send real traffic, compare with what is
    expected.

    Nothing of it touches this machine's network or its bpfence, and everything is removed. Exit code 1 when an
    answer differs.
    """
    require_kernel()
    report = run_isolated(partial(run_demo, compile_chapters(demo_folder())))
    click.echo(
        json.dumps(report.document(), indent=1)
        if output == "json"
        else printable("\n".join(_lines(report)), keep_lines=True)
    )
    sys.exit(1 if report.differing else 0)


def _lines(report: DemoReport) -> Iterable[str]:
    yield f"a node with {report.pods} pods, built of network namespaces; policies in {demo_folder()}"
    for scene in report.scenes:
        yield ""
        yield from _scene_lines(scene)
    flows = sum(len(scene.rows) + len(scene.connections) for scene in report.scenes)
    differing = len(report.differing)
    outcome = "all as expected" if not differing else f"{differing} NOT as expected"
    yield ""
    yield f"{flows} flows, {outcome}, {report.seconds:.1f} s; everything is removed again"


def _scene_lines(scene: Scene) -> Iterable[str]:
    report = scene.apply
    seconds = sum(report.seconds.values())
    yield (
        f"generation {report.generation}: {scene.title} ({report.policies} policies, "
        f"{report.programs_loaded} programs loaded, {sum(report.probes.values())} probes, {seconds:.2f} s)"
    )
    if scene.connections:
        yield from columns(
            ("open connection", "expected", "kernel", "decided by"),
            [_cells(row, "goes on", "stops") for row in scene.connections],
        )
        yield ""
    yield from columns(
        ("flow", "expected", "kernel", "decided by"), [_cells(row, "answer", "silence") for row in scene.rows]
    )


def _cells(row: Row, yes: str, no: str) -> tuple[str, str, str, str]:
    seen = yes if row.seen else no
    mark = "" if row.expected == row.seen else "  <-- differs"
    return row.flow, "allow" if row.expected else "deny", seen + mark, row.rule
