"""A document in; the objects it holds out: itself, or the items of a ``List`` or a typed list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.source.documents import Document
from bpfence.source.json_place import JsonPlace
from bpfence.source.marks import Place


def unwrap_lists(
    document: Document, place: Place | JsonPlace, depth: int, diagnostics: Diagnostics
) -> Iterator[Document]:
    """One document per object. An item of a typed list that lacks kind and apiVersion gets the list's.

    Lists may hold lists, down to ``depth`` levels (the data is no deeper).
    """
    if depth <= 0 or not _is_list(document):
        yield document
        return
    items = document.data["items"]
    if items is None:
        return
    if not isinstance(items, list):
        diagnostics.error("SRC016", document.span("items"), f"items of a {document.kind} must be a list", "")
        return
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            span = document.span("items", index)
            diagnostics.error("SRC016", span, f"an item of a {document.kind} must be an object", "")
            continue
        _complete(item, document)
        inner = place.below("items", index)
        yield from unwrap_lists(Document(item, inner), inner, depth - 1, diagnostics)


def _is_list(document: Document) -> bool:
    return document.kind.endswith("List") and "items" in document.data


def _complete(item: dict[str, Any], parent: Document) -> None:
    kind = parent.kind.removesuffix("List")
    if not kind or ("kind" in item and "apiVersion" in item):
        return
    item.setdefault("apiVersion", parent.api_version)
    item.setdefault("kind", kind)
