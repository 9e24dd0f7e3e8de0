"""The commands by name, and what they import before they run."""

import os
import subprocess
import sys

import pytest

from dsoftmax.cli.commands import COMMANDS, main
from dsoftmax.operations import OPERATIONS

PROGRAM = """
import sys
from dsoftmax.cli.commands import main
try:
    main(prog_name="dsoftmax")
finally:
    slow = {"numpy", "dask", "distributed", "numba", "llvmlite", "array_api_compat"}
    print(*sorted(slow & set(sys.modules)), file=sys.stderr)
"""


def kind(operation):
    if operation.rescale is not None:
        return "map"
    return "number" if all(one.length is None for one in operation.results) else "best"


def test_commands_are_the_operations_of_one_array():
    of_one = [one for one in OPERATIONS if one.arrays == 1]
    expected = {(one.key, one.title or one.name, kind(one)) for one in of_one}
    assert {*COMMANDS} == expected
    assert set(main.commands) == {*(one.key for one in of_one), "compile"}


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


def test_completion_needs_no_slow_import():
    words = {"_DSOFTMAX_COMPLETE": "bash_complete", "COMP_WORDS": "dsoftmax log", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | words, capture_output=True, text=True
    )
    assert done.stdout.split() == ["plain,log-softmax", "plain,logsumexp"]
    assert done.stderr.split() == []
