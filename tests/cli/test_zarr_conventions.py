"""Zarr arrays as xarray writes them: packed numbers, missing ones, names and attributes."""

import base64
import math
import pickle
import struct

import dask.array as da
import numpy as np
import pytest
import zarr

from dsoftmax.cli.destination import Destination
from dsoftmax.cli.formats import open_source
from dsoftmax.cli.npy import NpyFile
from dsoftmax.cli.storage import StorageError
from dsoftmax.cli.zarr_conventions import Decoding, dimension_names

NAN = math.nan
HUGE = "100000000000000000...0000000000000000000"  # 10**400
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def save(path, stored, zarr_format=3, fill=None, **attributes):
    """An array of some chunks, as xarray 2026.9 writes it; ``fill`` is its _FillValue."""
    names = ["time", "x", "y"][: stored.ndim]
    floating = stored.dtype.kind == "f"
    if zarr_format == 2:
        attributes["_ARRAY_DIMENSIONS"] = names
        options = {"fill_value": fill}
    else:
        options = {"fill_value": NAN if floating else 0, "dimension_names": names}
        if fill is not None:
            packed = base64.standard_b64encode(struct.pack("<d", fill)).decode()
            attributes["_FillValue"] = packed if floating else fill
    zarr.create_array(
        path,
        data=stored,
        chunks=tuple(min(2, n) for n in stored.shape),
        zarr_format=zarr_format,
        attributes=attributes,
        **options,
    )


def opened(tmp_path, stored, *args, **kwargs):
    save(tmp_path / "x.zarr", np.asarray(stored), *args, **kwargs)
    return open_source(str(tmp_path / "x.zarr"))


def check(source, expected):
    """A source has the expected values and dtype, in whatever chunks it is read."""
    assert (source.shape, source.dtype) == (expected.shape, expected.dtype)
    for chunks in (expected.shape, tuple(min(2, n) for n in expected.shape)):
        x = source.read(chunks)
        assert x.dtype == expected.dtype
        np.testing.assert_array_equal(x.compute(), expected, strict=True)


# Values.


