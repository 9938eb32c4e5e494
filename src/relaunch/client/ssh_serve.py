"""Has a launcher serve on another host, over ssh.

Knows that one that runs already is as good, and what the far end's ``launch serve`` says. Refuses to know how ssh is
reached and what its failures mean.
"""

import asyncio
import os
import time
from contextlib import suppress

from relaunch.client import ssh_command
from relaunch.client.calls import REPLACED_WITHIN_S, get_status, replace
from relaunch.client.masters import Master
from relaunch.client.ssh import HostConnection
from relaunch.client.ssh_failures import SSH_FAILED, failure, last_line
from relaunch.client.ssh_process import SshProcess
from relaunch.errors import NoLauncher, OutcomeUnknown, RelaunchError, ServeFailed

# One that has answered its shutdown holds the lock for a moment.
_ENDED_WITHIN_S = 5.0
_AGAIN_S = 0.1
_SAID_BYTES_MAX = 64 * 1024
_REFUSED = 1


async def serve(host: HostConnection, timeout_s: float, *, replaced: bool, prompts: bool) -> tuple[str, int]:
    """Make sure that a launcher serves.

    Args:
        host: Where.
        timeout_s: How long connecting may take.
        replaced: Whether one that runs is to start its program anew.
        prompts: Whether ssh may ask on the terminal.

    Returns:
        ``started``, ``running`` or ``replaced``, and the pid of its keeper.

    Raises:
        ServeFailed: It could not be started.
        Unreachable: The host cannot be reached.
    """
    try:
        await host.reach()
    except NoLauncher:
        await _start(host, timeout_s, prompts=prompts)
        word = "started"
    else:
        word = "running"
        if replaced:
            await _replace(host)
            word = "replaced"
    return word, int((await host.call(get_status()))["keeper_pid"])


async def _start(host: HostConnection, timeout_s: float, *, prompts: bool) -> None:
    give_up_at = time.monotonic() + _ENDED_WITHIN_S
    while True:
        try:
            await _launch_serve(host.host, timeout_s, prompts=prompts)
        except ServeFailed as failed:
            # Another one may have been started meanwhile, or an old one not quite have ended.
            try:
                await host.reach()
            except NoLauncher:
                if time.monotonic() > give_up_at:
                    raise failed from None
                await asyncio.sleep(_AGAIN_S)
                continue
        await host.reach()
        return


async def _launch_serve(host: str, timeout_s: float, *, prompts: bool) -> None:
    command = ssh_command.serve(host, Master.of(host).control, timeout_s, prompts=prompts)
    said, errors = os.memfd_create("out"), os.memfd_create("err")
    try:
        status = await _run(command, host, said, errors, prompts=prompts)
        why = os.pread(errors, _SAID_BYTES_MAX, 0).decode("utf-8", "replace")
    finally:
        os.close(said)
        os.close(errors)
    if status == 0:
        return
    line = last_line(why)
    if status != SSH_FAILED and line.startswith("launch: "):
        raise ServeFailed(f"{host}: {line.removeprefix('launch: ')}")
    if status == _REFUSED:
        raise ServeFailed(f"{host}: launch serve failed{line and ': ' + line}")
    raise failure(host, status, why, prompts=prompts)


async def _run(command: list[str], host: str, said: int, errors: int, *, prompts: bool) -> int:
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        process = SshProcess.start(host, command, (nothing, said, errors), prompts=prompts, passes_on=True)
    finally:
        os.close(nothing)
    try:
        return await process.wait()
    finally:
        process.kill(with_children=True)
        await process.wait()


async def _replace(host: HostConnection) -> None:
    """Have the launcher's program started anew; done when another one answers."""
    before = (await host.call(get_status()))["launcher_pid"]
    with suppress(OutcomeUnknown):
        await host.call(replace())
    host.close()
    give_up_at = time.monotonic() + REPLACED_WITHIN_S
    while time.monotonic() < give_up_at:
        with suppress(RelaunchError):
            if (await host.call(get_status()))["launcher_pid"] != before:
                return
        await asyncio.sleep(_AGAIN_S)
    raise ServeFailed(
        f"{host.host}: the launcher, pid {before}, was not replaced within {REPLACED_WITHIN_S:.0f} seconds"
    )
