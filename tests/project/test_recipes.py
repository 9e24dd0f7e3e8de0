"""The code of docs/recipes.md runs, and gives what it says."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
TORCH, JAX = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_examples():
    done = doctest.testfile(str(PAGE), module_relative=False)
    assert done.failed == 0
    assert done.attempted > 15


@pytest.mark.parametrize(("library", "code"), [("torch", TORCH), ("jaxlib", JAX)])
def test_the_gradients(library, code):
    pytest.importorskip(library, reason="differentiates")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )  # JAX has threads, and warns of every fork afterwards
    assert done.returncode == 0, done.stderr
    found = [float(number) for number in re.findall(r"-?\d+\.\d+", done.stdout)]
    p = np.exp([0.0, 1.0, 2.0])
    p /= p.sum()
    entropy = -(p * np.log(p)).sum()
    expected = {"torch": -p * (np.log(p) + entropy), "jaxlib": p}[library]
    np.testing.assert_allclose(found, expected, atol=1e-4)
