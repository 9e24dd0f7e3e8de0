"""NVIDIA's run-time compiler, which needs no device: what CuPy does with a source, without CuPy."""

from cuda.bindings import nvrtc


def _checked(result):
    status, *values = result
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, status
    return values[0] if values else None


def compiled(source, options, arch):
    """PTX for a virtual architecture ("compute_80"), machine code for a real one ("sm_80")."""
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"dsoftmax.cu", 0, [], []))
    flags = [option.encode() for option in (*options, f"-arch={arch}")]
    status, *_ = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
    log = bytes(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
    _checked(nvrtc.nvrtcGetProgramLog(program, log))
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()[:4000]
    real = arch.startswith("sm_")
    size = nvrtc.nvrtcGetCUBINSize if real else nvrtc.nvrtcGetPTXSize
    code = bytes(_checked(size(program)))
    _checked((nvrtc.nvrtcGetCUBIN if real else nvrtc.nvrtcGetPTX)(program, code))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    return code, log.decode()
