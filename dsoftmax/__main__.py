"""The entry point of the command ``dsoftmax`` and of ``python -m dsoftmax``."""

import os
import sys

from .cli.imports import interrupts_end_the_process


def main() -> None:
    """Run the command line, and handle what happens before its import and after its end."""
    with interrupts_end_the_process():
        from .cli.commands import main as command

    try:
        command(prog_name="dsoftmax")
    except OSError as error:  # from standard output: jobs report their own errors
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # flushing the rest at exit would fail again
        sys.exit(f"Error: cannot print: {error}")


if __name__ == "__main__":
    main()
