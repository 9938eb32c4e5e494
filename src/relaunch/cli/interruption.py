"""Work under asyncio that leaves nothing behind when a signal ends it. Refuses to know what the work is."""

import asyncio
import logging
import os
import select
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from relaunch.cli.interrupted import ENDING, Interrupted, die
from relaunch.cli.output import STDOUT, OutputFailed

T = TypeVar("T")


def run_until_interrupted(
    work: Coroutine[Any, Any, T], tell: Callable[[], None] = lambda: None, *, shows: bool = False
) -> T:
    """Run it to its end.

    A signal cancels it and lets it clean up; the next ends the process at once.

    Args:
        work: What is done.
        shows: Whether it does nothing but show: then it is over when nobody reads any more.
        tell: Called when a signal has come, before anything is cleaned up: that may take its time.

    Raises:
        Interrupted: A signal came.
    """
    came: list[int] = []
    be_quiet()
    # A launcher's socket is a pipe too, whose end is no reason to die silently.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        return asyncio.run(_cancelled_by_signals(work, came, tell, shows=shows))
    except asyncio.CancelledError:
        if came:
            raise Interrupted(came[0]) from None
        raise
    except OutputFailed as error:
        if isinstance(error.__cause__, BrokenPipeError):
            die(signal.SIGPIPE)
        raise
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@contextmanager
def readers(gone: Callable[[], None]) -> Iterator[None]:
    """Meanwhile call back on the loop when nobody reads standard output any more, as when an ssh session is over."""
    loop = asyncio.get_running_loop()
    with select.epoll() as readers:
        # Asked for nothing, it tells of errors and ends alone. A file has no reader, and cannot be asked.
        with suppress(PermissionError):
            readers.register(STDOUT, 0)

        def once() -> None:
            loop.remove_reader(readers.fileno())
            gone()

        loop.add_reader(readers.fileno(), once)
        try:
            yield
        finally:
            loop.remove_reader(readers.fileno())


def be_quiet() -> None:
    """Have asyncio keep to itself what it finds odd: a command says in its own lines what went wrong.

    A process that is killed just as it ends is reaped by whoever comes first, and the other one would say so.
    """
    if os.environ.get("LAUNCH_DEBUG", "0") in ("", "0"):
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


async def _cancelled_by_signals(
    work: Coroutine[Any, Any, T], came: list[int], tell: Callable[[], None], *, shows: bool
) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    # As by nohup, or by `&` in a script, some may be ignored.
    before = {number: found for number in ENDING if (found := signal.getsignal(number)) != signal.SIG_IGN}

    def interrupt(number: int) -> None:
        came.append(number)
        for each in before:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        task.cancel()
        # What cannot be written now is tried again, and then said to be so.
        with suppress(OutputFailed):
            tell()

    for number in before:
        loop.add_signal_handler(number, interrupt, number)
    try:
        with readers(lambda: interrupt(signal.SIGPIPE)) if shows else nullcontext():
            return await task
    finally:
        if not came:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
