"""Fields that no model knows, under --allow-unsupported: where they are, and the document without them.

Without the option the schema refuses them. With it nothing may widen: a ClusterNetworkPolicy peer or protocol item with
an unknown member becomes an empty one, which closes its rule; any other unknown field makes the whole policy deny.
A NetworkPolicy's model then has no rules, so that even a reader who forgets to ask `denies_all` gives no access.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args

from bpfence.dialects.kubernetes.report import Path
from bpfence.dialects.model_base import Model
from bpfence.source.documents import Document

SUBJECT_FIELDS = frozenset(("subject", "podSelector"))
ITEM_LISTS = frozenset(("from", "to", "protocols", "ports"))
ITEM_DEPTH = 5
"""Length of a path like spec.ingress[0].from[1]."""


def unknown_paths(value: Any, model: type[Model], path: Path = ()) -> Iterator[Path]:
    """Paths of all mapping entries that the model has no field for."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_paths(item, model, (*path, index))
    elif isinstance(value, Mapping):
        fields = _fields(model)
        for key, item in value.items():
            if key not in fields:
                yield (*path, key)
            elif (inner := fields[key]) is not None:
                yield from unknown_paths(item, inner, (*path, key))


@cache
def _fields(model: type[Model]) -> Mapping[str, type[Model] | None]:
    """The model's fields by their names in the file, with the model of their content."""
    return {field.alias or name: _model_in(field.annotation) for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[Model] | None:
    """The model that a field's type mentions: itself, its items' or one of a union's."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def is_of_subject(path: Path) -> bool:
    """Whether the field is part of what the policy selects: then nobody can say whom to deny."""
    return len(path) > 1 and path[1] in SUBJECT_FIELDS


def is_of_item(path: Path) -> bool:
    """Whether the field is part of a peer or of a protocol item."""
    return len(path) > ITEM_DEPTH and path[3] in ITEM_LISTS


def without(document: Document, paths: list[Path]) -> Document:
    """A copy of a cluster policy without the fields; peers and protocol items that had one are empty."""
    data = _copy(document.data)
    for path in paths:
        if is_of_item(path):
            _parent(data, path[:ITEM_DEPTH])[path[ITEM_DEPTH - 1]] = {}
        else:
            _parent(data, path).pop(path[-1], None)
    return Document(data, document.locate)


def without_rules(document: Document) -> Document:
    """A NetworkPolicy that isolates what the document selects, in the document's directions, and allows nothing."""
    spec = document.data.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    implied = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    closed = {"policyTypes": spec.get("policyTypes") or implied}
    if "podSelector" in spec:
        closed["podSelector"] = spec["podSelector"]
    kept = {key: document.data[key] for key in ("apiVersion", "kind") if key in document.data}
    return Document({**kept, "metadata": {"name": document.name}, "spec": closed}, document.locate)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _parent(data: Any, path: Path) -> Any:
    """The container of the value at the path; an empty one when an earlier removal took it away."""
    for part in path[:-1]:
        if isinstance(data, Mapping) and part not in data:
            return {}
        data = data[part]
    return data
