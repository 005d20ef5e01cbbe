"""`bpfence explain`: would this connection be allowed, and which rule says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import click

from bpfence.analyse.explain import Explainer, Explanation, Side, layer_document, make_query
from bpfence.cli.common import common_options, emit_diagnostics, options_from
from bpfence.errors import UsageError
from bpfence.loading import load_input
from bpfence.pipeline import analyse, choose_node


@click.command("explain")
@click.argument("paths", nargs=-1, required=True)
@click.option("--src", help="namespace/pod, namespace/owner, host, or an address.")
@click.option("--dst", help="namespace/pod, namespace/owner, host, or an address.")
@click.option("--protocol", help="TCP, UDP, SCTP, ICMP, ICMPv6 or a number.")
@click.option("--dst-port", type=int, help="Destination port.")
@click.option("--src-port", type=int, help="Source port (default: an ephemeral one).")
@click.option("--icmp-type", type=int, help="ICMP type (default: echo request).")
@click.option("--icmp-code", type=int, help="ICMP code (default: 0).")
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family of dual-stack endpoints.")
@click.option(
    "--batch",
    type=click.File("r"),
    help="One JSON object a line (src, dst, protocol, dst_port, ...); '-' reads standard input.",
)
@common_options
def command(paths: tuple[str, ...], batch: TextIO | None, output: str, **values: Any) -> None:
    """Explain the verdict of a connection: per direction and layer, the deciding rule with its file and line.

    Exit code 0: allowed; 1: denied (with --batch: always 0 when every line could be answered); 2: the input can't be
    used.

    \b
    bpfence explain policies/ --src shop/web --dst shop/db --protocol TCP --dst-port 5432
    """
    options = options_from(values)
    analysed = analyse(load_input(paths, options), options)
    emit_diagnostics(analysed.diagnostics)
    explainer = Explainer(analysed.program, analysed.world, choose_explain_node(analysed.world, options))
    if batch is not None:
        sys.exit(_answer_lines(explainer, batch))
    explanation = explainer.explain(make_query(values))
    click.echo(json.dumps(explanation.document(), indent=1) if output == "json" else _text(explanation))
    sys.exit(0 if explanation.allowed else 1)


def choose_explain_node(world: Any, options: Any) -> str:
    """The node that ``host`` means; unknown is fine as long as nobody asks about it."""
    try:
        return choose_node(world, options)
    except UsageError:
        if options.node is not None:
            raise
        return ""


def _answer_lines(explainer: Explainer, lines: Iterable[str]) -> int:
    """Answer each line with one line of JSON; a line that can't be answered gets ``{"error"}`` and makes the exit
    code 2.
    """
    code = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise UsageError("a line must be a JSON object")
            answer: dict[str, Any] = explainer.explain(make_query(values)).document()
        except (UsageError, ValueError, RecursionError) as error:
            answer, code = {"error": str(error)}, 2
        click.echo(json.dumps(answer))
    return code


def _text(explanation: Explanation) -> str:
    lines = [f"verdict: {'allow' if explanation.allowed else 'deny'}"]
    lines += _side_lines("egress", explanation.egress)
    lines += _side_lines("ingress", explanation.ingress)
    lines += [f"note: {note}" for note in explanation.notes]
    return "\n".join(lines)


def _side_lines(name: str, side: Side) -> list[str]:
    head = f"{name}: {'allow' if side.allowed else 'deny'}" + (f"  {side.endpoint}" if side.endpoint else "")
    lines = [head + (f"  ({side.note})" if side.note else "")]
    for layer in side.layers:
        row = layer_document(layer)
        place = f"  {row['origin']['path']}:{row['origin']['line']}" if row["origin"] else ""
        rule = " ".join(part for part in (row["policy"], row["rule"]) if part)
        tier = f" tier {row['tier']}" if row["tier"] else ""
        lines.append(
            f"  layer {row['layer']}{tier}: {row['verdict']} by {row['reason']}" + (f", {rule}{place}" if rule else "")
        )
        if not layer.allowed:
            lines.append(f"    to change it: {_advice(row)}")
    return lines


def _advice(row: dict[str, Any]) -> str:
    if row["reason"] == "default-deny":
        return f"add a rule that allows it to a policy that selects the endpoint (isolated by {', '.join(row['isolated_by'])})"
    return f"narrow or remove {row['policy']} {row['rule']}"
