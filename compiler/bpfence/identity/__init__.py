"""Inventory to identities: what exists, what it is labelled, which addresses it has."""
