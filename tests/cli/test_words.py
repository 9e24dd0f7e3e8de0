"""Errors of the command name what its user typed: SRC and --axis, and no argument of Python."""

import re

import numpy as np
import pytest

from dsoftmax.cli.commands import COMMANDS
from dsoftmax.cli.words import in_words

from .command import invoke

# What only a user of Python can make something of: names of arguments, and how they are given.
PYTHON = re.compile(r"\b(x|v|labels|replace|where)\b(?!>=)|\w=\S|\b(axis|k|size|method) is\b|\w_\w")
BESIDE = {"VALUES": "row.npy", "LABELS": "labels.npy", "V": "row.npy"}
NEEDED = {"k": ["--k", "2"], "signed-k": ["--k", "2"], "size": ["--size", "2"]}
FILES = {
    "array.npy": np.arange(30.0).reshape(6, 5),
    "row.npy": np.arange(5.0),
    "labels.npy": np.arange(6) % 5,
    "seven.npy": np.ones(7, "i8"),
    "scalar.npy": np.float64(1),
    "empty.npy": np.ones((3, 0)),
    "mask.npy": np.ones(7, "?"),
    "float.npy": np.ones((6, 5)),
}
# Arguments that come last, and whose option or files a command needs to have them.
WRONG = [
    ("", ["--axis", "7"]),
    ("axes", ["--axis", "1,-1"]),
    ("", ["--axis", "rows"]),
    ("", ["--chunk-size", "much"]),
    ("", ["--threads", "0"]),
    ("where", ["--where", "mask.npy"]),
    ("k", ["--k", "31"]),
    ("k", ["--k", "-1"]),
    ("signed-k", ["--k", "-31"]),
    ("k", ["--k", "6", "--axis", "1"]),
    ("no-replace", ["--size", "31", "--no-replace"]),
    ("no-replace", ["--size", "1", "--no-replace", "--method", "systematic"]),
    ("method", ["--size", "3000000000", "--method", "systematic"]),
    ("method", ["--method", "other"]),
    ("seed", ["--seed", "one"]),
    ("ignore-label", ["--ignore-label", "one"]),
    ("scan-axis", []),
]


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("words"))
        for name, array in FILES.items():
            np.save(name, array)
        yield


def refused(command, src, beside, *options, code=2):
    """The last line of the error of a command that is refused."""
    needed = [text for one in command.options for text in NEEDED.get(one, [])]
    given = [beside] if command.beside else []
    result = invoke(command.key, src, *given, "y.npy", *needed, *options)
    *usage, line = result.output.splitlines()
    assert result.exit_code == code, line
    assert line.startswith("Error: ")
    assert (len(usage) > 0) == (code == 2)
    assert not PYTHON.search(re.sub(r"--[a-z-]+|/\S+", "", line)), line
    return line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.key)
def test_options_that_do_not_fit(command):
    named = [name for name in command.options if "axis" in name or name == "axes"]
    for needed, options in WRONG:
        if needed in command.options or (not needed and (named or "--axis" not in options)):
            line = refused(command, "array.npy", BESIDE.get(command.beside), *options)
            wrong = [text for text in options if text.startswith("--")] or ["--axis"]
            assert any(option in line for option in [*wrong, "mask.npy"]), line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.key)
def test_arrays_that_do_not_fit(command):
    other = BESIDE.get(command.beside)
    if command.key not in ("logsumexp", "entropy", "effective-sample-size", "expectation"):
        line = refused(command, "empty.npy", other)
        assert "SRC" in line or "--k is 2" in line
    if command.beside:
        line = refused(command, "array.npy", "seven.npy")
        assert command.beside in line
        assert "SRC" in line
    if command.key in ("cross-entropy", "cumulative-logsumexp", "softmax-matmul"):
        assert "SRC" in refused(command, "scalar.npy", other)
    if "where" in command.options:
        line = refused(command, "array.npy", other, "--where", "float.npy", code=1)
        assert line.endswith("--where takes booleans, such as mask != 0")


@pytest.mark.system
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["cross-entropy", "array.npy", "large.npy"],
            "cross-entropy: a label is 5 at (5,), and SRC has 5 classes along axis 1; use 0 to 4, "
            "or --ignore-label 5 to leave it out",
        ),
        (
            ["choice", "nan.npy", "--size", "2"],
            "choice: SRC holds NaN, which has no probability; leave it out with --where MASK",
        ),
    ],
)
def test_what_only_workers_can_tell(arguments, message):
    np.save("large.npy", np.arange(6))
    np.save("nan.npy", np.full(3, np.nan))
    result = invoke(*arguments)
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, f"Error: {message}")


def test_other_errors_are_left_alone():
    for message in ("too many", "x: axis is None", "logsumexp: axis is None"):
        assert in_words("softmax", message) is None


def test_dtypes_to_compile():
    done = invoke("compile", "float3")
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == (
        "Error: compile: DTYPES has 'float3', which has no compiled kernels; give dtypes of real "
        "numbers of up to 64 bits, as in dsoftmax compile float32 int16"
    )
