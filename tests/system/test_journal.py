"""The journal on real files and a real, small disk: damaged, foreign, taken away, full, compacted; never in the way."""

import asyncio
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.system.evidence import check_history, check_processes, events, jobs, kill, kinds, launcher_pid
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, Refused, call, spec_of

from relaunch import database
from relaunch.event import Event
from relaunch.launcher import journal as journal_module
from relaunch.launcher.feed import Feed
from relaunch.launcher.journal import Journal, NewEvent, Write


def _leave(host: Host) -> None:
    """End keeper and launcher; jobs stay."""
    keeper = call(host.socket, "GetStatus")["status"]["keeper_pid"]
    call(host.socket, "Shutdown", {"leave_jobs": True})
    wait_for(lambda: not alive(keeper), what="the keeper ends")


# What can be wrong with the file while nobody serves


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(random.Random(1).randbytes(path.stat().st_size - 100))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096 - 17)


def _other_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE things (name)")
        other.execute("INSERT INTO things VALUES ('precious')")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute("PRAGMA user_version = 3")


def _text(path: Path) -> None:
    path.write_text("precious notes\n" * 1000)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _no_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute("DROP TABLE meta")


def _no_epoch(path: Path) -> None:
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute("DELETE FROM meta")


def _other_schema(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(44)  # the schema format number, see https://www.sqlite.org/fileformat2.html
        file.write((9).to_bytes(4, "big"))


UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (_overwrite, ""),
    (_truncate, ""),
    (_other_program, "another program"),
    (_newer, "form 3"),
    (_text, "not an SQLite database"),
    (_empty, ""),
    (_directory, "directory"),
    (_other_schema, "unsupported file format"),
    (_no_tables, "no such table"),
    (_no_epoch, "no epoch"),
]


@pytest.mark.parametrize(("harm", "told"), UNUSABLE, ids=lambda value: getattr(value, "__name__", ""))
def test_an_unusable_journal_is_set_aside(host: Host, harm: Callable[[Path], None], told: str) -> None:
    """[J4] Renamed with all that it holds, and said so in three places."""
    with Peer(host.socket) as peer:
        for _ in range(30):
            peer.submit("group/a", "true")
            peer.call("Wait", {"patterns": ["group/a"]})
        epoch = peer.call("GetStatus")["status"]["journal"]["epoch"]
    _leave(host)
    path = host.state / "journal.db"
    with closing(sqlite3.connect(path)) as journal:
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        journal.execute("PRAGMA journal_mode = DELETE")
    harm(path)
    before = path.read_bytes() if path.is_file() else None
    log = (host.state / "launcher.log").stat().st_size
    host.serve()
    status = call(host.socket, "GetStatus")["status"]["journal"]
    (aside,) = [name for name in host.state.glob("journal.db.set-aside-*") if not name.name.endswith(("-wal", "-shm"))]
    if harm not in (_directory, _no_tables, _no_epoch):
        assert aside.read_bytes() == before
    assert status["set_aside"].startswith(str(aside))
    assert told in status["set_aside"]
    assert status["problem"] is None
    assert status["epoch"] != epoch
    assert str(aside) in (host.state / "launcher.log").read_text()[log:]
    (reset,) = [event for event in events(host) if event["type"] == "io.relaunch.journal.reset"]
    assert reset["data"]["set_aside"] == status["set_aside"]
    with Peer(host.socket) as peer:
        assert peer.submit("group/a", "true")["state"] in ("running", "exited")


def test_what_runs_is_taken_in_by_a_new_journal(host: Host) -> None:
    """[J4] A job again: same label, same process, same id, and ended like any other."""
    with Peer(host.socket) as peer:
        job = peer.submit("group/a")
    _leave(host)
    _text(host.state / "journal.db")
    host.serve()
    taken = jobs(host)["group/a"]
    assert (taken["pid"], taken["id"], taken["state"]) == (job["pid"], job["id"], "running")
    assert call(host.socket, "Stop", {"patterns": ["group/a"]})["outcomes"][0]["error"] is None
    assert not alive(job["pid"])