@pytest.mark.parametrize(
    ("stored", "fill", "attributes", "expected", "said"),
    [
        (  # 0, 1, 2 and a missing one
            np.array([0, 2, 4, -32768], "i2"),
            -32768,
            {"scale_factor": 0.5},
            np.array([0, 1, 2, NAN]),
            "scale_factor 0.5, missing -32768 as NaN",
        ),
        (
            np.array([-40, -38, -36, -32768], "i2"),
            -32768,
            {"scale_factor": 0.5, "add_offset": 20.0},
            np.array([0, 1, 2, NAN]),
            "scale_factor 0.5, add_offset 20.0, missing -32768 as NaN",
        ),
        (np.array([1, 2, 3], "u1"), None, {"add_offset": -1}, np.arange(3.0), "add_offset -1.0"),
        (np.array([1, 2], "i8"), None, {"scale_factor": 2}, np.array([2.0, 4]), "scale_factor 2.0"),
        (np.array([2, 4], "f2"), None, {"scale_factor": [0.5]}, np.array([1.0, 2]), None),
        (np.array([2, 4, -9], "f4"), -9, {"scale_factor": 0.5}, np.array([1, 2, NAN]), None),
        (np.array([2, 4, -9], "f8"), -9, {"scale_factor": 0.5}, np.array([1, 2, NAN]), None),
        (np.array([2, NAN], "f8"), NAN, {"add_offset": 1.0}, np.array([3, NAN]), "add_offset 1.0"),
        (np.array([True, False]), None, {"add_offset": 1.0}, np.array([2.0, 1]), None),
        # Missing ones alone.
        (np.array([0, 1, -9], "i1"), -9, {}, np.array([0, 1, NAN], "f4"), "missing -9 as NaN"),
        (np.array([0, 1, 65535], "u2"), 65535, {}, np.array([0, 1, NAN], "f4"), None),
        (np.array([0, 1, -9], "i4"), -9, {}, np.array([0, 1, NAN]), None),
        (np.array([0, 1, -9], "i8"), -9, {}, np.array([0, 1, NAN]), None),
        (np.array([0, 1, -9], "f2"), -9, {}, np.array([0, 1, NAN], "f2"), "missing -9.0 as NaN"),
        (np.array([0, 1, -9, NAN], "f4"), -9, {}, np.array([0, 1, NAN, NAN], "f4"), None),
        (np.array([0, 1, -9], "f8"), -9, {}, np.array([0, 1, NAN]), None),
        (np.array([0, math.inf], "f8"), math.inf, {}, np.array([0, NAN]), "missing inf as NaN"),
        # missing_value: alone, with the same _FillValue, with another one, and several.
        (np.array([0, -9], "i4"), None, {"missing_value": -9}, np.array([0, NAN]), None),
        (np.array([0, -9], "i4"), -9, {"missing_value": -9.0}, np.array([0, NAN]), "missing -9 as"),
        (np.array([-8, -9], "i4"), -9, {"missing_value": -8}, np.array([NAN, NAN]), "missing -9, "),
        (
            np.array([0, 1, 2], "i2"),
            None,
            {"missing_value": [0, 2]},
            np.array([NAN, 1, NAN], "f4"),
            "",
        ),
        # As near as the dtype comes, which is what is stored.
        (
            np.array([0.1, 1e20], "f4"),
            None,
            {"missing_value": 1e20},
            np.array([0.1, NAN], "f4"),
            "",
        ),
        # Equal as float64 only.
        (np.array([2**62, 2**62 + 1]), 2**62, {}, np.array([NAN, 2.0**62]), f"missing {2**62} as"),
        # More than one axis, and none.
        (
            np.arange(6, dtype="i2").reshape(2, 3),
            5,
            {},
            np.array([[0, 1, 2], [3, 4, NAN]], "f4"),
            "",
        ),
        (np.array(6, "i2"), 5, {"scale_factor": 0.5}, np.array(3.0), None),
        (np.array(5, "f4"), 5, {}, np.array(NAN, "f4"), None),
        (np.zeros((0, 3), "i2"), 5, {}, np.zeros((0, 3), "f4"), None),
    ],
)
@FORMATS
def test_decoded_values(tmp_path, zarr_format, stored, fill, attributes, expected, said):
    source = opened(tmp_path, stored, zarr_format, fill, **attributes)
    check(source, expected)
    assert (said or "") in str(source.decoding)
    check(open_source(str(tmp_path / "x.zarr"), stored=True), stored)


@FORMATS
@pytest.mark.parametrize(
    ("stored", "fill", "attributes"),
    [
        (np.array([0, NAN], "f4"), NAN, {}),  # what xarray does by default
        (np.array([0, NAN], "f8"), NAN, {"missing_value": "NaN"}),  # NaN by Zarr before 3.1
        (np.array([0, 1]), None, {"missing_value": "NaN", "units": "K"}),
        (np.array([0, 1]), None, {"missing_value": []}),
        (np.array([0, 1]), None, {}),
        (np.array([True, False]), None, {}),
        (np.array([0, 1], "c8"), None, {"scale_factor": "0.5"}),  # refused anyway
    ],
)
def test_nothing_to_decode(tmp_path, zarr_format, stored, fill, attributes):
    source = opened(tmp_path, stored, zarr_format, fill, **attributes)
    assert source.decoding is None
    check(source, stored)


def test_a_literal_nan_is_nothing_to_decode(tmp_path):
    save(tmp_path / "x.zarr", np.array([0, 1]), missing_value="NaN")
    metadata = tmp_path / "x.zarr" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"NaN"', "NaN"))
    assert open_source(str(tmp_path / "x.zarr")).decoding is None


def test_the_default_fill_value_of_xarray(tmp_path):
    path = tmp_path / "x.zarr"
    save(path, np.zeros(2), fill=NAN)
    assert zarr.open_array(path).attrs["_FillValue"] == "AAAAAAAA+H8="


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_what_is_not_written_is_zero_and_not_missing(tmp_path, zarr_format, dtype):
    path = tmp_path / "x.zarr"
    zarr.create_array(path, shape=3, dtype=dtype, fill_value=0, zarr_format=zarr_format)
    check(open_source(str(path)), np.zeros(3, dtype))


