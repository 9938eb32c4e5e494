"""A job on each of many hosts as if it were a program of the shell.

Knows that it is shown, gets the signals that come, and is waited for, whatever becomes of its launcher. Refuses to know
how it ends up in an exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal

from relaunch.cli.interruption import be_quiet
from relaunch.cli.many import request_id
from relaunch.cli.output import OutputFailed, say
from relaunch.cli.remote import Lines, each
from relaunch.cli.run import BETWEEN_RUNS, FATAL
from relaunch.client.asking import until_answered
from relaunch.client.calls import ANSWER_S, list_jobs, send_signal, stop, submit, wait
from relaunch.client.fan import late
from relaunch.errors import OutcomeUnknown, RelaunchError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from relaunch.cli.over import Over
    from relaunch.client.fan import Took
    from relaunch.client.ssh import HostConnection

    Wire = dict[str, Any]


class Runs:
    """The jobs.

    Args:
        over: The hosts.
        specs: What each is to run.
        took: Gets each host's job as it has ended, an error as a value.
        shows: Whether its output is shown.
        reused: Whether other jobs may have had its label before; their output is not shown.
    """

    def __init__(self, over: Over, specs: Mapping[str, Wire], took: Took, *, shows: bool, reused: bool) -> None:
        self._over = over
        self._specs = specs
        self._took = took
        self._shows = shows
        self._reused = reused
        self._request = request_id()
        self._shown = Lines()
        self._running: dict[str, HostConnection] = {}
        self._came: list[str] = []
        self._passing: set[asyncio.Task[None]] = set()

    def run(self, passed_on: Sequence[str]) -> None:
        """Run them to their end; signals of these names are the jobs'."""
        be_quiet()
        asyncio.run(self._run(passed_on))

    async def _run(self, passed_on: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        for name in passed_on:
            loop.add_signal_handler(getattr(signal, f"SIG{name}"), self._pass_on, name)
        await each(self._over, self._one, self._took, waits=True)

    async def _one(self, host: HostConnection) -> Wire:
        label = await self._submit(host)
        self._running[host.host] = host
        for name in self._came:
            self._pass_to(host, name)
        try:
            if self._shows:
                await self._follow(host, label)
            ended: Wire = await until_answered(host, lambda: _ended(host, label))
        except Unreachable as error:
            raise OutcomeUnknown(f"{error.message}; for all that is known, {label} runs on there") from None
        finally:
            del self._running[host.host]
        return ended

    async def _submit(self, host: HostConnection) -> str:
        limit_s = self._over.timeout_s or ANSWER_S
        call = submit(self._specs[host.host], self._request)
        try:
            async with asyncio.timeout(limit_s):
                job = await until_answered(host, lambda: host.call(call), tries=None)
        except TimeoutError:
            host.close()
            raise late(host.host, call, limit_s) from None
        return str(job["label"])

    async def _follow(self, host: HostConnection, label: str) -> None:
        try:
            logs = host.logs(label, follow=True, since_submit=self._reused)
            async with contextlib.aclosing(logs) as pieces:
                async for piece in pieces:
                    await self._shown.take(host.host, piece)
            self._shown.end(host.host)
        except Unreachable as error:
            say(f"{error.message}; the rest of the output is in: launch -H {host.host} logs {label}")
        except OutputFailed as error:
            if not isinstance(error.__cause__, BrokenPipeError):
                raise
            # The reader has gone; a program of the shell would be told by this signal.
            self._pass_to(host, "PIPE")

    def _pass_on(self, name: str) -> None:
        """Pass a signal on to each job that runs, and to those to come."""
        self._came.append(name)
        for host in list(self._running.values()):
            self._pass_to(host, name)

    def _pass_to(self, host: HostConnection, name: str) -> None:
        task = asyncio.create_task(self._send(host, name))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _send(self, host: HostConnection, name: str) -> None:
        label = self._specs[host.host]["label"]
        try:
            (outcome,) = await host.call(send_signal([label], name))
            message = outcome.get("message")
            if message and name in FATAL and (await host.call(list_jobs([label])))[0]["state"] in BETWEEN_RUNS:
                await host.call(stop([label]))
                return
        except RelaunchError as error:
            message = error.message
        if message and host.host in self._running:
            say(f"{host.host}: {label}: the signal was not passed on: {message}")


async def _ended(host: HostConnection, label: str) -> Wire:
    # Over a connection of its own, so that signals are not kept waiting.
    channel = await host.open_channel()
    try:
        (job,) = await channel.ask(wait([label]))
    finally:
        channel.close()
    ended: Wire = job
    return ended
