"""`bpfence selector`: try Calico's selector language."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import click

from bpfence.cli.common import output_option
from bpfence.cli.printable import printable
from bpfence.selectors import Selector, SelectorError, canonical, matches, parse_selector
from bpfence.selectors.shapes import ShapeParser


@click.group("selector")
def command() -> None:
    """Try selectors of Calico policies: what they match, and their canonical form."""


@command.command("match")
@click.argument("selector", required=False)
@click.option("--labels", default="", help="The labels to match, as key=value,key=value.")
@click.option(
    "--batch",
    type=click.File("r", encoding="utf-8", errors="surrogateescape"),
    help="One JSON object a line (selector, labels); '-' reads standard input.",
)
@output_option("text", "json")
def match_command(selector: str | None, labels: str, batch: TextIO | None, output: str) -> None:
    """Say whether SELECTOR matches the labels.

    Exit code 0: it does; 1: it does not; 2: it is no selector. With --batch each line is answered by a line of JSON.

    \b
    bpfence selector match "app == 'web' && has(zone)" --labels app=web,zone=a
    """
    if (selector is None) == (batch is None):
        raise click.UsageError("give either a SELECTOR or --batch FILE")
    if batch is not None:
        sys.stdout.writelines(f"{json.dumps(answer)}\n" for answer in answer_lines(batch))
        return
    matched = matches(_parse_or_fail(selector or ""), _read_labels(labels))
    click.echo(json.dumps({"match": matched}) if output == "json" else "match" if matched else "no match")
    sys.exit(0 if matched else 1)


@command.command("format")
@click.argument("selector")
@output_option("text", "json")
def format_command(selector: str, output: str) -> None:
    """Print the canonical form of SELECTOR: selectors with equal meaning of every part have equal forms."""
    text = canonical(_parse_or_fail(selector))
    click.echo(json.dumps({"canonical": text}) if output == "json" else text)


def answer_lines(lines: Iterable[str]) -> Iterator[dict[str, bool] | dict[str, str]]:
    """One answer a line, ``{"match"}`` or ``{"error"}``; blank lines have none."""
    parser = ShapeParser()
    for line in lines:
        if line.strip():
            yield _answer(line, parser)


def _answer(line: str, parser: ShapeParser) -> dict[str, bool] | dict[str, str]:
    try:
        question = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"error": f"the line is no JSON: {error}"}
    if not isinstance(question, dict) or not isinstance(text := question.get("selector"), str):
        return {"error": 'the line must be an object with the texts "selector" and "labels"'}
    labels = question.get("labels", {})
    if not _are_labels(labels):
        return {"error": '"labels" must be an object of texts'}
    try:
        return {"match": matches(parser.parse(text), labels)}
    except SelectorError as error:
        return {"error": str(error)}


def _are_labels(labels: Any) -> bool:
    return isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())


def _parse_or_fail(text: str) -> Selector:
    try:
        return parse_selector(text)
    except SelectorError as error:
        click.echo(f"error: {printable(str(error))}", err=True)
        click.echo(f"  {printable(text)}", err=True)
        sys.exit(2)


def _read_labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not separator or not key:
            raise click.UsageError(f"--labels: {part!r} is not key=value")
        labels[key] = value
    return labels
