"""``python -m bpfence``."""

from bpfence.cli import main

main()
