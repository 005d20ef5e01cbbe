"""YAML events in; one document's data and marks out, under the limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from bpfence.diagnostics import Diagnostics
from bpfence.source.files import FoundFile
from bpfence.source.limits import Limits
from bpfence.source.marks import NEXT, WIDTH, Marks
from bpfence.source.scalars import Ambiguous, resolve_plain
from bpfence.source.stops import StopReading

_CORE = "tag:yaml.org,2002:"
_COLLECTION_TAGS = (None, "!", f"{_CORE}map", f"{_CORE}seq")
_SCALAR_TAGS: Mapping[str, tuple[type, ...]] = {
    f"{_CORE}int": (int,),
    f"{_CORE}float": (float, int),
    f"{_CORE}bool": (bool,),
    f"{_CORE}null": (type(None),),
}
_MOST_REPORTS = 100
_TEXT_TAGS = ("!", f"{_CORE}str")


class _Frame:
    """A mapping or list that is being read. ``key``: the key whose value comes next, None = a key comes next."""

    __slots__ = ("container", "expects_key", "is_mapping", "key", "node", "shadow")

    def __init__(self, container: Any, is_mapping: bool, node: int) -> None:
        self.container = container
        self.is_mapping = is_mapping
        self.node = node
        self.expects_key = is_mapping
        self.key = ""
        self.shadow = False


class YamlBuilder:
    """Takes the events of one file. After a document's end, ``root`` and ``marks`` hold it (None = no content)."""

    def __init__(self, file: FoundFile, diagnostics: Diagnostics, limits: Limits) -> None:
        self.file = file
        self.diagnostics = diagnostics
        self.limits = limits
        self.nodes = 0
        self.alias_nodes = 0
        self.reported = 0
        self.start_document()

    def start_document(self) -> None:
        self.root: Any = None
        self.marks = Marks(self.file)
        self._stack: list[_Frame] = []
        self._frame: _Frame | None = None
        self._end = (0, 0)
        self._anchors: dict[str, tuple[Any, int]] = {}

    def handlers(self) -> Mapping[type, Callable[[Any], None]]:
        """What to call for which type of event."""
        return {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start_mapping,
            yaml.SequenceStartEvent: self._start_list,
            yaml.MappingEndEvent: self._end_container,
            yaml.SequenceEndEvent: self._end_container,
            yaml.AliasEvent: self._alias,
        }

    def _scalar(self, event: Any) -> None:
        frame = self._frame
        node = self._add_node(event)
        if frame is not None and frame.expects_key:
            self._key(event, frame, node)
            return
        value = self._scalar_value(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, node)
        self._put(value)

    def _scalar_value(self, event: Any) -> Any:
        if event.tag is not None:
            return self._tagged(event)
        if event.style:
            return event.value
        value = resolve_plain(event.value)
        if type(value) is not Ambiguous:
            return value
        self._report(
            "SRC013",
            len(self.marks) - 1,
            f"ambiguous number {value.text}: readers of YAML disagree on it",
            f'quote it ("{value.text}") if it is text, or write it as a plain decimal number',
        )
        return value.text

    def _tagged(self, event: Any) -> Any:
        if event.tag in _TEXT_TAGS:
            return event.value
        wanted = _SCALAR_TAGS.get(event.tag)
        if wanted is None:
            raise _stop_at(
                "SRC012", event, f"the tag {event.tag} is not supported", "remove the tag; write plain values"
            )
        value = resolve_plain(event.value)
        if type(value) not in wanted:
            raise _stop_at("SRC012", event, f"{event.value!r} does not fit its tag {event.tag}", "remove the tag")
        return value

    def _key(self, event: Any, frame: _Frame, node: int) -> None:
        key = event.value
        plain = not event.style and event.tag is None
        if plain and key == "<<":
            raise _stop_at(
                "SRC011", event, "merge keys (<<) are not supported", "write the fields out where they are meant"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = (key, node)
        if plain and not isinstance(resolve_plain(key), str):
            self._report_key(key, node)
        frame.expects_key = False
        frame.key = key
        if key in frame.container:
            self._report_duplicate(frame, key, node)

    def _report_key(self, key: str, node: int) -> None:
        self._report("SRC010", node, f"the key {key or 'null'} is not text", f'quote it: "{key}"')

    def _report_duplicate(self, frame: _Frame, key: str, node: int) -> None:
        frame.shadow = True
        # The mapping is still open: let it reach up to here, to find the first key among the nodes so far.
        self.marks.numbers[frame.node * WIDTH + NEXT] = node
        known = dict(zip(frame.container, self.marks.keys(frame.node), strict=False))
        self.marks.shadowed.add(node)
        first = self.marks.span(known[key]) if key in known else self.marks.span(frame.node)
        self._report(
            "SRC009",
            node,
            f"the key {key} is written twice in one mapping, first at {first}",
            "remove one of the two, or join them",
        )

    def _report(self, code: str, node: int, message: str, help_text: str) -> None:
        """A mistake that does not end the file, unless there are very many."""
        self.diagnostics.error(code, self.marks.span(node), message, help_text)
        self.reported += 1
        if self.reported >= _MOST_REPORTS:
            line, column = self.marks.numbers[node * WIDTH], self.marks.numbers[node * WIDTH + 1]
            raise StopReading("SRC005", line, column, f"{_MOST_REPORTS} errors in one file; the rest is not read")

    def _start_mapping(self, event: Any) -> None:
        self._start_container(event, {}, True)

    def _start_list(self, event: Any) -> None:
        self._start_container(event, [], False)

    def _start_container(self, event: Any, container: Any, is_mapping: bool) -> None:
        if self._frame is not None and self._frame.expects_key:
            raise _stop_at("SRC010", event, "the key of a mapping is a mapping or a list", "keys must be text")
        if event.tag not in _COLLECTION_TAGS:
            raise _stop_at("SRC012", event, f"the tag {event.tag} is not supported", "remove the tag")
        if len(self._stack) >= self.limits.depth:
            raise _stop_at("SRC006", event, f"nested deeper than {self.limits.depth} levels")
        node = self._add_node(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (container, node)
        self._put(container)
        self._frame = _Frame(container, is_mapping, node)
        self._stack.append(self._frame)

    def _end_container(self, event: Any) -> None:
        frame = self._stack.pop()
        self._frame = self._stack[-1] if self._stack else None
        start, end = event.start_mark, event.end_mark
        # A block's end event stands before the next token; the block itself ended with its last value.
        if end.column != start.column:
            self._end = (end.line, end.column)
        base = frame.node * WIDTH
        numbers = self.marks.numbers
        if self._end > (numbers[base], numbers[base + 1]):
            numbers[base + 2], numbers[base + 3] = self._end
        numbers[base + NEXT] = len(numbers) // WIDTH

    def _alias(self, event: Any) -> None:
        if self._frame is not None and self._frame.expects_key:
            raise _stop_at("SRC010", event, "the key of a mapping is an alias", "write the key itself")
        if event.anchor not in self._anchors:
            raise _stop_at(
                "SRC008", event, f"the alias *{event.anchor} has no anchor before it", "write the content out"
            )
        value, node = self._anchors[event.anchor]
        if any(frame.node == node for frame in self._stack):
            raise _stop_at(
                "SRC008", event, f"the alias *{event.anchor} stands inside its own anchor", "write the content out"
            )
        size = self.marks.after(node) - node
        self.alias_nodes += size
        self._count(size, event)
        if self.alias_nodes > self.limits.alias_nodes:
            raise _stop_at(
                "SRC008", event, f"aliases expand to more than {self.limits.alias_nodes} values", "write less"
            )
        copy = _copy(value, self.limits.depth - len(self._stack), event)
        self._copy_marks(node, size, event)
        self._put(copy)

    def _copy_marks(self, node: int, size: int, event: Any) -> None:
        numbers = self.marks.numbers
        shift = len(numbers) // WIDTH - node
        part = numbers[node * WIDTH : (node + size) * WIDTH]
        for position in range(NEXT, len(part), WIDTH):
            part[position] += shift
        start, end = event.start_mark, event.end_mark
        part[0], part[1], part[2], part[3] = start.line, start.column, end.line, end.column
        self._end = (end.line, end.column)
        numbers.extend(part)

    def _put(self, value: Any) -> None:
        frame = self._frame
        if frame is None:
            self.root = value
        elif not frame.is_mapping:
            frame.container.append(value)
        else:
            if frame.shadow:
                frame.shadow = False
            else:
                frame.container[frame.key] = value
            frame.expects_key = True

    def _add_node(self, event: Any) -> int:
        self._count(1, event)
        numbers = self.marks.numbers
        node = len(numbers) // WIDTH
        start, end = event.start_mark, event.end_mark
        self._end = (end.line, end.column)
        numbers.extend((start.line, start.column, end.line, end.column, node + 1))
        return node

    def _count(self, number: int, event: Any) -> None:
        self.nodes += number
        if self.nodes > self.limits.yaml_nodes:
            raise _stop_at("SRC007", event, f"more than {self.limits.yaml_nodes} values in one file")


def _copy(value: Any, room: int, event: Any) -> Any:
    """A copy that shares nothing; its depth is bounded by the limit, so the recursion is too."""
    if not isinstance(value, dict | list):
        return value
    if room <= 0:
        raise _stop_at("SRC006", event, "nested too deeply after its aliases are expanded")
    if isinstance(value, list):
        return [_copy(item, room - 1, event) for item in value]
    return {key: _copy(item, room - 1, event) for key, item in value.items()}


def _stop_at(code: str, event: Any, message: str, help_text: str = "") -> StopReading:
    mark = event.start_mark
    return StopReading(code, mark.line, mark.column, message, help_text)
