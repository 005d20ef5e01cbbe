"""The policy languages: one package each with the model as written and its lowering to IR. Dialects never import each
other.
"""
