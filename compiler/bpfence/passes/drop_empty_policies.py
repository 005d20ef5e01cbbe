"""Leaves out policies that touch no direction. One with a section stays: even without rules it activates its tier."""

from __future__ import annotations

from bpfence.ir.nodes import Policy, Program
from bpfence.passes.rewriting import rewrite_policies


def drop_empty_policies(program: Program) -> Program:
    """The program without policies that have no section."""
    return rewrite_policies(program, _keep_policy)


def _keep_policy(policy: Policy) -> Policy | None:
    return None if policy.ingress is None and policy.egress is None else policy
