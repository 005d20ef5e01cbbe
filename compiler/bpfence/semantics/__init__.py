"""The reference evaluator: what each language means, in the smallest and plainest code that says it. Slow on purpose.

INVARIANT: imports nothing of ir, identity (but inventory), passes, classify, plan, emit, simulate or analyse.
"""

from bpfence.semantics.decide import decide, decide_side
from bpfence.semantics.staged import pending_world
from bpfence.semantics.verdict import LayerVerdict, SideVerdict, Verdict
from bpfence.semantics.world import ReferenceWorld

__all__ = ["ReferenceWorld", "decide", "decide_side", "pending_world", "LayerVerdict", "SideVerdict", "Verdict"]
