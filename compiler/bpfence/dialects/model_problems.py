"""A failed pydantic validation in; problems at paths of the data, one per mistake, out.

pydantic reports every alternative of a union on its own and puts the alternative's name into the location. Here the
names are taken out again, and the alternatives are reduced to what the writer of the data needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from bpfence.source.documents import Path
from bpfence.source.scalars import UnquotedDate

_SHAPES = frozenset(
    (
        "string_type",
        "int_type",
        "int_from_float",
        "float_type",
        "bool_type",
        "list_type",
        "tuple_type",
        "dict_type",
        "model_type",
    )
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    ``kinds``: pydantic's error types, several when alternatives were merged. ``missing``: name of the absent field.
    ``alternatives``: for each union passed on the way, the length of the path there and the alternative's name.
    """

    path: Path
    kinds: tuple[str, ...]
    value: Any
    text: str
    context: Mapping[str, Any]
    missing: str = ""
    alternatives: tuple[tuple[int, str], ...] = ()


def collect_problems(failure: ValidationError, data: Mapping[str, Any]) -> list[Problem]:
    """The mistakes behind a validation error, in the order of the model's fields."""
    details = failure.errors(include_url=False)
    return _reduce([_locate(detail["loc"], detail["type"], detail["input"], detail, data) for detail in details])


def _locate(location: Path, kind: str, value: Any, detail: Mapping[str, Any], data: Any) -> Problem:
    path: list[str | int] = []
    alternatives: list[tuple[int, str]] = []
    missing, node = "", data
    for position, part in enumerate(location):
        if _has(node, part):
            node = node[part]
            path.append(part)
        elif kind == "missing" and position == len(location) - 1:
            missing = str(part)
        elif part != "[key]":
            alternatives.append((len(path), str(part)))
    context = detail.get("ctx", {})
    return Problem(tuple(path), (kind,), value, detail["msg"], context, missing, tuple(alternatives))


def _has(node: Any, part: str | int) -> bool:
    if isinstance(node, dict):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and part < len(node)


def _reduce(problems: Sequence[Problem]) -> list[Problem]:
    """Replace the problems of each union by those of the alternative that was meant, or by one that names them all."""
    plain: list[Problem] = []
    unions: dict[Path, dict[str, list[Problem]]] = {}
    for problem in problems:
        if not problem.alternatives:
            plain.append(problem)
            continue
        (length, name), *rest = problem.alternatives
        branches = unions.setdefault(problem.path[:length], {})
        branches.setdefault(name, []).append(replace(problem, alternatives=tuple(rest)))
    for path, branches in unions.items():
        plain.extend(_choose(path, branches))
    return plain


def _choose(path: Path, branches: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    fitting = [branch for branch in branches.values() if not any(_is_shape(problem, path) for problem in branch)]
    if fitting:
        return _reduce(min(fitting, key=_distance))
    heads = [next(problem for problem in branch if _is_shape(problem, path)) for branch in branches.values()]
    return [replace(heads[0], kinds=tuple(head.kinds[0] for head in heads))]


def _distance(branch: Sequence[Problem]) -> tuple[int, int]:
    """How far the data is from this alternative: fields tell best which one was meant."""
    return sum(problem.kinds[0] in ("extra_forbidden", "missing") for problem in branch), len(branch)


def _is_shape(problem: Problem, path: Path) -> bool:
    """The value itself is of another type than the alternative, so this alternative was not meant."""
    return problem.path == path and problem.kinds[0] in _SHAPES


def field_text(path: Path) -> str:
    """``spec.ingress[0].from`` for messages."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the object"


def describe(value: Any) -> str:
    """A value of the input in a few words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
        case UnquotedDate():
            return f"the date {value.text}"
        case dict():
            return "a mapping"
        case _:
            return "a list"
