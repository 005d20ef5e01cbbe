"""The stable codes of what is found in the compiled program."""

from __future__ import annotations

RULE_OVERRULED = "LNT001"
RULE_REDUNDANT = "LNT002"
POLICY_TWICE = "LNT003"
NO_DNS = "LNT004"
EQUAL_ORDER = "LNT005"
DENY_ONLY = "LNT006"
PREFIX_OVERLAP = "LNT007"
LEFT_OUT = "LNT008"
BACKENDS_DIFFER = "LNT009"
NO_BACKEND = "LNT010"
