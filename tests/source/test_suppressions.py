"""Comments that hide messages: what counts as one, and of which line it speaks."""

from __future__ import annotations

import pytest

from bpfence.diagnostics import Diagnostics, Severity
from bpfence.source.files import FoundFile
from bpfence.source.suppressions import read_suppressions


def read(text: str):
    diagnostics = Diagnostics()
    found = read_suppressions(FoundFile("p.yaml", "p.yaml"), text, diagnostics)
    return [(item.line, item.codes, item.reason) for item in found], diagnostics.items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b # bpfence: ignore K8S078 no names here\n", (1, ("K8S078",), "no names here")),
        ("a:\n  # bpfence: ignore K8S078 no names here\n  b: c\n", (3, ("K8S078",), "no names here")),
        ("# bpfence: ignore CAL105, LNT002 wanted\n# more words\na: b\n", (3, ("CAL105", "LNT002"), "wanted")),
        ("a: 'x' #bpfence: ignore LNT002: wanted \r\n", (1, ("LNT002",), "wanted")),
        ("a: |\n  text\n# bpfence: ignore LNT002 wanted\nb: c\n", (4, ("LNT002",), "wanted")),
    ],
)
def test_comments(text, expected):
    assert read(text) == ([expected], [])


@pytest.mark.parametrize(
    "text",
    [
        "a: 'x # bpfence: ignore LNT002 wanted'\n",
        'a: "x\n  # bpfence: ignore LNT002 wanted"\n',
        "a: |\n  # bpfence: ignore LNT002 wanted\n",
        "a: b# bpfence: ignore LNT002 wanted\n",
        "a: b # see bpfence: ignore LNT002 wanted\n",
        "a: b # bpfence: ignored LNT002 wanted\n",
    ],
)
def test_no_comments(text):
    assert read(text) == ([], [])


@pytest.mark.parametrize("rest", ["", " LNT002", " LNT002 ", " lnt002 wanted", " all of it", " LNT02 wanted"])
def test_without_code_or_reason(rest):
    found, (warning,) = read(f"a:\n  b: c # bpfence: ignore{rest}\n")
    assert found == []
    assert (warning.code, warning.severity, warning.span.line, warning.span.column) == (
        "SRC030",
        Severity.WARNING,
        2,
        8,
    )


def test_text_that_is_no_yaml():
    assert read("a: [\n# bpfence: ignore LNT002 wanted\n")[0] == [(3, ("LNT002",), "wanted")]
