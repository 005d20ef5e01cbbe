"""Label, peer and L4 expressions to their canonical one-line text; `parse.py` reads the same syntax back.

::

    labels  label:app else namespace:app in {"db", "web"}    !x   a & b   a | b   every   none
    peers   [labels]   {10.0.0.0/8, fd00::/8}   own-node     !x   a & b   a | b   anyone  nobody
            names "1.20" {"*.shop.example."}
    l4      protocol tcp,udp to 80,443-445 from 1024-65535 named "http"/tcp/destination | any | never
            protocol udp to 53 queries "1.20" {"*"}

``all(x)`` and ``any(x)`` stand for a conjunction or union of a single item. Expressions of a legal program have
a bounded depth (`legality`), so plain recursion is safe here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import assert_never

from bpfence.flows import PROTOCOL_NAMES
from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import L4Match, NamedPort, Ranges

PROTOCOL_WORDS = {number: name.lower() for number, name in PROTOCOL_NAMES.items()}
_BARE_KEY = re.compile(r"[a-z]+:[A-Za-z0-9._/:-]*")


def quoted(text: str) -> str:
    """The string in double quotes, ASCII only, with JSON's escapes: no name can forge a line of the text."""
    return json.dumps(text)


def label_text(expr: LabelExpr) -> str:
    """A label expression in canonical text."""
    match expr:
        case LabelTest():
            return _test_text(expr)
        case LabelNot():
            return f"!{_label_operand(expr.item)}"
        case LabelAll():
            return _joined(map(_label_operand, expr.items), " & ", "every", "all")
        case LabelAny():
            return _joined(map(_label_operand, expr.items), " | ", "none", "any")
        case _:
            assert_never(expr)


def peer_text(expr: PeerExpr) -> str:
    """A peer expression in canonical text."""
    match expr:
        case HasObject():
            return f"[{label_text(expr.labels)}]"
        case InPrefixes():
            return f"{{{', '.join(map(str, expr.networks))}}}"
        case OnOwnNode():
            return "own-node"
        case LearntName():
            return f"names {_patterns_text(expr.profile, expr.patterns)}"
        case PeerNot():
            return f"!{_peer_operand(expr.item)}"
        case PeerAll():
            return _joined(map(_peer_operand, expr.items), " & ", "anyone", "all")
        case PeerAny():
            return _joined(map(_peer_operand, expr.items), " | ", "nobody", "any")
        case _:
            assert_never(expr)


def l4_text(alternatives: tuple[L4Match, ...]) -> str:
    """The L4 part of a rule in canonical text."""
    return " | ".join(map(_alternative_text, alternatives)) or "never"


def network_key(network: IPv4Network | IPv6Network) -> tuple[int, int, int]:
    """The order of networks everywhere in the IR: IPv4 before IPv6, then by address, wider networks first."""
    return network.version, int(network.network_address), network.prefixlen


def _label_operand(expr: LabelExpr) -> str:
    text = label_text(expr)
    return f"({text})" if isinstance(expr, LabelAll | LabelAny) and len(expr.items) > 1 else text


def _peer_operand(expr: PeerExpr) -> str:
    text = peer_text(expr)
    return f"({text})" if isinstance(expr, PeerAll | PeerAny) and len(expr.items) > 1 else text


def _joined(operands: Iterable[str], separator: str, empty: str, single: str) -> str:
    texts = list(operands)
    if not texts:
        return empty
    return separator.join(texts) if len(texts) > 1 else f"{single}({texts[0]})"


def _test_text(test: LabelTest) -> str:
    keys = " else ".join(key if _BARE_KEY.fullmatch(key) else quoted(key) for key in test.keys)
    values = ", ".join(map(quoted, test.values))
    if test.operator in (LabelOperator.IN, LabelOperator.NOT_IN):
        return f"{keys} {test.operator.value} {{{values}}}"
    return f"{keys} {test.operator.value} {values}".rstrip()


def _alternative_text(alternative: L4Match) -> str:
    numeric = (
        ("to", alternative.destination_ports),
        ("from", alternative.source_ports),
        ("type", alternative.icmp_types),
        ("code", alternative.icmp_codes),
    )
    words = [] if alternative.protocols is None else [f"protocol {_protocols_text(alternative.protocols)}"]
    words += [f"{word} {_ranges_text(ranges)}" for word, ranges in numeric if ranges is not None]
    named = (("named", alternative.named_ports), ("not-named", alternative.not_named_ports))
    words += [f"{word} {_named_ports_text(ports)}" for word, ports in named if ports]
    if (names := alternative.dns_names) is not None:
        words.append(f"queries {_patterns_text(names.profile, names.patterns)}")
    return " ".join(words) or "any"


def _patterns_text(profile: str, patterns: tuple[str, ...]) -> str:
    return f"{quoted(profile)} {{{', '.join(map(quoted, patterns))}}}"


def _ranges_text(ranges: Ranges) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges) or "empty"


def _protocols_text(ranges: Ranges) -> str:
    words = (_protocol_word(low) if low == high else f"{low}-{high}" for low, high in ranges)
    return ",".join(words) or "empty"


def _protocol_word(number: int) -> str:
    return PROTOCOL_WORDS.get(number, str(number))


def _named_ports_text(ports: tuple[NamedPort, ...]) -> str:
    return ",".join(f"{quoted(port.name)}/{_protocol_word(port.protocol)}/{port.side}" for port in ports)
