"""Where pins go when a command has mounts of its own, as `ip netns exec` gives it: to a bpf file system that lasts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpfence.loader.mounts import holds_bpf, lasting_root

STANDARD = Path("/sys/fs/bpf")
ASK = """
import sys; from pathlib import Path; from bpfence.loader.mounts import lasting_root
print(lasting_root(Path(sys.argv[1])))
"""
HIDDEN = 'mount -t tmpfs none /sys/fs/bpf && exec "$0" -c "$1" "$2"'


def asked_in_mounts_of_its_own(root: Path) -> subprocess.CompletedProcess[str]:
    """Ask a process that sees no bpf file system at the standard place."""
    command = ["unshare", "--mount", "sh", "-c", HIDDEN, sys.executable, ASK, str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("kernel")
def test_what_is_mounted_here_is_used_as_it_is(bpffs: Path, tmp_path: Path) -> None:
    assert holds_bpf(bpffs / "node" / "below")
    assert lasting_root(bpffs / "node") == bpffs / "node"
    assert not holds_bpf(tmp_path)
    assert lasting_root(tmp_path / "node") == tmp_path / "node"


@pytest.mark.usefixtures("kernel")
def test_the_machines_own_is_found_from_mounts_without_one() -> None:
    assert holds_bpf(STANDARD)
    done = asked_in_mounts_of_its_own(STANDARD / "node")
    assert done.returncode == 0, done.stderr
    found = Path(done.stdout.strip())
    assert found.parts[:2] == ("/", "proc")
    assert found.parts[3:] == ("root", "sys", "fs", "bpf", "node")


@pytest.mark.usefixtures("kernel")
def test_one_that_would_end_with_the_command_is_refused(tmp_path: Path) -> None:
    done = asked_in_mounts_of_its_own(tmp_path / "node")
    assert done.returncode != 0
    assert "would be gone with this command" in done.stderr
