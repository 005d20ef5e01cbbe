"""CiliumCIDRGroups: the groups of the input by name and by label, as sets of prefixes.

Upstream: ``pkg/policy/api/cidr.go``, ``operator/pkg/ciliumidentity``; nested groups as the newer profile reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bpfence.dialects.cilium.labels import Test
from bpfence.dialects.cilium.model import CidrGroup
from bpfence.dialects.cilium.overlaps import index_networks
from bpfence.dialects.cilium.prefixes import network_of, sort_networks
from bpfence.dialects.objects import PolicyObject
from bpfence.ir.expressions import InPrefixes, Network, PeerExpr, PeerNot, all_peers


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    labels: Mapping[str, str]
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    by_name: Mapping[str, Group] = field(default_factory=dict)

    def select(self, tests: Sequence[Test]) -> PeerExpr:
        """Addresses whose labels satisfy all tests; an address has every label of every group over it."""
        return all_peers(*(self._satisfying(test) for test in tests))

    def _satisfying(self, test: Test) -> PeerExpr:
        """``NotIn`` and ``DoesNotExist`` hold where no group has what they exclude."""
        groups = self.by_name.values()
        if not test.is_negative:
            return _prefixes(group for group in groups if test.accepts(group.labels.get(test.key.name)))
        excluded = (group for group in groups if not test.accepts(group.labels.get(test.key.name)))
        return PeerNot(_prefixes(excluded))

    def with_all(self, tests: Sequence[Test]) -> tuple[Group, ...]:
        """Groups that satisfy every test on their own."""
        groups = self.by_name.values()
        return tuple(g for g in groups if all(test.accepts(g.labels.get(test.key.name)) for test in tests))


def collect_groups(objects: Iterable[PolicyObject]) -> Groups:
    """The groups among the objects."""
    by_name: dict[str, Group] = {}
    for item in objects:
        if isinstance(item.model, CidrGroup):
            networks = sort_networks({network_of(text) for text in item.model.spec.external_cidrs})
            by_name[item.name] = Group(item.name, item.model.metadata.labels, networks)
    return Groups(by_name)


def nested_conflicts(groups: Groups, keys: Iterable[str]) -> Iterable[tuple[Group, Group, str]]:
    """Pairs of overlapping groups that give different values to one of the keys."""
    wanted = sorted(set(keys))
    ordered = [groups.by_name[name] for name in sorted(groups.by_name)]
    for position, first in enumerate(ordered):
        index = index_networks((network, first.name) for network in first.networks)
        for second in ordered[position + 1 :]:
            differing = [key for key in wanted if _differ(first.labels.get(key), second.labels.get(key))]
            if differing and any(index.find(network) for network in second.networks):
                yield from ((first, second, key) for key in differing)


def _differ(first: str | None, second: str | None) -> bool:
    return first is not None and second is not None and first != second


def _prefixes(groups: Iterable[Group]) -> InPrefixes:
    return InPrefixes(sort_networks({network for group in groups for network in group.networks}))