def test_a_plain_array_of_format_2_has_attributes_alone(tmp_path):
    path = tmp_path / "x.zarr"
    attributes = {"_FillValue": -9, "scale_factor": 0.5}
    data = np.array([0, 2, -9], "i2")
    zarr.create_array(path, data=data, fill_value=0, zarr_format=2, attributes=attributes)
    check(open_source(str(path)), np.array([0, 1, NAN]))


def test_the_fill_value_of_xarray_takes_the_place_of_the_attribute(tmp_path):
    check(opened(tmp_path, np.array([0, -9]), 2, 0, _FillValue=-9), np.array([NAN, -9]))


def test_numbers_in_base64_or_not(tmp_path):
    check(opened(tmp_path, np.array([0.0, -9]), _FillValue=-9), np.array([0, NAN]))


def test_swapped_bytes(tmp_path):
    stored = np.array([1, 256, -9], ">i2")
    check(opened(tmp_path, stored, 2, -9, scale_factor=2.0), np.array([2, 512, NAN]))


def test_a_source_travels(tmp_path):
    source = opened(tmp_path, np.array([0, -9], "i2"), fill=-9, scale_factor=0.5)
    assert pickle.loads(pickle.dumps(source)) == source


def test_a_block_is_decoded_in_place_if_it_can_be():
    decoding = Decoding(np.dtype("f8"), 0.5, 1.0, (np.float64(-9),))
    block = np.array([2.0, -9])
    assert decoding(block) is block
    np.testing.assert_array_equal(block, [2, NAN])
    block = np.array([2.0, -9])
    block.flags.writeable = False
    np.testing.assert_array_equal(decoding(block), [2, NAN])
    np.testing.assert_array_equal(block, [2, -9])


def test_a_missing_number_does_not_overflow(tmp_path):
    stored = np.array([1.0, 1.7e308])
    check(opened(tmp_path, stored, fill=1.7e308, scale_factor=10.0), np.array([10, NAN]))


# What is refused.


@pytest.mark.parametrize(
    ("dtype", "attributes", "problem"),
    [
        ("i2", {"scale_factor": "0.5"}, "'0.5', which is not a number"),
        ("f4", {"scale_factor": True}, "True, which is not a number"),
        ("i2", {"add_offset": None}, "None, which is not a number"),
        ("i2", {"add_offset": [1, 2]}, "[1, 2], which is not one finite number"),
        ("i2", {"add_offset": []}, "[], which is not one finite number"),
        ("i2", {"scale_factor": 10**400}, f"{HUGE}, which is not one finite number"),
        ("i2", {"_Unsigned": "true"}, "'true', which is not supported"),
        ("i2", {"_FillValue": "-9"}, "'-9', which is not a number"),
        ("i2", {"_FillValue": -9.5}, "-9.5, which int16 cannot hold"),
        ("u1", {"_FillValue": -1}, "-1, which uint8 cannot hold"),
        ("i2", {"missing_value": [0, 70000]}, "[0, 70000], which int16 cannot hold"),
        ("f2", {"missing_value": 1e20}, "1e+20, which float16 cannot hold"),
        ("f8", {"missing_value": 10**400}, f"{HUGE}, which float64 cannot hold"),
        ("f4", {"missing_value": {"a": 1}}, "{'a': 1}, which is not a number"),
        ("f4", {"missing_value": "-9"}, "'-9', which is not a number"),
        ("f4", {"_FillValue": "AAA"}, "'AAA', which is neither a number nor a float64 in base64"),
        ("f4", {"_FillValue": "AAAA"}, "'AAAA', which is neither a number nor a float64 in base64"),
        ("f4", {"_FillValue": "é"}, "'é', which is neither a number nor a float64 in base64"),
    ],
)
@FORMATS
def test_what_is_not_understood(tmp_path, zarr_format, dtype, attributes, problem):
    path = tmp_path / "x.zarr"
    save(path, np.zeros(2, dtype), zarr_format, **attributes)
    with pytest.raises(StorageError) as caught:
        open_source(str(path))
    assert str(caught.value) == (
        f"cannot decode {path}: its {next(iter(attributes))} is {problem}; correct the attribute "
        "or write the values unpacked, or give --stored to take the numbers as they are stored"
    )
    check(open_source(str(path), stored=True), np.zeros(2, dtype))


