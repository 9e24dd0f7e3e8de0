"""The command line: its commands and their help, without what they run on.

Nothing that takes long is imported before a command runs: `--help`, `--version` and the completion
of a shell are answered in a tenth of a second.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import click

from .. import __version__
from .imports import interrupts_end_the_process
from .options import common_options


class Command(NamedTuple):
    """An operation of `operations.OPERATIONS` as a command.

    It writes an array of the shape of SRC ("map"), or the K best of each slice ("best"), or prints
    one number per slice ("number").
    """

    key: str
    title: str
    kind: Literal["map", "best", "number"]


# As the operations are, whose import takes a second.
COMMANDS = (
    Command("softmax", "softmax", "map"),
    Command("log-softmax", "logarithm of the softmax", "map"),
    Command("logsumexp", "log-sum-exp", "number"),
    Command("entropy", "entropy in nats", "number"),
    Command("effective-sample-size", "effective sample size", "number"),
    Command("softmax-topk", "K largest probabilities of the softmax", "best"),
    Command("topk", "K largest elements", "best"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dsoftmax")
def main() -> None:
    """Exact softmax, log-sum-exp, entropy and the like of arrays larger than memory."""


def _add_command(key: str, title: str, kind: str) -> None:
    files = "are .npy files or Zarr arrays (directories; DST ends in .npy or .zarr)."

    def command(src: str, dst: str | None, **options: Any) -> None:
        with interrupts_end_the_process():
            from .run import run

        run(key, src, dst, **options)

    if kind == "map":
        command.__doc__ = f"Write the {title} of SRC to DST.\n\nBoth {files}"
    elif kind == "best":
        command.__doc__ = (
            f"Write the {title} of SRC, and their indices.\n\nThey are two arrays: with y.npy as "
            "DST y-values.npy and y-indices.npy, best first along --axis, or of the flattened "
            f"array. SRC and DST {files}"
        )
        many = "How many" + ("." if key == "softmax-topk" else "; -K for the K smallest.")
        command = click.option("--k", "-k", type=int, required=True, help=many)(command)
    else:
        command.__doc__ = (
            f"Print the {title} of SRC, or write it to DST.\n\nWith --axis there is one per slice: "
            "all go to DST, and the least and greatest are printed. SRC and DST " + files
        )
        keepdims = "Keep the reduced axes in DST, with length 1."
        command = click.option("--keepdims", is_flag=True, help=keepdims)(command)
    command = click.argument("dst", required=kind != "number")(common_options(command))
    main.command(key)(click.argument("src")(command))


@main.command("compile")
@click.argument("dtypes", nargs=-1)
def _compile(dtypes: tuple[str, ...]) -> None:
    """Compile the kernels for DTYPES, float32 and float64 by default, and keep them on disk.

    Processes load them from there in milliseconds. Without it, the first that needs a kernel
    compiles it, in seconds.
    """
    with interrupts_end_the_process():  # while compiling, too: what is on disk is complete
        from .. import compile as compile_kernels

        try:
            count = compile_kernels(dtypes or ("float32", "float64"))
        except (TypeError, RuntimeError) as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"{count} {'kernel' if count == 1 else 'kernels'} on disk")


for _command in COMMANDS:
    _add_command(*_command)
