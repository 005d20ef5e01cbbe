"""Single words of the IR's text form to their values; a malformed one is an IrSyntaxError."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_network
from typing import cast, get_args

from lark import Token

from bpfence.errors import BpfenceError
from bpfence.ir.expression_text import PROTOCOL_WORDS
from bpfence.ir.expressions import Network
from bpfence.ir.nodes import DnsNames, L4Match, NamedPort, Ranges, Side
from bpfence.options import CiliumProfile, NameProfile
from bpfence.source.spans import Span

_NUMBERS = {word: number for number, word in PROTOCOL_WORDS.items()}


class IrSyntaxError(BpfenceError):
    """The text is no program. ``line`` and ``column`` count from 1."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        self.line = line
        self.column = column
        super().__init__(f"{line}:{column}: {problem}")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of an L4 alternative: ``word`` says which, and has ranges, named ports or names."""

    word: Token
    ranges: Ranges = ()
    ports: tuple[NamedPort, ...] = ()
    names: DnsNames | None = None


def read_criterion(word: Token, values: tuple[Token, ...]) -> Criterion:
    """The criterion after its keyword."""
    if word.type == "NAMED":
        return Criterion(word, ports=tuple(map(_read_named_port, values)))
    return Criterion(word, _read_ranges(values[0]))


def read_alternative(criteria: tuple[Criterion, ...]) -> L4Match:
    """The L4 alternative of these criteria, each given at most once."""
    given: dict[str, Criterion] = {}
    for criterion in criteria:
        if criterion.word in given:
            raise fail_at(criterion.word, "criterion given twice")
        given[criterion.word] = criterion
    ranges = {word: criterion.ranges for word, criterion in given.items()}
    ports = {word: criterion.ports for word, criterion in given.items()}
    return L4Match(
        protocols=ranges.get("protocol"),
        destination_ports=ranges.get("to"),
        source_ports=ranges.get("from"),
        icmp_types=ranges.get("type"),
        icmp_codes=ranges.get("code"),
        named_ports=ports.get("named", ()),
        not_named_ports=ports.get("not-named", ()),
        dns_names=given["queries"].names if "queries" in given else None,
    )


def read_string(token: Token) -> str:
    """A quoted string's value."""
    return _unquote(token, token)


def read_word(token: Token) -> str:
    """The value of a word that may stand without quotes."""
    return read_string(token) if token.startswith('"') else str(token)


def read_profile(token: Token) -> NameProfile:
    """The language of name patterns."""
    word = read_string(token)
    if word != "kubernetes" and word not in get_args(CiliumProfile):
        raise fail_at(token, "unknown language of names")
    return cast("NameProfile", word)


def read_network(token: Token) -> Network:
    """A prefix; bits set beyond its length are a mistake."""
    try:
        return ip_network(str(token))
    except ValueError as error:
        raise fail_at(token, "no network") from error


def read_place(token: Token) -> Span:
    """``path:line:column-endline:endcolumn``."""
    path, line, middle, end_column = token.rsplit(":", 3)
    column, end_line = middle.split("-")
    name = _unquote(token, path) if path.startswith('"') else path
    return Span(name, int(line), int(column), int(end_line), int(end_column))


def fail_at(token: Token, problem: str) -> IrSyntaxError:
    """The error that names the token and its place."""
    return IrSyntaxError(f"{problem}: {str(token)!r}", token.line or 0, token.column or 0)


def _unquote(token: Token, text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise fail_at(token, "malformed string") from error


def _read_ranges(token: Token) -> Ranges:
    if token == "empty":
        return ()
    return tuple(_read_range(token, part) for part in token.split(","))


def _read_range(token: Token, part: str) -> tuple[int, int]:
    low, dash, high = part.partition("-")
    first = _read_protocol(token, low)
    return (first, int(high)) if dash else (first, first)


def _read_protocol(token: Token, word: str) -> int:
    number = int(word) if word.isdecimal() else _NUMBERS.get(word)
    if number is None:
        raise fail_at(token, "unknown protocol")
    return number


def _read_named_port(token: Token) -> NamedPort:
    name, protocol, side = token.rsplit("/", 2)
    # The token's pattern admits no other side.
    return NamedPort(_unquote(token, name), _read_protocol(token, protocol), cast("Side", side))
