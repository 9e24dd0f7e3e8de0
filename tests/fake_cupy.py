"""A module like CuPy whose device is NumPy's memory behind a wall, with `Emulator` to run kernels.

Its arrays are not NumPy's, and as with CuPy's everything that would copy one to the host by itself
is a TypeError, as is a NumPy array where one of the device's is wanted.  What is asked for aloud,
`asnumpy` and the like, is counted.  Functions have CuPy's parameters where these are fewer.
"""

import ctypes
import math
import operator
import os
import sys
import tempfile
import types
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from dask.array.chunk_types import register_chunk_type

from dsoftmax._kernels.cuda import device, draws, exact_source, quick, quick_topk, running
from dsoftmax._kernels.cuda import source as cuda_source

CALLS = {"Rows": cuda_source.ROWS, "TopK": cuda_source.TOPK, "TopKEnd": cuda_source.TOPK_END}
CALLS |= {"Keys": draws.KEYS, "Draws": draws.DRAWS, "Run": running.RUN}
CALLS |= {"Call": cuda_source.CALL, "Merge": cuda_source.MERGE, "Union": cuda_source.UNION}
CALLS |= {"ExactMerge": exact_source.MERGE, "ExactFinish": exact_source.FINISH}

transfers = []  # to the host


class Device:
    def __init__(self, number=0):
        self.id = number

    compute_capability = "80"
    attributes = {  # noqa: RUF012
        "MultiProcessorCount": 2,
        "L2CacheSize": 1 << 20,
        "MaxSharedMemoryPerBlockOptin": 223 << 10,
    }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class MemoryPointer:
    def __init__(self, memory):
        self.bytes = memory

    def __add__(self, offset):
        return MemoryPointer(self.bytes[offset:])


class ndarray:
    """Memory of the device."""

    __module__ = "cupy"
    __array_priority__ = 100

    def __new__(cls, shape, dtype=float, memptr=None):
        if memptr is None:
            return _array(np.empty(shape, dtype))
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        return _array(memptr.bytes[:nbytes].view(dtype).reshape(shape))

    def __array__(self, *_, **__):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__":
            return NotImplemented
        return _on_device(ufunc)(*inputs, **kwargs)

    def __array_function__(self, function, types_, args, kwargs):
        return getattr(sys.modules["cupy"], function.__name__)(*args, **kwargs)

    device = Device()
    data = property(
        lambda self: types.SimpleNamespace(
            ptr=self._host.__array_interface__["data"][0], device_id=0
        )
    )

    def get(self):
        transfers.append(self.shape)
        return self._host.copy()

    def item(self):
        transfers.append(self.shape)
        return self._host.item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.item())

    def __dask_tokenize__(self):
        return (self.shape, self.dtype.str, self._host.tobytes())

    def __int__(self):
        return int(self.item())

    def __len__(self):
        return len(self._host)

    def __repr__(self):
        return f"cupy.{self._host!r}"


def _array(host):
    array = object.__new__(ndarray)
    array._host = np.asarray(host)
    return array


def _inside(x):
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, (list, tuple)):
        return type(x)(map(_inside, x))
    return {k: _inside(v) for k, v in x.items()} if isinstance(x, dict) else x


