"""A command from what was typed: parses, has the command's own module carry it out, makes any end an exit status.

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

    from relaunch.cli.grammar import Arguments

FAILED = 1


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
