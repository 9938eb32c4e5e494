"""The Python API against a real launcher."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
from tests.system.launcher_host import Host, alive

import relaunch
from relaunch.errors import (
    BadSpec,
    LabelInUse,
    NoLauncher,
    NoSuchLabel,
    OutcomeUnknown,
    RelaunchError,
    StartFailed,
)

Work = Callable[[relaunch.Connection], Awaitable[None]]


def connected(host: Host, work: Work) -> None:
    """Do some work with a connection to the host's launcher."""

    async def run() -> None:
        async with asyncio.timeout(50), relaunch.connect(str(host.socket)) as launcher:
            await work(launcher)

    asyncio.run(run())


def test_importing_the_package_is_free() -> None:
    script = "import sys; before = set(sys.modules); import relaunch; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["relaunch"]


@pytest.mark.parametrize("command", ["list", "submit", "stop"])
def test_the_quick_commands_import_nothing_heavy(command: str) -> None:
    heavy = "re enum typing json socket argparse collections dataclasses functools signal inspect asyncio subprocess"
    script = (
        "import sys, relaunch.cli.main; from relaunch.cli.recogniser import recognise; "
        f"import relaunch.cli.{command}; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert not set(heavy.split()) & set(done.stdout.split())


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(relaunch, name) is not None for name in relaunch.__all__)
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = relaunch.frobnicate  # type: ignore[attr-defined]  # that is the point


def test_without_a_launcher_connecting_fails(place: Host) -> None:
    async def nothing(_launcher: relaunch.Connection) -> None:
        raise AssertionError

    with pytest.raises(NoLauncher, match="launch serve --background"):
        connected(place, nothing)


def test_a_job_from_submit_to_its_end(host: Host) -> None:
    async def work(launcher: relaunch.Connection) -> None:
        job = await launcher.submit(
            "group/p1", ["sh", "-c", "echo $A; exit 3"], env={"A": "b"}, limits={"nofile": "64"}
        )
        assert (job.label, job.argv[0]) == ("group/p1", "sh")
        (ended,) = await launcher.wait("group/*")
        assert ended.finished
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.code) == ("exited", 3)
        assert b"".join([piece async for piece in launcher.logs("group/p1")]) == b"b\n"
        described = await launcher.describe("group/p1")
        assert described.spec.limits == {"nofile": (64, 64)}
        assert described.processes == ()
        events = [event async for event in launcher.events("group/p1")]
        assert [event.kind for event in events][-1] == "job.exited"
        assert {event.label for event in events} == {"group/p1"}

    connected(host, work)


def test_every_method_that_acts_on_many(host: Host) -> None:
    async def work(launcher: relaunch.Connection) -> None:
        spec = relaunch.JobSpec(label="p1", argv=("sleep", "120"))
        first = await launcher.submit(spec)
        assert first.pid is not None
        (outcome,) = await launcher.signal("CONT", "p1")
        assert outcome.error is None
        (outcome,) = await launcher.restart("p1")
        assert outcome.job is not None
        assert outcome.job.pid != first.pid
        stopped, missing = sorted(await launcher.stop("p1", "nobody"), key=lambda one: one.error or "")
        assert stopped.job is not None
        assert stopped.job.exit is not None
        assert stopped.job.exit.reason == "stopped"
        assert missing.label == "nobody"
        assert missing.error == NoSuchLabel("").wire_name
        assert [job.label for job in await launcher.list()] == ["p1"]

    connected(host, work)


def test_refusals_are_exceptions_of_their_own(host: Host) -> None:
    """[W5]"""

    async def work(launcher: relaunch.Connection) -> None:
        await launcher.submit("p1", ["sleep", "120"])
        with pytest.raises(LabelInUse):
            await launcher.submit("p1", ["sleep", "120"])
        with pytest.raises(StartFailed, match="no-such-program"):
            await launcher.submit("p2", ["no-such-program"])
        with pytest.raises(NoSuchLabel):
            await launcher.describe("nobody")
        with pytest.raises(BadSpec, match="nice"):
            await launcher.submit("p2", ["ls"], nice=99)
        with pytest.raises(BadSpec, match="argv"):
            await launcher.submit("p2")  # type: ignore[call-overload]  # as from a program without types
        spec = relaunch.JobSpec(label="p2", argv=("ls",))
        with pytest.raises(BadSpec, match="only with a label"):
            await launcher.submit(spec, ["ls"])  # type: ignore[call-overload]  # as from a program without types
        with pytest.raises(NoSuchLabel):
            await anext(launcher.logs("nobody"))
        assert [job.label for job in await launcher.list("p1")] == ["p1"]

    connected(host, work)


