"""Programs, and the small values around them, as plain JSON data and back: exactly what went in comes out.

Out: ``{"types": [names], "nodes": [[type, field, ...], ...]}``. Equal values are one node; a field that is a value
itself is ``[number of its node]``, and nodes stand behind those that they hold. For data that this program keeps for
itself; the IR's text form (`text`) is for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from bpfence.diagnostics import Diagnostic, Severity
from bpfence.ir import expressions, nodes
from bpfence.source.spans import Span

_CLASSES: tuple[type, ...] = (
    nodes.Program,
    nodes.Layer,
    nodes.Tier,
    nodes.Policy,
    nodes.Section,
    nodes.Rule,
    nodes.Origin,
    nodes.L4Match,
    nodes.NamedPort,
    nodes.DnsNames,
    expressions.LabelTest,
    expressions.LabelAll,
    expressions.LabelAny,
    expressions.LabelNot,
    expressions.HasObject,
    expressions.InPrefixes,
    expressions.OnOwnNode,
    expressions.LearntName,
    expressions.PeerAll,
    expressions.PeerAny,
    expressions.PeerNot,
    Span,
    Diagnostic,
)
_ENUMS: tuple[type[StrEnum], ...] = (
    nodes.Direction,
    nodes.Action,
    nodes.Point,
    expressions.LabelOperator,
    Severity,
)
_NETWORKS: tuple[type[IPv4Network] | type[IPv6Network], ...] = (IPv4Network, IPv6Network)
_TUPLE = "tuple"
_SCALARS = (str, int, float, bool, type(None))


def to_records(value: object) -> dict[str, Any]:
    """The value as JSON data; its own node is the last. TypeError for a type that has no place here."""
    writer = _Writer()
    writer.reference(value)
    return {"types": writer.types, "nodes": writer.nodes}


def from_records(data: Mapping[str, Any]) -> Any:
    """What `to_records` was given. ValueError, TypeError, KeyError or IndexError for anything that it has not made."""
    known = _makers()
    makers = [known[name] for name in data["types"]]
    made: list[Any] = []
    add = made.append
    for kind, *values in data["nodes"]:
        add(makers[kind](*[made[item[0]] if type(item) is list else item for item in values]))
    return made[-1]


def _makers() -> dict[str, Callable[..., Any]]:
    makers: dict[str, Callable[..., Any]] = {_TUPLE: lambda *items: items}
    makers |= {made.__name__: made for made in (*_CLASSES, *_ENUMS)}
    makers |= {made.__name__: partial(_network, made) for made in _NETWORKS}
    return makers


def _network(made: Callable[[tuple[int, int]], Any], address: int, length: int) -> Any:
    return made((address, length))


class _Writer:
    """Values in, in the order of their reading; each distinct one once."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.nodes: list[list[Any]] = []
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[Any, ...], int] = {}
        self._fields = {made: tuple(item.name for item in fields(made)) for made in _CLASSES}
        self._seen: dict[int, tuple[object, int]] = {}
        """by identity; the object stays with it, so that no other takes its number"""

    def reference(self, value: object) -> int:
        """The number of the value's node."""
        seen = self._seen.get(id(value))
        if seen is not None:
            return seen[1]
        kind, parts = self._parts(value)
        encoded = [part if type(part) in _SCALARS else [self.reference(part)] for part in parts]
        # 1, 1.0 and True are equal, and must not become each other
        key = (kind, *((type(item).__name__, item[0] if type(item) is list else item) for item in encoded))
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.nodes)
            self.nodes.append([self._number(kind), *encoded])
        self._seen[id(value)] = value, number
        return number

    def _parts(self, value: object) -> tuple[str, Sequence[Any]]:
        made = type(value)
        if made is tuple:
            return _TUPLE, value  # type: ignore[return-value]  # mypy does not narrow by an exact type
        if made in self._fields:
            return made.__name__, [getattr(value, name) for name in self._fields[made]]
        if isinstance(value, _ENUMS):
            return made.__name__, [value.value]
        if isinstance(value, _NETWORKS):
            return made.__name__, [int(value.network_address), value.prefixlen]
        raise TypeError(f"{made.__name__} has no record")

    def _number(self, kind: str) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.types)
            self.types.append(kind)
        return number
