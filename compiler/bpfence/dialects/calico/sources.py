"""Policy objects with their specs at hand, and which host endpoints they select."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfence.dialects.calico.model import GlobalNetworkPolicySpec, NetworkPolicySpec, Policy, Rule
from bpfence.dialects.calico.selectors import subject_selector
from bpfence.dialects.calico.staged import enforced_kind
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import HostEndpoint
from bpfence.ir.nodes import Direction, Point
from bpfence.selectors import matches


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy object with its spec at hand; ``namespace`` is empty for a global policy."""

    item: PolicyObject
    spec: NetworkPolicySpec

    @property
    def namespace(self) -> str:
        return self.item.namespace

    @property
    def order(self) -> tuple[float, str]:
        """Position in the tier: order, then the tie text that Calico compares bytewise."""
        return self.spec.order, f"{self.item.name}/{self.namespace}/{enforced_kind(self.item)}"

    @property
    def points(self) -> tuple[Point, ...]:
        """Where the policy is asked."""
        spec = self.spec
        if not isinstance(spec, GlobalNetworkPolicySpec):
            return (Point.ENDPOINT,)
        if spec.do_not_track:
            return (Point.UNTRACKED,)
        if spec.pre_dnat:
            return (Point.PRE_DNAT,)
        return (Point.ENDPOINT, Point.FORWARD) if spec.apply_on_forward else (Point.ENDPOINT,)

    def rules(self, direction: Direction) -> Iterator[tuple[int, Rule]]:
        """The rules of a direction that the policy has, each with its index."""
        ingress, egress = self.spec.directions
        if direction is Direction.INGRESS:
            return enumerate(self.spec.ingress if ingress else ())
        return enumerate(self.spec.egress if egress else ())

    def selects(self, endpoint: HostEndpoint) -> bool:
        """Whether the policy applies to the host endpoint; those of a namespace never do."""
        if self.namespace:
            return False
        return matches(subject_selector(self.spec, ""), endpoint.labels)


def policy_sources(objects: Iterable[PolicyObject]) -> list[PolicySource]:
    """The policies that act."""
    return [PolicySource(item, item.model.spec) for item in objects if isinstance(item.model, Policy)]
