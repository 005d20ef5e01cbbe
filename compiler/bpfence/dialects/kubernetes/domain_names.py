"""Spelling of ``domainNames`` items: text in, what is wrong with it out."""

from __future__ import annotations

import re

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
