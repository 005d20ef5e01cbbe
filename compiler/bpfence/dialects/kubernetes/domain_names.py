"""``domainNames`` items: text in, what is wrong with it, or the addresses that it means, out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bpfence.ir.expressions import LearntName
from bpfence.selectors.fqdn import canonical_pattern, parse_pattern

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+\.?\Z")
MAX_NAME = 255


def domain_name_problem(text: str) -> str | None:
    """None for ``kasse.example``, ``*.kasse.example.``; else a phrase for the message.

    Narrower than the published pattern, whose class ``A-z`` also admits punctuation that no host name has.
    """
    if len(text) > MAX_NAME or not _NAME.match(text):
        return "must be two or more labels of letters, digits, '-' and '_', perhaps after '*.'"
    return None


def canonical_name(text: str) -> str:
    """Lower case without the final dot: names are compared so."""
    return text.lower().removesuffix(".")


def learnt_name(names: Iterable[str]) -> LearntName:
    """Addresses learnt for one of the names, which are well formed."""
    return LearntName(tuple(sorted({canonical_pattern(text, "kubernetes") for text in names})), "kubernetes")


def sample_name(text: str) -> str:
    """A name that the item matches and that of all well-formed items only wildcards match, or it itself."""
    return canonical_name(text).replace("*", "_", 1)


def name_matches(text: str, name: str) -> bool:
    """Whether the item matches a name; it never matches the empty text."""
    return name != "" and parse_pattern(text, "kubernetes").matches(name)
