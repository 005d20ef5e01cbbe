"""Calico's policy language: NetworkPolicy, GlobalNetworkPolicy, Tier and network sets to IR tiers."""

from __future__ import annotations

from bpfence.dialects.calico.lint import lint
from bpfence.dialects.calico.lower import lower
from bpfence.dialects.calico.read import MODELS, read_object

__all__ = ["MODELS", "lint", "lower", "read_object"]
