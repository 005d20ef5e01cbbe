"""Verdict changes in; a Markdown table for comments on a pull request out."""

from __future__ import annotations

from collections.abc import Iterator

from bpfence.analyse.table_diff import VerdictChanges
from bpfence.analyse.table_groups import ChangeGroup
from bpfence.cli.printable import printable
from bpfence.cli.render_diff import MOST_GROUPS, joined_groups, l4_text

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})
_MOST_PEERS = 4


def markdown_lines(changes: VerdictChanges) -> Iterator[str]:
    """A heading with the counts, and a row per group of changes."""
    added, removed = changes.count("added"), changes.count("removed")
    if not changes:
        yield "### bpfence diff: no verdict changes"
        return
    yield f"### bpfence diff: {added} connection(s) added, {removed} removed"
    yield ""
    yield "| change | from | to | what | before | after |"
    yield "|---|---|---|---|---|---|"
    shown = joined_groups(changes)
    yield from map(_row, shown[:MOST_GROUPS])
    if len(shown) > MOST_GROUPS:
        yield ""
        yield f"... and {len(shown) - MOST_GROUPS} more groups"


def _row(group: ChangeGroup) -> str:
    names = [peer.name for peer in group.others]
    more = f" and {len(names) - _MOST_PEERS} more" if len(names) > _MOST_PEERS else ""
    peers = ", ".join(names[:_MOST_PEERS]) + more
    ends = (group.local, peers) if group.direction == "egress" else (peers, group.local)
    world = " (exposes to the outside)" if any(group.exposes(peer) for peer in group.peers) else ""
    cells = (f"{group.kind}{world}", *ends, l4_text(group.rows), group.before.title, group.after.title)
    return f"| {' | '.join(printable(cell).translate(_SPECIAL) for cell in cells)} |"