@pytest.mark.parametrize("seed", range(4))
def test_a_journal_with_wrong_bytes_is_never_in_the_way(host: Host, seed: int) -> None:
    """[J4] Wherever they are: it is used, or set aside, and every process that runs is a job."""
    with Peer(host.socket) as peer:
        pids = {f"a{number}": peer.submit(f"a{number}")["pid"] for number in range(5)}
    _leave(host)
    path = host.state / "journal.db"
    with closing(sqlite3.connect(path)) as journal:
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    random_bytes = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(3 + 20 * seed):
            file.seek(random_bytes.randrange(4096, path.stat().st_size))
            file.write(random_bytes.randbytes(1 + seed))
    host.serve()
    assert {label: job["pid"] for label, job in jobs(host).items()} == pids
    assert events(host)
    launcher = launcher_pid(host)
    with Peer(host.socket) as peer:
        peer.submit("new")
        assert launcher_pid(host) == launcher
    check_processes(host)


# What can happen to it while a launcher runs


def test_a_tool_that_holds_the_journal_delays_nothing_but_writes(host: Host) -> None:
    """[J2] [W12] A submit waits for it and is answered; meanwhile others are served."""
    with closing(sqlite3.connect(host.state / "journal.db", isolation_level=None)) as tool, Peer(host.socket) as peer:
        tool.execute("BEGIN IMMEDIATE")
        peer.send("Submit", {"spec": spec_of("waits")})
        wait_for(lambda: "waits" in jobs(host), what="the launcher has taken it in")
        assert jobs(host)["waits"]["state"] == "starting"
        tool.execute("ROLLBACK")
        assert peer.answer()["job"]["state"] == "running"


def test_who_hangs_up_while_an_answer_is_journaled_concerns_nobody_else(host: Host) -> None:
    """[J2] [W12] What is committed together with it is done and answered all the same."""
    with closing(sqlite3.connect(host.state / "journal.db", isolation_level=None)) as tool, ExitStack() as stack:
        first, second = (stack.enter_context(Peer(host.socket)) for _ in range(2))
        first.submit("old", "true")
        first.call("Wait", {"patterns": ["old"]})
        tool.execute("BEGIN IMMEDIATE")
        with Peer(host.socket) as leaving:
            leaving.send("Unload", {"patterns": ["old"]})
            wait_for(lambda: "old" not in jobs(host), what="it is unloaded, and not journaled yet")
        for peer, label in ((first, "a"), (second, "b")):
            peer.send("Submit", {"spec": spec_of(label)})
        wait_for(lambda: {"a", "b"} <= jobs(host).keys(), what="they are taken in")
        tool.execute("ROLLBACK")
        assert [peer.answer()["job"]["state"] for peer in (first, second)] == ["running"] * 2
        assert "old" not in jobs(host)


@pytest.mark.parametrize("harm", ["removed", "log removed", "index removed", "replaced", "overwritten"])
def test_a_journal_is_lost_while_the_launcher_runs(host: Host, harm: str) -> None:
    """[J4] [J1] It begins anew by itself, and its followers are told; the jobs are the same."""
    path = host.state / "journal.db"
    with Peer(host.socket) as peer, Peer(host.socket) as follower:
        pid = peer.submit("a")["pid"]
        epoch = peer.call("GetStatus")["status"]["journal"]["epoch"]
        follower.send("Events", {"follow": True}, more=True)
        peer.call("GetStatus")
        if harm == "overwritten":
            for suffix in ("", "-wal"):
                with Path(f"{path}{suffix}").open("r+b") as file:
                    file.write(b"\xa5" * os.fstat(file.fileno()).st_size)
        else:
            part = {"log removed": "-wal", "index removed": "-shm"}.get(harm, "*")
            for name in host.state.glob(f"journal.db{part}"):
                name.unlink()
        if harm == "replaced":
            path.write_text("notes")
        seen: list[dict[str, Any]] = []
        number = 0
        while "journal.reset" not in kinds(seen):
            number += 1
            peer.submit("b", "true")
            peer.call("Wait", {"patterns": ["b"]})
            with suppress(Refused):
                seen = peer.call("Events", {"count": 50})["events"]
            assert number < 2000
        told: list[str] = []
        while "journal.reset" not in told:
            told += kinds(follower.answer()["events"])
        status = peer.call("GetStatus")["status"]["journal"]
        assert status["epoch"] != epoch
        assert status["set_aside"]
        assert status["problem"] is None
    kill(launcher_pid(host))
    assert jobs(host)["a"]["pid"] == pid
    check_processes(host)


