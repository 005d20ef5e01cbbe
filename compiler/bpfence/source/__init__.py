"""Input text to located documents: every node keeps its file, line and column."""
