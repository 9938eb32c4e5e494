"""Work under asyncio that leaves nothing behind when a signal ends it.

Knows which signals end a command, and how a process dies by one. Refuses to know what the work is.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from relaunch.cli.output import OutputFailed

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


def run_until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end.

    A signal cancels it, lets it clean up, and then ends the process as it would have; the next does so at once.
    """
    came: list[int] = []
    be_quiet()
    # A launcher's socket is a pipe too, whose end is no reason to die silently.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        return asyncio.run(_cancelled_by_signals(work, came))
    except asyncio.CancelledError:
        if came:
            _die(came[0])
        raise
    except OutputFailed as error:
        if isinstance(error.__cause__, BrokenPipeError):
            _die(signal.SIGPIPE)
        raise
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def be_quiet() -> None:
    """Have asyncio keep to itself what it finds odd: a command says in its own lines what went wrong.

    A process that is killed just as it ends is reaped by whoever comes first, and the other one would say so.
    """
    if os.environ.get("LAUNCH_DEBUG", "0") in ("", "0"):
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


async def _cancelled_by_signals(work: Coroutine[Any, Any, T], came: list[int]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    # As by nohup, or by `&` in a script, some may be ignored.
    numbers = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]

    def interrupt(number: int) -> None:
        came.append(number)
        for each in numbers:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    finally:
        if not came:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
