"""The command as a process, as its users meet it, and in this process for what needs no cluster."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

import dsoftmax
from dsoftmax.cli import commands as cli
from dsoftmax.operations import OPERATIONS

# Those of one array that give one number for each slice or each element.
COMMANDS = [
    one.key
    for one in OPERATIONS
    if one.arrays == 1 and all(result.length is None for result in one.results)
]
COMMAND = [sys.executable, "-m", "dsoftmax"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(dsoftmax.__file__).parents[1])}


def run(cwd, *arguments, **options):
    """The command as a process, once it has ended."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@contextlib.contextmanager
def start(cwd, *arguments):
    """The command as a running process, in a process group as a shell gives it one."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(text, process):
    """Read what a process says of its progress up to a line that contains a text."""
    return next(line for line in process.stderr if text in line)


def summary(stdout):
    """The lines of a result, by name."""
    return {line[:19].strip(): line[19:].strip() for line in stdout.splitlines()}


def invoke(*arguments):
    """The command in this process: for what ends before a cluster starts."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
