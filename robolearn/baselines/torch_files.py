"""Tensors out of files that ``torch.save`` wrote, without running the pickle in them.

Such a file is a zip of raw numbers and of a pickle, which says what lies where. A pickle is a
program; even ``torch.load(weights_only=True)`` executes much of its language, and 300 bytes of
tuples of tuples as a key keep it busy for years. Here only the few instructions are followed that
a dictionary of tensors needs, and what they build is described, never called.
"""

import io
import math
import pickletools
import zipfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn.errors import RobolearnError
from robolearn.files import open_zip, shown

_LARGEST_PROGRAM = 2**20  # bytes; that of a policy has about two thousand
_MOST_AXES = 8
_DICTIONARY = "collections OrderedDict"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_FLOATS = "torch FloatStorage"
_GLOBALS = (_DICTIONARY, _REBUILD, _FLOATS)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PROGRAM_ERRORS = (ValueError, TypeError, LookupError, AttributeError)
"""What comes of programs that are cut, or take from an empty stack."""


@dataclass(frozen=True)
class _Global:
    """Something the program would call; here it is only a name."""

    name: str


class _Storage(NamedTuple):
    """Numbers in the zip."""

    key: str
    length: int


class _Described(NamedTuple):
    """A tensor the program would make."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def stored_member(data: bytes, name: str, where: str) -> bytes:
    """Return what a member of a zip holds.

    Args:
        data: The zip.
        name: The member.
        where: What the zip is called in messages.

    Raises:
        RobolearnError: No zip, no such member, or one that is compressed, encrypted or damaged.
    """
    with open_zip(io.BytesIO(data), len(data), where) as (archive, members):
        if name not in members:
            raise RobolearnError(f"{where} holds no '{name}', but {shown(list(members))}.")
        return archive.read(members[name])


def read_state(data: bytes, where: str) -> dict[str, Tensor]:
    """Return the tensors of a state dictionary by name.

    Args:
        data: What ``torch.save`` wrote.
        where: What it is called in messages.

    Raises:
        RobolearnError: Something else than dense float32 tensors by name, or damaged.
    """
    if not data.startswith(b"PK\x03\x04"):
        raise RobolearnError(
            f"{where} begins with {data[:4]!r}, expected a zip. Files of torch before 1.6 must be "
            "saved anew."
        )
    with open_zip(io.BytesIO(data), len(data), where) as (archive, members):
        root = _root(members, where)
        order = members.get(f"{root}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise RobolearnError(f"{where} must be little-endian.")
        described = _describe(archive.read(members[f"{root}data.pkl"]), where)
        numbers: dict[str, np.ndarray] = {}  # tensors may share theirs, which are read once
        for name, tensor in described.items():
            key, member = tensor.storage.key, members.get(f"{root}data/{tensor.storage.key}")
            if member is None:
                raise RobolearnError(
                    f"{shown(name)} in {where} has its numbers in {shown(key)}, which is missing."
                )
            if key not in numbers:
                numbers[key] = _numbers(archive.read(member), f"{shown(name)} in {where}")
    return {
        name: _tensor(tensor, numbers[tensor.storage.key], f"{shown(name)} in {where}")
        for name, tensor in described.items()
    }


def _numbers(raw: bytes, where: str) -> np.ndarray:
    """Return finite numbers, in memory of their own. Shape (N,), float32."""
    if len(raw) % 4:
        raise RobolearnError(f"{where} has {len(raw):,} bytes, which are no float32.")
    numbers = np.frombuffer(raw, "<f4").astype(np.float32)
    if not np.isfinite(numbers).all():
        raise RobolearnError(f"{where} holds numbers that are not finite.")
    return numbers


def _root(members: dict[str, zipfile.ZipInfo], where: str) -> str:
    """Return the folder in the zip that everything lies in."""
    programs = [name for name in members if name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise RobolearnError(f"{where} must hold one 'data.pkl', got {len(programs)}.")
    length = members[programs[0]].file_size
    if length > _LARGEST_PROGRAM:
        raise RobolearnError(
            f"data.pkl in {where} has {length:,} bytes, expected {_LARGEST_PROGRAM:,} at most."
        )
    return programs[0].removesuffix("data.pkl")


def _describe(program: bytes, where: str) -> dict[str, _Described]:
    """Return the tensors a program would make."""
    try:
        result = _follow(program)
    except _PROGRAM_ERRORS as error:
        raise RobolearnError(f"{where} does not describe tensors: {shown(str(error))}.") from error
    if not isinstance(result, dict):
        raise RobolearnError(f"{where} must hold a dictionary of tensors, got {shown(result)}.")
    for name, tensor in result.items():
        if not isinstance(tensor, _Described):
            raise RobolearnError(f"{shown(name)} in {where} must be a tensor, got {shown(tensor)}.")
    return result


def _follow(program: bytes) -> Any:
    """Return what a program describes.

    Raises:
        ValueError: An instruction that no dictionary of tensors needs.
        LookupError: Too little on the stack, as other errors of programs that are cut or spliced.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memory: dict[Any, Any] = {}
    for instruction, argument, _ in pickletools.genops(program):
        name = instruction.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name == "GLOBAL":
            if argument not in _GLOBALS:
                raise ValueError(f"it asks for {argument}")
            stack.append(_Global(argument))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _TUPLES:
            stack.append(_popped(stack, len(stack) - _TUPLES[name]))
        elif name == "TUPLE":
            stack.append(_popped(stack, marks.pop()))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memory[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memory[argument])
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            function, arguments = _popped(stack, len(stack) - 2)
            stack.append(_called(function, arguments))
        elif name in ("SETITEM", "SETITEMS"):
            items = _popped(stack, marks.pop() if name == "SETITEMS" else len(stack) - 2)
            _put(stack[-1], items)
        elif name == "BUILD":  # versions of the modules, an attribute of the dictionary
            stack.pop()
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise ValueError(f"it has the instruction {name}")
    raise ValueError("it has no end")


