"""Spelling rules that the dialects share."""

from __future__ import annotations

import pytest

from bpfence.dialects.label_syntax import (
    dns_label_problem,
    dns_subdomain_problem,
    label_key_problem,
    label_value_problem,
    port_name_problem,
)

KEYS = [
    ("app", True),
    ("a.b/c_d.E-1", True),
    ("a" * 63, True),
    (f"{'a' * 253}/b", True),
    ("", False),
    ("/a", False),
    ("a/", False),
    ("a/b/c", False),
    ("a" * 64, False),
    (f"{'a' * 254}/b", False),
    ("A.b/c", False),
    ("a-", False),
    ("a b", False),
    ("a\n", False),
    ("ä", False),
]


@pytest.mark.parametrize(("key", "well_formed"), KEYS)
def test_label_keys(key, well_formed):
    assert (label_key_problem(key) is None) is well_formed


@pytest.mark.parametrize(
    ("value", "well_formed"),
    [("", True), ("A_b.c-1", True), ("a" * 63, True), ("a" * 64, False), ("_a", False), ("a\n", False)],
)
def test_label_values(value, well_formed):
    assert (label_value_problem(value) is None) is well_formed


@pytest.mark.parametrize(
    ("name", "subdomain", "label"),
    [("a", True, True), ("a.b", True, False), ("a..b", False, False), ("A", False, False), ("a" * 64, True, False)],
)
def test_dns_names(name, subdomain, label):
    assert (dns_subdomain_problem(name) is None) is subdomain
    assert (dns_label_problem(name) is None) is label


@pytest.mark.parametrize(
    ("name", "well_formed"), [("http", True), ("9p", True), ("80", False), ("a--b", False), ("", False), ("a\n", False)]
)
def test_port_names(name, well_formed):
    assert (port_name_problem(name) is None) is well_formed
