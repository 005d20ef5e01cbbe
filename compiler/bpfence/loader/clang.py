"""C text -> BPF instructions, by the compiler inside bcc.

The stub header tree in ``bpf/`` stands in for kernel headers, so none need be installed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bpfence.errors import FeatureMissing, KernelError
from bpfence.resources import resource_dir

BCC_FOLDERS = ("/usr/lib/python3/dist-packages", "/usr/lib/python3/site-packages")
"""Where distributions put bcc. Only the package itself is taken from there, never a neighbour of it."""
HOW_TO_GET_BCC = "install it with `apt-get install python3-bpfcc` (the package called bcc on PyPI is something else)"
_HEADERS = "BCC_KERNEL_SOURCE"
INSTRUCTION = 8


@dataclass(frozen=True, slots=True)
class Instructions:
    """One compiled function; map references in ``code`` are descriptors that are open only inside `compiled`."""

    name: str
    code: bytes


class CompileError(KernelError):
    """The C compiler refused; ``log`` is all it said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


def bcc_library() -> Any:
    """bcc's ctypes handle on libbcc and the libbpf inside it. Raises FeatureMissing when bcc is not installed."""
    try:
        return importlib.import_module("bcc.libbcc").lib if "bcc" in sys.modules else _load_package().lib
    except (ImportError, OSError) as error:
        raise FeatureMissing(f"bcc can't be loaded ({error}); {HOW_TO_GET_BCC}") from error


def _load_package() -> ModuleType:
    """Import the package ``bcc`` from a distribution's folder without putting that folder on the import path."""
    for folder in BCC_FOLDERS:
        package = Path(folder) / "bcc"
        if not (package / "libbcc.py").is_file():
            continue
        spec = importlib.util.spec_from_file_location(
            "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules["bcc"] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules["bcc"]
            raise
        return importlib.import_module("bcc.libbcc")
    raise ImportError(f"not found in {' or '.join(BCC_FOLDERS)}")


@contextmanager
def compiled(
    text: str, functions: Sequence[str], defines: Mapping[str, int | str]
) -> Iterator[tuple[Instructions, ...]]:
    """Compile ``text`` and hold the maps it names open while the block runs.

    ``defines``: macros; a str becomes a C string literal. Nothing of bcc's stays open afterwards. Raises FeatureMissing
    or CompileError.
    """
    library = bcc_library()
    flags = [_define(name, value) for name, value in sorted(defines.items())]
    array = (ctypes.c_char_p * len(flags))(*flags)
    with captured_stderr() as said, _stub_headers():
        module = library.bpf_module_create_c_from_string(text.encode(), 0, array, len(flags), False, None)
    if not module:
        raise CompileError(f"the BPF program does not compile: {_first_error(said)}", "".join(said))
    try:
        yield tuple(_function(library, module, name) for name in functions)
    finally:
        library.bpf_module_destroy(module)


def _function(library: Any, module: int, name: str) -> Instructions:
    start = library.bpf_function_start(module, name.encode())
    if not start:
        raise KernelError(f"the BPF program has no function {name}")
    return Instructions(name, ctypes.string_at(start, library.bpf_function_size(module, name.encode())))


def _define(name: str, value: int | str) -> bytes:
    if isinstance(value, int):
        return f"-D{name}={value}".encode()
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'-D{name}="{quoted}"'.encode()


def _first_error(said: Sequence[str]) -> str:
    """The compiler's first error with the source lines below it."""
    at = next((index for index, line in enumerate(said) if "error" in line), 0)
    return "".join(said[at : at + 3]).strip() or "the compiler said nothing"


@contextmanager
def _stub_headers() -> Iterator[None]:
    before = os.environ.get(_HEADERS)
    os.environ[_HEADERS] = str(resource_dir("bpf") / "stub")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_HEADERS]
        else:
            os.environ[_HEADERS] = before


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Keep what C code writes to descriptor 2 off the terminal; its lines are in the list when the block ends."""
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            lines += sink.read().decode(errors="replace").splitlines(keepends=True)
