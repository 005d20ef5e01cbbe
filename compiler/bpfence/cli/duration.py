"""Lengths of time on the command line: ``500ms``, ``5s``, ``2m``, ``1m30s``, ``1h``."""

from __future__ import annotations

import re

import click

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PARTS = re.compile(r"(?:(\d{1,6})(h))?(?:(\d{1,6})(m))?(?:(\d{1,6})(s))?(?:(\d{1,6})(ms))?", re.ASCII)
LONGEST = 24 * 3600.0


def read_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """The callback of an option that takes a length of time with its units, largest first; in seconds, above zero and
    at most a day.
    """
    if value is None:
        return None
    found = _PARTS.fullmatch(value)
    parts = found.groups() if found else ()
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in zip(parts[::2], parts[1::2], strict=True) if number)
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(
            f"{value!r} is no length of time between 1ms and 24h, such as 500ms, 60s, 2m or 1m30s", ctx, param
        )
    return seconds


def duration_text(seconds: float) -> str:
    """As it would be written on the command line, to a tenth of a second."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)
