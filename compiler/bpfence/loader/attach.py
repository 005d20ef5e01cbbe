"""Dispatchers on interfaces: who stands at the hooks, what has to be attached or taken off, and doing it so that it
can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter

from bpfence.emit.program import XDP_DISPATCHER
from bpfence.errors import AttachConflict, KernelError
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS, XDP_HOOK, Direction
from bpfence.loader.netlink import (
    ETH_P_ALL,
    FILTER_HANDLES,
    FILTER_NAME,
    FILTER_PRIORITY,
    HOOK_PARENT,
    Filter,
    Netlink,
    XdpProgram,
)
from bpfence.loader.owners import describe_program
from bpfence.loader.programs import Program, program_by_id
from bpfence.loader.tcx import tcx_programs

_ANOTHER = "dispatcher of another bpfence (or of lost pins)"
_TAKE_IT_OFF = "run `bpfence unload` with its --bpffs and --state, or `bpfence unload --force` when they are lost"


@dataclass(frozen=True)
class Hooks:
    """What stands at the clsact hooks of a namespace. ``qdiscs``: interface -> kind at the clsact place."""

    qdiscs: Mapping[int, str]
    filters: tuple[Filter, ...]
    names: Mapping[int, str]
    xdp: tuple[XdpProgram, ...] = ()

    @cached_property
    def _at(self) -> Mapping[int, tuple[Filter, ...]]:
        by_index = groupby(sorted(self.filters, key=attrgetter("index")), attrgetter("index"))
        return {index: tuple(items) for index, items in by_index}

    def at(self, index: int) -> tuple[Filter, ...]:
        """The filters of one interface, in the kernel's order."""
        return self._at.get(index, ())


@dataclass(frozen=True, slots=True)
class Attachment:
    """One dispatcher at one hook."""

    index: int
    direction: Direction


def survey_hooks(netlink: Netlink) -> Hooks:
    """Read every clsact hook of the current namespace."""
    qdiscs = netlink.ingress_qdiscs()
    filters = netlink.filters(*(index for index, kind in sorted(qdiscs.items()) if kind == "clsact"))
    return Hooks(qdiscs, filters, {link.index: link.name for link in netlink.links()}, netlink.xdp_programs())


def own_attachments(hooks: Hooks, programs: Mapping[Direction, int]) -> frozenset[Attachment]:
    """The hooks where our dispatchers decide: the kernel ids of our pinned programs, as they are attached."""
    at_tc = (Attachment(item.index, item.direction) for item in hooks.filters if stands_as_attached(item, programs))
    at_xdp = (Attachment(item.index, XDP_HOOK) for item in hooks.xdp if item.program == programs.get(XDP_HOOK))
    return frozenset((*at_tc, *at_xdp))


def stands_as_attached(item: Filter, programs: Mapping[Direction, int]) -> bool:
    """Whether a filter is the dispatcher of its hook and decides there about every packet: its program alone does not
    say so, for the kernel may not ask it, or not heed what it answers.
    """
    return item.program == programs.get(item.direction) and _holds_its_place(item)


def _holds_its_place(item: Filter) -> bool:
    """Whether a filter is what `dispatcher_filter` makes, with whatever program."""
    return (
        item.direct_action
        and item.in_software
        and (item.kind, item.chain, item.priority, item.protocol) == ("bpf", 0, FILTER_PRIORITY, ETH_P_ALL)
        and item.handle == FILTER_HANDLES[item.direction]
        and item.name == FILTER_NAME[item.direction]
    )


def runs_ours(item: Filter, programs: Mapping[Direction, int]) -> bool:
    """Whether a filter has one of our pinned programs: then it is ours, whatever its name and wherever it stands."""
    return bool(item.program) and item.program in programs.values()


def displaced_filters(hooks: Hooks, programs: Mapping[Direction, int]) -> tuple[Filter, ...]:
    """Filters that run one of our pinned programs and do not stand as we attach them."""
    found = (item for item in hooks.filters if runs_ours(item, programs))
    return tuple(item for item in found if not stands_as_attached(item, programs))


def is_named_ours(item: Filter) -> bool:
    """A bpfence dispatcher by its name: ours, or one of a bpfence with other pins."""
    return item.kind == "bpf" and item.name == FILTER_NAME[item.direction]


def named_attachments(hooks: Hooks) -> frozenset[Attachment]:
    """The hooks where dispatchers of some bpfence stand, by their names."""
    at_tc = (Attachment(item.index, item.direction) for item in hooks.filters if is_named_ours(item))
    at_xdp = (Attachment(item.index, XDP_HOOK) for item in hooks.xdp if _is_xdp_named_ours(item))
    return frozenset((*at_tc, *at_xdp))


