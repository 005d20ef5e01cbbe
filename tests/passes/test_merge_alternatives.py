"""L4 alternatives in the text form, before and after merging."""

from __future__ import annotations

import pytest

from bpfence.ir.expression_text import l4_text
from bpfence.ir.parse import parse_program
from bpfence.passes.merge_alternatives import merge_alternatives

PROGRAM = """
layer "l" unmatched "" tier "t" order 0 end deny
  exempt egress allow anyone on %s @ a:1:1-1:1 "" of "b"
"""


@pytest.mark.parametrize(
    ("written", "merged"),
    [
        ("protocol tcp to 80 | protocol tcp to 81-90 | protocol tcp to 443", "protocol tcp to 80-90,443"),
        ("protocol tcp to 80 | protocol udp to 80 | protocol tcp to 80", "protocol tcp,udp to 80"),
        (
            "protocol tcp to 80 | protocol udp to 80 | protocol tcp to 81 | protocol udp to 81",
            "protocol tcp,udp to 80-81",
        ),
        ("protocol tcp to 80 | protocol udp to 81", "protocol tcp to 80 | protocol udp to 81"),
        ("protocol tcp to 80 from 1 | protocol tcp to 80 from 2", "protocol tcp to 80 from 1-2"),
        ("protocol tcp to 80 | protocol tcp", "protocol tcp"),
        ("protocol tcp | any", "any"),
        ("protocol icmp type 8 | protocol icmpv6 type 8", "protocol icmp,icmpv6 type 8"),
        ("protocol tcp to empty | protocol tcp to 1", "protocol tcp to 1"),
        ("protocol empty | protocol tcp from empty", "never"),
        ("never", "never"),
        (
            'protocol tcp to 80 named "http"/tcp/destination | protocol tcp named "http"/tcp/destination',
            'protocol tcp to 80 named "http"/tcp/destination',
        ),
        (
            'protocol tcp to empty named "http"/tcp/destination,"http"/tcp/destination',
            'protocol tcp named "http"/tcp/destination',
        ),
        (
            'protocol tcp to 80 named "http"/tcp/source | protocol tcp named "http"/tcp/source',
            'protocol tcp named "http"/tcp/source',
        ),
        (
            'protocol tcp to 80 not-named "http"/tcp/destination | protocol tcp to 80',
            'protocol tcp to 80 not-named "http"/tcp/destination | protocol tcp to 80',
        ),
    ],
)
def test_merging(written: str, merged: str) -> None:
    tier = merge_alternatives(parse_program(PROGRAM % written)).layers[0].tiers[0]
    assert l4_text(tier.exempt_egress[0].l4) == merged
