"""The kinds of arrays that normalizers are made of."""

import dask.array as da
import numpy as np

X = np.random.default_rng(0).normal(size=(6, 4)) * 5
KINDS = {
    "numpy": np.asarray,
    "dask": lambda x: da.from_array(x, chunks=(2, 3)),
    "one block": lambda x: da.from_array(x, chunks=-1),
}
