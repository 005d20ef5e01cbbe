import math

import pytest

from bpfence.source.scalars import Ambiguous, UnquotedDate, resolve_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("yes", True),
        ("n", "n"),
        ("Off", False),
        ("0", 0),
        ("-7", -7),
        ("18446744073709551615", 2**64 - 1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("web", "web"),
        ("20:22", "20:22"),
        ("190:20:30", "190:20:30"),
        ("10.0.0.1", "10.0.0.1"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        ("0xg", "0xg"),
        ("yEs", "yEs"),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "text", ["010", "0o10", "0x50", "0b1", "1_000", "08", "18446744073709551616", "1e999", "9" * 9999]
)
def test_numbers_that_readers_disagree_on(text: str) -> None:
    assert resolve_plain(text) == Ambiguous(text)


@pytest.mark.parametrize("text", ["2024-01-31", "2024-1-3", "2024-01-31T10:00:00Z", "2024-01-31 10:00:00 +1"])
def test_dates(text: str) -> None:
    assert resolve_plain(text) == UnquotedDate(text)


def test_infinities() -> None:
    assert resolve_plain("-.inf") == -math.inf
    assert math.isnan(float(resolve_plain(".nan")))  # type: ignore[arg-type]
