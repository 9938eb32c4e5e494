"""Where the process of a command begins and ends: its signals, its standard streams, its exit.

Imports nothing before the signals are set: an interrupt while the rest is imported would show a traceback. Refuses to
know what a command line is.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs; the public module imports enum, which costs time
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command in ``sys.argv`` and end the process with its status."""
    # As any Unix program: Ctrl-C ends it at once and silently, and so does a reader that goes away (`list | head`). One
    # that was started with SIGINT ignored, as by `&` in a script, leaves it so.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    # Ignored, it would have the kernel take the exit statuses of what a command starts.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _open_standard_streams()
    from relaunch.cli.main import run

    status = run(sys.argv[1:])
    # Taking the interpreter apart costs about a tenth of a whole `launch list`; all output has been written by now.
    os._exit(status)


def _open_standard_streams() -> None:
    """Put something where a standard stream is closed, or the next file that is opened would be taken for it.

    It can be used as little as what was closed.
    """
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if stream else os.O_WRONLY)