def test_what_waits_holds_nobody_up(host: Host) -> None:
    """[W2]"""

    async def work(launcher: relaunch.Connection) -> None:
        await launcher.submit("stubborn", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
        following = launcher.logs("stubborn", follow=True)
        assert await anext(following) == b"ready\n"
        waiting = asyncio.create_task(launcher.wait("stubborn"))
        stopping = asyncio.create_task(launcher.stop("stubborn", timeout_s=0))
        while (await launcher.list("stubborn"))[0].state != "stopping":
            assert not waiting.done()
        assert not stopping.done()
        await launcher.signal("KILL", "stubborn")
        (outcome,) = await stopping
        assert outcome.error is None
        (job,) = await waiting
        assert job.finished
        assert [piece async for piece in following] == []

    connected(host, work)


def test_many_calls_at_once_are_answered_each_with_its_own(host: Host) -> None:
    """[W2]"""

    async def work(launcher: relaunch.Connection) -> None:
        labels = [f"many/{number}" for number in range(50)]
        jobs = await asyncio.gather(*(launcher.submit(label, ["sleep", "120"]) for label in labels))
        assert [job.label for job in jobs] == labels
        described = await asyncio.gather(*(launcher.describe(label) for label in labels))
        assert [one.job.pid for one in described] == [job.pid for job in jobs]
        await launcher.stop("many/*", signal="KILL")

    connected(host, work)


def test_a_call_that_is_given_up_does_not_confuse_the_next(host: Host) -> None:
    async def work(launcher: relaunch.Connection) -> None:
        for number in range(20):
            given_up = asyncio.create_task(launcher.submit(f"p{number}", ["sleep", "120"]))
            await asyncio.sleep(0)
            given_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await given_up
            assert (await launcher.status()).socket == str(host.socket)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await launcher.wait("p*")
        assert isinstance(await launcher.list(), list)

    connected(host, work)


def test_events_are_followed_until_the_reader_has_enough(host: Host) -> None:
    async def work(launcher: relaunch.Connection) -> None:
        seen = []
        async with contextlib.aclosing(launcher.events("p1", count=0, follow=True)) as events:
            first = asyncio.create_task(anext(events))
            # The follower may connect after the job has ended; until it has seen something, make more to see.
            while not first.done():
                await launcher.submit("p1", ["true"])
                await launcher.wait("p1")
            seen.append(await first)
            await launcher.submit("p1", ["true"])
            async for event in events:
                seen.append(event)
                if event.kind == "job.exited":
                    break
        sequences = [event.sequence for event in seen]
        assert sequences == sorted(set(sequences))

    connected(host, work)


def test_a_reader_that_is_late_misses_nothing(host: Host) -> None:
    async def work(launcher: relaunch.Connection) -> None:
        async with contextlib.aclosing(launcher.events("late/*", since=0, follow=True)) as events:
            pending = asyncio.create_task(anext(events))
            for number in range(150):
                await launcher.submit(f"late/{number}", ["true"])
            await launcher.wait("late/*")
            ended = {(await pending).label} if (await pending).kind == "job.exited" else set()
            async for event in events:
                if event.kind == "job.exited":
                    ended.add(event.label)
                if len(ended) == 150:
                    break

    connected(host, work)


def test_the_next_call_finds_the_next_launcher(host: Host) -> None:
    """[W7]"""

    async def work(launcher: relaunch.Connection) -> None:
        before = await launcher.status()
        os.kill(before.launcher_pid, signal.SIGSTOP)
        asked = [asyncio.create_task(launcher.list()) for _ in range(3)]
        waiting = asyncio.create_task(launcher.stop("nobody"))
        await asyncio.sleep(0)
        os.kill(before.launcher_pid, signal.SIGKILL)
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, OutcomeUnknown)
        # One that connected only after the death was answered by the next launcher.
        with contextlib.suppress(OutcomeUnknown):
            assert (await waiting)[0].error is not None
        after = await launcher.status()
        assert after.launcher_pid != before.launcher_pid
        assert after.keeper_pid == before.keeper_pid

    connected(host, work)


def test_replace_and_shutdown(host: Host) -> None:
    async def work(launcher: relaunch.Connection) -> None:
        before = await launcher.status()
        job = await launcher.submit("p1", ["sleep", "120"])
        await launcher.replace()
        while True:
            with contextlib.suppress(RelaunchError):
                if (await launcher.status()).launcher_pid != before.launcher_pid:
                    break
        assert (await launcher.describe("p1")).job.pid == job.pid
        assert await launcher.shutdown() == []
        assert job.pid is not None
        assert not alive(job.pid)

    connected(host, work)


def test_jobs_are_replaced_awaited_and_unloaded(host: Host) -> None:
    """[S36] [S38] What the calls of these names answer."""

    async def work(launcher: relaunch.Connection) -> None:
        first = await launcher.submit("a", ["sleep", "300"], ready={"command": ["false"], "interval_s": 0.1})
        assert [spec.ready.command for spec in await launcher.get_specs("a") if spec.ready] == [("false",)]
        (outcome,) = await launcher.await_ready("a", timeout_s=0.1)
        assert outcome.error == "io.relaunch.Launcher.NotReady"
        with pytest.raises(LabelInUse):
            await launcher.submit("a", ["sleep", "301"])
        second = await launcher.submit("a", ["sleep", "301"], replace=True)
        assert second.id != first.id
        assert not alive(first.pid or 0)
        assert (await launcher.submit("a", ["sleep", "301"], replace=True)).id == second.id
        (outcome,) = await launcher.await_ready("a")
        assert (outcome.error, outcome.job and outcome.job.pid) == (None, second.pid)
        assert (await launcher.submit(relaunch.JobSpec(label="b", argv=("true",)), replace=True)).run == 1
        assert sorted(spec.label for spec in await launcher.get_specs()) == ["a", "b"]
        outcomes = await launcher.unload("*", timeout_s=5)
        assert [(outcome.label, outcome.error) for outcome in outcomes] == [("a", None), ("b", None)]
        assert not alive(second.pid or 0)
        assert not await launcher.list()

    connected(host, work)
