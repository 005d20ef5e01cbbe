"""What is left out, and what must stay because it isolates or makes a tier active."""

from __future__ import annotations

from bpfence.ir.parse import parse_program
from bpfence.ir.text import program_text
from bpfence.passes.drop_dead_rules import drop_dead_rules
from bpfence.passes.drop_empty_policies import drop_empty_policies

BEFORE = """\
layer "kubernetes" unmatched ""
  tier "empty" order 0 end pass
    exempt ingress
      allow nobody on any @ a:1:1-1:1 "" of "own node"
  tier "default" order 1 end deny order-free
    policy "dead" subject every @ a:1:1-1:1 ""
      ingress isolates @ a:2:1-2:1 ""
        allow nobody on any @ a:3:1-3:1 ""
        allow anyone own nobody on any @ a:4:1-4:1 ""
        deny anyone on never @ a:5:1-5:1 ""
        deny anyone on protocol empty | protocol tcp to empty @ a:6:1-6:1 ""
        allow anyone on protocol tcp to empty | protocol tcp to 1 @ a:7:1-7:1 ""
        allow anyone on protocol tcp to empty named "http"/tcp/destination @ a:8:1-8:1 ""
      egress @ a:9:1-9:1 ""
    policy "nothing" subject every @ b:1:1-1:1 ""
"""

WITHOUT_DEAD_RULES = """\
layer "kubernetes" unmatched ""
  tier "empty" order 0 end pass
  tier "default" order 1 end deny order-free
    policy "dead" subject every @ a:1:1-1:1 ""
      ingress isolates @ a:2:1-2:1 ""
        allow anyone on protocol tcp to empty | protocol tcp to 1 @ a:7:1-7:1 ""
        allow anyone on protocol tcp to empty named "http"/tcp/destination @ a:8:1-8:1 ""
      egress @ a:9:1-9:1 ""
    policy "nothing" subject every @ b:1:1-1:1 ""
"""


def test_dead_rules_go_and_sections_stay() -> None:
    assert program_text(drop_dead_rules(parse_program(BEFORE))) == WITHOUT_DEAD_RULES


def test_only_policies_without_sections_go() -> None:
    without = program_text(drop_empty_policies(parse_program(BEFORE)))
    assert without == BEFORE.replace('    policy "nothing" subject every @ b:1:1-1:1 ""\n', "")
