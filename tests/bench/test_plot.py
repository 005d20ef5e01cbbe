"""The picture: well-formed, every row in it, larger values higher or longer."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bpfence.bench.plot import svg_report
from bpfence.bench.results import Parameter, Result

SVG = "{http://www.w3.org/2000/svg}"


def flood(subject: str, value: float, **params: Parameter) -> Result:
    return Result("flood", subject, params, "rate", "packets/s", (value,))


def picture(*results: Result) -> ElementTree.Element:
    return ElementTree.fromstring(svg_report(results))


def texts(root: ElementTree.Element) -> list[str]:
    return [item.text or "" for item in root.iter(f"{SVG}text")]


def test_no_results_are_an_empty_picture() -> None:
    assert not texts(picture())


def test_sizes_make_a_curve_and_subjects_without_rules_level_lines() -> None:
    root = picture(flood("linear", 1e6, rules=10), flood("linear", 1e5, rules=100), flood("bare", 2e6))
    (curve,) = root.iter(f"{SVG}polyline")
    (first, second) = (tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split())
    assert first[0] < second[0]
    assert first[1] < second[1], "a smaller value is lower, and y grows downwards"
    level = [
        line for line in root.iter(f"{SVG}line") if line.attrib["y1"] == line.attrib["y2"] and "opacity" in line.attrib
    ]
    assert len(level) == 1
    assert float(level[0].attrib["y1"]) < first[1]
    assert {"linear", "bare", "flood: rate [packets/s]"} <= set(texts(root))


def test_a_decade_is_as_wide_as_the_next() -> None:
    root = picture(*(flood("linear", 1e6, rules=10**power) for power in (1, 2, 3)))
    places = [float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle")]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)


def test_other_results_are_bars_as_long_as_their_values() -> None:
    root = picture(flood("one", 100.0), flood("two", 50.0), flood("three", 0.0))
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect") if "x" in bar.attrib]
    assert widths[1] == pytest.approx(widths[0] / 2, abs=0.1)
    assert widths[2] == 0


def test_only_parameters_that_differ_are_told_apart() -> None:
    root = picture(flood("one", 1.0, keys="hot", family=4), flood("one", 2.0, keys="zipf", family=4))
    assert {"one hot", "one zipf"} <= set(texts(root))


def test_no_text_breaks_the_picture() -> None:
    assert 'a<b>&"c' in texts(picture(flood('a<b>&"c', 1.0)))


def test_charts_do_not_overlap() -> None:
    bars = [flood(f"subject {number}", 1.0) for number in range(40)]
    root = picture(*bars, Result("connect", "none", {}, "roundtrip", "us", (1.0,)))
    tops = [float(group.attrib["transform"].split()[1].rstrip(")")) for group in root.iter(f"{SVG}g")]
    lowest = max(float(text.attrib["y"]) for text in next(root.iter(f"{SVG}g")).iter(f"{SVG}text"))
    assert tops[0] == 0
    assert tops[1] > lowest
    assert float(root.attrib["height"]) > tops[1]