def test_a_scale_that_is_not_finite(tmp_path):
    save(tmp_path / "x.zarr", np.zeros(2), scale_factor="?")
    metadata = tmp_path / "x.zarr" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"?"', "NaN"))
    with pytest.raises(StorageError, match="its scale_factor is nan, which is not one finite"):
        open_source(str(tmp_path / "x.zarr"))


def test_what_xarray_makes_of_the_fill_value_of_booleans_is_refused(tmp_path):
    with pytest.raises(StorageError, match="its fill_value is False, which is not a number"):
        opened(tmp_path, np.array([True, False]), 2, False)


# What a result takes over.


def written(tmp_path, source, result, dropped=()):
    """The attributes and the names of axes of a result."""
    with Destination(str(tmp_path / "y.zarr"), False, source) as destination:
        destination.write(result, dropped).compute()
        destination.commit()
    array = zarr.open_array(tmp_path / "y.zarr", mode="r")
    np.testing.assert_array_equal(array[...], result.compute())
    return dict(array.attrs), array.metadata.dimension_names


OF_STORED = {
    "scale_factor": 0.5,
    "add_offset": 1.0,
    "missing_value": -9,
    "valid_min": 0,
    "valid_max": 9,
    "valid_range": [0, 9],
}


@FORMATS
@pytest.mark.parametrize("stored", [False, True])
def test_names_and_attributes(tmp_path, zarr_format, stored):
    kept = {"units": "K", "long_name": "Température", "history": {"by": ["me", 1, None]}}
    save(tmp_path / "x.zarr", np.zeros((2, 3), "i2"), zarr_format, -9, **OF_STORED, **kept)
    source = open_source(str(tmp_path / "x.zarr"), stored)
    result = source.read((2, 3)) + 1.0
    assert written(tmp_path, source, result) == (kept, ("time", "x"))
    check(open_source(str(tmp_path / "y.zarr")), result.compute())


def test_unsigned_is_not_taken_over(tmp_path):
    save(tmp_path / "x.zarr", np.zeros(2, "i1"), _Unsigned="true")
    source = open_source(str(tmp_path / "x.zarr"), stored=True)
    assert written(tmp_path, source, da.ones(2)) == ({}, ("time",))


@FORMATS
@pytest.mark.parametrize(
    ("shape", "dropped", "names"),
    [
        ((3, 4), (0,), ("x", "y")),
        ((3,), (0, 2), ("x",)),
        ((2, 1, 4), (), ("time", "x", "y")),
        ((), (0, 1, 2), None),
    ],
)
def test_names_of_dropped_axes_are_dropped(tmp_path, zarr_format, shape, dropped, names):
    source = opened(tmp_path, np.zeros((2, 3, 4)), zarr_format, units="K")
    result = da.ones(shape)
    attributes, actual = written(tmp_path, source, result, dropped)
    assert (attributes, actual or None) == ({"units": "K"}, names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a"], None),
        ("ab", None),
        (None, None),
        ([1, 2], None),
    ],
)
def test_names_that_do_not_fit_are_not_taken_over(tmp_path, names, expected):
    attributes = {"_ARRAY_DIMENSIONS": names}
    array = zarr.create_array(
        tmp_path / "x.zarr", data=np.zeros((2, 3)), zarr_format=2, attributes=attributes
    )
    assert dimension_names(array) == expected


def test_axes_without_a_name(tmp_path):
    names = ["a", None]
    zarr.create_array(tmp_path / "x.zarr", data=np.zeros((2, 3)), dimension_names=names)
    source = open_source(str(tmp_path / "x.zarr"))
    assert written(tmp_path, source, da.ones((2, 3))) == ({}, ("a", None))


def test_a_npy_has_nothing_to_take_over(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    source = NpyFile.at(tmp_path / "x.npy")
    assert written(tmp_path, source, da.ones(3)) == ({}, None)


def test_attributes_do_not_matter_of_what_is_replaced(tmp_path):
    save(tmp_path / "x.zarr", np.zeros(3))
    save(tmp_path / "y.zarr", np.zeros(3), scale_factor="0.5")
    source = open_source(str(tmp_path / "x.zarr"))
    with Destination(str(tmp_path / "y.zarr"), True, source) as destination:
        destination.write(da.ones(3)).compute()
        destination.commit()
    check(open_source(str(tmp_path / "y.zarr")), np.ones(3))
