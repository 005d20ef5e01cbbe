"""A policy object: the dialect's model as written, with the document that places every field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from bpfence.ir.nodes import Origin
from bpfence.source.documents import Document
from bpfence.source.spans import Span

Dialect = Literal["kubernetes", "cilium", "calico"]


@dataclass(frozen=True, slots=True)
class PolicyObject:
    """``namespace`` is the effective one (defaulted), empty for cluster-scoped kinds. ``model`` is the whole object."""

    dialect: Dialect
    kind: str
    namespace: str
    name: str
    model: BaseModel
    document: Document

    @property
    def title(self) -> str:
        """``Kind namespace/name``, as in diagnostics, origins and explanations."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def span(self, *path: str | int) -> Span:
        return self.document.span(*path)

    def origin(self, *path: str | int) -> Origin:
        """The origin of the IR node made from the field at ``path``, e.g. ``("spec", "ingress", 0)`` -> field
        ``spec.ingress[0]``.
        """
        field = ""
        for part in path:
            field += f"[{part}]" if isinstance(part, int) else (f".{part}" if field else part)
        return Origin(self.title, field, self.document.span(*path))