def _is_xdp_named_ours(item: XdpProgram) -> bool:
    program = program_by_id(item.program)
    if program is None:
        return False
    with program:
        return program.name == XDP_DISPATCHER


def refuse_conflicts(hooks: Hooks, wanted: Collection[int], programs: Mapping[Direction, int]) -> None:
    """Raise AttachConflict when somebody else's program or qdisc stands where ours would have to."""
    for index in sorted(wanted):
        name = hooks.names.get(index, str(index))
        kind = hooks.qdiscs.get(index, "clsact")
        if kind != "clsact":
            raise AttachConflict(
                f"{name}: a foreign {kind} qdisc stands where clsact has to; both can't be: "
                "remove it, or let its owner use clsact"
            )
        for item in hooks.at(index):
            if not runs_ours(item, programs):
                _refuse_conflict(name, item)
        _refuse_tcx(name, index)


def refuse_xdp_conflicts(hooks: Hooks, wanted: Collection[int], programs: Mapping[Direction, int]) -> None:
    """Raise AttachConflict when somebody else's XDP program stands where ours would have to."""
    for item in hooks.xdp:
        if item.index not in wanted or item.program == programs.get(XDP_HOOK):
            continue
        name = hooks.names.get(item.index, str(item.index))
        if _is_xdp_named_ours(item):
            raise AttachConflict(f"{name}: an XDP {_ANOTHER} is attached (id {item.program}); {_TAKE_IT_OFF}")
        raise AttachConflict(
            f"{name}: a foreign XDP program ({item.mode}; {describe_program(item.program)}) "
            "stands where packets would be dropped before connection tracking (doNotTrack); detach it, or leave "
            "this interface to its owner"
        )


def _refuse_conflict(name: str, item: Filter) -> None:
    if is_named_ours(item):
        raise AttachConflict(f"{name}: a {_ANOTHER} is attached: {item.title}; {_TAKE_IT_OFF}")
    if _holds_our_place(item):
        raise AttachConflict(
            f"{name}: a foreign filter holds the place of the {item.direction} dispatcher: {item.title}; "
            "move it to another preference"
        )


def _holds_our_place(item: Filter) -> bool:
    """All filters of one chain and preference are of one kind and one protocol, or the kernel refuses."""
    if item.chain or item.priority != FILTER_PRIORITY:
        return False
    return item.kind != "bpf" or item.protocol != ETH_P_ALL or item.handle in FILTER_HANDLES.values()


def _refuse_tcx(name: str, index: int) -> None:
    """A tcx program that accepts a packet ends the matter before any tc filter is asked, ours among them."""
    for direction in WORKLOAD_DIRECTIONS:
        programs = tcx_programs(index, direction)
        if programs:
            owners = "; ".join(map(describe_program, programs))
            raise AttachConflict(
                f"{name}: foreign tcx programs ({owners}) stand before the {direction} dispatcher and could "
                "let packets past the policy; detach them, or leave this node's policy to their owner"
            )


def foreign_filters(
    hooks: Hooks, wanted: Collection[int], programs: Mapping[Direction, int] | None = None
) -> tuple[str, ...]:
    """One line for each foreign filter beside ours. ``programs``: ours."""
    ahead = {item for item, _ in filters_ahead(hooks)}
    others = (item for item in hooks.filters if item.index in wanted and not is_named_ours(item))
    foreign = [item for item in others if not runs_ours(item, programs or {})]
    return tuple(
        f"{hooks.names[item.index]}: foreign filter {item.title} stays at the {item.direction} hook, "
        + ("before ours: what it accepts passes unasked" if item in ahead else "behind ours")
        for item in foreign
    )


def filters_ahead(hooks: Hooks) -> tuple[tuple[Filter, Filter], ...]:
    """(foreign filter, dispatcher that is asked after it), at every hook. Ours go ahead of all that are there; who
    joins the same preference later goes ahead of them.

    Packets enter chain 0. Another is reached by a filter of chain 0 alone: who stands there comes after us, unless who
    sends packets there is named here.
    """
    found: list[tuple[Filter, Filter]] = []
    waiting: dict[tuple[int, int], list[Filter]] = {}
    for item in hooks.filters:
        place = (item.index, HOOK_PARENT[item.direction])
        if item.chain:
            continue
        if _holds_its_place(item):
            found += ((one, item) for one in waiting.pop(place, ()))
        else:
            waiting.setdefault(place, []).append(item)
    return tuple(found)


