"""Every sample in policies/samples does what the comments at its top say, asked of `explain` and of the evaluator.

``# allow: SRC -> DST proto/port [as NAME]``, ``# deny: ...``, ``# says: CODE`` (each warning and note of
`check`), ``# refused: CODE``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bpfence.cli import run
from bpfence.flows import PROTOCOL_NUMBERS, Flow
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.semantics import ReferenceWorld, decide

FOLDER = Path(__file__).parents[2] / "policies" / "samples"
CLUSTER = str(FOLDER / "cluster.yaml")
SAMPLES = sorted(path for path in FOLDER.glob("*/*.yaml"))
HEADER = re.compile(r"# (allow|deny|says|refused): (.+)")
FLOW = re.compile(r"(\S+) -> (\S+) (\w+)/(\d+)(?: as (\S+))?")


def header(path: Path, *words: str) -> list[tuple[str, str]]:
    """The promises with these words, in order."""
    found = (HEADER.fullmatch(line) for line in path.read_text().splitlines())
    return [(match[1], match[2]) for match in found if match and match[1] in words]


def query(text: str) -> dict[str, object]:
    """A promise about a flow as a line of a batch for `explain`."""
    match = FLOW.fullmatch(text)
    assert match, text
    source, destination, protocol, number, name = match.groups()
    port = "icmp_type" if protocol == "icmp" else "dst_port"
    asked: dict[str, object] = {"src": source, "dst": destination, "protocol": protocol.upper(), port: int(number)}
    return {**asked, "fqdn": name} if name else asked


def flow(asked: dict[str, object]) -> Flow:
    """The same for the evaluator."""
    icmp_type = asked.get("icmp_type")
    return Flow(
        str(asked["src"]),
        str(asked["dst"]),
        PROTOCOL_NUMBERS[str(asked["protocol"])],
        source_port=None if icmp_type is not None else 40000,
        destination_port=asked.get("dst_port"),
        icmp_type=icmp_type,
        icmp_code=None if icmp_type is None else 0,
        fqdn=str(asked.get("fqdn", "")),
    )


WORKING = [path for path in SAMPLES if not header(path, "refused")]
REFUSED = [path for path in SAMPLES if header(path, "refused")]


def names(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", WORKING, ids=names)
def test_explain_keeps_every_promise(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promises = header(path, "allow", "deny")
    assert len(promises) > 1
    batch = tmp_path / "batch"
    batch.write_text("\n".join(json.dumps(query(text)) for _, text in promises))
    run(["explain", str(path), CLUSTER, "--batch", str(batch), "-o", "json"])
    answers = [json.loads(line).get("verdict") for line in capsys.readouterr().out.splitlines()]
    assert list(zip(answers, (text for _, text in promises), strict=True)) == promises


@pytest.mark.parametrize("path", WORKING, ids=names)
def test_the_evaluator_keeps_every_promise(path: Path) -> None:
    loaded = load_input([str(path), CLUSTER])
    loaded.diagnostics.stop_on_errors()
    world = ReferenceWorld(loaded.inventory, loaded.policies, Options())
    for verdict, text in header(path, "allow", "deny"):
        assert decide(world, flow(query(text))).allowed == (verdict == "allow"), text


@pytest.mark.parametrize("path", WORKING, ids=names)
def test_check_says_what_is_promised(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(path), CLUSTER, "-o", "json"]) == 0
    said = {item["code"] for item in json.loads(capsys.readouterr().out)["diagnostics"]}
    assert said == {code for _, code in header(path, "says")}


@pytest.mark.parametrize("path", REFUSED, ids=names)
def test_refused_by_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ((_, code),) = header(path, "refused")
    assert run(["check", str(path), CLUSTER, "-o", "json"]) == 2
    errors = [item for item in json.loads(capsys.readouterr().out)["diagnostics"] if item["severity"] == "error"]
    assert [item["code"] for item in errors] == [code]
    assert errors[0]["path"] == str(path)


def test_every_language_is_there() -> None:
    assert {path.parent.name for path in SAMPLES} == {"calico", "cilium", "kubernetes"}
    assert len(SAMPLES) > 35
