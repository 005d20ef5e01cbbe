"""The optimiser's heart: address atoms, peer classes, L4 classes, decision tables."""
