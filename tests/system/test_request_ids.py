"""Asked again under the same id, a submit starts nothing twice: at once, later, and across the launcher's death."""

import asyncio
import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.system.launcher_host import Host

import relaunch
from relaunch.errors import BadCall, LabelInUse, Refused, RelaunchError, StartFailed, Unreachable

SLEEP = ["sleep", "1000"]


def submit(
    host: Host, label: str, argv: list[str] | None = None, *, request: str | None = None, nice: int = 0
) -> relaunch.JobStatus:
    """Submit over a connection of its own."""

    async def ask() -> relaunch.JobStatus:
        async with relaunch.connect(str(host.socket)) as here:
            return await here.submit(label, argv or SLEEP, request=request, nice=nice)

    return asyncio.run(ask())


async def launcher_pid(host: Host) -> int:
    """The launcher that answers."""
    async with relaunch.connect(str(host.socket)) as here:
        return (await here.status()).launcher_pid


def submitted(host: Host) -> list[str]:
    """The label of each job that the journal has taken up, in order."""
    return [event["subject"] for event in host.events() if event["type"] == "io.relaunch.job.submitted"]


def kill_launcher(host: Host) -> None:
    """Kill it; returns once the next one answers."""
    pid = host.launcher_pid
    os.kill(pid, signal.SIGKILL)
    host.wait_for(lambda: host.launcher_pid != pid, what="another launcher")


def test_the_same_id_answers_the_same_job(host: Host) -> None:
    """[S26]"""
    first = submit(host, "a", request="r1")
    again = submit(host, "a", request="r1")
    assert (again.id, again.pid, again.run) == (first.id, first.pid, 1)
    assert submitted(host) == ["a"]


def test_so_it_is_while_the_first_is_still_starting(host: Host) -> None:
    """[S26] Twenty at once are one, and each is answered when the job runs."""

    async def one() -> relaunch.JobStatus:
        async with relaunch.connect(str(host.socket)) as here:
            return await here.submit("a", SLEEP, request="r1")

    async def ask() -> list[relaunch.JobStatus]:
        return await asyncio.gather(*(one() for _ in range(20)))

    answers = asyncio.run(ask())
    assert {(job.id, job.pid, job.state) for job in answers} == {(answers[0].id, host.job("a")["pid"], "running")}
    assert submitted(host) == ["a"]


def test_so_it_is_while_the_job_that_is_replaced_is_still_stopping(host: Host) -> None:
    """[S26] [A9] Asked again before the old one has ended, which takes its grace of a second."""
    stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]

    async def one() -> relaunch.JobStatus:
        async with relaunch.connect(str(host.socket)) as here:
            return await here.submit("a", SLEEP, request="r1", replace=True)

    async def ask() -> list[relaunch.JobStatus]:
        async with relaunch.connect(str(host.socket)) as here:
            await here.submit("a", stubborn, stop_timeout_s=1.0)
        await asyncio.to_thread(host.wait_for, lambda: host.launch("logs", "a").stdout == "up\n", what="it is up")
        return await asyncio.gather(*(one() for _ in range(3)))

    answers = asyncio.run(ask())
    assert {(job.id, job.pid, job.state) for job in answers} == {(answers[0].id, host.job("a")["pid"], "running")}
    assert submitted(host) == ["a", "a"]


@pytest.mark.parametrize("ended", [False, True])
def test_so_it_is_after_the_launcher_was_killed(host: Host, *, ended: bool) -> None:
    """[S26]"""
    first = submit(host, "a", ["true"] if ended else None, request="r1")
    if ended:
        host.launch("wait", "a")
    kill_launcher(host)
    again = submit(host, "a", ["true"] if ended else None, request="r1")
    assert again.id == first.id
    assert again.state == ("exited" if ended else "running")
    assert submitted(host) == ["a"]


