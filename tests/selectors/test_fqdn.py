"""Name patterns under both profiles."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfence.selectors.fqdn import canonical_pattern, depends_on_profile, name_problem, parse_pattern, pattern_problem

# pattern, name, 1.18, 1.20
TABLE = [
    ("Shop.example", "shop.example.", True, True),
    ("shop.example", "shop.example", True, True),
    ("shop.example", "ashop.example", False, False),
    ("*.shop.example", "api.shop.example", True, True),
    ("*.shop.example", "eu.api.shop.example", False, False),
    ("*.shop.example", "shop.example", False, False),
    ("*shop.example", "shop.example", True, True),
    ("*shop.example", "myshop.example", True, True),
    ("*shop.example", "api.shop.example", False, False),
    ("a*b.shop.example", "ab.shop.example", True, True),
    ("a*b.shop.example", "a-x-b.shop.example", True, True),
    ("a*b.shop.example", "a.b.shop.example", False, False),
    ("**.shop.example", "api.shop.example", True, True),
    ("**.shop.example", "eu.api.shop.example", False, True),
    ("***.shop.example", "eu.api.shop.example", False, True),
    ("**.shop.example", "shop.example", False, False),
    ("**shop.example", "myshop.example", True, True),
    ("**shop.example", "api.shop.example", False, False),
    ("cdn.**.shop.example", "cdn.eu.shop.example", True, True),
    ("cdn.**.shop.example", "cdn.a.b.shop.example", False, False),
    ("**", "shop.example", False, True),
    ("*.", "shop.example", False, True),
    ("**.", "shop.example", False, True),
    ("**", "localhost", True, True),
    ("*.", "localhost", True, True),
    ("*", "eu.api.shop.example", True, True),
    ("*", ".", True, True),
    ("*", "a..b", False, False),
    ("*.*", "shop.example", True, True),
    ("*.*", "api.shop.example", False, False),
    ("*.shop.example", "a!b.shop.example", False, False),
]


@pytest.mark.parametrize(("pattern", "name", "old", "new"), TABLE)
def test_matches(pattern: str, name: str, old: bool, new: bool) -> None:
    assert parse_pattern(pattern, "1.18").matches(name) is old
    assert parse_pattern(pattern, "1.20").matches(name) is new
    if old is not new:
        assert depends_on_profile(pattern)


def test_match_all_of_queries_takes_every_name() -> None:
    assert parse_pattern("*", "1.20").matches("a!b", any_query=True)
    assert not parse_pattern("*", "1.20").matches("a!b")
    assert not parse_pattern("*.example", "1.20").matches("a!b.example", any_query=True)


# The table of domainNames, and what tells its stars from Cilium's.
DOMAIN_NAMES = [
    ("kasse.example", "kasse.example", True),
    ("Kasse.example.", "kasse.EXAMPLE", True),
    ("kasse.example", "a.kasse.example", False),
    ("*.kasse.example", "kasse.example", False),
    ("*.kasse.example", "a.kasse.example", True),
    ("*.kasse.example", "b.a.kasse.example.", True),
    ("*.kasse.example", "akasse.example", False),
    ("*.kasse.example", ".kasse.example", False),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), DOMAIN_NAMES)
def test_domain_names(pattern: str, name: str, expected: bool) -> None:
    assert parse_pattern(pattern, "kubernetes").matches(name) is expected


@pytest.mark.parametrize("pattern", ["*", "*.", "**.a", "a.*.b", "a*.b", "*.*.a"])
def test_domain_names_have_one_star(pattern: str) -> None:
    with pytest.raises(ValueError, match="star"):
        parse_pattern(pattern, "kubernetes")


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("Shop.example", "shop.example.", "shop.example."),
        ("*", "*", "*"),
        ("**.", "**.", "*"),
        ("*.A.", "*.a.", "*.a."),
    ],
)
def test_canonical_pattern(text: str, old: str, new: str) -> None:
    assert canonical_pattern(text, "1.18") == old
    assert canonical_pattern(text, "1.20") == new


@pytest.mark.parametrize("text", ["", ".a", "a..b", "a b", "a/b", "a" * 256, "é.example", "a\n"])
def test_malformed(text: str) -> None:
    assert name_problem(text)
    assert pattern_problem(text)


def test_a_name_has_no_star() -> None:
    assert name_problem("*.a")
    assert pattern_problem("*.a") is None


@given(st.text("ab*.", min_size=1, max_size=8), st.text("ab.", min_size=1, max_size=8))
def test_older_profile_is_a_regular_expression(pattern: str, name: str) -> None:
    if pattern_problem(pattern) or pattern == "*":
        return
    whole = pattern if pattern.endswith(".") else pattern + "."
    form = "".join("[-a-z0-9_]*" if letter == "*" else re.escape(letter) for letter in whole)
    query = name if name.endswith(".") else name + "."
    assert parse_pattern(pattern, "1.18").matches(name) is bool(re.fullmatch(form, query))
