"""What is asked of hosts under asyncio: until it is answered, and of many at once.

Knows when a request may be made again, and how tasks end that belong together. Refuses to know what is asked.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from relaunch.client.connection import Connection
from relaunch.errors import OutcomeUnknown, Unreachable

TRIES = 5
_AGAIN_S, _AGAIN_MAX_S = 0.1, 2.0

T = TypeVar("T")


async def until_answered(host: Connection, ask: Callable[[], Awaitable[T]], *, tries: int | None = TRIES) -> T:
    """Ask; where the answer is lost, as when a launcher is replaced, connect anew and ask again.

    Args:
        host: Who is asked.
        ask: Asks. What may not be asked twice has one try.
        tries: How often; None is until it is cancelled.

    Raises:
        OutcomeUnknown: The last answer was lost, or an earlier one was and then there was no way to ask again.
        Unreachable: Nothing was ever asked.
    """
    lost: OutcomeUnknown | None = None
    attempt = 0
    while True:
        attempt += 1
        try:
            await host.reach()
            return await ask()
        except OutcomeUnknown as error:
            lost = error
        except Unreachable:
            # Nothing was asked this time. What became of the first time is as unknown as before.
            if lost is None:
                raise
        host.close()
        if attempt == tries:
            raise lost
        await asyncio.sleep(min(_AGAIN_S * 2 ** min(attempt, 10), _AGAIN_MAX_S))


@contextlib.asynccontextmanager
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks, of which the first failure is raised by itself, with the cause that it has."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as found:
        failure = found.exceptions[0]
    if failure is not None:
        raise failure
