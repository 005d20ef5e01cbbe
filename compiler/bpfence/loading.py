"""Paths and options in; sources, policies and inventory out: everything a compilation starts from, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from bpfence.collection import collection_paused
from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico
from bpfence.dialects.kinds import INVENTORY
from bpfence.dialects.registry import Policies, read_policies
from bpfence.identity.inventory import Inventory
from bpfence.identity.read_inventory import read_inventory
from bpfence.options import Options
from bpfence.source.documents import Document
from bpfence.source.limits import Limits
from bpfence.source.read import InputFile, Sources, read_sources
from bpfence.source.spans import Span


@dataclass(frozen=True, slots=True)
class LoadedInput:
    """The input as read. With errors among ``diagnostics`` the rest is incomplete and must not be compiled.

    ``documents``: all objects but those of the inventory. Their facts are in its records, and a whole cluster's
    documents are too large to keep.
    """

    documents: tuple[Document, ...]
    files: tuple[InputFile, ...]
    inventory: Inventory
    policies: Policies
    diagnostics: Diagnostics


def load_input(
    paths: Sequence[str],
    options: Options | None = None,
    stdin: TextIO | None = None,
    limits: Limits | None = None,
) -> LoadedInput:
    """Read the paths (files, folders, ``-``). Never raises for what they hold: ask ``diagnostics.stop_on_errors()``."""
    diagnostics = Diagnostics()
    with collection_paused():
        sources = read_sources(paths, diagnostics, limits, stdin)
        return load_sources(sources, paths, options or Options(), diagnostics)


def load_sources(
    sources: Sources,
    paths: Sequence[str],
    options: Options,
    diagnostics: Diagnostics,
    of_inventory: Diagnostics | None = None,
) -> LoadedInput:
    """The same from documents that have been read; ``diagnostics``: what was said about them, and what is said now.

    ``of_inventory``: takes what is said about inventory objects, where that is wanted apart.
    """
    of_inventory = diagnostics if of_inventory is None else of_inventory
    policies = read_policies(sources.documents, options, diagnostics)
    inventory = read_inventory(sources.documents, of_inventory, mentioned_namespaces(policies))
    inventory = calico.replace_pods(policies.calico, inventory, diagnostics)
    documents = tuple(item for item in sources.documents if (item.api_version, item.kind) not in INVENTORY)
    has_errors = diagnostics.has_errors or of_inventory.has_errors
    if not policies.seen and not inventory.declared_kinds and not has_errors:
        _report_nothing(paths, diagnostics)
    return LoadedInput(documents, sources.files, inventory, policies, diagnostics)


def mentioned_namespaces(policies: Policies) -> dict[str, Span]:
    """Namespaces of policy objects, each with its first mention."""
    found: dict[str, Span] = {}
    for policy in policies.all:
        if policy.namespace:
            found.setdefault(policy.namespace, policy.span("metadata", "namespace"))
    return found


def _report_nothing(paths: Sequence[str], diagnostics: Diagnostics) -> None:
    path = paths[0] if paths else "-"
    message = "nothing to analyse: no policy and no inventory object was found"
    diagnostics.error("SRC021", Span(path, 1, 1, 1, 1, path), message, "check the paths")
