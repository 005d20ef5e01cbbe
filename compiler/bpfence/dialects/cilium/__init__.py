"""Cilium's policy language: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and CiliumCIDRGroup to IR policies."""

from __future__ import annotations

from bpfence.dialects.cilium.dns_tier import split_dns_rules
from bpfence.dialects.cilium.lint import lint
from bpfence.dialects.cilium.lower import exempt_rules, lower
from bpfence.dialects.cilium.read import MODELS, read_object
from bpfence.dialects.cilium.unsupported import denies_all

__all__ = ["MODELS", "read_object", "lower", "exempt_rules", "lint", "denies_all", "split_dns_rules"]
