"""The commands by name, and what they import before they run."""

import inspect
import os
import subprocess
import sys

import pytest

import dsoftmax
from dsoftmax.cli.commands import COMMANDS, main
from dsoftmax.cli.functions import FUNCTIONS
from dsoftmax.operations import CUMULATIVE_LOGSUMEXP, OPERATIONS

PROGRAM = """
import sys
from dsoftmax.cli.commands import main
try:
    main(prog_name="dsoftmax")
finally:
    slow = {"numpy", "dask", "distributed", "numba", "llvmlite", "array_api_compat"}
    print(*sorted(slow & set(sys.modules)), file=sys.stderr)
"""


KEYS = {command.key for command in COMMANDS}
DRAWS = {"choice", "gumbel-topk"}  # functions that are no operations


def kind(operation):
    if operation.rescale is not None:
        return "map"
    if any(one.length is not None for one in operation.results):
        return "few"
    return "map" if operation.name == "softmax_matmul" else "number"


def test_every_operation_is_a_command():
    kinds = {one.key: kind(one) for one in OPERATIONS} | dict.fromkeys(DRAWS, "few")
    kinds[CUMULATIVE_LOGSUMEXP.key] = "map"
    assert {command.key: command.kind for command in COMMANDS} == kinds, "see COMMANDS"
    assert {kinds[key] for key in kinds.keys() - FUNCTIONS.keys()} == {"number"}, "see FUNCTIONS"
    assert FUNCTIONS.keys() < kinds.keys()
    assert set(main.commands) == {*kinds, "compile", "dashboard"}
    for operation in OPERATIONS:
        (command,) = (one for one in COMMANDS if one.key == operation.key)
        assert operation.title in command.help
        assert bool(command.beside) == (operation.arrays > 1)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.key)
def test_options_are_the_arguments_of_the_function(command):
    function = getattr(dsoftmax, command.key.replace("-", "_"))
    arguments = set(inspect.signature(function).parameters)
    renamed = {"no_replace": "replace", "seed": "rng"}
    own = {one.name for one in main.commands[command.key].params}
    own -= {"src", "dst", "beside", "stored", "overwrite", "as_json", "quiet", "chunk_size"}
    own -= {"scheduler", "threads", "report", "mean", "by"}  # by: of dsoftmax.grouped
    without = {"b", "a", "x", "values", "labels", "v", "split_every", "reread", "return_sign"}
    without |= {"return_log", "return_logsumexp", "exact"}  # the last is Dask's setting
    assert {renamed.get(name, name) for name in own} == arguments - without


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--version"], "dsoftmax, version"),
        (["--help"], "Write the softmax of SRC to DST"),
        (["topk", "--help"], "How many"),
        (["compile", "--help"], "Compile"),
    ],
    ids=str,
)
def test_help_needs_no_slow_import(arguments, printed):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    assert printed in done.stdout
    assert done.stderr.split() == []


def completed(shell, words="", count=0):
    """What the program says to the completion of a shell."""
    asked = {"_DSOFTMAX_COMPLETE": shell, "COMP_WORDS": words, "COMP_CWORD": str(count)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | asked, capture_output=True, text=True
    )
    assert done.stderr.split() == []  # nothing slow is imported
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_have_a_script_for_completion(shell):
    assert f"_DSOFTMAX_COMPLETE={shell}_complete" in completed(f"{shell}_source")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dsoftmax log", [f"plain,{key}" for key in sorted(KEYS) if key.startswith("log")]),
        ("dsoftmax logsumexp x", ["file,x"]),
        ("dsoftmax choice --method s", ["plain,systematic", "plain,stratified"]),
        ("dsoftmax entropy --wh", ["plain,--where"]),
    ],
)
def test_completion(words, expected):
    assert completed("bash_complete", words, words.count(" ")).split() == expected
