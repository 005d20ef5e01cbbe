"""Benchmarks: ours beside its peers, measured in one run."""