def test_the_log_of_a_damaged_journal_is_set_aside_with_it(host: Host) -> None:
    """[J4] Most of what was written may stand there alone."""
    with Peer(host.socket) as peer:
        peer.submit("a")
    for pid in (host.keeper_pid, host.launcher_pid):
        os.kill(pid, signal.SIGKILL)
    log = host.state / "journal.db-wal"
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.write(b"\xff")
    host.serve()
    assert [path.stat().st_size for path in host.state.glob("journal.db.set-aside-*-wal")] == [size]
    assert jobs(host)["a"]["state"] == "running"


def test_a_journal_behind_a_link_is_watched_where_it_is(host: Host) -> None:
    """[J4] SQLite keeps the log beside what the link leads to."""
    host.launch("shutdown")
    elsewhere = host.place / "elsewhere"
    elsewhere.mkdir()
    (host.state / "journal.db").rename(elsewhere / "j.db")
    (host.state / "journal.db").symlink_to(elsewhere / "j.db")
    host.serve()
    (elsewhere / "j.db-wal").unlink()
    with Peer(host.socket) as peer:
        for number in count():
            peer.submit(f"b{number}", "true")
            if "journal.reset" in kinds(peer.call("Events", {"count": 50})["events"]):
                break
            assert number < 2000
    assert len(list(elsewhere.glob("j.db.set-aside-*"))) > 0


def test_what_cannot_be_looked_at_is_not_taken_for_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[J4] As where a ticket for the file system has run out."""
    path = str(tmp_path / "j.db")
    Path(path).touch()
    opened = database.identity(path)
    assert not database.was_taken_away(path, opened)
    with monkeypatch.context() as patched:

        def refused(_: str) -> None:
            raise PermissionError(errno.EACCES, "")

        patched.setattr(os, "stat", refused)
        assert not database.was_taken_away(path, opened)
    Path(path).unlink()
    assert database.was_taken_away(path, opened)


# A full disk


@pytest.fixture
def small_disk(root: None, place: Host) -> Iterator[Host]:
    """A launcher whose state directory is a file system of 4 MB."""
    state = Path(place.env["XDG_STATE_HOME"])
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", state], check=True)
    try:
        place.serve()
        yield place
    finally:
        (state / "filler").unlink(missing_ok=True)
        place.launch("shutdown", check=False)
        wait_for(lambda: not place.processes(), what="the launcher ends")
        subprocess.run(["umount", state], check=True)


def _fill(host: Host) -> Path:
    """Leave not one byte; gives what to remove."""
    filler = Path(host.env["XDG_STATE_HOME"]) / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


def _refused(host: Host) -> str:
    """Submit until the full disk is felt: what is left of the journal's own pages takes some writes yet."""
    with Peer(host.socket) as peer:
        for number in range(200):
            _fill(host)
            peer.send("Submit", {"spec": spec_of(f"filling{number}", "true", "x" * 2000)})
            reply = peer.reply()
            if "error" in reply:
                assert reply["error"] == "io.relaunch.Launcher.JournalFailed"
                return str(reply["parameters"]["message"])
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("launcher_dies", [False, True])
def test_a_full_disk(small_disk: Host, launcher_dies: bool) -> None:
    """[J5] [S2] Submits are refused with the reason, all else goes on, and what happened is written in order later."""
    host = small_disk
    with Peer(host.socket) as peer:
        for label in ("ends", "stopped", "killed", "lasts"):
            peer.submit(label)
        peer.submit("flaps", "sh", "-c", "sleep 0.1", keep_alive=True, throttle_s=0.0)
        before = jobs(host)
        message = _refused(host)
        assert "disk is full" in message or "disk I/O" in message
        assert "journal.db" in message
        assert peer.call("GetStatus")["status"]["journal"]["problem"]
        for action in ({"patterns": ["stopped"]}, {"patterns": ["killed"], "signal": "KILL"}):
            (outcome,) = peer.call("Stop", action)["outcomes"]
            assert outcome["error"] in (None, "io.relaunch.Launcher.JournalFailed")
            assert not alive(outcome["job"]["pid"] or before[action["patterns"][0]]["pid"])
    kill(before["ends"]["pid"], signal.SIGSEGV)
    wait_for(lambda: not Path(f"/proc/{before['ends']['pid']}").exists(), what="the end is seen")
    restarts = jobs(host)["flaps"]["restarts"]
    wait_for(lambda: jobs(host)["flaps"]["restarts"] > restarts + 2, what="a kept job is started again and again")
    if launcher_dies:
        kill(launcher_pid(host))
    assert jobs(host)["lasts"]["pid"] == before["lasts"]["pid"]
    (Path(host.env["XDG_STATE_HOME"]) / "filler").unlink()
    wait_for(lambda: call(host.socket, "GetStatus")["status"]["journal"]["problem"] is None, what="it recovers")
    with Peer(host.socket) as peer:
        peer.submit("new")
        peer.call("Stop", {"patterns": ["flaps"]})
    now = jobs(host)
    # That a stop was asked for is not known to the next launcher, as it could not be written; how it ended is.
    why = "crashed" if launcher_dies else "stopped"
    assert [now[label]["exit"]["reason"] for label in ("ends", "stopped", "killed")] == ["crashed", why, why]
    assert [now[label]["exit"]["signal"] for label in ("ends", "stopped", "killed")] == ["SEGV", "TERM", "KILL"]
    check_history(events(host))
    for label in ("ends", "stopped", "killed"):
        assert kinds(events(host, label))[-1] == "job.exited"
    check_processes(host)


