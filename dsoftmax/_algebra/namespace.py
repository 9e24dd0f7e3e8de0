"""The array-API namespace of arrays."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
from array_api_compat import numpy as _compat

from . import numpy_arrays


def array_namespace(*arrays: Any) -> Any:
    """The namespace of some arrays: that of `array_api_compat`, or `numpy_arrays`.

    Raises
    ------
    TypeError
        If they have none in common.
    """
    for array in arrays:
        if type(array) is not np.ndarray and not isinstance(array, np.generic):
            found = array_api_compat.array_namespace(*arrays)
            return numpy_arrays if found is _compat else found
    return numpy_arrays
