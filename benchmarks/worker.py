"""A process for each number of cores: `run` starts ``python -m benchmarks.worker SPEC RESULT``.

The libraries settle how many threads they use when they are imported, so the cores have to be
chosen before that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .machine import peak_memory, pin

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Spec:
    """What a worker is to do; ``most_cores`` where no other worker of the run has more."""

    threads: int
    most_cores: bool
    quick: bool
    only: tuple[str, ...]
    rounds: int
    seconds: float


def run(spec: Spec) -> dict[str, Any]:
    """The result of `measure.measure` in a new process; progress goes to standard error."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(spec)), str(result)]
        subprocess.run(command, env=environment(spec.threads), check=True)
        return json.loads(result.read_text())


def environment(threads: int) -> dict[str, str]:
    """What the libraries read when they are imported, with the project on Python's path."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "SCIPY_ARRAY_API": "1",
        "JAX_PLATFORMS": "cpu",
        "NPROC": str(threads),  # for JAX
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def main(spec_json: str, result_file: str) -> None:
    """What runs in the new process."""
    spec = Spec(**json.loads(spec_json))
    pinned_to = pin(spec.threads)

    from .measure import measure

    result = {"threads": spec.threads, "pinned_to": pinned_to, **measure(spec)}
    result["peak_memory_bytes"] = peak_memory()
    Path(result_file).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
