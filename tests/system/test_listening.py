"""The launcher's part in the sockets of jobs, over a real keeper."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.system.keeper_process import DEADLINE_S, KeeperProcess, Launcher

from relaunch.keeper.wire import Message
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.listening import Listening
from relaunch.policy import SocketSpec

Told = tuple[str, ...]


class Heard(asyncio.Queue[Told]):
    """What the listening told, one after the other; and the addresses that the keeper told it, by job."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: dict[str, list[list[str]]] = {}

    async def next(self) -> Told:
        async with asyncio.timeout(DEADLINE_S):
            return await self.get()


@asynccontextmanager
async def listening(launcher: Launcher, *held: str) -> AsyncIterator[tuple[Listening, Heard]]:
    """A launcher's end of this link, in the place of the test's."""
    told = Heard()

    def reported(reports: list[Message]) -> None:
        for report in reports:
            if report["event"] == "listening":
                told.addresses[report["key"]] = report["addresses"]
            if not subject.reported(report):
                told.put_nowait(("other", report["event"], report.get("key", "")))

    link = KeeperLink(reported, lambda: None)
    subject = Listening(
        link,
        held,
        on_listening=lambda job_id: told.put_nowait(("listening", job_id)),
        on_called=lambda job_id: told.put_nowait(("called", job_id)),
        on_failed=lambda job_id, line: told.put_nowait(("failed", job_id, line)),
    )
    await link.open(os.dup(launcher.socket.fileno()))
    yield subject, told
    link.close()
    await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), DEADLINE_S * 2))


def test_a_job_listens_and_is_called(running: KeeperProcess, launcher: Launcher, tmp_path: Path) -> None:
    """[S31] Names, numbers and paths; told once for each watch, at once where somebody waits already."""

    async def test() -> None:
        async with listening(launcher) as (subject, told):
            path = str(tmp_path / "socket")
            sockets = {"web": (SocketSpec(port=0, host="localhost", family="ipv4"),), "admin": (SocketSpec(path=path),)}
            subject.listen("job", sockets)
            subject.listen("job", sockets)
            subject.watch("job")  # though the name is still being looked up
            assert await told.next() == ("listening", "job")
            assert subject.holds("job")
            (name, address), admin = told.addresses["job"]
            assert (name, address.rpartition(":")[0], admin) == ("web", "127.0.0.1", ["admin", path])
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))):
                assert await told.next() == ("called", "job")
                subject.watch("job")
                assert await told.next() == ("called", "job")
            subject.close("job")
            assert not subject.holds("job")
            subject.listen("job", {"admin": (SocketSpec(path=path),)})
            assert await told.next() == ("listening", "job")

    run(test)


def test_what_cannot_be_listened_on_is_told(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] Names that nobody has, addresses of others, sockets of no job; in one line each."""

    async def test() -> None:
        async with listening(launcher) as (subject, told):
            subject.listen("a", {"web": (SocketSpec(port=80, host="name.invalid"),)})
            subject.watch("a")
            failed, job_id, line = await told.next()
            assert (failed, job_id) == ("failed", "a")
            assert line.startswith("socket name.invalid:80: ")
            subject.listen("b", {"web": (SocketSpec(port=80, host="192.0.2.1"),)})
            assert await told.next() == ("failed", "b", "socket 192.0.2.1:80: Cannot assign requested address")
            subject.listen("b", {"web": (SocketSpec(port=80, host="x" * 300),)})
            failed, job_id, line = await told.next()
            assert (failed, job_id, line[-22:]) == ("failed", "b", ":80: no name of a host")
            assert not subject.holds("a")
            subject.watch("c")
            assert await told.next() == ("failed", "c", "socket c: Transport endpoint is not connected")

    run(test)


def test_other_reports_are_left_to_others(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] Those of starts that failed, too, for want of a socket as well."""

    async def test() -> None:
        async with listening(launcher) as (_, told):
            launcher.spawn("job.1", "true", sockets="job")
            assert await told.next() == ("other", "failed", "job.1")
            launcher.spawn("job.1", "true")
            assert await told.next() == ("other", "spawned", "job.1")

    run(test)


def test_the_next_launcher_goes_on(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] [S21] With what the keeper says it holds; what is nobody's any more is closed."""
    launcher.send({"op": "listen", "key": "gone", "sockets": [["web", {"port": 0, "family": "ipv4"}]]})
    port = int(launcher.expect("listening")["addresses"][0][1].rpartition(":")[2])
    launcher.send({"op": "listen", "key": "job", "sockets": [["web", {"port": 0, "family": "ipv4"}]]})
    launcher.expect("listening")
    launcher.kill()
    second = running.launcher()
    held = second.expect("hello")["listening"]
    second.send({"op": "up"})

    async def test() -> None:
        async with listening(second, *held) as (subject, told):
            assert subject.holds("job")
            subject.close_all_but(["job"])
            subject.listen("job", {"web": (SocketSpec(port=0, family="ipv4"),)})
            assert await told.next() == ("listening", "job")
            with socket.socket() as asking:
                assert asking.connect_ex(("127.0.0.1", port)), "nobody listens there any more"
            subject.watch("job")
            address = told.addresses["job"][0][1]
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))):
                assert await told.next() == ("called", "job")

    run(test)


def test_what_is_closed_while_its_name_is_looked_up_is_not_bound(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] Nothing is said of it any more."""

    async def test() -> None:
        async with listening(launcher) as (subject, told):
            subject.listen("job", {"web": (SocketSpec(port=0, host="localhost"),)})
            subject.close("job")
            subject.listen("next", {"web": (SocketSpec(port=0, host="127.0.0.1"),)})
            assert await told.next() == ("listening", "next")
            assert not subject.holds("job")

    run(test)
