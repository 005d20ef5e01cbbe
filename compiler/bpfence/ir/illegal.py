"""The error of a program that breaks the IR's rules: a bug in whatever made it."""

from __future__ import annotations

from bpfence.errors import BpfenceError


class IllegalProgram(BpfenceError):  # noqa: N818 - what it says is the program, not the error
    """``problem`` says what is wrong, ``place`` names the nodes around it, outermost first."""

    def __init__(self, problem: str, place: tuple[str, ...] = ()) -> None:
        self.problem = problem
        self.place = place
        super().__init__(f"illegal program: {' > '.join(place)}: {problem}" if place else f"illegal program: {problem}")

    def inside(self, node: str) -> IllegalProgram:
        """The same problem, seen from the node around."""
        return IllegalProgram(self.problem, (node, *self.place))
