"""`bpfence selector` as users and scripts see it."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from bpfence.cli.selector import answer_lines, command


def run(*arguments: str, text: str = ""):
    return CliRunner().invoke(command, list(arguments), input=text)


@pytest.mark.parametrize(
    ("selector", "labels", "answer", "code"),
    [
        ("app == 'web'", "app=web,zone=a", "match", 0),
        ("app == 'web'", "app=db", "no match", 1),
        ("", "", "match", 0),
        ("app == 'a=b'", "app=a=b", "match", 0),
    ],
)
def test_match(selector, labels, answer, code):
    result = run("match", selector, "--labels", labels)
    assert (result.output.strip(), result.exit_code) == (answer, code)


def test_match_as_json():
    result = run("match", "has(zone)", "--labels", "zone=a", "-o", "json")
    assert json.loads(result.output) == {"match": True}


def test_bad_selector_is_exit_2_and_says_where():
    result = run("match", "app = 'web'", "--labels", "app=web")
    assert result.exit_code == 2
    assert "column 5" in result.output


@pytest.mark.parametrize("arguments", [("match",), ("match", "all()", "--labels", "app"), ("format", "has (a)")])
def test_wrong_use_is_exit_2(arguments):
    assert run(*arguments).exit_code == 2


def test_format():
    assert run("format", "app in {'b','a'}&&has( x )").output == '(app in {"a", "b"} && has(x))\n'


def test_batch_answers_line_by_line():
    lines = [
        '{"selector": "app == \'web\'", "labels": {"app": "web"}}',
        '{"selector": "app = 1", "labels": {}}',
        '{"selector": "all()"}',
        "not json",
        '["selector"]',
        '{"selector": "all()", "labels": {"app": 1}}',
    ]
    result = run("match", "--batch", "-", text="\n".join(lines) + "\n\n")
    answers = [json.loads(line) for line in result.output.splitlines()]
    assert result.exit_code == 0
    assert answers[0] == {"match": True}
    assert answers[2] == {"match": True}
    assert [sorted(answer) for answer in answers] == [["match"], ["error"], ["match"], ["error"], ["error"], ["error"]]


def test_a_long_batch_reads_each_selector_but_once():
    texts = [f"(app == 'a{number}' || app == 'web') && env in {{'x'}}" for number in range(500)]
    questions = [json.dumps({"selector": text, "labels": {"app": "web", "env": "x"}}) for text in texts]
    lines = questions * 200
    begin = time.process_time()
    answers = list(answer_lines(lines))
    assert time.process_time() - begin < 30  # seconds of work; reading each anew takes minutes
    assert answers.count({"match": True}) == 100_000
