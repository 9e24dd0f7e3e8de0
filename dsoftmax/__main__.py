"""The command ``dsoftmax``, and ``python -m dsoftmax``."""

import os
import signal
import sys


def main() -> None:
    """Run the command line: what a user meets before it has been imported, and after it has ended.

    The imports take a second, in which Ctrl-C ends the process at once, without a traceback.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not ignored, as nohup has it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.commands import main as command

    signal.signal(signal.SIGINT, before)
    try:
        command(prog_name="dsoftmax")
    except OSError as error:  # of the standard output: a job names its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left would fail again at the exit
        sys.exit(f"Error: cannot print: {error}")


if __name__ == "__main__":
    main()
