"""Compiled programs kept in memory from test to test: the same C text is compiled once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.loader import programs, transaction
from bpfence.loader.objects import ObjectStore

_KNOWN = ObjectStore()


def keep_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the length of the test. What a test leaves on disk is the same as without."""

    def store(folder: Path | None = None) -> ObjectStore:
        return ObjectStore(folder, _KNOWN._known)

    monkeypatch.setattr(programs, "ObjectStore", store)
    monkeypatch.setattr(transaction, "ObjectStore", store)
