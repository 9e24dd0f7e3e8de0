"""All CUDA kernels for blocks of any layout, top-k and draws, which tests compile and run."""

from dsoftmax._algebra.dtypes import dtypes_for
from dsoftmax._kernels.cuda.draws import KEYS_KERNEL, MERGE_KERNEL, part_kernel
from dsoftmax._kernels.cuda.exact_source import (
    exact_finish_kernel,
    exact_kernel,
    exact_merge_kernel,
)
from dsoftmax._kernels.cuda.running import PARTS_KERNEL, RESULTS_KERNELS, SUMS_KERNEL
from dsoftmax._kernels.cuda.source import (
    CONTIGUOUS,
    ELEMENTS,
    ITEM,
    KINDS,
    MASKED,
    STRIDED,
    TEAMS,
    TYPED,
    WEIGHTED,
    merge_kernel,
    slices_kernel,
    topk_kernel,
    topk_rows_kernel,
)
from dsoftmax._kernels.modes import APPLY, REDUCE

# Those with kernels of their own, and one of each group that shares them, with its working dtype.
DTYPES = (*zip(TYPED, TYPED, strict=True), ("float16", "float32"), ("int8", "float64"))


def topk_kernels():
    """All kernels for top-k, but for those of one length."""
    kernels = []
    for dtype, teams in TEAMS.items():
        kernels += [topk_rows_kernel(dtype, *team) for team in teams]
        kernels += [topk_kernel(step, dtype) for step in ("part", "merge", "end")]
    return kernels


def draws_kernels():
    """All kernels for draws."""
    return [KEYS_KERNEL, MERGE_KERNEL, *map(part_kernel, ITEM)]


def exact_kernels():
    """All kernels for exact sums."""
    kernels = [
        exact_kernel(dtype, working, masked, mode)
        for dtype, working in DTYPES
        for masked in (False, True)
        for mode in (REDUCE, APPLY)
    ]
    kernels += [exact_merge_kernel(working) for working in TYPED]
    return kernels + [exact_finish_kernel(working) for working in TYPED]


def running_kernels():
    """All kernels for running sums."""
    return [SUMS_KERNEL, PARTS_KERNEL, *RESULTS_KERNELS.values()]


def every_kernel():
    """All kernels that can reach a device, but for those for exact sums."""
    return general_kernels() + topk_kernels() + draws_kernels() + running_kernels()


def general_kernels():
    """Those for blocks of any layout."""
    modes = (REDUCE, APPLY, REDUCE | APPLY)
    kernels = [
        slices_kernel(dtype, dtypes_for(dtype).working, layout, mode)
        for dtype in ELEMENTS
        for layout in (CONTIGUOUS, STRIDED)
        for mode in modes
    ]
    for dtype, working in DTYPES:
        kernels += [slices_kernel(dtype, working, MASKED, mode) for mode in modes]
        kernels.append(slices_kernel(dtype, working, WEIGHTED))
        kernels += [
            slices_kernel(dtype, working, layout, kind=kind)
            for layout in (STRIDED, MASKED)
            for kind in KINDS
            if kind != "plain"
        ]
    kernels += [merge_kernel(working, kind) for working in TYPED for kind in KINDS]
    return kernels
