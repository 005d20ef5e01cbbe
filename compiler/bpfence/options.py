"""The choices that change what policies mean or how they are compiled; part of the compiler's input."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Engine = Literal["auto", "kubernetes", "calico", "cilium"]
CiliumProfile = Literal["1.18", "1.20"]
NameProfile = CiliumProfile | Literal["kubernetes"]
"""Whose language a DNS name pattern is written in."""

IpBlockMatchesPods = Literal["never", "always", "dialect"]


class Options(BaseModel):
    """Compiler options, as on the command line (``--engine``, ``--cilium-profile``, ...)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine = "auto"
    cilium_profile: CiliumProfile = "1.20"
    ipblock_matches_pods: IpBlockMatchesPods = "dialect"
    allow_unsupported: bool = False
    wildcard_notrack: bool = False
    automatic_notrack: bool = False
    """Leave flows that need no state out of the connection table; a later generation can't cut what is not there."""
    node: str | None = None
    """The node to compile for; None = the host name, or the inventory's only node."""

    optimise: bool = True
    """False keeps every class apart; verdicts are the same (used by the tests and `verify`)."""
