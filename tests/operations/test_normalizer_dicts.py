"""Normalizers as dicts, through JSON and back."""

import json

import array_api_strict
import dask.array as da
import ml_dtypes
import numpy as np
import pytest

from dsoftmax import Normalizer

from .kinds import X

pytestmark = pytest.mark.expressions


class TestDicts:
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "i4", "c8", "c16", "G", "bfloat16"])
    @pytest.mark.parametrize("axis", [None, 0, 1], ids=str)
    def test_through_json(self, dtype, axis):
        x = X.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        x[0] = np.array([np.inf, -np.inf, 0, 1]) if dtype != "i4" else 0
        empty = Normalizer.of(x[:, :0] if axis == 1 else x[:0], axis=axis)
        for n in (
            Normalizer.of(x, axis=axis),
            empty,
            Normalizer.identity(x.shape, axis),
            Normalizer.identity(x.shape, axis, dtype=x.dtype),
        ):
            text = json.dumps(n.to_dict(), allow_nan=False)
            kept = Normalizer.from_dict(json.loads(text))
            assert kept == n
            assert (kept.axis, kept.dtype, kept.shape) == (n.axis, n.dtype, n.shape)
            assert kept.merge(empty) == n.merge(empty)

    def test_what_is_in_it(self):
        n = Normalizer.of(np.array([[1.0, 2.0], [2.0, np.nan]]), axis=1)
        kept = n.to_dict()
        assert (kept["m"], kept["dtype"]) == ([[2.0], ["nan"]], "float64")
        assert (kept["shape"], kept["axis"], kept["version"]) == ([2, 1], [1], 1)

    def test_of_another_library(self):
        n = Normalizer.of(array_api_strict.asarray(X), axis=0)
        again, right = Normalizer.from_dict(n.to_dict()), Normalizer.of(X, axis=0)
        assert (again.axis, again.dtype) == (right.axis, right.dtype)
        np.testing.assert_array_equal(again.m, right.m)
        np.testing.assert_allclose(again.d, right.d, rtol=1e-15)  # of other kernels

    def test_of_a_lazy_one(self):
        with pytest.raises(TypeError, match=r"lazy; use n.compute\(\).to_dict\(\)"):
            Normalizer.of(da.ones(3)).to_dict()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 2}, "version 2, and this dsoftmax knows 1; upgrade"),
            ({"dtype": "int32"}, r"kept\['dtype'\] is 'int32'; it has to be the name of a float"),
            ({"dtype": "nonsense"}, "'nonsense'; it has to be the name of a float"),
            ({"identity": 1}, "'identity'.* is 1; it has to be True or False"),
            ({"shape": [-1]}, "'shape'.*a list of ints from 0"),
            ({"axis": [2]}, "'axis'.*axes of length 1 of the shape"),
            ({"axis": [1]}, "'axis'.*axes of length 1 of the shape"),
            ({"axis": [0, 0]}, "'axis'.*axes of length 1 of the shape"),
            ({"axis": None}, r"'shape'.* is \[1, 4\]; it has to be \[\], as axis is None"),
            ({"ndim": 1.5}, "'ndim'.*ints from 0"),
            ({"m": [[10**400, 1, 2, 3]]}, r"'m'.*numbers of shape \[1, 4\]"),
            ({"w": [[[1.0, 2.0], 1, 2, 3]]}, r"'w'.*numbers of shape \[1, 4\]"),
            ({"w": [[True, 1, 2, 3]]}, r"'w'.*numbers of shape \[1, 4\]"),
            ({"axis": "0"}, "'axis'.*a list of ints"),
            ({"m": [[1.0, "x"]]}, r"'m'.*numbers of shape \[1, 4\]"),
            ({"w": [1.0]}, r"'w'.*numbers of shape \[1, 4\]"),
            ({"s": None}, r"'s'.* is None; .*numbers of shape"),
        ],
    )
    def test_what_is_none(self, change, message):
        with pytest.raises(ValueError, match=message):
            Normalizer.from_dict(Normalizer.of(X, axis=0).to_dict() | change)

    def test_other_names_of_a_dtype(self):
        kept = Normalizer.of(X, axis=0).to_dict()
        for name in ("f8", "double", "<f8"):
            assert Normalizer.from_dict(kept | {"dtype": name}).dtype == X.dtype

    def test_missing_keys(self):
        kept = Normalizer.of(X).to_dict()
        del kept["w"]
        with pytest.raises(ValueError, match="kept has no 'w'; pass what to_dict returned"):
            Normalizer.from_dict(kept)
        with pytest.raises(TypeError, match="kept is of type list"):
            Normalizer.from_dict([])
