"""docs/command-line.md: its samples print what it says, and its tables are complete."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dsoftmax.cli.commands import COMMANDS, main

from .command import COMMAND, ENVIRONMENT

PAGE = Path(__file__).parents[2].joinpath("docs", "command-line.md").read_text(encoding="utf-8")
CONSOLE = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL))
SAMPLES = re.findall(r"^\$ dsoftmax (.*)\n((?:(?!\$ ).*\n)*)", CONSOLE, re.MULTILINE)
NUMBER = r"(?<![\w.])-?\d+\.?\d*(?:e[+-]\d+)?"
TIMES = r"(^time +)\S+ s, \S.*$|(\"seconds\": )\S+?(?=[\n}])"


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """The files of the samples, in the current directory."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("document"))
        exec(code, {})
        yield


def invoke(arguments):
    return CliRunner().invoke(main, shlex.split(arguments))


def parts(text):
    """The numbers in a text, but for times, and what is between them."""
    text = re.sub(TIMES, r"\1\2", text, flags=re.MULTILINE)
    return re.split(NUMBER, text), [float(n) for n in re.findall(NUMBER, text)]


@pytest.mark.system
@pytest.mark.parametrize(("arguments", "expected"), SAMPLES, ids=[one for one, _ in SAMPLES])
def test_a_sample(arguments, expected):
    result = invoke(arguments)
    printed = result.stdout if result.exit_code == 0 else result.stderr
    (words, numbers), (printed_words, printed_numbers) = parts(expected), parts(printed)
    assert printed_words == words
    np.testing.assert_allclose(printed_numbers, numbers, rtol=1e-12)


def rows(heading):
    """The rows of the table below a heading, as lists of cells."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[1:]]


def test_every_command_has_a_row():
    found = [cells[0].strip("`") for cells in rows("Commands")]
    assert {line.split()[0] for line in found} == set(main.commands), "see docs/command-line.md"
    for command in COMMANDS:
        (line,) = (line for line in found if line.split()[0] == command.key)
        usage = main.commands[command.key].collect_usage_pieces(
            main.make_context("", ["--help"], resilient_parsing=True)
        )
        assert [word for word in usage if word != "[OPTIONS]"] == line.split(" --")[0].split()[1:]


@pytest.mark.system
@pytest.mark.parametrize("cells", [row for row in rows("Exit status") if row[-1].startswith("`")])
def test_an_exit_status(cells):
    assert invoke(cells[-1].strip("`").removeprefix("dsoftmax ")).exit_code == int(cells[0])


@pytest.mark.system
def test_the_keys_of_json():
    keys = {key for cells in rows("For scripts") for key in re.findall(r"`(\w+)`", cells[0])}
    arguments = "choice scores.npy --size 2 --json"
    (line,) = invoke(arguments).stdout.splitlines()
    printed = set(re.findall(r'"(\w+)": ', line)) - {"indices"}
    assert printed == keys - {"decoded"}


@pytest.mark.system
def test_a_number_in_a_shell():
    """The sample of --quiet: nothing but the number, also on standard error."""
    (line,) = re.findall(r"^z=.*$", PAGE, re.MULTILINE)
    call = shlex.join(COMMAND)
    script = f'dsoftmax() {{ {call} "$@"; }}; {line}; echo "[$z]"'
    done = subprocess.run(
        ["bash", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    value = np.logaddexp.reduce(np.load("scores.npy"), axis=None)
    assert re.fullmatch(r"\[\d\.\d+\]\n", done.stdout)
    np.testing.assert_allclose(float(done.stdout.strip("[]\n")), value, rtol=1e-14)
    assert done.stderr == ""
