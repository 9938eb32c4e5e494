"""What the tests on deaths look at: processes as /proc shows them, and the history that the journal's events tell.

Knows what must never be seen: a run that ended twice, one process too many, a process of no job. Refuses to
know how a launcher avoids it.
"""

import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, call

Event = dict[str, Any]
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty where it is gone."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in raw.split("\0") if "=" in entry)


def rss_bytes(pid: int) -> int:
    """Resident size of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def switches(pid: int) -> int:
    """How often a process, with all its threads, has been given a processor or has given it up."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, which has to be there; for KILL, wait until it has ended."""
    os.kill(pid, number)
    if number == signal.SIGKILL:
        wait_for(lambda: not alive(pid), what=f"process {pid} ends")


def kill_launcher(host: Host) -> int:
    """Kill the launcher; gives the pid of the next one, once that answers."""
    before = launcher_pid(host)
    kill(before)
    return wait_for(lambda: launcher_pid(host), what="the next launcher answers")


def launcher_pid(host: Host) -> int:
    """The launcher that answers now; waits in its socket's backlog where there is none for the moment."""
    return int(call(host.socket, "GetStatus")["status"]["launcher_pid"])


def jobs_processes(host: Host) -> dict[str, list[int]]:
    """Every living process of this host's jobs, by LAUNCH_JOB_ID."""
    found: dict[str, list[int]] = defaultdict(list)
    for pid in host.processes():
        job_id = environment(pid).get("LAUNCH_JOB_ID")
        if job_id is not None and alive(pid):
            found[job_id].append(pid)
    return found


def jobs(host: Host) -> dict[str, dict[str, Any]]:
    """The jobs by label."""
    return {job["label"]: job for job in call(host.socket, "List")["jobs"]}


def events(host: Host, *patterns: str) -> list[Event]:
    """The whole journal, or what concerns these labels."""
    found: list[Event] = []
    with Peer(host.socket) as peer:
        peer.send("Events", {"patterns": list(patterns)}, more=True)
        while True:
            reply = peer.reply()
            found += reply["parameters"].get("events", [])
            if not reply.get("continues"):
                return found


def kinds(history: Iterable[Event]) -> list[str]:
    """The kinds of events, in order."""
    return [event["type"].removeprefix("io.relaunch.") for event in history]


def exits(host: Host, label: str) -> list[dict[str, Any]]:
    """The data of each end of a label's runs."""
    return [event["data"] for event in events(host, label) if event["type"] == "io.relaunch.job.exited"]


def check_history(history: list[Event]) -> None:
    """Whether the journal tells of nothing that must not be: a gap, a run started or ended twice, overlapping runs."""
    numbers = [int(event["id"].partition("/")[2]) for event in history]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a gap"
    once = ("started", "exited", "start-failed")
    seen: Counter[tuple[str, str, int]] = Counter()
    open_run: dict[str, int] = {}
    for event in history:
        kind = event["type"].removeprefix("io.relaunch.job.")
        if kind not in once:
            continue
        job_id, run = event["data"]["job_id"], event["data"]["run"]
        seen[kind, job_id, run] += 1
        if kind == "started":
            assert job_id not in open_run, f"run {run} began while run {open_run[job_id]} had not ended: {event}"
            open_run[job_id] = run
        else:
            assert open_run.pop(job_id, run) == run, f"another run than the one that began ended: {event}"
    assert not [key for key, count in seen.items() if count > 1], "twice"


def check_processes(host: Host) -> None:
    """Whether each job that runs is exactly one process, the one that is told, and no other process is there."""
    told = {job["id"]: [job["pid"]] for job in jobs(host).values() if job["pid"] is not None}
    assert jobs_processes(host) == told


def started_after_s(pid: int, boottime_s: float) -> float:
    """How long after a moment (CLOCK_BOOTTIME) a process was started, to a hundredth of a second."""
    return ticks(pid) / _TICKS_PER_S - boottime_s


def boottime_s() -> float:
    """Now, on the clock that start times are told in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def end_stragglers(pids: Iterable[int]) -> None:
    """Kill what a test has left, by id."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
