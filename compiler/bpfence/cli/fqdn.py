"""`bpfence fqdn`: try the name patterns of Cilium policies."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, get_args

import click

from bpfence.cli.common import output_option
from bpfence.cli.printable import printable
from bpfence.options import CiliumProfile
from bpfence.selectors.fqdn import NamePattern, parse_pattern


@click.group("fqdn")
def command() -> None:
    """Try the name patterns (matchPattern, matchName) of Cilium policies."""


@command.command("match")
@click.argument("pattern", required=False)
@click.argument("name", required=False)
@click.option(
    "--cilium-profile",
    type=click.Choice(get_args(CiliumProfile)),
    default="1.20",
    show_default=True,
    help="The Cilium release whose meaning patterns have.",
)
@click.option(
    "--batch",
    type=click.File("r", encoding="utf-8", errors="surrogateescape"),
    help="One JSON object a line (pattern, name); '-' reads standard input.",
)
@output_option("text", "json")
def match_command(
    pattern: str | None, name: str | None, cilium_profile: CiliumProfile, batch: TextIO | None, output: str
) -> None:
    """Say whether PATTERN matches NAME.

    Exit code 0: it does; 1: it does not; 2: PATTERN is malformed. With --batch each line is answered by a line of
    JSON.

    \b
    bpfence fqdn match '*.shop.example' api.shop.example
    """
    if batch is not None:
        if pattern is not None:
            raise click.UsageError("give either PATTERN and NAME or --batch FILE")
        sys.stdout.writelines(f"{json.dumps(answer)}\n" for answer in answer_lines(batch, cilium_profile))
        return
    if pattern is None or name is None:
        raise click.UsageError("give PATTERN and NAME, or --batch FILE")
    answer = _match(pattern, name, cilium_profile, {})
    if isinstance(answer, str):
        click.echo(f"error: {printable(answer)}", err=True)
        sys.exit(2)
    click.echo(json.dumps({"match": answer}) if output == "json" else "match" if answer else "no match")
    sys.exit(0 if answer else 1)


def answer_lines(lines: Iterable[str], profile: CiliumProfile) -> Iterator[dict[str, bool] | dict[str, str]]:
    """One answer a line, ``{"match"}`` or ``{"error"}``; blank lines have none. Every pattern is parsed once."""
    parsed: dict[str, NamePattern | str] = {}
    for line in lines:
        if line.strip():
            answer = _answer(line, profile, parsed)
            yield {"error": answer} if isinstance(answer, str) else {"match": answer}


def _answer(line: str, profile: CiliumProfile, parsed: dict[str, NamePattern | str]) -> bool | str:
    try:
        question = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"the line is no JSON: {error}"
    if not isinstance(question, dict):
        return 'the line must be an object with the texts "pattern" and "name"'
    pattern, name = question.get("pattern"), question.get("name")
    if not isinstance(pattern, str) or not isinstance(name, str):
        return 'the line must be an object with the texts "pattern" and "name"'
    return _match(pattern, name, profile, parsed)


def _match(text: str, name: str, profile: CiliumProfile, parsed: dict[str, NamePattern | str]) -> bool | str:
    """Whether the pattern matches, or what is wrong with it. No name is wrong: a query may ask for any."""
    pattern = parsed.get(text)
    if pattern is None:
        pattern = parsed[text] = _parse(text, profile)
    return pattern if isinstance(pattern, str) else pattern.matches(name)


def _parse(text: str, profile: CiliumProfile) -> NamePattern | str:
    try:
        return parse_pattern(text, profile)
    except ValueError as error:
        return f"pattern {error}"
