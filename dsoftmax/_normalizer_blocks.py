"""Align the states of a lazy normalizer with the blocks of arrays or of other states.

Reduced axes have one block of length 1. Along the others, states are rechunked to match if all
lengths are known. If lengths are unknown but both have the same number of blocks, these are assumed
to agree, and compared on the worker. Otherwise the states are gathered into one block, from which
each block of an array takes its part; they are small, three numbers per slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import dask.array as da
import numpy as np

from ._algebra.dtypes import accumulator_dtype, dtype_name, result_dtype
from ._algebra.moments import Moments, undefined_if_empty
from ._algebra.moments import merge as merge_moments
from ._algebra.normalizer import State, as_dtypes
from ._algebra.states import copied, joined, unwrap_scalar
from ._engine import applied
from ._graph.alignment import check_blocks
from ._graph.choose import Reread
from ._graph.stage import Stage
from ._graph.tree import Axes, map_blocks
from ._kernels import exact, log_rescale, merge, rescale
from ._reread import second_read

Kept = Any  # a State; with statistics, Moments; or Exact

Along = tuple[float, ...]  # the lengths of blocks along one axis, nan where unknown
Chunks = tuple[Along, ...]


def merged_blocks(
    parts: Sequence[Kept | da.Array], lengths: Sequence[float], result: str, kind: type[Kept]
) -> da.Array:
    """The merged states of several normalizers, some of them lazy, for results of dtype ``result``.

    ``kind`` is that of all states. ``lengths`` are theirs along each axis, nan where none is known.
    """
    chunks = merged_chunks([part.chunks for part in parts if isinstance(part, da.Array)], lengths)
    stage = Stage("softmax-merge", union, accumulator_dtype(result), result=result)
    blocks = [
        cut_anew(part, chunks, kind)
        if isinstance(part, da.Array)
        else from_memory(part, chunks, result)
        for part in parts
    ]
    pairs = zip(blocks[0].chunks, chunks, strict=True)
    known = {i: new for i, (own, new) in enumerate(pairs) if _unknown(own) and not _unknown(new)}
    index = tuple(range(len(chunks)))
    return da.blockwise(
        stage,
        index,
        *(item for block in blocks for item in (block, index)),
        dtype=stage.dtype,
        adjust_chunks=known,
        align_arrays=False,
    )


def rescaled_blocks(
    name: str,
    function: str,
    kernel: Callable[[Any, State], Any],
    x: Any,
    states: Kept | da.Array,
    axes: Axes,
    reread: Reread,
    kind: type[Kept],
) -> da.Array:
    """Apply a kernel to the blocks of x and the states of their slices along ``axes``.

    ``function`` is what the user called; ``name`` is the prefix of the task names.
    """
    if not isinstance(x, da.Array):
        x = da.from_array(x, _chunks_for(x.shape, states, axes))
    if not isinstance(states, da.Array):
        own = enumerate(x.chunks if states.m.ndim else ())
        chunks = tuple((1,) if i in axes else c for i, c in own)
        blocks = from_memory(states, chunks, dtype_name(x.dtype))
    else:
        blocks = states
    blocks, starts = beside(blocks, x, axes, kind) if blocks.ndim else (blocks, {})
    if starts or isinstance(states, da.Array):
        x = second_read(function, x, blocks, (*axes, *starts), reread)
    dtype = result_dtype(x)
    stage = Stage(
        f"{name}-rescale",
        applied,
        dtype,
        masks=True,
        kernel=kernel,
        axes=axes,
        function=function,
        result=dtype_name(dtype),
        parts=tuple(starts),
    )
    index = tuple(range(x.ndim))
    pairs = [(x, index), (blocks, index[: blocks.ndim]), *((s, (i,)) for i, s in starts.items())]
    return da.blockwise(stage, index, *chain(*pairs), dtype=stage.dtype, align_arrays=False)


def softmax_by(x: Any, state: Any) -> Any:
    """The softmax of a block by the states of its slices; NaN where these are of nothing."""
    return rescale(x, undefined_if_empty(state))


def log_softmax_by(x: Any, state: Any) -> Any:
    """Its logarithm."""
    return log_rescale(x, undefined_if_empty(state))


def _chunks_for(shape: tuple[int, ...], states: Any, axes: Axes) -> Chunks:
    """Chunks for an array in memory used with lazy states: theirs, where the lengths are known."""
    chunks = states.chunks or ((1,),) * len(shape)
    pairs = enumerate(zip(shape, chunks, strict=True))
    return tuple((n,) if i in axes or _unknown(along) else along for i, (n, along) in pairs)


def from_memory(state: Kept, chunks: Chunks, result: str) -> da.Array:
    """States in memory as blocks of these chunks; one block where the lengths are unknown."""
    shape = state.m.shape
    chunks = tuple(
        (n,) if _unknown(along) else along for n, along in zip(shape, chunks, strict=True)
    )
    fields = [da.from_array(_lasting(field), chunks=chunks) for field in state]
    return map_blocks(Stage("normalizer-state", type(state), accumulator_dtype(result)), *fields)


def cut_anew(states: da.Array, chunks: Chunks, kind: type[Kept]) -> da.Array:
    """States rechunked to these chunks, or gathered where lengths are unknown."""
    pairs = list(enumerate(zip(states.chunks, chunks, strict=True)))
    known = {i: new for i, (own, new) in pairs if not (_unknown(own) or _unknown(new))}
    unlike = {
        i: sum(new)
        for i, (own, new) in pairs
        # Also a single block of unknown length, to compare it with a known one.
        if i not in known and (len(own) != len(new) or (len(own) == 1 and _unknown(own)))
    }
    if unlike:
        states = gathered(states, unlike)
    if all(states.chunks[i] == new for i, new in known.items()):
        return states
    fields = (
        map_blocks(Stage(f"normalizer-{name}", field_of, states.dtype, field=name), states)
        for name in kind._fields
    )
    cut = [one.rechunk(known) for one in fields]
    return map_blocks(Stage("normalizer-state", kind, states.dtype), *cut)


def gathered(states: da.Array, lengths: dict[int, Any]) -> da.Array:
    """Gather states into one block along the axes of ``lengths``: numbers, nan or 0-d arrays."""
    axes = tuple(lengths)
    known = {i: n for i, n in lengths.items() if not isinstance(n, da.Array)}
    measured = [i for i in axes if i not in known]
    stage = Stage(
        "normalizer-gather", _gathered, states.dtype, axes=axes, known=known, measured=measured
    )
    index = tuple(range(states.ndim))
    label = {i: states.ndim + i for i in axes}  # not that of the gathered axis
    out = tuple(label.get(i, i) for i in index)
    others = [item for i in measured for item in (lengths[i], ())]
    new = {label[i]: (known.get(i, math.nan),) for i in axes}
    return da.blockwise(
        stage,
        out,
        *(states, index, *others),
        dtype=states.dtype,
        new_axes=new,
        align_arrays=False,
    )


def merged_chunks(parts: Sequence[Chunks], lengths: Sequence[float]) -> Chunks:
    """The chunks of merged lazy states; ``lengths`` are their lengths, nan where unknown."""
    chunks = []
    for several, length in zip(zip(*parts, strict=True), lengths, strict=True):
        first = several[0]
        known = next((along for along in several if not _unknown(along)), None)
        if known and (len({*map(len, several)}) == 1 or not any(map(_unknown, several))):
            chunks.append(known)
        elif len({*map(len, several)}) == 1 and math.isnan(length):
            chunks.append(first)
        else:  # gathered; also compares a known length with many unknown blocks
            chunks.append((length,))
    return tuple(chunks)


def beside(
    states: da.Array, x: da.Array, axes: Axes, kind: type[Kept]
) -> tuple[da.Array, dict[int, da.Array]]:
    """States cut as x where it was not reduced, and along which axes each block takes its part.

    The latter map to the starts of the parts, as arrays with one block per block of x.
    """
    chunks, lengths = list(x.chunks), {}
    for i, (own, new) in enumerate(zip(states.chunks, x.chunks, strict=True)):
        if i in axes:
            chunks[i] = (1,)
        elif len(own) != len(new) > 1 and (_unknown(own) or _unknown(new)):
            chunks[i] = own
            lengths[i] = _lengths(x, i)
    states = cut_anew(states, tuple(chunks), kind)
    if lengths:
        states = gathered(states, {i: along.sum() for i, along in lengths.items()})
    return states, {i: da.cumsum(along, axis=0) - along for i, along in lengths.items()}


def _lengths(x: da.Array, axis: int) -> da.Array:
    """The lengths of the blocks of x along an axis, with one length in each block."""
    along = x.chunks[axis]
    if not _unknown(along):
        return da.from_array(np.array(along), chunks=1)
    first = x.blocks[tuple(slice(None) if i == axis else 0 for i in range(x.ndim))]
    stage = Stage("softmax-lengths", _length, np.int64, axis=axis).in_lists(x.ndim - 1)
    return da.blockwise(
        stage,
        (axis,),
        *(first, range(x.ndim)),
        dtype=stage.dtype,
        meta=np.empty(0, stage.dtype),
        adjust_chunks={axis: 1},
        align_arrays=False,
    )


def _unknown(along: Along) -> bool:
    return any(map(math.isnan, along))


def _lasting(x: Any) -> Any:
    """x as Dask holds it: a CuPy array stays on its device, others become NumPy arrays."""
    return x if hasattr(x, "__array_function__") else np.asarray(x)


# Called by stages: module-level functions, so that keys are deterministic.


def field_of(state: Kept, field: str) -> Any:
    """A field, which shares no memory with states that Dask may hold."""
    state = state if hasattr(state, field) else exact.finish(state)
    return unwrap_scalar(copied(getattr(state, field)))


def _gathered(
    blocks: Any, *lengths: Any, axes: Axes, known: dict[int, float], measured: list[int]
) -> Kept:
    state = joined(blocks, axes)
    for i, n in {**known, **dict(zip(measured, map(int, lengths), strict=True))}.items():
        found = state.m.shape[i]
        if found != n and not math.isnan(n):
            raise ValueError(
                f"a normalizer of {found} slices along axis {i} meets an array, or another "
                f"normalizer, of {n}; use it with data of the same slices"
            )
    return state


def _length(block: Any, axis: int) -> np.ndarray:
    return np.array([np.shape(block)[axis]])


def union(*states: Kept, result: str) -> Kept:
    """The state of all together, in the dtypes that states for results of that dtype have."""
    shapes = (tuple(state.m.shape) for state in states)
    blocks = {f"normalizer {i}": (shape, ()) for i, shape in enumerate(shapes, start=1)}
    check_blocks("Normalizer.merge", blocks)
    if isinstance(states[0], exact.KINDS):
        return exact.as_dtype(exact.merge(*states), result)
    merged = merge_moments(*states) if isinstance(states[0], Moments) else merge(*states)
    return as_dtypes(merged, result)
