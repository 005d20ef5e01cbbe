import json
from pathlib import Path

from bpfence.cli.printable import printable
from bpfence.cli.render import render_text
from bpfence.cli.render_github import render_github
from bpfence.cli.render_markdown import render_markdown
from bpfence.cli.render_sarif import render_sarif
from bpfence.diagnostics import Diagnostic, Severity
from bpfence.source.spans import Span


def diagnostic(path: str, column: int, end: int, **fields: str) -> Diagnostic:
    severity = Severity(fields.pop("severity", "error"))
    return Diagnostic("K8S001", severity, fields.pop("message", "wrong"), Span(path, 2, column, 2, end), **fields)


def test_text_has_the_line_an_underline_help_and_a_count(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("a: 1\n  port: wrong # x\n")
    items = [
        diagnostic(str(path), 9, 14, help="do it right"),
        diagnostic("gone.yaml", 1, 2, severity="warning", message="odd"),
    ]
    assert render_text(items) == (
        f"{path}:2:9: error[K8S001]: wrong\n"
        "  2 |   port: wrong # x\n"
        "    |         ^^^^^\n"
        "  help: do it right\n"
        "gone.yaml:2:1: warning[K8S001]: odd\n"
        "found 1 error and 1 warning in 2 files"
    )
    assert render_text([]) == ""


def test_underlines_meet_wide_characters_and_tabs(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("\n\t\N{CJK UNIFIED IDEOGRAPH-4E2D}: x\n")
    lines = render_text([diagnostic(str(path), 5, 6)]).split("\n")
    assert lines[2] == "    |     ^".replace("    ^", " " * 5 + "^")


def test_long_lines_are_cut_around_the_place(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("\n" + "x" * 5000 + "HERE" + "y" * 5000)
    lines = render_text([diagnostic(str(path), 5001, 5005)]).split("\n")
    assert max(len(line) for line in lines) < 200
    assert lines[1][lines[2].index("^") :].startswith("HERE")


def test_the_terminal_is_not_steered_by_the_input(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("\na: \x1b[2Jx\u202e\n")
    text = render_text([diagnostic(str(path), 4, 9, message="name \x1b[31m\u202e\r\n\udc80")])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31m\\u202e\\r\\n\\udc80" in text
    assert printable("a\nb", keep_lines=True) == "a\nb"


def test_colour() -> None:
    assert "\x1b[" in render_text([diagnostic("x", 1, 2)], colour=True)


def test_github_escapes_what_could_be_a_command() -> None:
    text = render_github([diagnostic("a,b:c.yaml", 3, 5, message="100%\n::error::x", severity="note")])
    assert text == ("::notice file=a%2Cb%3Ac.yaml,line=2,endLine=2,col=3,endColumn=5,title=K8S001::100%25%0A::error::x")


def test_markdown_escapes_its_own_marks() -> None:
    text = render_markdown([diagnostic("a|b.yaml", 1, 2, message="<img> `x`")])
    assert "| a\\|b.yaml:2 | error | K8S001 | \\<img\\> \\`x\\` |  |" in text


def test_sarif() -> None:
    log = json.loads(render_sarif([diagnostic("a b.yaml", 3, 5, help="do")]))
    (run,) = log["runs"]
    (result,) = run["results"]
    assert log["version"] == "2.1.0"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "K8S001"
    assert result["level"] == "error"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a%20b.yaml"
    assert place["region"] == {"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 5}
