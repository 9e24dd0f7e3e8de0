"""NVIDIA's run-time compiler, which needs no device: what CuPy does with a source, without CuPy."""

from typing import NamedTuple

from cuda.bindings import nvrtc


class Compiled(NamedTuple):
    """What there is of a source."""

    ptx: str
    machine_code: bytes  # empty for a virtual architecture
    log: str


def _checked(result):
    status, *values = result
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, status
    return values[0] if values else None


def compiled(source, options, arch):
    """A source, for a virtual architecture ("compute_80") or a real one ("sm_80")."""
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"dsoftmax.cu", 0, [], []))
    flags = [option.encode() for option in (*options, f"-arch={arch}")]
    status, *_ = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
    log = bytes(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
    _checked(nvrtc.nvrtcGetProgramLog(program, log))
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()[:4000]
    ptx = bytes(_checked(nvrtc.nvrtcGetPTXSize(program)))
    _checked(nvrtc.nvrtcGetPTX(program, ptx))
    machine_code = bytes(_checked(nvrtc.nvrtcGetCUBINSize(program)))
    if machine_code:
        _checked(nvrtc.nvrtcGetCUBIN(program, machine_code))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    return Compiled(ptx.decode("ascii", "replace"), machine_code, log.decode())
