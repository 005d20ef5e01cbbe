"""A model and a path in; the field names that could stand there, for suggestions, out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from bpfence.source.documents import Path

_LISTED = 15


def suggest_field(model: type[BaseModel], path: Path) -> str:
    """The help for an unknown field at ``path``: the nearest known name, else all names."""
    names = known_fields(model, path[:-1])
    nearest = nearest_name(str(path[-1]), names)
    if nearest:
        return f"did you mean {nearest}?"
    if not names or len(names) > _LISTED:
        return ""
    return f"known fields here: {', '.join(names)}"


def nearest_name(wrong: str, names: Iterable[str]) -> str:
    """The most similar name, upper and lower case aside; empty when none is near."""
    by_folded = {name.lower(): name for name in names}
    matches = get_close_matches(wrong.lower(), by_folded, n=1, cutoff=0.7)
    return by_folded[matches[0]] if matches else ""


def known_fields(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """Sorted names of the fields that the models at ``path`` have."""
    types: list[Any] = [model]
    for part in path:
        types = [inner for candidate in types for inner in _enter(candidate, part)]
    return tuple(sorted({name for candidate in types for name in _aliases(candidate)}))


def _aliases(candidate: Any) -> Iterator[str]:
    if not _is_model(candidate):
        return
    for name, field in candidate.model_fields.items():
        yield field.alias or name


def _enter(candidate: Any, part: str | int) -> Iterator[Any]:
    """The types of what stands under ``part`` in a value of this type."""
    if _is_model(candidate):
        for name, field in candidate.model_fields.items():
            if (field.alias or name) == part:
                yield from _members(field.annotation)
        return
    arguments = get_args(candidate)
    if get_origin(candidate) is dict:
        yield from _members(arguments[1])
    elif get_origin(candidate) in (tuple, list):
        yield from _members(arguments[0])


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a union, without annotations around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _members(argument)
    else:
        yield annotation


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
