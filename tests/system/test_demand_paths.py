"""Jobs that paths start and keep: watched ones, queues, ones that have to be there or not."""

import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.system.evidence import events, jobs, kill, kill_launcher
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer


def causes(host: Host, label: str = "a") -> list[str]:
    """What has had a job started, in order; the submit itself is none of it."""
    return [event["data"]["cause"] for event in events(host, label) if event["type"] == "io.relaunch.job.starting"]


def job(host: Host, label: str = "a") -> dict[str, Any]:
    return jobs(host)[label]


def wait_for_run(host: Host, run: int, label: str = "a", state: str = "waiting") -> None:
    """Until a job's run has ended, and it waits again."""
    wait_for(lambda: (job(host, label)["run"], job(host, label)["state"]) == (run, state), what=f"run {run}, {state}")


def submit(host: Host, *argv: str, **spec: Any) -> dict[str, Any]:
    """A job `a` that the test's paths start, at any time."""
    with Peer(host.socket) as peer:
        return peer.submit("a", *(argv or ("true",)), throttle_s=0.0, **spec)


def replaced(path: Path) -> None:
    """As editors do."""
    other = path.with_name("other")
    other.write_text("new")
    other.rename(path)


def moved_away(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def appended(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")
        file.flush()
        os.fsync(file.fileno())


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("other"),
    "appended": appended,
    "touched": os.utime,
    "given another mode": lambda path: path.chmod(0o600),
    "replaced": replaced,
    "removed": Path.unlink,
    "moved away with its directory": moved_away,
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_of_a_file_starts_the_job(host: Host, how: str) -> None:
    """[S41] [S29] Whatever becomes of it; what is beside it is nobody's business."""
    path = host.place / "some" / "file"
    path.parent.mkdir()
    path.write_text("x")
    assert submit(host, watch_paths=[str(path)])["state"] == "waiting"
    path.with_name("beside").write_text("x")
    CHANGES[how](path)
    wait_for_run(host, 1)
    assert causes(host) == ["path"]


def test_paths_may_come_and_go_with_what_leads_there(host: Host) -> None:
    """[S41] One that is not there yet, in a directory that is not there yet; made, removed, made again."""
    path = host.place / "a" / "b" / "c" / "file"
    submit(host, watch_paths=[str(path)])
    path.parent.mkdir(parents=True)
    path.write_text("x")
    wait_for_run(host, 1)
    appended(path)
    wait_for_run(host, 2)
    path.unlink()
    wait_for_run(host, 3)
    path.parent.rmdir()
    path.parent.mkdir()
    path.write_text("y")
    wait_for_run(host, 4)
    assert causes(host) == ["path"] * 4


def test_links_are_followed_and_seen_to_be_replaced(host: Host) -> None:
    """[S41] One that stands for a directory on the way, put in place of another."""
    for name in ("one", "two"):
        (host.place / name).mkdir()
        (host.place / name / "file").write_text(name)
    (host.place / "current").symlink_to("one")
    submit(host, watch_paths=[str(host.place / "current" / "file")])
    (host.place / "next").symlink_to("two")
    (host.place / "next").rename(host.place / "current")
    wait_for_run(host, 1)
    appended(host.place / "two" / "file")
    wait_for_run(host, 2)


def test_entries_of_a_directory_come_and_go(host: Host) -> None:
    """[S41] What is written into them is none of the directory's changes."""
    place = host.place / "dir"
    place.mkdir()
    (place / "old").write_text("x")
    submit(host, watch_paths=[str(place)])
    appended(place / "old")
    (place / "new").write_text("x")
    wait_for_run(host, 1)
    (place / "new").unlink()
    wait_for_run(host, 2)
    assert causes(host) == ["path"] * 2


def test_a_change_during_a_run_counts_when_it_has_ended(host: Host) -> None:
    """[S29] Once, however many there were, and though the launcher has died meanwhile."""
    path, gate = host.place / "file", host.place / "gate"
    os.mkfifo(gate)
    submit(host, "sh", "-c", f"read x < {gate}", watch_paths=[str(path)])
    path.write_text("x")
    wait_for(lambda: job(host)["state"] == "running", what="it runs")
    appended(path)
    appended(path)
    kill_launcher(host)
    appended(path)
    assert (job(host)["run"], job(host)["state"]) == (1, "running")
    with closing(os.fdopen(os.open(gate, os.O_RDWR), "wb", buffering=0)) as opened:
        opened.write(b"\n")
        wait_for(lambda: (job(host)["run"], job(host)["state"]) == (2, "running"), what="it runs again")
        opened.write(b"\n")
        wait_for_run(host, 2)
    assert causes(host) == ["path"] * 2


def test_what_changes_without_a_launcher_starts_the_job_once(host: Host) -> None:
    """[S29] [S21] The next one sees by what is in the journal that there is another file now; and goes on watching."""
    path, other = host.place / "file", host.place / "other"
    path.write_text("x")
    other.write_text("x")
    submit(host, watch_paths=[str(path)])
    with Peer(host.socket) as peer:
        peer.submit("b", "true", throttle_s=0.0, watch_paths=[str(other)])
    keeper = host.keeper_pid
    kill(keeper)
    wait_for(lambda: not host.processes(), what="the launcher has followed its keeper")
    path.write_text("changed")
    host.serve()
    wait_for_run(host, 1)
    kill_launcher(host)
    appended(path)
    wait_for_run(host, 2)
    assert (causes(host), causes(host, "b")) == (["path"] * 2, [])


def test_a_queue_keeps_a_job_going_until_it_is_empty(host: Host) -> None:
    """[S29] [S33] Started for one entry, again for the next, no more when all are gone; across a launcher's death."""
    queue = host.place / "queue"
    take_one = f"set -- {queue}/*; rm $1"
    submit(host, "sh", "-c", take_one, queue_directories=[str(queue)])
    staged = host.place / "staged"
    staged.mkdir()
    for name in ("1", "2", "3"):
        (staged / name).write_text("x")
    staged.rename(queue)
    wait_for_run(host, 3)
    assert causes(host) == ["condition"] * 3
    kill_launcher(host)
    (queue / "4").write_text("x")
    wait_for_run(host, 4)
    assert not list(queue.iterdir())


def test_a_queue_that_is_no_directory_starts_nothing(host: Host) -> None:
    """[S29] A file, with something in it."""
    queue = host.place / "queue"
    queue.write_text("x")
    assert submit(host, queue_directories=[str(queue)])["state"] == "waiting"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_job_is_kept_while_a_path_is_there_or_is_not(host: Host, wanted: bool) -> None:
    """[S33] Started when it begins to be so, again while it is so, not any more after; across a launcher's death."""
    path = host.place / "there"
    begin, end = (path.touch, path.unlink) if wanted else (path.unlink, path.touch)
    if not wanted:
        path.touch()
    submit(host, "sleep", "300", keep_alive_when={"paths": {str(path): wanted}})
    assert job(host)["state"] == "waiting"
    begin()
    wait_for(lambda: job(host)["state"] == "running", what="it begins to be so")
    kill_launcher(host)
    kill(job(host)["pid"])
    wait_for(lambda: (job(host)["run"], job(host)["state"]) == (2, "running"), what="it is so still")
    end()
    kill(job(host)["pid"])
    wait_for_run(host, 2)
    begin()
    wait_for(lambda: (job(host)["run"], job(host)["state"]) == (3, "running"), what="it is so again")
    assert causes(host)[-1] == "condition"


def test_a_path_that_is_as_it_has_to_be_starts_the_job_at_once(host: Host) -> None:
    """[S28] [S33] A condition that holds at the submit."""
    assert submit(host, "sleep", "300", keep_alive_when={"paths": {"/": True}})["state"] == "running"


def test_what_a_stopped_job_watches_is_let_go(host: Host) -> None:
    """[S5] [S29] No change starts it any more, until it is started; and one watch less is held for each."""
    path = host.place / "file"
    before = watches(host)
    submit(host, watch_paths=[str(path)])
    assert watches(host) > before
    host.launch("stop", "a")
    path.write_text("x")
    assert watches(host) == before
    assert job(host)["state"] == "exited"
    host.launch("restart", "a")
    wait_for_run(host, 1)
    appended(path)
    wait_for_run(host, 2)
    assert causes(host) == ["restart", "path"]


def watches(host: Host) -> int:
    """How many files the launcher watches, apart from the output of jobs."""
    pid, found = host.launcher_pid, 0
    for fd in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # a connection that has just ended
            lines = fd.read_text().splitlines()
            found += sum(line.startswith("inotify ") and "mask:2 " not in line for line in lines)
    return found
