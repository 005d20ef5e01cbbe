"""What is valid Calico but can't be enforced by this version: a policy's spec in, the features out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.model import NetworkPolicySpec, ProfileSpec
from bpfence.source.documents import Path


@dataclass(frozen=True, slots=True)
class Feature:
    """One use of something unsupported, with its place inside the object."""

    code: str
    path: Path
    message: str
    help: str = ""


def unsupported_features(spec: NetworkPolicySpec | ProfileSpec) -> tuple[Feature, ...]:
    """Every use in the policy; the same answer for diagnostics and for lowering."""
    return tuple(_http(spec))


def _http(spec: NetworkPolicySpec | ProfileSpec) -> Iterator[Feature]:
    for name, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        for index, rule in enumerate(rules):
            if rule.http is not None:
                message = "http can't be enforced: packets are judged by addresses and ports"
                yield Feature(
                    codes.UNSUPPORTED_HTTP, ("spec", name, index, "http"), message, "remove http from the rule"
                )
