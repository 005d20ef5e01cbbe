"""Layouts chosen by a test and not by what they weigh."""

from __future__ import annotations

import pytest

from bpfence.plan import address4, cells


def force_two_levels(patch: pytest.MonkeyPatch) -> None:
    """Every row over classes of its own, however small the tables are."""
    patch.setattr(cells, "FLAT_BUDGET", -1)
    patch.setattr(cells, "GAIN", 0)


def force_fine_blocks(patch: pytest.MonkeyPatch) -> None:
    """IPv4 levels of 20, 6 and 6 bits."""
    patch.setattr(address4, "COARSE_BUDGET", -1)
    patch.setattr(address4, "GAIN", 0)
