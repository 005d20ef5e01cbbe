import os
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from bpfence.cli import edge, run
from bpfence.diagnostics import Diagnostics
from bpfence.errors import AttachConflict, InputError, UsageError
from bpfence.source.spans import Span


def failing(failure: BaseException | Callable[[], None]) -> click.Group:
    @click.group()
    def root() -> None:
        pass

    @root.command("go")
    def go() -> None:
        if isinstance(failure, BaseException):
            raise failure
        failure()

    return root


def input_error() -> InputError:
    diagnostics = Diagnostics()
    diagnostics.error("SRC001", Span("p.yaml", 1, 1, 1, 1), "bad thing")
    return InputError(diagnostics.sorted())


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (UsageError("no such node"), 2, "error: no such node"),
        (AttachConflict("eth0 is taken"), 3, "error: eth0 is taken"),
        (input_error(), 2, "p.yaml:1:1: error[SRC001]: bad thing\nfound 1 error in 1 file"),
        (click.UsageError("what?"), 2, "what?"),
        (click.FileError("x", "gone"), 2, "gone"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(1), 1, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("text"), 2, "text"),
        (ZeroDivisionError("oops"), 2, "internal error: ZeroDivisionError: oops (set BPFENCE_TRACEBACK=1"),
        (RecursionError(), 2, "internal error"),
        (MemoryError(), 2, "internal error"),
    ],
)
def test_exit_codes(
    failure: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge, "root", failing(failure))
    monkeypatch.delenv(edge.TRACEBACK_VARIABLE, raising=False)
    assert run(["go"]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_traceback_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(edge, "root", failing(ValueError("x")))
    monkeypatch.setenv(edge.TRACEBACK_VARIABLE, "1")
    assert run(["go"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nonsense"]) == 2
    assert run(["check"]) == 2
    assert run(["check", ".", "--engine", "x"]) == 2
    assert "--engine" in capsys.readouterr().err


def test_help_and_version_import_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert run(["--help"]) == 0
    assert "check" in capsys.readouterr().out
    script = "import sys; from bpfence.cli import run; run(['--help']); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_a_reader_that_goes_away_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        ended = subprocess.run(
            [sys.executable, "-m", "bpfence", "--help"], stdout=stdout, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == edge.EXIT_BROKEN_PIPE
    assert ended.stderr == b""
