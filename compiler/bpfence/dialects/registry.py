"""Located documents in; policy objects by dialect out. Says which apiVersion and kind belongs to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico, cilium, kubernetes
from bpfence.dialects.kinds import INVENTORY, report_unread
from bpfence.dialects.objects import PolicyObject
from bpfence.options import Options
from bpfence.source.documents import Document

ObjectReader = Callable[[Document, Options, Diagnostics], PolicyObject | None]

KINDS: Mapping[tuple[str, str], ObjectReader] = {
    **dict.fromkeys(kubernetes.MODELS, kubernetes.read_object),
    **dict.fromkeys(cilium.MODELS, cilium.read_object),
    **dict.fromkeys(calico.MODELS, calico.read_object),
}
"""(apiVersion, kind) of every object a policy dialect reads -> its reader."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy objects of each dialect in the order of the input. ``seen``: their number, with the refused ones."""

    kubernetes: tuple[PolicyObject, ...] = ()
    cilium: tuple[PolicyObject, ...] = ()
    calico: tuple[PolicyObject, ...] = ()
    seen: int = 0

    @property
    def all(self) -> tuple[PolicyObject, ...]:
        return (*self.kubernetes, *self.cilium, *self.calico)


def read_policies(documents: Iterable[Document], options: Options, diagnostics: Diagnostics) -> Policies:
    """Read every policy object. Objects that are neither policy nor inventory are errors where they look like policy
    (a wrong version, a misspelt kind), else one counted note per kind."""
    found: list[PolicyObject] = []
    unread: list[Document] = []
    seen = 0
    for document in documents:
        key = (document.api_version, document.kind)
        if key in KINDS:
            seen += 1
            found.extend(_read(document, KINDS[key], options, diagnostics))
        elif key not in INVENTORY:
            unread.append(document)
    report_unread(unread, KINDS, diagnostics)
    unique = _report_duplicates(found, diagnostics)
    return Policies(
        kubernetes=tuple(item for item in unique if item.dialect == "kubernetes"),
        cilium=tuple(item for item in unique if item.dialect == "cilium"),
        calico=tuple(item for item in unique if item.dialect == "calico"),
        seen=seen,
    )


def _read(document: Document, reader: ObjectReader, options: Options, diagnostics: Diagnostics) -> list[PolicyObject]:
    """Each object reports into a collection of its own, so that readers may ask cheaply whether it had errors."""
    own = Diagnostics()
    policy = reader(document, options, own)
    diagnostics.extend(own.items)
    return [policy] if policy is not None else []


def _report_duplicates(found: Iterable[PolicyObject], diagnostics: Diagnostics) -> list[PolicyObject]:
    """Two objects of one identity are two versions of it: which one is meant must not depend on the order of files."""
    unique: dict[tuple[str, str, str, str], PolicyObject] = {}
    for policy in found:
        key = (policy.dialect, policy.kind, policy.namespace, policy.name)
        first = unique.setdefault(key, policy)
        if first is policy:
            continue
        place = first.span("metadata", "name")
        message = f"{policy.title} is defined twice, first at {place}"
        diagnostics.error(
            "SRC022", policy.span("metadata", "name"), message, "remove or rename one of the two", policy.title
        )
    return list(unique.values())
