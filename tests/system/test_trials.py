"""Commands that tell whether a job is ready, over a real keeper."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from tests.system.evidence import environment
from tests.system.keeper_process import DEADLINE_S, KeeperProcess, Launcher
from tests.system.launcher_host import alive, wait_for

from relaunch.core.job import Job, Running
from relaunch.keeper.wire import Message
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.trees import Trees, all_pids
from relaunch.launcher.trials import NotTried, Trials
from relaunch.model import JobSpec

# Of this process alone: another that runs these tests beside it sweeps too.
PLACE = f"/nowhere/but/here-{os.getpid()}.sock"
JOB = Job(id="job", spec=JobSpec(label="a", argv=("true",)), submitted_at=0.0, state=Running(1, 1, 0.0))
HANGS = ("sh", "-c", "trap '' TERM; setsid sleep 302 & (setsid sleep 303 &); sleep 304")


def ours() -> list[int]:
    return [pid for pid in all_pids() if environment(pid).get("LAUNCH_READY_OF", "").endswith(PLACE) and alive(pid)]


def _are_there(count: int) -> bool:
    return len(ours()) == count


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nothing announces, while the loop goes on."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - no process announces itself to a loop
            await asyncio.sleep(0.01)


def run(running: KeeperProcess, launcher: Launcher, test: Callable[[Trials], Awaitable[None]]) -> None:
    """Run a test as a launcher with commands to try."""

    async def tested() -> None:
        def reported(reports: list[Message]) -> None:
            assert all(map(trials.reported, reports))

        link = KeeperLink(reported, lambda: None)
        trials = Trials(link, Trees(running.pid, set()), PLACE)
        await link.open(os.dup(launcher.socket.fileno()))
        await test(trials)
        link.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(tested(), DEADLINE_S * 2))


def test_its_exit_status_tells(running: KeeperProcess, launcher: Launcher) -> None:
    """[S39] Again and again, one after the other; one that cannot be executed tells nothing."""

    async def test(trials: Trials) -> None:
        assert [await trials.try_once(JOB, (word,), 10) for word in ("true", "false", "true")] == [True, False, True]
        try:
            await trials.try_once(JOB, ("/no/such/program",), 10)
        except NotTried as error:
            assert str(error) == "/no/such/program: No such file or directory"  # noqa: PT017 - inside a coroutine
        assert await trials.try_once(JOB, ("true",), 10)

    run(running, launcher, test)


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(running: KeeperProcess, launcher: Launcher) -> None:
    """[S39] Then the next one may begin."""

    async def test(trials: Trials) -> None:
        began = time.monotonic()
        assert not await trials.try_once(JOB, HANGS, 0.5)
        assert time.monotonic() - began >= 0.5
        assert not ours()
        assert await trials.try_once(JOB, ("true",), 10)

    run(running, launcher, test)


def test_what_it_leaves_running_is_killed(running: KeeperProcess, launcher: Launcher) -> None:
    """[S39] Whatever its exit status says."""

    async def test(trials: Trials) -> None:
        assert await trials.try_once(JOB, ("sh", "-c", "setsid sleep 305 & exit 0"), 10)
        assert not ours()

    run(running, launcher, test)


def test_one_that_is_given_up_is_killed(running: KeeperProcess, launcher: Launcher) -> None:
    """[S39] Also where it has not begun yet."""

    async def test(trials: Trials) -> None:
        for number, count in enumerate((0, 4), 1):
            task = asyncio.ensure_future(trials.try_once(replace(JOB, run=number), HANGS, 10))
            await asyncio.sleep(0)
            await until(partial(_are_there, count))
            task.cancel()
            await asyncio.wait([task])
            # The keeper carries orders out one after the other.
            assert await trials.try_once(replace(JOB, run=3), ("true",), 10)
            await until(lambda: not ours())

    run(running, launcher, test)


def test_what_a_launcher_has_left_is_killed_by_the_next(running: KeeperProcess, launcher: Launcher) -> None:
    """[S39] By its mark, wherever it has ended up."""
    key = f"{JOB.id}.1@{PLACE}"
    launcher.spawn("x:ready", *HANGS, env={"PATH": os.environ["PATH"], "LAUNCH_READY_OF": key})
    launcher.expect("spawned")
    wait_for(lambda: len(ours()) == 4, what="it has forked")

    async def test(trials: Trials) -> None:
        trials.sweep()
        await until(lambda: not ours())

    run(running, launcher, test)
