"""`bpfence check`: parse, validate and lint policies and inventory."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from bpfence.cli.common import compiler_options, emit, options_from, output_option
from bpfence.cli.render_github import render_github
from bpfence.cli.render_json import diagnostic_fields, severity_counts
from bpfence.cli.render_markdown import render_markdown
from bpfence.cli.render_sarif import render_sarif
from bpfence.loading import LoadedInput, load_input
from bpfence.pipeline import check_program
from bpfence.suppression import Remaining, suppress

FORMAT_VERSION = "1.0"


@click.command("check")
@click.argument("paths", nargs=-1, required=True)
@output_option("text", "json", "github", "markdown", "sarif")
@compiler_options
def command(paths: tuple[str, ...], output: str, **values: Any) -> None:
    """Parse, validate and lint policies: everything that would stop a compilation, and what looks like a mistake.

    Exit code 0: the input compiles (warnings and notes may be there); 2: it does not. A comment
    "# bpfence: ignore CODE reason" on a line, or alone above it, hides warnings and notes of that code there.

    \b
    bpfence check policies/ inventory.json
    kubectl get networkpolicies,pods,namespaces,nodes -A -o json | bpfence check -
    """
    options = options_from(values)
    loaded = load_input(paths, options)
    check_program(loaded, options)
    remaining = suppress(loaded.diagnostics.sorted(), (s for file in loaded.files for s in file.suppressions))
    items = remaining.items
    if output == "text":
        emit(items)
    else:
        click.echo(_render(output, remaining, loaded))
    if loaded.diagnostics.has_errors:
        sys.exit(2)
    if output == "text":
        click.echo(f"ok: {_summary_text(loaded)}")


def _render(output: str, remaining: Remaining, loaded: LoadedInput) -> str:
    items = remaining.items
    match output:
        case "github":
            return render_github(items)
        case "markdown":
            return render_markdown(items)
        case "sarif":
            return render_sarif(items)
        case _:
            return json.dumps(_document(remaining, loaded), indent=1)


def _document(remaining: Remaining, loaded: LoadedInput) -> dict[str, Any]:
    counts = severity_counts(remaining.items)
    return {
        "format_version": FORMAT_VERSION,
        "diagnostics": [diagnostic_fields(item) for item in remaining.items],
        "tests": [],
        "summary": {**counts, "suppressed": remaining.hidden, **_summary(loaded)},
    }


def _summary(loaded: LoadedInput) -> dict[str, int]:
    return {
        "files": len(loaded.files),
        "policies": loaded.policies.seen,
        "pods": len(loaded.inventory.pods),
    }


def _summary_text(loaded: LoadedInput) -> str:
    counts = _summary(loaded)
    return ", ".join(f"{number} {_word(name, number)}" for name, number in counts.items())


def _word(plural: str, number: int) -> str:
    singular = {"policies": "policy"}.get(plural, plural.removesuffix("s"))
    return singular if number == 1 else plural
