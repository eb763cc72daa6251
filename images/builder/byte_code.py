"""Checks Python's byte code, which is what runs: the interpreter does not look at the sources.

The build compiles with ``unchecked-hash``, so a changed ``.pyc`` is used though its source is as
locked. The header's fields are those of PEP 552: magic number, flags, 64-bit hash of the source.
"""

from __future__ import annotations

import importlib.util
import marshal
import platform
import re
import struct
import sys
import warnings
from dataclasses import dataclass, field
from types import CodeType

from images.builder.tree import File, Tree

_NAME = re.compile(r"(?P<stem>.+)\.cpython-311(?:\.opt-[12])?\.pyc")
_PYTHON = (3, 11)
"""Python of the images, for which the lock's wheels are chosen."""
_HEADER = struct.Struct("<4sI8s")
_MAGIC = (3495).to_bytes(2, "little") + b"\r\n"
"""Magic number of 3.11, from CPython's ``importlib/_bootstrap_external.py``."""
_BY_TIME, _BY_HASH, _BY_HASH_CHECKED = 0b00, 0b01, 0b11


def can_compile() -> bool:
    """Whether the Python that runs this compiles as the image's does."""
    return sys.version_info[:2] == _PYTHON and importlib.util.MAGIC_NUMBER == _MAGIC


@dataclass
class ByteCode:
    """What was found.

    Attributes:
        count: files that were looked at.
        problems: files that are certainly not their sources'.
        unsure: files whose body could not be compared with this Python: it cannot compile as the
            image's does, or is another patch release, which compiles some functions otherwise.
    """

    count: int = 0
    problems: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


def compare_byte_code(tree: Tree, first_layer: int, python: str) -> ByteCode:
    """Compare byte code with what its source compiles to, in layers from ``first_layer`` on.

    ``tree`` was read with ``byte_code=True``; ``python`` is the image's version, such as 3.11.2,
    or empty when it is not known.
    """
    found = ByteCode()
    for path, file in sorted(tree.files.items()):
        folder, _, name = path.rpartition("/")
        if file.layer < first_layer or file.kind == "folder" or not name.endswith(".pyc"):
            continue
        found.count += 1
        try:
            problem = _problem(tree, folder, name, file)
        except _BodyError as error:
            same = can_compile() and python == platform.python_version()
            (found.problems if same else found.unsure).append(f"{path} {error}")
        else:
            if problem:
                found.problems.append(f"{path} {problem}")
    return found


class _BodyError(Exception):
    """A body that is not what this Python makes of the source."""


def _problem(tree: Tree, folder: str, name: str, file: File) -> str | None:
    match = _NAME.fullmatch(name)
    parent, _, last = folder.rpartition("/")
    if match is None or last != "__pycache__":
        return "is byte code that stands beside no source"
    source = tree.resolve(f"{parent}/{match['stem']}.py")
    if source is None or source.content is None:
        return "has no source"
    if file.kind != "file" or file.content is None or len(file.content) < _HEADER.size:
        return "is no byte code"
    problem = _header_problem(file.content, source.content)
    if problem:
        return problem
    if not can_compile():
        raise _BodyError("cannot be compared without Python 3.11")
    optimize = int(name[-5]) if ".opt-" in name else 0
    return _body_problem(file.content[_HEADER.size :], source.content, optimize)


def _header_problem(content: bytes, source: bytes) -> str | None:
    magic, flags, digest = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        return "is of another Python than 3.11"
    # compileall writes its own modules' byte code by time, when it is started; those are stale in
    # a layer, as a rule, but nothing here relies on that: the body is compared.
    if flags not in (_BY_TIME, _BY_HASH, _BY_HASH_CHECKED):
        return "has flags that Python 3.11 does not know"
    if flags != _BY_TIME and digest != importlib.util.source_hash(source):
        return "was compiled from another source"
    return None


def _body_problem(body: bytes, source: bytes, optimize: int) -> str | None:
    try:
        # Nothing that is read here is ever run.
        actual = marshal.loads(body)  # noqa: S302
    except (ValueError, EOFError, TypeError) as error:
        return f"cannot be read: {error}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = compile(source, "", "exec", dont_inherit=True, optimize=optimize)
    except (SyntaxError, ValueError, RecursionError) as error:
        return f"stands beside a source that does not compile: {error}"
    if not _same(actual, expected):
        raise _BodyError("is not what its source compiles to")
    return None


def _same(one: object, other: object) -> bool:
    """Whether two code objects or constants do the same.

    Line tables are left out: patch releases differ in them, and they only number lines.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return _outline(one) == _outline(other) and _same(one.co_consts, other.co_consts)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float | complex):
        # Tells -0.0 from 0.0, and nan equals nan.
        return repr(one) == repr(other)
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return one == other and sorted(map(repr, one)) == sorted(map(repr, other))
    return one == other


def _outline(code: CodeType) -> tuple[object, ...]:
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_name,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_stacksize,
        code.co_exceptiontable,
    )
