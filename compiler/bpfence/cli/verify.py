"""`bpfence verify`: the reference evaluator, the emitted tables and the kernel must say the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click

from bpfence.analyse.verify import Agreement, KernelVerdicts, verify
from bpfence.analyse.verify_notrack import KernelExchanges
from bpfence.cli.common import automatic_notrack_option, common_options, emit_diagnostics, options_from
from bpfence.emit.artefact import Artefact
from bpfence.emit.program import emit_dispatcher_program
from bpfence.errors import KernelError
from bpfence.loading import load_input
from bpfence.simulate.simulator import Packet

DEFAULT_LIMIT = 200_000


@click.command("verify")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--limit", type=click.IntRange(1), default=DEFAULT_LIMIT, show_default=True, help="Most packets to compare."
)
@click.option(
    "--kernel",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Ask the kernel too.",
)
@common_options
@automatic_notrack_option
def command(paths: tuple[str, ...], limit: int, kernel: str, output: str, **values: Any) -> None:
    """Compare the reference evaluator, the emitted tables and (as root) the kernel's programs on packets that cover
    every atom.

    Exit code 0: all agree; 1: they differ, with counterexamples.
    """
    options = options_from(values)
    loaded = load_input(paths, options)
    loaded.diagnostics.stop_on_errors()
    with ExitStack() as stack:
        reason, verdicts, exchanges = _kernel(kernel, stack)
        agreement = verify(loaded, options, limit, verdicts, exchanges)
    emit_diagnostics(loaded.diagnostics, loaded.files)
    click.echo(json.dumps(agreement.document(), indent=1) if output == "json" else _text(agreement, reason))
    sys.exit(1 if agreement.differing else 0)


def _kernel(choice: str, stack: ExitStack) -> tuple[str, KernelVerdicts | None, KernelExchanges | None]:
    """(why the kernel is not asked, how to ask it about packets, about exchanges)."""
    if choice == "never":
        return "not asked", None, None
    from bpfence.loader.kernel import require_kernel
    from bpfence.loader.trial import trial

    try:
        require_kernel()
    except KernelError as error:
        if choice == "always":
            raise
        return str(error), None, None
    place = stack.enter_context(trial(emit_dispatcher_program()))

    def verdicts(artefact: Artefact, packets: Sequence[Packet]) -> list[bool]:
        place.use(artefact)
        return place.allowed(packets)

    def exchanges(artefact: Artefact, packets: Sequence[Packet]) -> list[tuple[bool, ...]]:
        place.use(artefact)
        return place.exchanges(packets)

    return "", verdicts, exchanges


def _text(agreement: Agreement, reason: str) -> str:
    how = "reference = simulator = kernel" if agreement.kernel_checked else f"reference = simulator (kernel: {reason})"
    lines = [
        f"{agreement.checked} packets at {agreement.endpoints} endpoints compared, "
        f"of {agreement.space} that cover every atom: {how}"
    ]
    if agreement.left_out:
        lines.append(
            f"{agreement.left_out} of the packets are of flows that are not remembered: no answer changes by that, "
            f"nor in {agreement.exchanged} exchanges in the kernel"
        )
    if agreement.hosts:
        lines.append(
            f"{agreement.host_checked} packets at the points of {agreement.hosts} hosts compared, "
            f"of {agreement.host_space}: reference = simulator"
        )
    if agreement.differing:
        total = agreement.checked + agreement.host_checked
        lines = [f"{agreement.differing} of {total} packets are answered differently"]
        lines += [json.dumps(item.document()) for item in agreement.counterexamples]
    return "\n".join(lines)
