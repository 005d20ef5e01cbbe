"""`bpfence explain`: would this connection be allowed, and which rule says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import click

from bpfence.analyse.explain import Explainer, Explanation, Side, finding_document
from bpfence.analyse.query import make_query
from bpfence.cli.common import common_options, emit_diagnostics, options_from
from bpfence.errors import UsageError
from bpfence.identity.world import World
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import Analysed, analyse, choose_node


@click.command("explain")
@click.argument("paths", nargs=-1, required=True)
@click.option("--src", help="namespace/pod, namespace/owner, hep/NAME, host, node/NAME, or an address.")
@click.option("--dst", help="The same, or a DNS name.")
@click.option("--protocol", help="TCP, UDP, SCTP, ICMP, ICMPv6 or a number.")
@click.option("--dst-port", type=int, help="Destination port.")
@click.option("--src-port", type=int, help="Source port (default: an ephemeral one).")
@click.option("--icmp-type", type=int, help="ICMP type (default: echo request).")
@click.option("--icmp-code", type=int, help="ICMP code (default: 0).")
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family of dual-stack endpoints.")
@click.option("--interface", help="The host interface that traffic from and to the outside uses.")
@click.option("--out-interface", help="Between two outside addresses: by which interface the node passes it on.")
@click.option("--fqdn", help="The DNS name under which the source has learnt --dst, or that it asks a DNS server for.")
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
    loaded = load_input(paths, options)
    analysed = analyse(loaded, options)
    emit_diagnostics(analysed.diagnostics, loaded.files)
    explainer = make_explainer(analysed, options)
    if batch is not None:
        sys.exit(_answer_lines(explainer, batch))
    explanation = explainer.explain(make_query(values))
    click.echo(json.dumps(explanation.document(), indent=1) if output == "json" else _text(explanation))
    sys.exit(0 if explanation.allowed else 1)


def make_explainer(analysed: Analysed, options: Options) -> Explainer:
    """The answerer of questions about a whole input."""
    node = choose_explain_node(analysed.world, options)
    return Explainer(analysed.program, analysed.world, node, analysed.services, analysed.settings_of, analysed.pending)


def choose_explain_node(world: World, options: Options) -> str:
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
    lines = _verdict_lines("verdict", explanation)
    lines += [f"note: {note}" for note in explanation.notes]
    if explanation.pending is not None:
        lines += _verdict_lines("with the staged policies", explanation.pending)
    return "\n".join(lines)


def _verdict_lines(title: str, explanation: Explanation) -> list[str]:
    return [
        f"{title}: {'allow' if explanation.allowed else 'deny'}",
        *_side_lines("egress", explanation.egress),
        *_side_lines("ingress", explanation.ingress),
    ]


def _side_lines(name: str, side: Side) -> list[str]:
    head = f"{name}: {'allow' if side.allowed else 'deny'}" + (f"  {side.endpoint}" if side.endpoint else "")
    lines = [head + (f"  ({side.note})" if side.note else "")]
    for finding in side.findings:
        row = finding_document(finding)
        lines.append(_finding_line(row, side.endpoint))
        if not finding.outcome.allowed:
            lines.append(f"    to change it: {_advice(row)}")
    return lines


def _finding_line(row: dict[str, Any], endpoint: str) -> str:
    place = f"  {row['origin']['path']}:{row['origin']['line']}" if row["origin"] else ""
    rule = " ".join(part for part in (row["policy"], row["rule"]) if part)
    tier = f" tier {row['tier']}" if row["tier"] else ""
    point = "" if row["point"] == "endpoint" else f" {row['point']}"
    where = f" at {row['endpoint']}{point}" if row["endpoint"] != endpoint or point else ""
    verdict = "undecided" if row["reason"] == "undecided" else f"{row['verdict']} by {row['reason']}"
    return f"  layer {row['layer']}{where}{tier}: {verdict}" + (f", {rule}{place}" if rule else "")


def _advice(row: dict[str, Any]) -> str:
    match row["reason"]:
        case "default-deny":
            isolated = ", ".join(row["isolated_by"])
            return f"add a rule that allows it to a policy that selects the endpoint (isolated by {isolated})"
        case "no-backend":
            return "give the service a ready backend"
        case "workload-to-host":
            return "set defaultEndpointToHostAction of the FelixConfiguration to Accept"
        case "profile" if not row["rule"] or row["isolated_by"]:
            return "add a policy that selects the host endpoint and allows it, or a profile that does"
        case _:
            return f"narrow or remove {row['policy']} {row['rule']}"
