"""The command line: its commands and their help, without what they run on.

Nothing that takes long is imported before a command runs: `--help`, `--version` and the completion
of a shell are answered in a tenth of a second.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import click

from .. import __version__
from .imports import interrupts_end_the_process
from .options import AtLeast, with_options


class Command(NamedTuple):
    """A function of the package as a command.

    It writes an array of about the shape of SRC ("map"); prints one number per slice, or writes
    them ("number"); or prints a few elements of each slice, or writes them ("few").

    Attributes
    ----------
    key : str
        The name of the function, with "-" for "_".
    kind : str
    help : str
        What it does, in one line.
    options : tuple of str
        Its own, keys of `options.OPTIONS`.
    beside : str
        What the help calls a second array that it reads, if it does.
    note : str
        What the help says besides.
    """

    key: str
    kind: Literal["map", "number", "few"]
    help: str
    options: tuple[str, ...]
    beside: str = ""
    note: str = ""


_PER_SLICE = "With --axis, there is one number per slice, and the smallest and largest are printed."
_PER_GROUP = (
    "With --by, there is one per group: they are printed with the labels, or, if DST is y.npy, "
    "written to y-values.npy and y-labels.npy."
)
_TWO = (
    "They come best first, with their indices: if DST is y.npy, they are written to {0}.npy and "
    "y-indices.npy."
)

# As the operations are, whose import takes a second.
COMMANDS = (
    Command("softmax", "map", "Write the softmax of SRC to DST.", ("axes", "where", "by")),
    Command(
        "log-softmax",
        "map",
        "Write the logarithm of the softmax of SRC to DST.",
        ("axes", "where", "by"),
    ),
    Command(
        "logsumexp",
        "number",
        "Print the log-sum-exp of SRC, or write it to DST.",
        ("axes", "where", "by", "keepdims"),
        note=f"{_PER_SLICE} {_PER_GROUP}",
    ),
    Command(
        "entropy",
        "number",
        "Print the entropy in nats of the softmax of SRC, or write it to DST.",
        ("axes", "where", "by", "keepdims"),
        note=f"{_PER_SLICE} {_PER_GROUP}",
    ),
    Command(
        "effective-sample-size",
        "number",
        "Print the effective sample size of the log-weights SRC, or write it to DST.",
        ("axes", "where", "by", "keepdims"),
        note=f"{_PER_SLICE} {_PER_GROUP}",
    ),
    Command(
        "expectation",
        "number",
        "Print the mean of VALUES under the softmax of SRC, or write it to DST.",
        ("axes", "where", "keepdims"),
        "VALUES",
        f"VALUES broadcasts with SRC. {_PER_SLICE}",
    ),
    Command(
        "cross-entropy",
        "number",
        "Print the cross-entropy of the softmax of SRC and LABELS, or write it to DST.",
        ("class-axis", "ignore-label", "mean", "where", "keepdims"),
        "LABELS",
        "LABELS holds one integer per slice, the index of its class along --axis. There is one "
        "number per slice, and the smallest and largest are printed.",
    ),
    Command(
        "cumulative-logsumexp",
        "map",
        "Write the running log-sum-exp of SRC to DST.",
        ("scan-axis", "reverse", "include-initial"),
    ),
    Command(
        "softmax-matmul",
        "map",
        "Write the matrix product of the softmax of SRC and V to DST.",
        ("where",),
        "V",
        "The softmax is along the last axis of SRC, as in softmax(SRC, axis=-1) @ V, and is never "
        "stored.",
    ),
    Command(
        "softmax-topk",
        "few",
        "Print the K largest probabilities of the softmax of SRC, or write them to DST.",
        ("k", "slice-axis", "where"),
        note=_TWO.format("y-values"),
    ),
    Command(
        "topk",
        "few",
        "Print the K largest elements of SRC, or write them to DST.",
        ("signed-k", "search-axis"),
        note=_TWO.format("y-values"),
    ),
    Command(
        "choice",
        "few",
        "Print indices drawn with the probabilities softmax(SRC), or write them to DST.",
        ("size", "slice-axis", "no-replace", "method", "seed", "where"),
        note="The same seed gives the same draws, whatever the chunks and the number of threads.",
    ),
    Command(
        "gumbel-topk",
        "few",
        "Print K draws without replacement from softmax(SRC), or write them to DST.",
        ("k", "slice-axis", "seed", "where"),
        note=_TWO.format("y-keys"),
    ),
)

_FILES = (
    "Arrays are .npy files or Zarr arrays, given as paths or as URLs such as s3://bucket/x.zarr."
)


def _add_command(command: Command) -> None:
    def call(src: str, dst: str | None, beside: str | None = None, **options: Any) -> None:
        with interrupts_end_the_process():
            from .run import run

        run(command.key, src, dst, beside=beside, **options)

    files = f"{_FILES} DST ends in .npy or .zarr."
    call.__doc__ = "\n\n".join(part for part in (command.help, command.note, files) if part)
    call = with_options(call, command.options)
    path = click.Path()
    call = click.argument("dst", required=command.kind == "map", type=path)(call)
    if command.beside:
        call = click.argument("beside", metavar=command.beside, type=path)(call)
    short = f"{command.help.partition(',')[0].removesuffix('.')}."
    main.command(command.key, short_help=short)(click.argument("src", type=path)(call))


@click.group(
    "dsoftmax", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="dsoftmax")
def main() -> None:
    """Exact softmax, log-sum-exp and related operations on arrays larger than memory."""


@main.command("compile", short_help="Compile the kernels ahead of time.")
@click.argument("dtypes", nargs=-1)
@click.option(
    "--processes",
    metavar="N",
    type=AtLeast(1),
    help="Compile in N processes of 0.4 GB each. By default one per core, 8 at most.",
)
def _compile(dtypes: tuple[str, ...], processes: int | None) -> None:
    """Compile the kernels for DTYPES and keep them on disk.

    The default is float32 and float64. Later runs load the kernels in milliseconds; without this
    command, the first run that needs a kernel compiles it, which takes seconds.
    """
    with interrupts_end_the_process():  # while compiling, too: what is on disk is complete
        from dask.system import CPU_COUNT

        from .. import compile as compile_kernels
        from .._kernels.cpu.compiler import listeners
        from .words import in_words

        def tell() -> None:
            listeners.discard(tell)
            click.echo("compiling kernels, which may take minutes", err=True)

        listeners.add(tell)
        try:
            count = compile_kernels(
                dtypes or ("float32", "float64"), processes=processes or min(CPU_COUNT, 8)
            )
        except TypeError as error:
            raise click.UsageError(in_words("compile", str(error)) or str(error)) from error
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
        finally:
            listeners.discard(tell)
    click.echo(f"{count} {'kernel' if count == 1 else 'kernels'} on disk")


@main.command("dashboard", short_help="Add the page /softmax to a running scheduler.")
@click.argument("address")
def _dashboard(address: str) -> None:
    """Add the page /softmax to the dashboard of a running Dask scheduler.

    ADDRESS is the address of the scheduler, e.g. tcp://host:8786, where dsoftmax and bokeh must be
    installed. The link to the page is printed.
    """
    with interrupts_end_the_process():
        from .page import add_page

        add_page(address)


for _command in COMMANDS:
    _add_command(_command)
