"""`bpfence bench`: the benchmarks, peers beside ours in one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from bpfence.bench.machine import machine_facts, steal_ticks
from bpfence.bench.registry import BENCHES, chosen_benches, load_bench
from bpfence.bench.results import Effort, Result, report_document
from bpfence.bench.table import text_report
from bpfence.cli.common import output_option
from bpfence.errors import KernelError


@click.command("bench")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "only_list", is_flag=True, help="List the benchmarks and run none.")
@click.option("--quick", is_flag=True, help="Small sizes and few samples: shows that it works, measures little.")
@output_option("text", "json")
def command(names: tuple[str, ...], only_list: bool, quick: bool, output: str) -> None:
    """Run benchmarks (default: all) and print medians, spread and ratios.

    Those that measure the kernel need root; of all that are asked for, none is left out silently: exit code 3.
    """
    chosen = chosen_benches(names)
    if only_list:
        click.echo("\n".join(f"{name:<10}{BENCHES[name].summary}" for name in chosen))
        return
    refusal = _refusal(chosen)
    if refusal is not None and names:
        raise refusal
    facts = machine_facts()
    results = _run([name for name in chosen if refusal is None or not BENCHES[name].kernel], Effort(quick))
    facts["steal_ticks"] = steal_ticks() - facts["steal_ticks"]
    click.echo(
        json.dumps(report_document(facts, results), indent=1) if output == "json" else text_report(facts, results)
    )
    if refusal is not None:
        raise refusal


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


def _run(names: Sequence[str], effort: Effort) -> list[Result]:
    return [result for name in names for result in load_bench(name)(effort, _say)]


def _say(text: str) -> None:
    """Progress, for a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", err=True, nl=not text)
