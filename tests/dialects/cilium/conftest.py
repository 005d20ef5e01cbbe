"""Texts of policies to objects, diagnostics and IR, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bpfence.diagnostics import Diagnostic, Diagnostics
from bpfence.dialects.cilium import MODELS, lint, lower, read_object
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.identity.read_inventory import read_inventory
from bpfence.ir.nodes import Policy
from bpfence.options import Options
from bpfence.source.read import read_text


@dataclass(frozen=True, slots=True)
class Outcome:
    objects: tuple[PolicyObject, ...]
    policies: tuple[Policy, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> list[tuple[str, int]]:
        """(code, line) of every error."""
        return [(item.code, item.span.line) for item in self.diagnostics if item.is_error]

    @property
    def codes(self) -> list[str]:
        return [item.code for item in self.diagnostics]


Compile = Callable[..., Outcome]


def compile_text(text: str, inventory: Inventory | None = None, **options: object) -> Outcome:
    """Read, lower and lint; lowering happens only when reading found no error."""
    chosen = Options.model_validate(options)
    diagnostics = Diagnostics()
    documents = read_text("policy.yaml", text, diagnostics)
    policies_read = [item for item in documents if (item.api_version, item.kind) in MODELS]
    world = inventory or read_inventory([item for item in documents if item not in policies_read], diagnostics)
    read = [read_object(document, chosen, diagnostics) for document in policies_read]
    objects = tuple(item for item in read if item is not None)
    policies: tuple[Policy, ...] = ()
    if not diagnostics.has_errors:
        policies = lower(objects, chosen, world, diagnostics)
        lint(objects, world, chosen, diagnostics)
    return Outcome(objects, policies, diagnostics.sorted())


@pytest.fixture
def compile_policy() -> Compile:
    return compile_text


def rule_text(body: str, namespace: str = "shop") -> str:
    """A CiliumNetworkPolicy (or, without a namespace, a clusterwide one) with one rule; the body begins on line 5."""
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    place = f", namespace: {namespace}" if namespace else ""
    lines = "\n".join(f"  {line}" for line in body.strip("\n").splitlines())
    return f"apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: p{place}}}\nspec:\n{lines}\n"


@pytest.fixture
def compile_rule() -> Compile:
    """Compile one rule given as the body of ``spec``."""

    def run(body: str, inventory: Inventory | None = None, namespace: str = "shop", **options: object) -> Outcome:
        return compile_text(rule_text(body, namespace), inventory, **options)

    return run
