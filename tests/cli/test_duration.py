"""Lengths of time on the command line."""

from __future__ import annotations

import click
import pytest

from bpfence.cli.duration import duration_text, read_duration


def seconds(text: str) -> float | None:
    command = click.Command("any")
    return read_duration(click.Context(command), click.Option(["--any"]), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5s", 5), ("2m", 120), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1s1ms", 1.001), ("24h", 86400)],
)
def test_units(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "1s1m", "25h", "1.5s", "ms", "5 s", "\u0665s", "1d", "s5"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        seconds(text)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0.5, "500ms"), (5.0, "5s"), (4.96, "5s"), (59.84, "59.8s"), (90, "1m30s"), (3600, "1h"), (-1, "0ms")],
)
def test_text(length: float, expected: str) -> None:
    assert duration_text(length) == expected
