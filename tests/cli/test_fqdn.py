"""`bpfence fqdn` as users and scripts see it."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner, Result

from bpfence.cli.fqdn import answer_lines, command


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(command, list(arguments), input=text)


# pattern, name, 1.18, 1.20
TABLE = [
    ("Shop.example", "shop.example.", True, True),
    ("*.shop.example", "api.shop.example", True, True),
    ("*.shop.example", "eu.api.shop.example", False, False),
    ("*.shop.example", "shop.example", False, False),
    ("*shop.example", "shop.example", True, True),
    ("*shop.example", "myshop.example", True, True),
    ("*shop.example", "api.shop.example", False, False),
    ("a*b.shop.example", "ab.shop.example", True, True),
    ("a*b.shop.example", "a-x-b.shop.example", True, True),
    ("**.shop.example", "api.shop.example", True, True),
    ("**.shop.example", "eu.api.shop.example", False, True),
    ("**.shop.example", "shop.example", False, False),
    ("**shop.example", "myshop.example", True, True),
    ("**shop.example", "api.shop.example", False, False),
    ("cdn.**.shop.example", "cdn.eu.shop.example", True, True),
    ("cdn.**.shop.example", "cdn.a.b.shop.example", False, False),
    ("**", "shop.example", False, True),
    ("*.", "shop.example", False, True),
    ("**", "localhost", True, True),
    ("*.", "localhost", True, True),
    ("*", "eu.api.shop.example", True, True),
    ("*", ".", True, True),
    ("*.*", "shop.example", True, True),
    ("*.*", "api.shop.example", False, False),
]


@pytest.mark.parametrize("profile", ["1.18", "1.20"])
def test_every_row_of_the_table(profile):
    lines = [json.dumps({"pattern": pattern, "name": name}) for pattern, name, _, _ in TABLE]
    result = run("match", "--batch", "-", "--cilium-profile", profile, text="\n".join(lines))
    expected = [{"match": old if profile == "1.18" else new} for _, _, old, new in TABLE]
    assert [json.loads(line) for line in result.output.splitlines()] == expected


@pytest.mark.parametrize(
    ("arguments", "answer", "code"),
    [
        (("**.shop.example", "a.b.shop.example"), "match", 0),
        (("**.shop.example", "a.b.shop.example", "--cilium-profile", "1.18"), "no match", 1),
        (("*.a", "b/c.a"), "no match", 1),
        (("*.shop.example", "api.shop.example", "-o", "json"), '{"match": true}', 0),
    ],
)
def test_match(arguments, answer, code):
    result = run("match", *arguments)
    assert (result.output.strip(), result.exit_code) == (answer, code)


@pytest.mark.parametrize(
    "arguments",
    [("a..b", "a.b"), ("a b", "a.b"), ("", "a"), ("*.a",), (), ("*.a", "b.a", "--batch", "-")],
)
def test_wrong_use_and_malformed_patterns_are_exit_2(arguments):
    assert run("match", *arguments).exit_code == 2


def test_batch_answers_line_by_line():
    lines = [
        '{"pattern": "*", "name": "a.b"}',
        '{"pattern": "a b", "name": "a"}',
        "not json",
        '["*", "a"]',
        '{"name": "a"}',
    ]
    result = run("match", "--batch", "-", text="\n".join(lines) + "\n\n")
    answers = [json.loads(line) for line in result.output.splitlines()]
    assert result.exit_code == 0
    assert [sorted(answer) for answer in answers] == [["match"], ["error"], ["error"], ["error"], ["error"]]


def test_batch_is_fast():
    texts = [f"a{number}*.**.shop-*.example" for number in range(500)]
    questions = [json.dumps({"pattern": text, "name": f"{text[:3]}x.eu.shop-a.example"}) for text in texts]
    lines = questions * 200
    begin = time.perf_counter()
    answers = list(answer_lines(lines, "1.20"))
    assert time.perf_counter() - begin < 5
    assert len(answers) == 100_000