def _outside(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return _array(x)
    return tuple(map(_outside, x)) if isinstance(x, tuple) else x


def _on_device(function):
    def call(*args, **kwargs):
        with np.errstate(all="ignore"):  # a device does not warn
            return _outside(function(*_inside(args), **_inside(kwargs)))

    return call


for _name in ("shape", "ndim", "size", "dtype", "strides", "itemsize", "nbytes", "flags"):
    setattr(ndarray, _name, property(operator.attrgetter(f"_host.{_name}")))
for _name in ("T", "real", "imag"):
    setattr(ndarray, _name, property(lambda self, name=_name: _array(getattr(self._host, name))))
_METHODS = """
    astype reshape transpose sum max min any all copy ravel squeeze argsort view
    __getitem__ __setitem__ __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__
    __rtruediv__ __floordiv__ __mod__ __pow__ __neg__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__
    __and__ __or__ __invert__ __abs__
"""
for _name in _METHODS.split():
    setattr(ndarray, _name, _on_device(getattr(np.ndarray, _name)))


def _asarray(x, dtype=None, copy=None):
    return _array(np.array(x._host if isinstance(x, ndarray) else x, dtype))


def _alloc(nbytes):
    return MemoryPointer(np.full(nbytes, 77, "u1"))


def _asnumpy(x, **_):
    return x.get()


def _sort_like(function):
    def call(a, axis=-1, kind=None):
        assert kind in (None, "stable")
        return _on_device(function)(a, axis=axis, kind="stable")

    return call


def module(emulator):
    """The module, whose kernels ``emulator`` runs."""
    cupy = types.ModuleType("cupy")
    for name in dir(np):
        value = getattr(np, name)
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        plain = isinstance(value, type) or not callable(value)
        setattr(cupy, name, value if plain else _on_device(value))

    class RawKernel:
        def __init__(self, code, name):
            self.source = cuda_source.Kernel(name, code.splitlines()[-1])
            assert code == cuda_source.source([self.source])
            functions.append(self)
            self.kernel = types.SimpleNamespace(ptr=len(functions))

        def __call__(self, grid, block, args, *, shared_mem=0):
            (threads,), (call,) = block, args
            assert shared_mem <= 48 << 10 or shared_mem == self.max_dynamic_shared_size_bytes
            emulator.launch(self.source, None, grid, threads, call, shared_mem)

    def launch_kernel(handle, x, y, z, threads, *others):
        """As the driver does it: arguments by their addresses, in an array of these."""
        *ones, shared_bytes, stream, arguments, extra = others
        assert (z, *ones, stream, extra) == (1, 1, 1, 7, 0)
        function = functions[handle - 1]
        call = np.empty(1, CALLS[function.source.argument])
        address = ctypes.c_uint64.from_address(arguments).value
        ctypes.memmove(call.ctypes.data, address, call.nbytes)
        function((x, y), (threads,), (call,), shared_mem=shared_bytes)

    class RawModule:
        def __init__(self, *, path):
            self.code = Path(path).read_text(encoding="utf-8")

        def get_function(self, name):
            return RawKernel(self.code, name)

    def compile_using_nvrtc(code, options):
        assert options == cuda_source.Kernel("", code.splitlines()[-1]).options
        return code.encode(), {}

    functions = []
    driver = types.SimpleNamespace(launchKernel=launch_kernel)
    cupy.ndarray, cupy.RawModule = ndarray, RawModule
    cupy.asarray = cupy.array = _asarray
    cupy.asnumpy = _asnumpy
    cupy.sort, cupy.argsort = _sort_like(np.sort), _sort_like(np.argsort)
    cupy.count_nonzero = lambda a, axis=None: _on_device(np.count_nonzero)(a, axis=axis)
    cupy.where = lambda condition, x, y: _on_device(np.where)(condition, x, y)
    runtime = types.SimpleNamespace(is_hip=False, getDevice=lambda: 0)
    runtime.getDeviceProperties = lambda device: {"totalGlobalMem": 16 << 30}
    device = types.SimpleNamespace(Device=Device)
    cupy.cuda = types.SimpleNamespace(Device=Device, device=device, runtime=runtime, alloc=_alloc)
    cupy.cuda.driver = driver
    cupy.cuda.nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 0))
    cupy.cuda.compiler = types.SimpleNamespace(compile_using_nvrtc=compile_using_nvrtc)
    cupy.cuda.get_current_stream = lambda: types.SimpleNamespace(ptr=7)
    cupy.linalg, cupy.fft = np.linalg, np.fft
    return cupy


def forget():
    """Whatever `dsoftmax` knows of a device."""
    device._compiled.clear()
    device.properties_of.cache_clear()
    device._able.cache_clear()
    quick.forget()
    quick_topk.forget()


@contextmanager
def installed(emulator):
    """The module as ``import cupy`` finds it; a real one is put aside."""
    real = _taken_out()
    cupy = sys.modules["cupy"] = module(emulator)
    sys.modules |= {"cupy.cuda": cupy.cuda, "cupy.cuda.device": cupy.cuda.device}
    sys.modules |= {"cupy.linalg": np.linalg, "cupy.fft": np.fft}
    register_chunk_type(ndarray)
    forget()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.dict(os.environ, {"CUPY_CACHE_DIR": folder}),
        ):
            yield cupy
    finally:
        forget()
        _taken_out()
        sys.modules.update(real)


def _taken_out():
    names = [name for name in sys.modules if "cupy" in name.split(".")]
    return {name: sys.modules.pop(name) for name in names}
