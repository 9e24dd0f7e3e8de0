"""compile: compiled kernels on disk before they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from ._algebra.dtypes import parsed_name
from ._kernels.cpu.block import NAMES
from ._kernels.cpu.compiler import CannotCompileError
from ._kernels.cpu.every import compile_all


def compile(  # noqa: A001  # as re has one
    dtypes: Iterable[Any] = ("float32", "float64"), *, processes: int = 1
) -> int:
    """Compile the kernels for blocks of some dtypes, and keep their code on disk.

    Without this, the first process that needs a kernel compiles it, which takes seconds; many
    workers that start together all do the same work. Once the code is on disk, a process loads a
    kernel in milliseconds. On the command line, this is ``dsoftmax compile``.

    Parameters
    ----------
    dtypes : iterable of dtypes, optional
        The dtypes of the arrays, and of weights and values beside them, as names or dtypes: floats
        of up to 64 bits (bfloat16 included), integers, booleans. The default takes one to three
        minutes of a core.
    processes : int, optional
        The number of processes that compile, each on a core of its own, in about 0.4 GB of memory.
        With the default, this process does it all.

    Returns
    -------
    int
        The number of kernels that are on disk for these dtypes.

    Raises
    ------
    TypeError
        If dtypes is not an iterable of dtypes, or one has no compiled kernels, such as complex
        numbers and longdouble; or if processes is not an integer.
    ValueError
        If processes is less than 1.
    RuntimeError
        If nothing can be compiled here, or the code cannot be kept, since no folder for it can be
        written to. In the second case everything has been compiled, for this process.

    See Also
    --------
    softmax : A function that runs these kernels.

    Notes
    -----
    Code is kept in ``NUMBA_CACHE_DIR`` if that is set, else in the package's ``__pycache__``, else
    in the user's cache directory. It is valid for the processor it was compiled on and the versions
    of Numba, NumPy and dsoftmax; elsewhere it is not used, but compiled again. To compile for
    another processor, set ``NUMBA_CPU_NAME`` to its name in both places.

    An array in memory with fewer than 4096 elements does not wait for a compiler: without code on
    disk it is computed by NumPy, several times slower. Blocks of Dask arrays wait, whatever their
    size, and so do the methods of a `Normalizer` that apply it to data.

    Examples
    --------
    On all workers of a cluster, with its `distributed.Client`::

        client.run(dsoftmax.compile, ["float32"])
    """
    hint = 'give names or dtypes of real numbers of up to 64 bits, such as ("float32", "int16")'
    if isinstance(dtypes, (str, bytes)) or not isinstance(dtypes, Iterable):
        raise TypeError(f"compile: dtypes is {dtypes!r}; {hint}")
    names = []
    for one in dtypes:
        name = parsed_name(one)
        if name not in NAMES:
            raise TypeError(f"compile: dtypes has {one!r}, which has no compiled kernels; {hint}")
        names.append(name)
    if isinstance(processes, bool) or not isinstance(processes, Integral):
        raise TypeError(f"compile: processes is {processes!r}; use an int from 1")
    if processes < 1:
        raise ValueError(f"compile: processes is {processes}; use an int from 1")
    try:
        count, on_disk = compile_all(names, int(processes))
    except CannotCompileError as error:
        raise RuntimeError(
            f"compile: nothing can be compiled here ({error.__cause__!r})"
        ) from error
    if on_disk < count:
        raise RuntimeError(
            f"compile: {count - on_disk} of {count} kernels cannot be kept on disk; set "
            "NUMBA_CACHE_DIR to a folder that can be written to"
        )
    return on_disk