def test_nothing_is_started_twice_by_one_who_asks_until_he_is_answered(host: Host) -> None:
    """[S26, S21] The launcher is killed again and again, at any moment of a submit."""
    over = threading.Event()

    def kill() -> None:
        for _ in range(8):
            with suppress(Unreachable):
                pid = asyncio.run(launcher_pid(host))
                os.kill(pid, signal.SIGKILL)
        over.set()

    killer = threading.Thread(target=kill)
    killer.start()
    number, tries = 0, 0
    while not over.is_set():
        number += 1
        answered = None
        while answered is None:
            tries += 1
            try:
                answered = submit(host, f"j{number}", request=f"r{number}")
            except Unreachable:
                continue
        assert answered.state == "running"
    killer.join()
    assert sorted(submitted(host)) == sorted(f"j{n}" for n in range(1, number + 1))
    running = [pid for pid in host.processes() if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\0"]
    assert len(running) == number
    assert tries >= number


@pytest.mark.parametrize("killed", [False, True])
def test_an_error_is_the_same_again(host: Host, *, killed: bool) -> None:
    """[S26] Though the label is free by now, or the program is there."""
    program = host.place / "program"
    submit(host, "taken")
    with pytest.raises(LabelInUse) as in_use:
        submit(host, "taken", ["true"], request="r1")
    with pytest.raises(StartFailed) as failed:
        submit(host, "missing", [str(program)], request="r2")
    host.launch("kill", "taken")
    program.symlink_to("/bin/true")
    if killed:
        kill_launcher(host)
    with pytest.raises(LabelInUse) as in_use_again:
        submit(host, "taken", ["true"], request="r1")
    with pytest.raises(StartFailed) as failed_again:
        submit(host, "missing", [str(program)], request="r2")
    assert (str(in_use_again.value), str(failed_again.value)) == (str(in_use.value), str(failed.value))
    assert submitted(host) == ["taken", "missing"]


@pytest.mark.parametrize("killed", [False, True])
def test_an_id_is_known_when_its_label_has_been_used_again(host: Host, *, killed: bool) -> None:
    """[S26] The job is told as it last was."""
    first = submit(host, "a", ["true"], request="r1")
    host.launch("wait", "a")
    second = submit(host, "a", request="r2")
    if killed:
        kill_launcher(host)
    again = submit(host, "a", ["true"], request="r1")
    assert (again.id, again.state) == (first.id, "exited")
    assert host.job("a")["id"] == second.id
    with pytest.raises(Refused, match="another spec"):
        submit(host, "a", request="r1")


@pytest.mark.parametrize("killed", [False, True])
def test_another_spec_under_the_same_id_is_refused(host: Host, *, killed: bool) -> None:
    """[S27]"""
    submit(host, "a", request="r1")
    if killed:
        kill_launcher(host)
    for label, nice in (("b", 0), ("a", 1)):
        with pytest.raises(Refused, match=f"{label}: another spec was submitted under the request id r1") as refused:
            submit(host, label, request="r1", nice=nice)
        assert type(refused.value) is Refused
    assert submitted(host) == ["a"]


@pytest.mark.parametrize("request_id", ["", "x" * 101, "a b", "a/b", "\u00e9", 7])
def test_an_id_that_is_none_is_refused(host: Host, request_id: str) -> None:
    """[S26, W5]"""
    with pytest.raises(BadCall, match="'request' must be 1 to 100"):
        submit(host, "a", request=request_id)
    assert submitted(host) == []


def test_of_what_was_refused_the_last_thousand_are_known(host: Host) -> None:
    """[S27] What has been forgotten is asked anew; what is kept is bounded, on disk too."""

    async def ask() -> list[RelaunchError | relaunch.JobStatus | BaseException]:
        async with relaunch.connect(str(host.socket)) as here:
            await here.submit("a", SLEEP)
            refused = await asyncio.gather(
                *(here.submit("a", SLEEP, request=f"r{n}", nice=0) for n in range(1_001)), return_exceptions=True
            )
            await here.stop("a", signal="KILL")
            return refused

    refused = asyncio.run(ask())
    assert {type(answer) for answer in refused} == {LabelInUse}
    kill_launcher(host)
    with pytest.raises(LabelInUse):
        submit(host, "a", request="r1")
    assert submit(host, "a", request="r0").state == "running"
    assert documents(host) == 1_000


def documents(host: Host) -> int:
    """How many past requests the journal has."""
    import sqlite3

    path = json.loads(host.launch("status", "--json").stdout)["journal"]["path"]
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
        return int(file.execute("SELECT count(*) FROM documents WHERE id LIKE 'request:%'").fetchone()[0])
