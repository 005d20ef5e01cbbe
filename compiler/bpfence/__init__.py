"""bpfence: network policy of three languages, compiled to dense BPF tables and specialised eBPF programs."""

__version__ = "0.1.0"
