"""The hand-written selector language: what matches, what is malformed, and rewriting."""

from __future__ import annotations

import pytest

from bpfence.semantics.calico_selector import ALL, SelectorError, matches, parse, prefix_labels, replace_leaf

REDIS = {"app": "redis", "env": "prod", "zone": "eu-west-1a"}
WEB = {"app": "web", "env": "dev"}
NONE: dict[str, str] = {}

MATCHES = [
    ("", "RWN"),
    ("  \t", "RWN"),
    ("all()", "RWN"),
    ("all( )", "RWN"),
    ("global()", "RWN"),
    ("!all()", ""),
    ("app=='redis'", "R"),
    ("app != 'redis'", "WN"),
    ("!app == 'redis'", "WN"),
    ("!!!has(zone)", "WN"),
    ("has( zone )", "R"),
    ("env in{'dev','prod','dev',}", "RW"),
    ("env not in {'prod'}", "WN"),
    ("env notin {'prod','dev'}", "N"),
    ("has(env) && env not in {'prod'}", "W"),
    ("env in {}", ""),
    ("env not in {}", "RWN"),
    ("zone starts with 'eu-'", "R"),
    ('zone endswith"1a"', "R"),
    ("zone contains 'west'", "R"),
    ("zone contains ''", "R"),
    ("app == 'redis' || app == 'web' && env == 'prod'", "R"),
    ("(app == 'redis' || app == 'web') && env == 'dev'", "W"),
    ("!(app == 'redis' && env == 'prod')", "WN"),
    ("!app == 'redis' && env == 'prod'", ""),
    ("(has(app) && has(env)) && has(zone)", "R"),
    ("((app == 'web'))", "W"),
    ("app == 'say \"hi\"'", ""),
    ("app != ''", "RWN"),
    ("-/. == 'x'", ""),
    ("in in {'a'} || has(has)", ""),
]

MALFORMED = [
    r"app == 'a\'b'",
    "has (zone)",
    "all ()",
    "zone containswest 'x'",
    "a:b == 'x'",
    "app! = 'x'",
    "env in {'a',,'b'}",
    "env in {,}",
    "env in 'prod'",
    "app == redis",
    "'redis' == app",
    "app",
    "app = 'redis'",
    "has(app) has(env)",
    "app == 'x' &&",
    "has(a) & has(b)",
    "()",
    "has(" + "a" * 513 + ")",
    "app == 'x'\n",
    "app == 'x",
]


@pytest.mark.parametrize(("text", "expected"), MATCHES)
def test_matches(text: str, expected: str) -> None:
    node = parse(text)
    found = "".join(name for name, labels in (("R", REDIS), ("W", WEB), ("N", NONE)) if matches(node, labels))
    assert found == expected


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed(text: str) -> None:
    with pytest.raises(SelectorError):
        parse(text)


def test_longest_label_is_fine() -> None:
    assert matches(parse("has(" + "a" * 512 + ")"), {"a" * 512: ""})


def test_prefix_reaches_every_label_and_no_value() -> None:
    node = prefix_labels(parse("!(a == 'all()' || has(b)) && c in {'d'} && all()"), "pcns.")
    assert matches(node, {"pcns.a": "x", "pcns.c": "d"})
    assert not matches(node, {"a": "x", "c": "d"})


def test_replaced_leaf_is_the_syntax_not_the_text() -> None:
    node = replace_leaf(parse("a == 'all()' && all( )"), ALL, ("has", "b"))
    assert matches(node, {"a": "all()", "b": ""})
    assert not matches(node, {"a": "all()"})
