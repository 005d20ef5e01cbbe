"""Artefacts tried one after the other in one process."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from bpfence.emit.artefact import Artefact
from bpfence.loader.trial import trial
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact

pytestmark = pytest.mark.kernel

INPUT = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: n1, containers: [{name: web, image: web}]}
status: {phase: Running, podIP: 10.1.0.5}
"""


def reshaped(artefact: Artefact, number: int) -> Artefact:
    """The same programs and tables under another shape's hash, so that they are loaded anew."""
    shape = sha256(str(number).encode()).hexdigest()
    return replace(artefact, manifest=artefact.manifest.model_copy(update={"shape": shape, "content": shape}))


def test_trials_of_other_shapes_leave_no_descriptor_open(kernel: None, tmp_path: Path) -> None:
    (tmp_path / "input.yaml").write_text(INPUT)
    artefact = compile_artefact(load_input([str(tmp_path)]), Options(node="n1"))
    with trial(artefact.programs["dispatcher.c"]) as place:
        counts = []
        for number in range(4):
            place.use(reshaped(artefact, number))
            counts.append(len(os.listdir("/proc/self/fd")))
    assert len(set(counts)) == 1
