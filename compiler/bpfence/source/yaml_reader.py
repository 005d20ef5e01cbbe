"""The text of a YAML file in; plain data with the place of every node, one per document, out.

Built from the event stream, with limits, and without recursion: text can't exhaust the stack or the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from bpfence.diagnostics import Diagnostics
from bpfence.source.files import FoundFile
from bpfence.source.limits import Limits
from bpfence.source.marks import Place
from bpfence.source.spans import Span
from bpfence.source.stops import StopReading
from bpfence.source.yaml_builder import YamlBuilder


def read_yaml(file: FoundFile, text: str, diagnostics: Diagnostics, limits: Limits) -> Iterator[tuple[Any, Place]]:
    """The documents of a YAML stream; ``---`` without content is skipped. Mistakes become diagnostics.

    A mistake of syntax or a limit ends the file; the documents before it are still yielded.
    """
    parser = _new_parser(text)
    builder = YamlBuilder(file, diagnostics, limits)
    try:
        yield from _documents(parser, builder)
    except StopReading as stop:
        span = Span(file.path, stop.line + 1, stop.column + 1, stop.line + 1, stop.column + 2, file.relative)
        diagnostics.error(stop.code, span, stop.message, stop.help_text)
    except yaml.YAMLError as failure:
        _report_syntax(file, text, failure, diagnostics)
    finally:
        parser.dispose()


def _new_parser(text: str) -> Any:
    """libyaml's parser, or the slower one in Python with the same events."""
    return yaml.CSafeLoader(text) if yaml.__with_libyaml__ else yaml.SafeLoader(text)


def _documents(parser: Any, builder: YamlBuilder) -> Iterator[tuple[Any, Place]]:
    next_event = parser.get_event
    handlers = builder.handlers()
    while (event := next_event()) is not None:
        kind = type(event)
        handler = handlers.get(kind)
        if handler is not None:
            handler(event)
        elif kind is yaml.DocumentStartEvent:
            builder.start_document()
        elif kind is yaml.DocumentEndEvent and builder.root is not None:
            yield builder.root, Place(builder.marks, 0, builder.root)
        elif kind is yaml.StreamEndEvent:
            return


def _report_syntax(file: FoundFile, text: str, failure: yaml.YAMLError, diagnostics: Diagnostics) -> None:
    if isinstance(failure, yaml.MarkedYAMLError):
        line, column = _place_of(failure, text)
        problem = failure.problem or str(failure)
    else:
        before = text[: getattr(failure, "position", 0)]
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        problem = str(getattr(failure, "reason", failure))
    span = Span(file.path, line + 1, column + 1, line + 1, column + 2, file.relative)
    diagnostics.error("SRC005", span, f"not valid YAML: {problem}", _syntax_help(problem, text, line))


def _place_of(failure: yaml.MarkedYAMLError, text: str) -> tuple[int, int]:
    """Line and column; at the end of the file there is nothing to see, so there it is where the open part begins."""
    mark = failure.problem_mark or failure.context_mark
    if mark is None:
        return 0, 0
    if failure.context_mark is not None and mark.line >= text.rstrip().count("\n") + 1:
        mark = failure.context_mark
    return mark.line, mark.column


def _syntax_help(problem: str, text: str, line: int) -> str:
    lines = text.split("\n", line + 1)
    written = lines[line] if line < len(lines) else ""
    if "\t" in written and "token" in problem:
        return "YAML is indented with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "check the indentation, and quote a value that holds a colon and a space"
    if "undefined alias" in problem:
        return "quote a value that starts with *"
    return "check indentation, quotes and brackets here and just above"
