"""--by: the commands of groups, whose number nobody knows before."""

import json

import numpy as np
import pytest
import zarr

from dsoftmax import grouped

from .command import invoke, summary

pytestmark = pytest.mark.system

U = np.random.default_rng(0).normal(size=(40, 30))
LABELS = np.array(["b", "a", "c"])[np.arange(40) % 3]
MAPS = ("softmax", "log-softmax")
STATISTICS = ("logsumexp", "entropy", "effective-sample-size")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("u.npy", U)
    np.save("labels.npy", LABELS)
    np.save("numbers.npy", np.arange(30) % 4)


def of(key):
    return getattr(grouped, key.replace("-", "_"))


@pytest.mark.parametrize("key", MAPS)
@pytest.mark.parametrize("dst", ["p.npy", "p.zarr"])
def test_within_groups(key, dst):
    result = invoke(key, "u.npy", dst, "--by", "labels.npy", "--axis", "0", "--chunk-size", "2kB")
    assert result.exit_code == 0, result.output
    assert summary(result.stdout)["written to"] == dst
    p = np.load(dst) if dst.endswith(".npy") else zarr.open_array(dst, mode="r")[:]
    np.testing.assert_allclose(p, of(key)(U, LABELS, axis=0), rtol=1e-13)


@pytest.mark.parametrize("key", STATISTICS)
def test_a_number_for_each_group(key):
    expected_labels, expected = of(key)(U, LABELS, axis=0)
    arguments = ("u.npy", "--by", "labels.npy", "--axis", "0")
    result = invoke(key, *arguments, "--json")
    printed = json.loads(result.stdout)
    assert printed["results"]["labels"] == expected_labels.tolist()
    np.testing.assert_allclose(printed["results"]["values"], expected, rtol=1e-13)
    assert (printed["summary"]["slices"], printed["dtype"]) == (90, "float64")
    np.testing.assert_allclose(printed["summary"]["min"], expected.min(), rtol=1e-13)
    lines = [line.split() for line in invoke(key, *arguments, "--quiet").stdout.splitlines()]
    assert [line[0] for line in lines] == ["a"] * 30 + ["b"] * 30 + ["c"] * 30
    np.testing.assert_allclose([float(line[1]) for line in lines], expected.ravel(), rtol=1e-13)


def test_numbers_of_groups_in_files():
    result = invoke("logsumexp", "u.npy", "y.npy", "--by", "numbers.npy")  # along the last axis
    assert result.exit_code == 0, result.output
    printed = summary(result.stdout)
    assert printed["logsumexp"].endswith(", of 160 groups")
    assert printed["written to"] == "y-labels.npy, y-values.npy"
    labels, values = grouped.logsumexp(U, np.arange(30) % 4)
    np.testing.assert_array_equal(np.load("y-labels.npy"), labels)
    np.testing.assert_allclose(np.load("y-values.npy"), values, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "logsumexp: --by has length 40 and SRC has length 30 along axis 1; give one label"),
        (["--axis", "0,1"], 2, "logsumexp: --axis is (0, 1) and SRC has shape (40, 30); labels go"),
        (["--axis", "2"], 2, "logsumexp: --axis 2 is out of bounds for an array of dimension 2"),
        (["--where", "u.npy"], 2, "--by makes groups, and does not go with --where; leave out one"),
        (["y.npy", "--keepdims"], 2, "--by makes groups, and does not go with --keepdims; leave"),
    ],
)
def test_what_does_not_fit(tmp_path, arguments, code, message):
    result = invoke("logsumexp", "u.npy", *arguments, "--by", "labels.npy")
    assert result.exit_code == code
    assert result.output.splitlines()[-1].startswith(f"Error: {message}")
    assert not tmp_path.joinpath("y-labels.npy").exists()


def test_labels_that_are_none():
    np.save("complex.npy", np.zeros(30, "c8"))
    result = invoke("softmax", "u.npy", "p.npy", "--by", "complex.npy")
    assert result.exit_code == 1
    assert (
        "complex.npy has dtype complex64; --by takes integers, strings, dates or" in result.output
    )


@pytest.mark.parametrize("dtype", ["M8[D]", "m8[s]"])
def test_dates_in_npy(dtype):
    labels = np.arange(30).astype(dtype)
    labels[3] = "NaT"
    np.save("dates.npy", labels)
    assert invoke("logsumexp", "u.npy", "y.npy", "--by", "dates.npy").exit_code == 0
    found, values = np.load("y-labels.npy"), np.load("y-values.npy")
    expected = grouped.logsumexp(U, labels)
    np.testing.assert_array_equal(found, expected[0], strict=True)
    np.testing.assert_allclose(values, expected[1])


def test_a_single_label():
    np.save("one.npy", np.array(1))
    result = invoke("logsumexp", "u.npy", "--by", "one.npy")
    assert result.exit_code == 2
    assert "logsumexp: --by has shape (); pass one label for each place" in result.output


def test_words_in_zarr():
    """A type that only some programs could read is no result; nothing is computed before."""
    result = invoke("logsumexp", "u.npy", "y.zarr", "--by", "labels.npy", "--axis", "0")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "Error: cannot write <U1 as Zarr: its format 3 has none; write a .npy file instead"
    ]


@pytest.fixture
def strings():
    """Labels as a Zarr array of strings of any length."""
    labels = np.array(["b", "a", "ccc"])[np.arange(30) % 3]
    zarr.create_array("strings.zarr", shape=30, dtype="str", chunks=7)[:] = labels
    return labels


@pytest.mark.parametrize("key", STATISTICS)
def test_strings_of_any_length(strings, key):
    labels, expected = of(key)(U[0], strings)
    np.save("v.npy", U[0])
    lines = invoke(key, "v.npy", "--by", "strings.zarr", "--quiet").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b", "ccc"]
    result = invoke(key, "v.npy", "y.npy", "--by", "strings.zarr")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load("y-labels.npy"), labels, strict=True)
    np.testing.assert_allclose(np.load("y-values.npy"), expected, rtol=1e-13)


def test_strings_of_any_length_in_zarr(strings):
    result = invoke("logsumexp", "u.npy", "y.zarr", "--by", "strings.zarr")
    assert (result.exit_code, result.output) == (
        1,
        "Error: cannot write strings as Zarr: its format 3 has none; write a .npy file instead\n",
    )
