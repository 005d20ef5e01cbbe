"""DNS names and patterns, read a second time and by regular expressions. A pattern and a name in; a match or not out.

Follows ``pkg/fqdn/matchpattern`` and ``pkg/policy/api/fqdn.go`` of cilium/cilium and the ``domainNames`` of
kubernetes-sigs/network-policy-api.
"""

from __future__ import annotations

import re

from bpfence.options import CiliumProfile

CHARACTER = "[-a-z0-9_]"
EVERY_NAME = rf"(?:{CHARACTER}+\.)+|\."


def cilium_pattern_matches(pattern: str, name: str, profile: CiliumProfile, *, query: bool = False) -> bool:
    """``matchPattern``, or ``matchName``, which has no ``*``.

    ``query``: the pattern of a DNS rule, where match-all takes names with any character.
    """
    dotted = _with_dot(pattern)
    if pattern.strip() == "*" or (profile != "1.18" and re.fullmatch(r"\*+\.", dotted)):
        return query or re.fullmatch(EVERY_NAME, _with_dot(name)) is not None
    return re.fullmatch(_expression(dotted, profile), _with_dot(name)) is not None


def _with_dot(text: str) -> str:
    lowered = text.strip().lower()
    return lowered if lowered.endswith(".") else lowered + "."


def _expression(dotted: str, profile: CiliumProfile) -> str:
    """``*`` stands inside one label; since 1.20 a leading ``**.`` for one or more whole labels."""
    deep = re.match(r"\*\*+\.", dotted) if profile != "1.18" else None
    front = rf"(?:{CHARACTER}+\.)+" if deep else ""
    rest = dotted[deep.end() :] if deep else dotted
    return front + f"{CHARACTER}*".join(re.escape(part) for part in re.split(r"\*+", rest))


def domain_name_matches(written: str, name: str) -> bool:
    """``domainNames``: the name itself, or with ``*.`` in front one or more whole labels before it."""
    wanted, asked = (text.lower().removesuffix(".") for text in (written, name))
    if not wanted.startswith("*."):
        return asked == wanted
    labels, wanted_labels = asked.split("."), wanted[2:].split(".")
    extra = len(labels) - len(wanted_labels)
    return extra > 0 and labels[extra:] == wanted_labels and all(labels)
