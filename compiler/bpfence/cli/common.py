"""What the sub-commands share: compiler options, the output option, and how diagnostics reach the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO, TypeVar, get_args

import click

from bpfence.cli.render import render_text
from bpfence.diagnostics import Diagnostic, Diagnostics
from bpfence.options import CiliumProfile, Engine, IpBlockMatchesPods, Options
from bpfence.source.read import InputFile
from bpfence.suppression import suppress

Command = TypeVar("Command", bound=Callable[..., Any])


def compiler_options(command: Command) -> Command:
    """The options of the compiler, collected by `options_from`."""
    for option in reversed(_COMPILER_OPTIONS):
        command = option(command)
    return command


def common_options(command: Command) -> Command:
    """`compiler_options` and ``-o text|json`` (parameter ``output``)."""
    return compiler_options(output_option("text", "json")(command))


def output_option(*formats: str) -> Callable[[Command], Command]:
    """``-o/--output`` with these formats, the first being the default; parameter ``output``."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="Output format."
    )


def options_from(values: Mapping[str, Any]) -> Options:
    """The compiler's options among a command's parameters."""
    return Options(**{name: values[name] for name in Options.model_fields if name in values})


_COMPILER_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(get_args(Engine)),
        default="auto",
        show_default=True,
        help="The engine whose layer Kubernetes NetworkPolicy joins.",
    ),
    click.option(
        "--cilium-profile",
        type=click.Choice(get_args(CiliumProfile)),
        default="1.20",
        show_default=True,
        help="The Cilium release whose meaning Cilium policies have.",
    ),
    click.option(
        "--ipblock-matches-pods",
        type=click.Choice(get_args(IpBlockMatchesPods)),
        default="dialect",
        show_default=True,
        help="Whether address rules match the addresses of pods.",
    ),
    click.option("--allow-unsupported", is_flag=True, help="A policy that can't be enforced denies what it selects."),
    click.option("--wildcard-notrack", is_flag=True, help="Allow doNotTrack on host endpoints of every interface."),
    click.option("--node", metavar="NAME", help="The node to compile for (default: this host, or the only node)."),
)


automatic_notrack_option = click.option(
    "--automatic-notrack/--no-automatic-notrack",
    default=False,
    show_default=True,
    help="Keep flows that are allowed both ways, whatever their state, out of the connection table.",
)
"""Of the commands that make artefacts; it changes no verdict."""


def emit_diagnostics(diagnostics: Diagnostics, files: Iterable[InputFile] = ()) -> None:
    """Print to stderr what was collected and no comment in the files hides, sorted by place, with a closing count."""
    comments = (comment for file in files for comment in file.suppressions)
    emit(suppress(diagnostics.sorted(), comments, complete=False).items)


def emit(items: Iterable[Diagnostic]) -> None:
    """Print diagnostics to stderr as text."""
    text = render_text(tuple(items), colour=wants_colour(sys.stderr))
    if text:
        click.echo(text, err=True, color=True)


def wants_colour(stream: TextIO) -> bool:
    """Colour only on a terminal, and not where NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR")
