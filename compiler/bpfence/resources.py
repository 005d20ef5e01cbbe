"""Where the data files are: in the installed package, or in the checkout it runs from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["grammar", "bpf", "policies"]


def resource_dir(kind: Kind) -> Path:
    """The folder ``grammar/``, ``bpf/`` or ``policies/``. FileNotFoundError when the installation is incomplete."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "_data" / kind, package.parent.parent / kind):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"bpfence's {kind} files are missing from the installation at {package}")
