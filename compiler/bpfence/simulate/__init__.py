"""Answers packets from the emitted images, exactly as the emitted program would."""
