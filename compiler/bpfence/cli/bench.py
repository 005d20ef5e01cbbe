"""`bpfence bench`: the benchmarks, peers beside ours in one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bpfence.bench.machine import machine_facts, steal_ticks
from bpfence.bench.plot import svg_report
from bpfence.bench.registry import BENCHES, chosen_benches, load_bench
from bpfence.bench.results import Effort, Note, Result, report_document
from bpfence.bench.table import text_report
from bpfence.cli.common import output_option
from bpfence.errors import KernelError, UsageError


@click.command("bench")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "only_list", is_flag=True, help="List the benchmarks and run none.")
@click.option("--quick", is_flag=True, help="Small sizes and few samples: shows that it works, measures little.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the results into this SVG file too."
)
@output_option("text", "json")
def command(names: tuple[str, ...], only_list: bool, quick: bool, plot: Path | None, output: str) -> None:
    """Run benchmarks (default: all) and print medians, spread and ratios.

    Those that measure the kernel need root; of all that are asked for, none is left out silently: exit code 3.
    """
    chosen = chosen_benches(names)
    if only_list:
        click.echo("\n".join(f"{name:<10}{BENCHES[name].summary}" for name in chosen))
        return
    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"there is no folder for {plot}")
    refusal = _refusal(chosen)
    if refusal is not None and names:
        raise refusal
    facts = machine_facts()
    results, notes = _run([name for name in chosen if refusal is None or not BENCHES[name].kernel], Effort(quick))
    facts["steal_ticks"] = steal_ticks() - facts["steal_ticks"]
    if plot is not None:
        write_plot(plot, results)
    if output == "json":
        click.echo(json.dumps(report_document(facts, results, notes), indent=1))
    else:
        click.echo(text_report(facts, results, notes))
    if refusal is not None:
        raise refusal


def write_plot(path: Path, results: Sequence[Result]) -> None:
    """The picture. UsageError when it can't be written."""
    try:
        path.write_text(svg_report(results))
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error


def _refusal(chosen: Sequence[str]) -> KernelError | None:
    """Why the kernel can't be measured here, when a chosen benchmark would."""
    if not any(BENCHES[name].kernel for name in chosen):
        return None
    from bpfence.loader.kernel import require_kernel

    try:
        require_kernel()
    except KernelError as error:
        return error
    return None


def _run(names: Sequence[str], effort: Effort) -> tuple[list[Result], list[Note]]:
    rows = [row for name in names for row in load_bench(name)(effort, _say)]
    return [row for row in rows if isinstance(row, Result)], [row for row in rows if isinstance(row, Note)]


def _say(text: str) -> None:
    """Progress, for a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", err=True, nl=not text)
