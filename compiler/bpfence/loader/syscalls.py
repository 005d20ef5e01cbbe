"""The bpf(2) system call: commands and attribute structures in, descriptors and OSError out.

Nothing here knows what bpfence is.
"""

from __future__ import annotations

import ctypes
import os
import platform
from enum import IntEnum
from functools import cache
from typing import Any

from bpfence.errors import FeatureMissing

_CALL_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
}


class Command(IntEnum):
    """Commands of bpf(2), as the kernel numbers them."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26


class MapCreate(ctypes.Structure):
    """Arguments of MAP_CREATE."""

    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * 16),
    )


class MapElement(ctypes.Structure):
    """Arguments of the commands on one element; ``value`` is the next key in MAP_GET_NEXT_KEY."""

    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class MapBatch(ctypes.Structure):
    """Arguments of the batch commands."""

    _fields_ = (
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class ObjectPath(ctypes.Structure):
    """Arguments of OBJ_PIN and OBJ_GET."""

    _fields_ = (
        ("pathname", ctypes.c_uint64),
        ("bpf_fd", ctypes.c_uint32),
        ("file_flags", ctypes.c_uint32),
    )


class ObjectInfo(ctypes.Structure):
    """Arguments of OBJ_GET_INFO_BY_FD."""

    _fields_ = (
        ("bpf_fd", ctypes.c_uint32),
        ("info_len", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
    )


class ProgramLoad(ctypes.Structure):
    """Arguments of PROG_LOAD, as far as these programs need them."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
    )


class ProgramQuery(ctypes.Structure):
    """Arguments of PROG_QUERY.

    INVARIANT: whole, though little of it is used: the kernel writes the revision back whatever size it was given.
    """

    _fields_ = (
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("prog_attach_flags", ctypes.c_uint64),
        ("link_ids", ctypes.c_uint64),
        ("link_attach_flags", ctypes.c_uint64),
        ("revision", ctypes.c_uint64),
    )


class ProgramById(ctypes.Structure):
    """Arguments of PROG_GET_FD_BY_ID and MAP_GET_FD_BY_ID."""

    _fields_ = (
        ("prog_id", ctypes.c_uint32),
        ("next_id", ctypes.c_uint32),
        ("open_flags", ctypes.c_uint32),
    )


class ProgramTestRun(ctypes.Structure):
    """Arguments of PROG_TEST_RUN."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_int32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
    )


class SocketBuffer(ctypes.Structure):
    """``struct __sk_buff`` as a test run takes and gives it; the kernel takes few of its fields, no others."""

    _fields_ = (
        ("len", ctypes.c_uint32),
        ("pkt_type", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("queue_mapping", ctypes.c_uint32),
        ("protocol", ctypes.c_uint32),
        ("vlan_present", ctypes.c_uint32),
        ("vlan_tci", ctypes.c_uint32),
        ("vlan_proto", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
        ("ingress_ifindex", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 37),
    )


Attributes = (
    MapCreate
    | MapElement
    | MapBatch
    | ObjectPath
    | ObjectInfo
    | ProgramLoad
    | ProgramQuery
    | ProgramById
    | ProgramTestRun
)


class BpfCall:
    """bpf(2) bound to the running machine's call number. Making one is cheap; keep it where calls are many."""

    __slots__ = ("_function", "_number")

    def __init__(self) -> None:
        self._function, self._number = _entry(platform.machine())

    def __call__(self, command: int, attributes: Attributes) -> int:
        """Return what the kernel returned (>= 0). Raises OSError with the kernel's errno."""
        result: int = self._function(self._number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


@cache
def _entry(machine: str) -> tuple[Any, ctypes.c_long]:
    """The C library's function, and the call's number on this machine."""
    if machine not in _CALL_NUMBERS:
        raise FeatureMissing(
            f"bpfence does not know the bpf system call of {machine}; {', '.join(_CALL_NUMBERS)} are supported"
        )
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function, ctypes.c_long(_CALL_NUMBERS[machine])


def address_of(buffer: ctypes.Array[ctypes.c_char] | ctypes.Structure) -> int:
    """The address for a pointer field; the caller keeps ``buffer`` alive during the call."""
    return ctypes.addressof(buffer)
