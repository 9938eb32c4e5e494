"""Commands over many hosts that are more than one request: having launchers serve, showing the output of jobs.

Knows connections under asyncio. Refuses to know how results look, and which hosts there are.
"""

from __future__ import annotations

import asyncio
import contextlib

from relaunch.cli.interruption import run_until_interrupted
from relaunch.cli.output import write_bytes
from relaunch.client.asking import tasks
from relaunch.client.calls import ANSWER_S
from relaunch.client.ssh import HostConnection, connect_host
from relaunch.client.ssh_serve import serve
from relaunch.errors import OutcomeUnknown, RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any

    from relaunch.cli.over import Over
    from relaunch.client.fan import Took

LINE_BYTES_MAX = 64 * 1024
"""A longer line is shown in pieces."""


async def each(
    over: Over, work: Callable[[HostConnection], Awaitable[Any]], took: Took, *, waits: bool = False
) -> None:
    """Do something on each host, so many at a time, and give what comes of it, an error as a value.

    Args:
        over: The hosts.
        work: What is done; with ``waits``, once there is a connection.
        took: Gets what came of it.
        waits: Whether it goes on for long; then only so many are connected to at a time, and one holds up no other.
    """
    limit = asyncio.Semaphore(over.fanout)

    async def done(host: HostConnection) -> Any:
        if not waits:
            async with limit:
                return await work(host)
        async with limit:
            await host.reach()
        return await work(host)

    async def one(name: str) -> None:
        host = connect_host(name, timeout_s=over.timeout_s, prompts=over.prompts)
        try:
            answer = await done(host)
        except RelaunchError as error:
            answer = error
        try:
            took(name, answer)
        finally:
            await host.aclose()

    async with tasks() as group:
        for name in over.hosts:
            group.create_task(one(name))


def serve_all(over: Over, took: Took, *, replaced: bool, end: Callable[[], None]) -> None:
    """Make sure that a launcher serves on each host; ``end`` is called where a signal ends that."""

    async def one(host: HostConnection) -> Any:
        limit_s = over.timeout_s or ANSWER_S
        try:
            async with asyncio.timeout(None if over.prompts else limit_s):
                return await serve(host, limit_s, replaced=replaced, prompts=over.prompts)
        except TimeoutError:
            raise OutcomeUnknown(
                f"{host.host}: nothing answered within {limit_s:g} seconds: whether a launcher serves is unknown"
            ) from None

    run_until_interrupted(each(over, one, took), end)


class Lines:
    """Output of many hosts: whole lines, each after the name of its host."""

    def __init__(self) -> None:
        self._begun: dict[str, bytes] = {}

    async def take(self, host: str, data: bytes) -> None:
        """Show what lines are complete; then it is another host's turn."""
        *whole, rest = (self._begun.pop(host, b"") + data).split(b"\n")
        while len(rest) > LINE_BYTES_MAX:
            whole.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        if rest:
            self._begun[host] = rest
        self._show(host, whole)
        await asyncio.sleep(0)

    def end(self, host: str) -> None:
        """Show a last line that has no end."""
        rest = self._begun.pop(host, b"")
        if rest:
            self._show(host, [rest])

    def _show(self, host: str, whole: Sequence[bytes]) -> None:
        start = f"{host}: ".encode()
        write_bytes(b"".join(start + line + b"\n" for line in whole))


def show_logs(over: Over, labels: Mapping[str, str], lines: int | None, took: Took, *, follow: bool) -> None:
    """Show the output of each host's job."""
    shown = Lines()
    limit_s = over.timeout_s or ANSWER_S

    async def within(piece: Awaitable[bytes | None]) -> bytes | None:
        async with asyncio.timeout(None if follow else limit_s):
            return await piece

    async def one(host: HostConnection) -> None:
        await host.reach()
        try:
            async with contextlib.aclosing(host.logs(labels[host.host], lines=lines, follow=follow)) as pieces:
                while (piece := await within(anext(pieces, None))) is not None:
                    await shown.take(host.host, piece)
        except TimeoutError:
            raise OutcomeUnknown(f"{host.host}: no answer within {limit_s:g} seconds") from None
        finally:
            shown.end(host.host)

    run_until_interrupted(each(over, one, took, waits=follow), shows=True)
