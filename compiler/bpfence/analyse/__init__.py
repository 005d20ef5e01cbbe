"""Questions about a program: explanations, connectivity, lint, agreement."""
