"""The sub-commands by name, each imported when it is called, so that one never slows or breaks another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import click

from bpfence import __version__
from bpfence.collection import collection_paused


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """``module`` has the click command in its attribute ``command``; ``summary`` is its line in the help."""

    module: str
    summary: str


COMMANDS: Mapping[str, LazyCommand] = {
    "check": LazyCommand("bpfence.cli.check", "Parse, validate and lint policies."),
    "compile": LazyCommand("bpfence.cli.compile", "Compile policies into an artefact folder."),
    "explain": LazyCommand("bpfence.cli.explain", "Say which rule allows or denies a connection."),
    "list": LazyCommand("bpfence.cli.list_connections", "List every allowed connection."),
    "diff": LazyCommand("bpfence.cli.diff", "Show which connections a change allows or denies."),
    "fqdn": LazyCommand("bpfence.cli.fqdn", "Try DNS name patterns of Cilium policies."),
    "selector": LazyCommand("bpfence.cli.selector", "Try selectors of Calico policies."),
    "apply": LazyCommand("bpfence.cli.apply", "Bring policies into force on this node."),
    "status": LazyCommand("bpfence.cli.status", "Show what is in force on this node."),
    "confirm": LazyCommand("bpfence.cli.confirm", "Keep the generation that would go back by itself."),
    "rollback": LazyCommand("bpfence.cli.rollback", "Bring an earlier generation into force again."),
    "history": LazyCommand("bpfence.cli.history", "List the generations that were in force on this node."),
    "unload": LazyCommand("bpfence.cli.unload", "Take bpfence off this node."),
    "watch": LazyCommand("bpfence.cli.watch", "Follow policies and interfaces, and keep them in force."),
    "demo": LazyCommand("bpfence.cli.demo", "Try policies with real traffic in a small world of namespaces."),
    "verify": LazyCommand("bpfence.cli.verify", "Compare the reference evaluator, the tables and the kernel."),
    "bench": LazyCommand("bpfence.cli.bench", "Measure decisions and the compiler beside their peers."),
}


class LazyGroup(click.Group):
    """A group whose commands come from `COMMANDS`. Its help is written without importing any of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        with collection_paused():
            command = import_module(entry.module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 findings, 2 input or usage, 3 kernel or node.",
)
@click.version_option(__version__, message="bpfence %(version)s")
def root() -> None:
    """Network policy of Kubernetes, Cilium and Calico, compiled to BPF tables and eBPF programs."""
