"""What the suites of a device share: its arrays, and calls that end when it has finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

from .case import Call, Sides
from .process import imported

SECOND = {"softmax": "rescale", "log-softmax": "log_rescale"}  # passes, and their kernels


def device() -> Any:
    """CuPy, if it finds a device; else ImportError."""
    try:
        import cupy

        why = "" if cupy.cuda.runtime.getDeviceCount() > 0 else "CuPy finds no device"
    except ImportError:
        why = "CuPy is not installed"
    except Exception as error:  # no driver, one that is too old, ...
        why = str(error)
    if why:
        raise ImportError(
            f"{why}; this benchmark needs a CUDA device, and CuPy: pip install '.[gpu]' for CUDA "
            "12, '.[gpu-cuda13]' for CUDA 13"
        )
    return cupy


def block(shape: tuple[int, ...], dtype: str) -> Any:
    """Standard normal numbers on the device."""
    drawn = "float64" if dtype == "float64" else "float32"
    x = device().random.default_rng(0).standard_normal(shape, dtype=drawn)
    return x.astype(dtype, copy=False)


def finished(calls: Mapping[str, Callable[[], Call]], repeat: int) -> Sides:
    """Each call ``repeat`` times in a row, until the device has finished."""
    synchronize = device().cuda.Device().synchronize

    def prepare(make: Callable[[], Call]) -> Call:
        call = make()

        def run() -> Any:
            for _ in range(repeat):
                result = call()
            synchronize()
            return result

        return run

    return {name: partial(prepare, make) for name, make in calls.items()}


def tensor(x: Any) -> Any:
    """The same array, of torch."""
    if not imported("torch.cuda:is_available"):
        raise ImportError("this torch has no CUDA")
    return imported("torch:from_dlpack", x)


def with_torch(name: str, x: Any, axis: int) -> Call:
    return partial(resolve_name(f"torch:{name}"), tensor(x), axis)


def copied(x: Any) -> Call:
    """What a pass is compared with: it reads and writes each element."""
    return partial(device().copyto, device().empty_like(x), x)


def passes(x: Any, axis: int, *second: str) -> dict[str, Callable[[], Call]]:
    """A copy, the state of a block, and some of `SECOND` from that state."""
    from dsoftmax import _kernels

    state = _kernels.of_block(x, (axis,))
    of_state = {
        f"dsoftmax: {name} from a state": partial(
            partial, getattr(_kernels, SECOND[name]), x, state
        )
        for name in second
    }
    first = {"dsoftmax: state": lambda: partial(_kernels.of_block, x, (axis,))}
    return {"copy": lambda: copied(x)} | first | of_state