# Class Journal itself


async def _written(journal: Journal, *labels: str) -> None:
    """Write an event for each label, each a write of its own, and wait until all are committed."""
    done = [asyncio.get_running_loop().create_future() for _ in labels]
    for label, future in zip(labels, done, strict=True):
        event = NewEvent("job.test", label, {"label": label}, time.time())
        journal.write(Write([event], {label: "{}"}, future.set_result))
    assert await asyncio.gather(*done) == [None] * len(labels)


async def _all(feed: Feed, journal: Journal, **request: Any) -> list[Event]:
    from relaunch.launcher.feed import Request

    defaults: dict[str, Any] = {"patterns": [], "since": None, "since_at": None, "count": None, "follow": False}
    return [event async for piece in feed.read(journal, Request(**(defaults | request))) for event in piece]


@pytest.mark.parametrize("size", [1, 100])
def test_compaction_leaves_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """[J3] Whoever comes late is told what is gone, wherever it begins; the newest are there."""
    monkeypatch.setattr(journal_module, "COMPACTION_EVENTS", 10)

    async def scenario() -> None:
        feed = Feed("//host/relaunch/0")
        journal = Journal(str(tmp_path / "journal.db"), "boot", feed.committed, events_max=50)
        for begin in range(0, 200, size):
            await _written(journal, *(f"e{number}" for number in range(begin, begin + size)))
        compacted_to = journal.compacted_to
        assert 140 <= compacted_to <= 150
        for since in (None, 0, 17, compacted_to - 1):
            gap, *rest = await _all(feed, journal, since=since)
            assert (gap.kind, gap.data) == ("journal.compacted", {"from": (since or 0) + 1, "to": compacted_to})
            assert [event.sequence for event in rest] == list(range(compacted_to + 1, 201))
        assert (await _all(feed, journal, since=compacted_to))[0].label == f"e{compacted_to}"
        assert [event.label for event in await _all(feed, journal, count=2)] == ["e198", "e199"]
        assert [event.label for event in await _all(feed, journal, count=1, patterns=["e16*"])] == ["e169"]
        await journal.close()
        again = Journal(str(tmp_path / "journal.db"), "boot", feed.committed, events_max=50)
        assert (again.compacted_to, again.last_sequence, len(again.documents)) == (compacted_to, 200, 200)
        assert (await _all(feed, again, since=3))[0].data == {"from": 4, "to": compacted_to}
        await again.close()

    asyncio.run(scenario())


def test_writes_are_committed_together_and_in_order(tmp_path: Path) -> None:
    """[J1] [J2] A burst takes few commits; a torn one is not there at all."""
    commits: list[list[int]] = []

    async def scenario() -> None:
        journal = Journal(
            str(tmp_path / "journal.db"), "boot", lambda stored: commits.append([event.sequence for event in stored])
        )
        await _written(journal, *(f"e{number}" for number in range(2_000)))
        assert [sequence for commit in commits for sequence in commit] == list(range(1, 2_001))
        assert len(commits) <= 20
        for suffix in ("", "-wal"):  # as a power loss may leave it: the log's end is missing
            shutil.copy(tmp_path / f"journal.db{suffix}", tmp_path / f"torn.db{suffix}")
        os.truncate(tmp_path / "torn.db-wal", (tmp_path / "torn.db-wal").stat().st_size - 10_000)
        torn = Journal(str(tmp_path / "torn.db"), "boot", lambda _: None)
        assert torn.set_aside is None
        assert torn.last_sequence == len(torn.documents) in {commit[-1] for commit in [[0], *commits]}
        await torn.close()
        await journal.close()

    asyncio.run(scenario())