def _popped(stack: list[Any], start: int) -> tuple[Any, ...]:
    """Take everything from ``start`` on off the stack."""
    if not 0 <= start <= len(stack):
        raise LookupError("it takes more than there is")
    taken = tuple(stack[start:])
    del stack[start:]
    return taken


def _put(target: Any, items: tuple[Any, ...]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise TypeError("it puts something into what is no dictionary")
    for key, item in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str):  # tuples of tuples take for ever to be hashed
            raise TypeError("it has a key that is no string")
        target[key] = item


def _storage(told: Any) -> _Storage:
    """Return what a reference to numbers in the zip says; where they were does not matter."""
    kind, storage, key, _, count = told
    if kind != "storage" or not isinstance(key, str) or not _is_count(count):
        raise TypeError("it refers to something that is no storage")
    if storage != _Global(_FLOATS):
        raise TypeError("it has tensors that are not float32")
    return _Storage(key, count)


def _called(function: Any, arguments: Any) -> Any:
    """Return what a call would make: a dictionary or a tensor."""
    if function == _Global(_DICTIONARY) and arguments == ():
        return {}
    if function != _Global(_REBUILD):
        raise TypeError("it calls something that makes no tensor")
    storage, offset, shape, stride = arguments[:4]
    if len(shape) > _MOST_AXES or len(stride) > _MOST_AXES:
        raise ValueError(f"it has a tensor of {len(shape)} axes")
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or not all(_is_count(number) for number in numbers):
        raise TypeError("it has a tensor without storage, shape or stride")
    return _Described(storage, offset, tuple(shape), tuple(stride))


def _is_count(given: Any) -> bool:
    return type(given) is int and 0 <= given < 2**48


def _tensor(told: _Described, numbers: np.ndarray, where: str) -> Tensor:
    """Return a tensor, after holding what is told of it against the bytes that are there."""
    storage, offset, shape, stride = told
    if 0 in shape:
        raise RobolearnError(f"{where} has the shape {shown(shape)}, expected something in it.")
    dense = tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))
    if stride != dense:
        raise RobolearnError(f"{where} has stride {shown(stride)}, expected {dense}.")
    if offset or not storage.length == math.prod(shape) == len(numbers):
        raise RobolearnError(
            f"{where} has the shape {shape}, from {offset:,} on in {storage.length:,} numbers, "
            f"expected it to be all of the {len(numbers):,} there are."
        )
    return torch.from_numpy(numbers.reshape(shape))
