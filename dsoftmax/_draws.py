"""Whether a task can be seen to draw random numbers, which it would not draw again.

A look at the functions of a task and at what they name, without running any: see
``docs/memory.md`` for what this finds and what it does not.
"""

from __future__ import annotations

import dis
import random
from collections import ChainMap, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from inspect import getattr_static, isfunction, ismemberdescriptor, ismethod
from itertools import islice
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from dask._task_spec import DataNode, Task

_GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_MADE_BY = (np.random.default_rng, np.random.RandomState, np.random.SeedSequence, random.Random)
_UNSEEDED = random.Random(0)  # stands for one that a task makes
_MOST, _MOST_PARTS = 256, 64  # how many objects are looked at, and parts of one


def draws(task: Any) -> bool:
    """Whether a task, or a list of what belongs to one, uses a random generator."""
    todo = deque([task])
    seen: dict[int, Any] = {}
    while todo and len(seen) < _MOST:
        value = todo.popleft()
        if isinstance(value, _GENERATORS):
            return True
        if id(value) not in seen:
            seen[id(value)] = value
            todo.extend(islice(_parts(value), _MOST_PARTS))
    return False


def _parts(value: Any) -> Iterable[Any]:
    """What a value consists of, or what a function uses."""
    if isinstance(value, Task):
        return (value.func, *value.args, *value.kwargs.values())
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, DataNode):
        return (value.value,)
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, (list, tuple, set)):
        return value
    if isfunction(value):
        return _used_by(value)
    if ismethod(value) and isfunction(value.__func__):
        return _used_by(value.__func__, value.__self__)
    if isinstance(value, (type, ModuleType)) or not callable(value):
        return ()
    # An object is called by its class; functions written in C know what they are bound to.
    call = getattr_static(type(value), "__call__", None)
    return (MethodType(call, value) if isfunction(call) else getattr(value, "__self__", None),)


def _used_by(function: FunctionType, owner: Any = None) -> Iterator[Any]:
    """What a Python function carries, and what it names: ``owner`` is its ``self``."""
    code = function.__code__
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    cells = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # it is not filled yet
            continue
    yield from cells.values()
    local = {} if owner is None else dict.fromkeys(code.co_varnames[:1], owner)
    names = ChainMap(local, cells, function.__globals__)
    for chain, called_empty in _chains(code):
        value = names.get(chain[0])
        for name in chain[1:]:
            if isinstance(value, _GENERATORS):
                break
            value = _attribute(value, name)
        if called_empty and any(value is maker for maker in _MADE_BY):
            yield _UNSEEDED
        # Functions of other modules are left alone: somewhere a library may draw.
        foreign = isfunction(value) and value.__globals__ is not function.__globals__
        if not foreign:
            yield value


def _attribute(value: Any, name: str) -> Any:
    """An attribute, without running what may compute it."""
    if isinstance(value, ModuleType):
        return vars(value).get(name)
    found = getattr_static(value, name, None)
    if isfunction(found) and not isinstance(value, type):
        return MethodType(found, value)
    return getattr(value, name, None) if ismemberdescriptor(found) else found


@lru_cache(maxsize=1024)
def _chains(code: CodeType) -> list[tuple[tuple[str, ...], bool]]:
    """The names that code uses, with attributes, as ("np", "random", "normal").

    And whether the result is called without arguments.
    """
    chains: list[tuple[tuple[str, ...], bool]] = []
    chain: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        kind, name = instruction.opname, instruction.argval
        if kind in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain = (*chain, name)
        elif kind not in ("PUSH_NULL", "PRECALL"):
            if chain:
                chains.append((chain, kind == "CALL" and instruction.arg == 0))
            named = kind.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST"))
            chain = (name[-1] if isinstance(name, tuple) else name,) if named else ()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            chains.extend(_chains(constant))
    return chains
