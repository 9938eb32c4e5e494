"""``launch subscribe``: tells of failures as they happen, until it is interrupted.

Knows what is done with each event: it is shown, a command is run for it, and then it counts as handled. Refuses to know
where events come from (``relaunch.subscribing``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import select
import signal
import time

from relaunch.cli.executing import Executor
from relaunch.cli.interrupted import ENDING
from relaunch.cli.interruption import readers
from relaunch.cli.output import STDOUT, OutputFailed, encoded, say_if_room, write_bytes
from relaunch.cli.over import own_hosts
from relaunch.cli.since import parse_since
from relaunch.cli.telling import Lines
from relaunch.cli.values import TRANSPORTS
from relaunch.client.calls import FANOUT
from relaunch.client.quick import encode
from relaunch.errors import OutcomeUnknown, Usage
from relaunch.subscribing import Subscriber, subscribe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from relaunch.cli.grammar import Arguments
    from relaunch.event import Event

TOO_FEW = 1
_SERVE_ONLY = ("address", "advertise", "transport", "suspect_after")
_TOGETHER_WITHIN_S = 0.5
_DEFAULT_ADDRESS = ":9000"


def run(arguments: Arguments) -> int:
    """Tell of events until the count or the time is reached, or a signal ends it."""
    _settle(arguments)
    _check_output()
    subscriber = _subscriber(arguments)
    logging.basicConfig(handlers=[_Said()])
    logging.getLogger("relaunch.subscribing").setLevel(logging.INFO)
    # It warns of children that end while they are ended.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # A command of ours and the launcher's socket are pipes too, whose ends are no reason to die silently.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        return asyncio.run(_until_ended(subscriber, arguments))
    except OutputFailed as error:
        if isinstance(error.__cause__, BrokenPipeError):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
        raise


def _settle(arguments: Arguments) -> None:
    """Join what can be said in two ways, and refuse what would be ignored."""
    for value in arguments["n"]:
        name = "transport" if value in TRANSPORTS else "count"
        if arguments[name] not in (None, value):
            raise Usage(f"subscribe: {name} is said to be {arguments[name]} and {value}; see: launch subscribe --help")
        arguments[name] = value
    if not arguments["serve"]:
        for name in _SERVE_ONLY:
            if arguments[name] is not None:
                flag = f"--{name.replace('_', '-')}"
                raise Usage(f"subscribe: {flag} means nothing without --serve; see: launch subscribe --help")


def _check_output() -> None:
    """See that there is a standard output before anything is subscribed to.

    Raises:
        OutputFailed: There is none.
    """
    if fcntl.fcntl(STDOUT, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OutputFailed(f"standard output cannot be written: {os.strerror(errno.EBADF)}")


def _subscriber(arguments: Arguments) -> Subscriber:
    since, since_at = parse_since("subscribe", arguments["since"], time.time())
    hosts = own_hosts(arguments)
    if arguments["fanout"] is not None and not hosts:
        raise Usage("subscribe: --fanout means nothing without -H; see: launch subscribe --help")
    return subscribe(
        *arguments["filter"],
        kinds=arguments["kind"],
        name=arguments["name"],
        since=since,
        since_at=since_at,
        serve=(arguments["address"] or _DEFAULT_ADDRESS) if arguments["serve"] else None,
        transport=arguments["transport"],
        suspect_after_s=arguments["suspect_after"],
        advertise=arguments["advertise"],
        hosts=hosts,
        fanout=arguments["fanout"] or FANOUT,
    )


async def _until_ended(subscriber: Subscriber, arguments: Arguments) -> int:
    task = asyncio.create_task(_session(subscriber, arguments))
    with _ending() as (ended, gone):
        waiting = [asyncio.create_task(one.wait()) for one in (ended, gone)]
        await asyncio.wait({task, *waiting}, timeout=arguments["timeout"], return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
    if task.done():
        return task.result()
    entered = subscriber.entered
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if gone.is_set():
        raise OutputFailed("nobody reads standard output any more") from BrokenPipeError()
    if ended.is_set():
        return 0
    if not entered:
        raise OutcomeUnknown(f"the launcher has not answered within {arguments['timeout']:g} s")
    return TOO_FEW if arguments["count"] is not None else 0


@contextlib.contextmanager
def _ending() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """What says that it is to end: a signal; and that nobody reads any more, as when an ssh session is over."""
    loop, ended, gone = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    # As by nohup, or by `&` in a script, some may be ignored.
    numbers = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, ended.set)
    with readers(gone.set):
        try:
            yield ended, gone
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)  # the next one ends it at once


async def _session(subscriber: Subscriber, arguments: Arguments) -> int:
    executor = Executor(arguments["exec"]) if arguments["exec"] is not None else None
    shown = _Shown(as_json=arguments["json"])
    async with subscriber as events:
        say_if_room(events.described)
        handling = asyncio.create_task(_handle(events, shown, executor, arguments["count"]))
        try:
            await asyncio.wait({handling})
            handling.result()
        finally:
            await _end(handling, executor)
    return 0


async def _end(handling: asyncio.Task[None], executor: Executor | None) -> None:
    """Let a command that runs finish, and what it did count."""
    if executor is not None and executor.busy:
        executor.end()
        await asyncio.wait({handling})
    handling.cancel()
    await asyncio.wait({handling})


async def _handle(events: Subscriber, shown: _Shown, executor: Executor | None, count: int | None) -> None:
    """Show events and run the command for each; what has been handled is acknowledged."""
    handled = 0
    async for event in events:
        await shown.take(event)
        if executor is not None and not await executor.handle(event):
            break
        await events.ack()
        handled += 1
        if handled == count or (executor is not None and executor.ended):
            break
    await shown.rest()


class _Shown:
    """Standard output, which may be a terminal that is halted or a pipe that is full: others go on meanwhile."""

    def __init__(self, *, as_json: bool) -> None:
        self._lines = None if as_json else Lines()
        self._writing = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None

    async def take(self, event: Event) -> None:
        """Show an event."""
        if self._lines is None:
            await self._write(encode(event.to_wire()) + "\n")
            return
        await self._write(self._lines.take(event))
        if self._lines.waiting and (self._later is None or self._later.done()):
            self._later = asyncio.create_task(self._soon())

    async def rest(self) -> None:
        """Show what waits for others that were to come with it."""
        if self._lines is not None:
            await self._write(self._lines.rest())

    async def _soon(self) -> None:
        await asyncio.sleep(_TOGETHER_WITHIN_S)
        with contextlib.suppress(OutputFailed):  # the next event finds the same
            await self.rest()

    async def _write(self, text: str) -> None:
        data = encoded(text)
        async with self._writing:
            for start in range(0, len(data), select.PIPE_BUF):
                # So much at once never blocks where there is room.
                await _room()
                write_bytes(data[start : start + select.PIPE_BUF])


class _Said(logging.Handler):
    """What is logged, in lines as a command's."""

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        say_if_room(record.getMessage())


async def _room() -> None:
    """Return when standard output takes more, or has failed."""
    look = select.poll()
    look.register(STDOUT, select.POLLOUT)
    if look.poll(0):
        return
    loop = asyncio.get_running_loop()
    room = asyncio.Event()
    loop.add_writer(STDOUT, room.set)
    try:
        await room.wait()
    finally:
        loop.remove_writer(STDOUT)
