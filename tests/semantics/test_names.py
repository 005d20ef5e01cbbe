"""The evaluator's own reading of name patterns, against the worked examples of both profiles."""

from __future__ import annotations

import pytest

from bpfence.options import CiliumProfile
from bpfence.semantics.names import cilium_pattern_matches, domain_name_matches

PATTERNS = [
    ("Shop.example", "shop.example.", True, True),
    (" shop.example", "SHOP.example", True, True),
    ("*.shop.example", "api.shop.example", True, True),
    ("*.shop.example", "eu.api.shop.example", False, False),
    ("*.shop.example", "shop.example", False, False),
    ("*.shop.example", "xshop.example", False, False),
    ("*shop.example", "shop.example", True, True),
    ("*shop.example", "api.shop.example", False, False),
    ("a*b.shop.example", "a-x-b.shop.example", True, True),
    ("**.shop.example", "eu.api.shop.example", False, True),
    ("**.shop.example", "shop.example", False, False),
    ("***.shop.example", "eu.api.shop.example", False, True),
    ("**shop.example", "api.shop.example", False, False),
    ("cdn.**.shop.example", "cdn.eu.shop.example", True, True),
    ("cdn.**.shop.example", "cdn.a.b.shop.example", False, False),
    ("**", "shop.example", False, True),
    ("*.", "shop.example", False, True),
    ("**.", "localhost", True, True),
    ("*", "eu.api.shop.example", True, True),
    ("*", ".", True, True),
    ("*", "a$b.example", False, False),
    ("*.*", "shop.example", True, True),
    ("*.*", "api.shop.example", False, False),
    ("shop.example", "shopxexample", False, False),
    ("shop.example", "shop.example.evil", False, False),
]


@pytest.mark.parametrize(("pattern", "name", "old", "new"), PATTERNS)
def test_patterns(pattern: str, name: str, old: bool, new: bool) -> None:
    profiles: tuple[CiliumProfile, ...] = ("1.18", "1.20")
    assert [cilium_pattern_matches(pattern, name, profile) for profile in profiles] == [old, new]


def test_match_all_takes_every_query() -> None:
    assert cilium_pattern_matches("*", "a$b.example", "1.20", query=True)
    assert cilium_pattern_matches("**.", "a$b.example", "1.20", query=True)
    assert not cilium_pattern_matches("**.", "a$b.example", "1.18", query=True)


@pytest.mark.parametrize(
    ("written", "matching"),
    [
        ("Kasse.example.", {"kasse.example"}),
        ("*.kasse.example", {"a.kasse.example", "b.a.kasse.example"}),
        ("*.example", {"kasse.example", "a.kasse.example", "b.a.kasse.example", "xkasse.example"}),
    ],
)
def test_domain_names(written: str, matching: set[str]) -> None:
    names = ("kasse.example", "a.kasse.example", "b.a.kasse.example", "xkasse.example")
    assert {name for name in names if domain_name_matches(written, name)} == matching
    assert {name for name in names if domain_name_matches(written, f"{name.upper()}.")} == matching
