"""The demonstration: a small world of network namespaces, sample policies, real traffic."""
