"""The command's entry: parses, has the command's own module carry it out, and turns any end into an exit status.

Knows exit statuses and how a process ends. Refuses to know what any command does.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs; the public module imports enum, which costs time
import os
import sys

from relaunch.cli.grammar import HOSTS_VARIABLE
from relaunch.cli.interrupted import Interrupted, die
from relaunch.cli.output import OutputFailed, say
from relaunch.cli.recogniser import recognise
from relaunch.errors import BadLabel, BadPattern, NoSuchLabel, RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from relaunch.cli.grammar import Arguments

FAILED = 1


def main() -> NoReturn:
    """Run the command in ``sys.argv`` and end the process with its status."""
    _open_standard_streams()
    # As any Unix program: Ctrl-C ends it at once and silently, and so does a reader that goes away (`list | head`). One
    # that was started with SIGINT ignored, as by `&` in a script, leaves it so.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    # Ignored, it would have the kernel take the exit statuses of what a command starts.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
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


def run(typed: Sequence[str]) -> int:
    """Carry out what is typed.

    Args:
        typed: The command line without the program's own name.

    Returns:
        The exit status. Whatever went wrong has been said in one line on standard error.
    """
    over, arguments = None, None
    try:
        if (typed and typed[0][:1] == "-") or os.environ.get(HOSTS_VARIABLE):
            from relaunch.cli.over import take_hosts

            over, typed = take_hosts(typed)
        found = recognise(typed)
        if found is None:
            from relaunch.cli.parser import parse

            found = parse(typed)
        command, arguments = found
        name = f"relaunch.cli.{command.name}"
        __import__(name)
        module = sys.modules[name]
        status = int(module.run(arguments) if over is None else module.run_over(over, arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return 128 + int(_signal.SIGINT)
    except Interrupted as end:
        die(end.number)
        return 128 + end.number
    except RelaunchError as error:
        return _fail(error.message + _hint(error, arguments if over is None else None), error.exit_status)
    except OutputFailed as error:
        return _fail(str(error), FAILED)
    except Exception as error:  # noqa: BLE001 - the last resort: a user is never shown a traceback unasked
        return _fail(f"unexpected {type(error).__name__}: {error}; LAUNCH_DEBUG=1 shows where", FAILED)
    return status


def _hint(error: RelaunchError, arguments: Arguments | None) -> str:
    if arguments is None or not isinstance(error, BadLabel | BadPattern | NoSuchLabel):
        return ""
    from relaunch.cli.hints import hint

    return hint(error, arguments)


def _fail(message: str, status: int) -> int:
    say(" ".join(message.split("\n")))
    if os.environ.get("LAUNCH_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()
    return status
