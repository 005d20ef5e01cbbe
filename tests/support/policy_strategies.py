"""Whole inputs: a cluster, policies of some languages, options, as objects that are written to files and loaded again.

Valid by construction as far as possible; what is refused all the same is for the tests to count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import reject
from hypothesis import strategies as st

from bpfence.loading import LoadedInput, load_input
from bpfence.lowering import lower_policies
from bpfence.options import Options
from support.calico_strategies import calico_policies, tiers_and_sets
from support.cilium_strategies import cidr_groups, cilium_policies
from support.inventory_strategies import inventories
from support.kubernetes_strategies import cluster_policies, network_policies

Object = dict[str, Any]
LANGUAGES = ("kubernetes", "cluster", "cilium", "calico")
NAMES = ("web", "web-a", "web.a", "web0", "a", "b")
"""some sort before the others only when the separator after them counts"""


@dataclass(frozen=True, slots=True)
class GeneratedInput:
    """``inventory`` and ``policies``: objects as plain data."""

    inventory: tuple[Object, ...]
    policies: tuple[Object, ...]
    options: Options

    def load(self, folder: Path) -> LoadedInput:
        """Write both files into the folder and read them back."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "inventory.yaml", folder / "policies.yaml"]
        for path, objects in zip(paths, (self.inventory, self.policies), strict=True):
            path.write_text(document_text(objects))
        return load_input([str(path) for path in paths], self.options)


def document_text(objects: Sequence[Object]) -> str:
    """The objects as YAML documents."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.CSafeDumper):
    """Without anchors: equal parts are written out."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@st.composite
def inputs(
    draw: st.DrawFn, languages: Sequence[str], families: tuple[int, ...] = (4, 6), most: int = 4
) -> GeneratedInput:
    """A cluster with one to ``most`` policies of each language."""
    inventory = draw(inventories(families))
    namespaces = [item["metadata"]["name"] for item in inventory if item["kind"] == "Namespace"]
    options = draw(_options(languages))
    policies: list[Object] = []
    if "kubernetes" in languages:
        ignored = options.engine != "cilium" and "cilium" not in languages
        count = draw(st.integers(2, most))
        policies += [
            draw(network_policies(name, namespaces, families, ignored_rules=ignored)) for name in NAMES[:count]
        ]
    if "cluster" in languages:
        policies += draw(cluster_policies(most, families))
    if "cilium" in languages:
        old = options.cilium_profile == "1.18"
        count = draw(st.integers(2, most))
        policies += [draw(cilium_policies(f"x{n}", namespaces, families, old=old)) for n in range(count)]
        policies += draw(cidr_groups(families))
    if "calico" in languages:
        count = draw(st.integers(2, most + 2))
        policies += [draw(calico_policies(name, namespaces, families)) for name in NAMES[:count]]
        policies += draw(tiers_and_sets(namespaces, families))
    return GeneratedInput(tuple(inventory), tuple(policies), options)


def _options(languages: Sequence[str]) -> st.SearchStrategy[Options]:
    engines = ("auto", "auto", "kubernetes", "cilium", "calico")
    return st.builds(
        Options,
        engine=st.sampled_from(engines),
        cilium_profile=st.sampled_from(("1.20", "1.18") if "cilium" in languages else ("1.20",)),
        ipblock_matches_pods=st.sampled_from(("dialect", "never", "always")),
    )


class Refusals:
    """Counts the inputs that the compiler refuses, which a property passes over: they must stay few."""

    SHARE = 0.15

    def __init__(self) -> None:
        self._asked = 0
        self._refused: Counter[str] = Counter()

    def load(self, case: GeneratedInput, folder: Path) -> LoadedInput:
        """The loaded input; the example is given up when it is refused."""
        self._asked += 1
        loaded = case.load(folder)
        if not loaded.diagnostics.has_errors:
            lower_policies(loaded.policies, loaded.inventory, case.options, loaded.diagnostics)
        refused = sorted({item.code for item in loaded.diagnostics.items if item.severity == "error"})
        if refused:
            self._refused[" ".join(refused)] += 1
            reject()
        return case.load(folder)

    def check(self) -> None:
        """Fails when more than a small share was refused: the property then says little."""
        assert self._refused.total() <= self.SHARE * self._asked, f"refused of {self._asked}: {dict(self._refused)}"
