"""Find what the tasks of a graph use: arguments, functions, and what these name in their code.

Nothing is run. ``docs/memory.md`` says what this finds and what it misses.
"""

from __future__ import annotations

import dis
import random
from collections import ChainMap, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from inspect import getattr_static, isfunction, isgetsetdescriptor, ismemberdescriptor, ismethod
from itertools import islice
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from .dask_private import DataNode, Task

_GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_MADE_BY = (np.random.default_rng, np.random.RandomState, np.random.SeedSequence, random.Random)
_UNSEEDED = random.Random(0)  # stands for one that a task makes
_OPAQUE = ("dask.", "torch.")  # their functions reach the whole library: use names only
_MOST, _MOST_PARTS = 512, 64  # most objects inspected, and most parts of one


class Names(tuple[str, ...]):
    """Names of what is used but not inspected: "numpy.linalg.svd", "block.dot", ".dot", "@"."""

    __slots__ = ()


def uses(tasks: Any, seen: dict[Any, Any]) -> list[Any]:
    """The objects that tasks consist of and use, except those in ``seen``; adds them to it."""
    todo = deque([tasks])
    found: list[Any] = []
    while todo and len(found) < _MOST:
        value = todo.popleft()
        # A bound method is a new object at each lookup.
        key = (id(value.__func__), id(value.__self__)) if ismethod(value) else id(value)
        if key not in seen:
            seen[key] = value
            found.append(value)
            todo.extend(islice(_parts(value), _MOST_PARTS))
    return found


def draws(used: Iterable[Any]) -> bool:
    """Whether there is a random generator among what tasks use."""
    return any(isinstance(value, _GENERATORS) for value in used)


def label(function: Any) -> str:
    """The module and name of a function, in Python or compiled; "" for other objects."""
    if isfunction(function):
        return f"{function.__module__}.{function.__qualname__}"
    name, module = static(function, "__name__"), static(function, "__module__")
    return f"{module or ''}.{name}" if isinstance(name, str) else ""


def static(value: Any, name: str) -> Any:
    """An attribute, or None, without running Python code that may compute it."""
    found = getattr_static(value, name, None)
    in_c = ismemberdescriptor(found) or isgetsetdescriptor(found)
    return getattr(value, name, None) if in_c else found


def _parts(value: Any) -> Iterable[Any]:
    """The parts of a value, or the objects that a function uses."""
    if isinstance(value, Task):
        return (value.func, *value.args, *value.kwargs.values())
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, DataNode):
        return (value.value,)
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, (list, tuple, set)) and not isinstance(value, Names):
        return value
    if isfunction(value):
        return _used_by(value)
    if ismethod(value) and isfunction(value.__func__):
        return _used_by(value.__func__, value.__self__)
    if isinstance(value, (type, ModuleType)) or not callable(value):
        return ()
    # An object is called through its class; functions written in C know what they are bound to, and
    # compiled ones what they wrap.
    call = getattr_static(type(value), "__call__", None)
    if isfunction(call):
        return (MethodType(call, value),)
    return (static(value, "__self__"), static(value, "__wrapped__"))


def _used_by(function: FunctionType, owner: Any = None) -> Iterator[Any]:
    """The objects that a Python function carries or its code names; ``owner`` is its ``self``."""
    code = function.__code__
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    cells = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # the cell is not filled yet
            continue
    yield from cells.values()
    if str(function.__module__).startswith(_OPAQUE):
        return
    local = {} if owner is None else dict.fromkeys(code.co_varnames[:1], owner)
    names = ChainMap(local, cells, function.__globals__)
    read = _read(code)
    yield read.names
    for chain, called_empty in read.chains:
        value = root = names.get(chain[0])
        for name in chain[1:]:
            if value is None or isinstance(value, _GENERATORS):
                break
            value = _attribute(value, name)
        if value is None and isinstance(root, ModuleType):  # an attribute loaded on first use
            yield Names([".".join((root.__name__, *chain[1:]))])
        if called_empty and any(value is maker for maker in _MADE_BY):
            yield _UNSEEDED
        # Functions of other modules are not inspected: a library may do anything somewhere.
        inner = value if isfunction(value) or not callable(value) else static(value, "__wrapped__")
        foreign = isfunction(inner) and inner.__globals__ is not function.__globals__
        yield Names([label(value)]) if foreign else value


def _attribute(value: Any, name: str) -> Any:
    """An attribute, without running code that may compute it."""
    if isinstance(value, ModuleType):
        return vars(value).get(name)
    found = getattr_static(value, name, None)
    if isfunction(found) and not isinstance(value, type):
        return MethodType(found, value)
    return getattr(value, name, None) if ismemberdescriptor(found) else found


class _Code(NamedTuple):
    """The names in a code object, including the functions within it.

    ``chains`` are names with attributes, such as ("np", "random", "normal"), and whether the result
    is called without arguments; ``names`` are these, dotted, with imports and "@".
    """

    chains: list[tuple[tuple[str, ...], bool]]
    names: Names


@lru_cache(maxsize=1024)
def _read(code: CodeType) -> _Code:
    chains: list[tuple[tuple[str, ...], bool]] = []
    names: list[str] = []
    chain: tuple[str, ...] = ()
    module = ""
    for instruction in dis.get_instructions(code):
        kind, name = instruction.opname, instruction.argval
        if kind in ("LOAD_ATTR", "LOAD_METHOD"):
            chain = (*(chain or ("",)), name)  # without a name: an attribute of a result
        elif kind not in ("PUSH_NULL", "PRECALL"):
            if chain:
                chains.append((chain, kind == "CALL" and instruction.arg == 0))
            named = kind.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST"))
            chain = (name[-1] if isinstance(name, tuple) else name,) if named else ()
        if kind == "IMPORT_NAME":
            module = name
            names.append(module)
        elif kind == "IMPORT_FROM":
            names.append(f"{module}.{name}")
        elif kind == "BINARY_OP" and instruction.argrepr.startswith("@"):
            names.append("@")
    names.extend(".".join(chain) for chain, _ in chains if len(chain) > 1)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            within = _read(constant)
            chains.extend(within.chains)
            names.extend(within.names)
    return _Code(chains, Names(names))