@contextmanager
def replaced_filters(
    netlink: Netlink, displaced: Iterable[Filter], dispatchers: Mapping[Direction, Program], undo: ExitStack
) -> Iterator[None]:
    """Take displaced filters off: those that hold a dispatcher's place before the block, which attaches it, the others
    after it, so that a hook where one of them decides is never without. Each step puts its reverse on ``undo``.
    """
    displaced = tuple(displaced)
    programs = {program.info.id: program.fd for program in dispatchers.values()}
    in_the_way = {item for item in displaced if _holds_our_place(item)}
    for item in displaced:
        if item in in_the_way:
            _replace(netlink, item, programs, undo)
    yield
    for item in displaced:
        if item not in in_the_way:
            _replace(netlink, item, programs, undo)


def _replace(netlink: Netlink, item: Filter, programs: Mapping[int, int], undo: ExitStack) -> None:
    netlink.take_off(item)
    undo.callback(netlink.put_back, item, programs[item.program])


def attach_dispatchers(
    netlink: Netlink,
    missing: Iterable[Attachment],
    hooks: Hooks,
    programs: Mapping[Direction, Program],
    undo: ExitStack,
    record_qdisc: Callable[[int], None],
) -> tuple[str, ...]:
    """Attach what is missing; every step puts its reverse on ``undo``. Returns a line for each interface that takes no
    XDP program.

    ``record_qdisc`` is told of a clsact before it is made, so that a crash
    can't lose whose it is.
    """
    made: set[int] = set()
    without = []
    for item in sorted(missing, key=lambda one: (one.index, one.direction)):
        if item.direction == XDP_HOOK:
            if netlink.attach_xdp(item.index, programs[XDP_HOOK].fd):
                undo.callback(_detach_xdp, netlink, item.index)
            else:
                name = hooks.names.get(item.index, str(item.index))
                without.append(f"{name}: takes no XDP program; doNotTrack policy is enforced at tc there")
            continue
        if item.index not in hooks.qdiscs and item.index not in made:
            record_qdisc(item.index)
            netlink.add_clsact(item.index)
            undo.callback(_remove_unused, netlink, item.index)
            made.add(item.index)
        netlink.add_filter(item.index, item.direction, programs[item.direction].fd)
        undo.callback(netlink.remove_filter, item.index, item.direction)
    return tuple(without)


def _remove_unused(netlink: Netlink, index: int) -> None:
    """A clsact of ours, unless somebody has joined us there meanwhile."""
    if not netlink.filters(index):
        netlink.remove_clsact(index)


def _detach_xdp(netlink: Netlink, index: int) -> None:
    """Whatever the hook's program is: the caller knows it for ours."""
    with _gone_is_fine(netlink, index):
        for item in netlink.xdp_programs():
            program = program_by_id(item.program) if item.index == index else None
            if program is not None:
                with program:
                    netlink.remove_xdp(index, item.mode, program.fd)


def detach_dispatchers(
    netlink: Netlink, items: Iterable[Attachment], our_qdiscs: Collection[int], strays: Iterable[Filter] = ()
) -> tuple[int, ...]:
    """Take dispatchers off, then every clsact of ours that nobody else uses. Returns the interfaces where no clsact of
    ours is any more. ``strays``: filters that go too, wherever they stand.

    An interface that has gone meanwhile took both with it.
    """
    items, strays = tuple(items), tuple(strays)
    if not items and not strays and not our_qdiscs:
        return ()
    for stray in strays:
        with _gone_is_fine(netlink, stray.index):
            netlink.take_off(stray)
    for item in sorted(items, key=lambda one: (one.index, one.direction)):
        if item.direction == XDP_HOOK:
            _detach_xdp(netlink, item.index)
            continue
        with _gone_is_fine(netlink, item.index):
            netlink.remove_filter(item.index, item.direction)
    hooks = survey_hooks(netlink)
    unused = [index for index in our_qdiscs if hooks.qdiscs.get(index) == "clsact" and not hooks.at(index)]
    for index in unused:
        with _gone_is_fine(netlink, index):
            netlink.remove_clsact(index)
    return tuple(index for index in our_qdiscs if index in unused or hooks.qdiscs.get(index) != "clsact")


@contextmanager
def _gone_is_fine(netlink: Netlink, index: int) -> Iterator[None]:
    """Let a refusal pass when the interface itself has gone."""
    try:
        yield
    except KernelError:
        if any(link.index == index for link in netlink.links()):
            raise
