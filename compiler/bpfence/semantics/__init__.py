"""The reference evaluator: what each language means, in the smallest and plainest code that says it. Slow on purpose.

INVARIANT: imports nothing of ir, identity (but inventory), passes, classify, plan, emit, simulate or analyse.
"""
