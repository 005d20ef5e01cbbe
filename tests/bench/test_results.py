"""Results: the median and the spread of samples, as JSON and as a table."""

from __future__ import annotations

import pytest

from bpfence.bench.registry import BENCHES, chosen_benches
from bpfence.bench.results import Result, report_document
from bpfence.bench.table import text_report
from bpfence.errors import UsageError

MACHINE = {"kernel": "6.18", "cpu": "x", "cpus": 2, "jit": "1", "jit_harden": "0", "clock": "tsc", "load": [0.0]}


def result(subject: str, *samples: float) -> Result:
    return Result("verdict", subject, {"rules": 10, "keys": "hot"}, "decision", "ns", samples)


def test_the_value_is_the_median_and_the_spread_ignores_outliers() -> None:
    row = result("bpfence", 4.0, 90.0, 4.2, 3.8, 4.1)
    assert row.value == 4.1
    assert row.spread == pytest.approx(0.1 / 4.1)
    assert result("bpfence", 4.0).spread == 0


def test_json_has_the_promised_shape() -> None:
    document = report_document(MACHINE, [result("bpfence", 4.0, 5.0, 6.0)])
    assert document["format_version"] == "1.0"
    assert document["results"] == [
        {
            "bench": "verdict",
            "subject": "bpfence",
            "params": {"rules": 10, "keys": "hot"},
            "metric": "decision",
            "unit": "ns",
            "value": 5.0,
            "samples": [4.0, 5.0, 6.0],
        }
    ]


def test_the_table_puts_subjects_beside_each_other_with_their_ratio() -> None:
    text = text_report({**MACHINE, "mitigations": {}}, [result("bpfence", 4.0), result("cilium-layout", 200.0)])
    assert text.splitlines()[-1].split() == ["10", "hot", "4", "200", "50.0x"]


def test_unknown_benchmarks_are_refused_and_none_means_all() -> None:
    assert chosen_benches([]) == tuple(BENCHES)
    with pytest.raises(UsageError, match="no benchmark speed"):
        chosen_benches(["verdict", "speed"])
