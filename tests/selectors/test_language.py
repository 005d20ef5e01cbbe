"""The Calico selector language: every example and every error, then properties over generated selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfence.selectors import (
    AllOf,
    AnyOf,
    Criterion,
    Everything,
    Global,
    Negation,
    Operator,
    SelectorError,
    canonical,
    matches,
    parse_selector,
)
from bpfence.semantics import calico_selector as reference

REDIS = {"app": "redis", "env": "prod", "zone": "eu-west-1a"}
WEB = {"app": "web", "env": "dev"}
NONE: dict[str, str] = {}

# (text, canonical form, matches REDIS, WEB, NONE)
EXAMPLES = [
    ("", "all()", 1, 1, 1),
    (" \t ", "all()", 1, 1, 1),
    ("!all()", "!all()", 0, 0, 0),
    ("global( )", "global()", 1, 1, 1),
    ("app=='redis'", 'app == "redis"', 1, 0, 0),
    ("app != 'redis'", 'app != "redis"', 0, 1, 1),
    ("!app == 'redis'", '!app == "redis"', 0, 1, 1),
    ("!!!has(zone)", "!has(zone)", 0, 1, 1),
    ("! ! has(zone)", "has(zone)", 1, 0, 0),
    ("!(!has(zone))", "has(zone)", 1, 0, 0),
    ("has( zone )", "has(zone)", 1, 0, 0),
    ("env in{'dev','prod','dev',}", 'env in {"dev", "prod"}', 1, 1, 0),
    ("env not in {'prod'}", 'env not in {"prod"}', 0, 1, 1),
    ("env notin {'prod','dev'}", 'env not in {"dev", "prod"}', 0, 0, 1),
    ("has(env) && env not in {'prod'}", '(has(env) && env not in {"prod"})', 0, 1, 0),
    ("env in {}", "env in {}", 0, 0, 0),
    ("env not in {}", "env not in {}", 1, 1, 1),
    ("zone starts with 'eu-'", 'zone starts with "eu-"', 1, 0, 0),
    ("zone startswith ''", 'zone starts with ""', 1, 0, 0),
    ('zone endswith"1a"', 'zone ends with "1a"', 1, 0, 0),
    ("zone contains 'west'", 'zone contains "west"', 1, 0, 0),
    ("zone contains ''", 'zone contains ""', 1, 0, 0),
    (
        "app == 'redis' || app == 'web' && env == 'prod'",
        '(app == "redis" || (app == "web" && env == "prod"))',
        1,
        0,
        0,
    ),
    (
        "(app == 'redis' || app == 'web') && env == 'dev'",
        '((app == "redis" || app == "web") && env == "dev")',
        0,
        1,
        0,
    ),
    ("!(app == 'redis' && env == 'prod')", '!(app == "redis" && env == "prod")', 0, 1, 1),
    ("!app == 'redis' && env == 'prod'", '(!app == "redis" && env == "prod")', 0, 0, 0),
    ("(has(app) && has(env)) && has(zone)", "((has(app) && has(env)) && has(zone))", 1, 0, 0),
    ("has(app) && has(env) && has(zone)", "(has(app) && has(env) && has(zone))", 1, 0, 0),
    ("((app == 'web'))", 'app == "web"', 0, 1, 0),
    ("app == 'say \"hi\"'", "app == 'say \"hi\"'", 0, 0, 0),
    ("app != ''", 'app != ""', 1, 1, 1),
    ("-/. == 'x'", '-/. == "x"', 0, 0, 0),
    ("in in {'a'} || has(has)", '(in in {"a"} || has(has))', 0, 0, 0),
    ("not not in {'a'} && notin notin{'b'}", '(not not in {"a"} && notin not in {"b"})', 1, 1, 1),
    ("all == 'a' || contains contains 'c'", '(all == "a" || contains contains "c")', 0, 0, 0),
    ("app == 'line\nbreak'", 'app == "line\nbreak"', 0, 0, 0),
]

# (text, column of the mistake)
ERRORS = [
    (r"app == 'a\'b'", 12),
    ("has (zone)", 5),
    ("all ()", 5),
    ("zone containswest 'x'", 6),
    ("a:b == 'x'", 2),
    ("app! = 'x'", 4),
    ("env in {'a',,'b'}", 13),
    ("env in {,}", 9),
    ("env in 'prod'", 8),
    ("app == redis", 8),
    ("'redis' == app", 1),
    ("app", 4),
    ("app = 'redis'", 5),
    ("has(app) & has(env)", 10),
    ("has(app) | has(env)", 10),
    ("has(app) has(env)", 10),
    ("app == 'x' &&", 14),
    ("()", 2),
    ("(has(a)", 8),
    ("has(a))", 7),
    ("app == 'x", 8),
    ("has(app)\n", 9),
    ("has(app)\u00a0", 9),
    ("é == 'x'", 1),
    (f"has({'a' * 513})", 5),
    (f"{'a' * 513}in {{'x'}}", 517),
]


@pytest.mark.parametrize(("text", "form", "redis", "web", "none"), EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_example(text, form, redis, web, none):
    selector = parse_selector(text)
    assert canonical(selector) == form
    assert [matches(selector, labels) for labels in (REDIS, WEB, NONE)] == [bool(redis), bool(web), bool(none)]


@pytest.mark.parametrize(("text", "column"), ERRORS, ids=[row[0][:30] for row in ERRORS])
def test_error(text, column):
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.column == column


def test_longest_label():
    assert canonical(parse_selector("a" * 512 + "=='x'")) == "a" * 512 + ' == "x"'


def test_hostile_nesting_is_no_stack_overflow():
    assert parse_selector("!" * 60_000 + "has(a)") == parse_selector("has(a)")
    assert parse_selector("(" * 30_000 + "has(a)" + ")" * 30_000) == parse_selector("has(a)")
    with pytest.raises(SelectorError, match="nested deeper"):
        parse_selector("!(all()&&" * 6_000 + "all()" + ")" * 6_000)
    with pytest.raises(SelectorError, match="limit is"):
        parse_selector("!" * 70_000)


def test_deepest_selector_of_a_policy_works():
    text = "!(all()&&" * 101 + "has(a)" + ")" * 101
    assert len(text) <= 1024
    selector = parse_selector(text)
    assert matches(selector, {}) != matches(selector, {"a": ""})
    assert hash(parse_selector(canonical(selector))) == hash(selector)


LABELS = st.text("abnotis./-_", min_size=1, max_size=6) | st.sampled_from(
    ["in", "not", "has", "all", "global", "contains", "starts", "ends"]
)
VALUES = st.text("ab'&|{}(), ", max_size=4) | st.text('ab"', max_size=4)
LEAVES = st.one_of(
    st.just(Everything()),
    st.just(Global()),
    st.builds(Criterion, LABELS, st.just(Operator.HAS)),
    st.builds(
        lambda label, operator, value: Criterion(label, operator, (value,)),
        LABELS,
        st.sampled_from([o for o in Operator if o not in (Operator.HAS, Operator.IN, Operator.NOT_IN)]),
        VALUES,
    ),
    st.builds(
        lambda label, operator, values: Criterion(label, operator, tuple(sorted(values))),
        LABELS,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sets(VALUES, max_size=3),
    ),
)
SELECTORS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda item: item.item if isinstance(item, Negation) else Negation(item)),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: AllOf(tuple(items))),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: AnyOf(tuple(items))),
    ),
    max_leaves=8,
)


@given(SELECTORS)
def test_canonical_form_parses_to_the_same_tree(selector):
    assert parse_selector(canonical(selector)) == selector


@given(SELECTORS, st.dictionaries(LABELS, VALUES, max_size=4))
def test_agrees_with_the_second_reading(selector, labels):
    assert matches(selector, labels) == reference.matches(reference.parse(canonical(selector)), labels)


@given(st.text(st.sampled_from("ab=!&|(){}',\" \tinothscwd"), max_size=24))
def test_both_readings_accept_the_same_texts(text):
    try:
        form = canonical(parse_selector(text))
    except SelectorError:
        form = None
    try:
        reference.parse(text)
        accepted = True
    except reference.SelectorError:
        accepted = False
    assert (form is not None) == accepted
    if form is not None:
        assert canonical(parse_selector(form)) == form
