"""The entry point of the command ``dsoftmax`` and of ``python -m dsoftmax``."""

import os
import signal
import sys


def main() -> None:
    """Run the command line, and handle what happens before its import and after its end.

    The imports take a second; Ctrl-C during them ends the process at once, without a traceback.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not ignored, as under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.commands import main as command

    signal.signal(signal.SIGINT, before)
    try:
        command(prog_name="dsoftmax")
    except OSError as error:  # from standard output: jobs report their own errors
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # flushing the rest at exit would fail again
        sys.exit(f"Error: cannot print: {error}")


if __name__ == "__main__":
    main()
