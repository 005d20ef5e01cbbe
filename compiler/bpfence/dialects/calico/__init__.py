"""Calico's policy language: policies, tiers, network sets, host endpoints and profiles to IR tiers."""

from __future__ import annotations

from bpfence.dialects.calico.hosts import host_endpoints, host_settings, overruled_host_endpoints
from bpfence.dialects.calico.lint import lint
from bpfence.dialects.calico.lower import lower
from bpfence.dialects.calico.read import MODELS, read_object

__all__ = [
    "MODELS",
    "host_endpoints",
    "host_settings",
    "lint",
    "lower",
    "overruled_host_endpoints",
    "read_object",
]
