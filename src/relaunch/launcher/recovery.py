"""What a new launcher makes of what it finds: the journal's jobs, the keeper's children, a dead keeper's survivors.

Rules: a run whose order the living keeper never got is ordered again; a run that nobody knows of any more ended, with
an unknown status (S21, S22); a process that carries this launcher's marks and stands in no journal is taken in as a
job, never left a stranger; not so one of another user, who could have root's launcher start what they like. Refuses to
decide what follows an end: that is ``core.supervision``.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, assert_never

from relaunch.core.job import Backoff, Booted, Ending, Finished, Job, Running, Starting, Stopping, Waiting
from relaunch.errors import RelaunchError
from relaunch.keeper.wire import Message
from relaunch.labels import check_label
from relaunch.launcher.alarm import boottime
from relaunch.launcher.documents import is_job_id
from relaunch.launcher.jobs import key_of
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.supervisor import Supervisor
from relaunch.launcher.trees import all_pids, environment_of, is_ours, read_stat
from relaunch.model import JobSpec

# No process has started before its host did.
_NOBODY_TICKS = -1


class _Marked(NamedTuple):
    """A process that carries the marks of one of this launcher's jobs."""

    pid: int
    ticks: int
    key: str


def recover(
    supervisor: Supervisor, link: KeeperLink, jobs: Iterable[Job], hello: Message, *, same_boot: bool, socket_path: str
) -> None:
    """Bring every job into line with what is there.

    Args:
        supervisor: Gets the jobs and what happened to them.
        link: Gets the orders that are owed.
        jobs: As the journal had them.
        hello: The keeper's first report.
        same_boot: Whether the journal's last event was written in this boot of the host.
        socket_path: What this launcher's jobs carry as LAUNCH_JOB_SOCKET.
    """
    held: dict[str, list[Message]] = {}
    for report in hello["children"]:
        held.setdefault(report["key"], []).append(report)
    marked = _marked(socket_path) if same_boot else []
    marked_ids = {process.key.partition(".")[0] for process in marked}
    jobs = [_in_hand(job, marked_ids) for job in sorted(jobs, key=lambda job: job.submitted_at)]
    for job in jobs:
        supervisor.restore(job)
    survivors = _survivors(marked)
    for job in jobs:
        key = key_of(job)
        if key in held:
            supervisor.reported(held.pop(key))
            _resume(supervisor, job)
        elif isinstance(job.state, Starting) and hello["launcher_starts"] > 1:
            supervisor.order_spawn(job)
        elif isinstance(job.state, Starting | Running | Stopping):
            _find(supervisor, link, job, survivors.pop(key, None), hello["boot_id"], same_boot=same_boot)
        else:
            _resume(supervisor, job)
    for job in [] if same_boot else supervisor.jobs:
        supervisor.apply(job, Booted())
    for job in supervisor.jobs:
        supervisor.demand.refresh(job)
    supervisor.demand.callers.recovered()
    link.order("forget", keys=[key for key, reports in held.items() if reports[-1]["event"] == "exited"])
    known = {job.id for job in jobs}
    for key, (pid, ticks) in survivors.items():
        if key.partition(".")[0] not in known:
            _take_in(supervisor, link, key, pid, ticks, hello["boot_id"])


def _resume(supervisor: Supervisor, job: Job) -> None:
    """Do again what the journaled state asks for, in case the launcher died before it was done.

    What has come of it since is not in the journal yet, and asks by itself.
    """
    now = supervisor.jobs.by_id(job.id) or job
    if isinstance(job.state, Stopping | Ending) and isinstance(now.state, Stopping | Ending):
        supervisor.signal_again(now)


def _find(
    supervisor: Supervisor,
    link: KeeperLink,
    job: Job,
    survivor: tuple[int, int] | None,
    boot_id: str,
    *,
    same_boot: bool,
) -> None:
    if isinstance(job.state, Running | Stopping):
        survivor = job.state.pid, job.state.ticks
    if survivor is None or not _is_there(survivor):
        pid = survivor[0] if survivor else None
        end = {"pid": pid, "status": None, "usage": None, "at": time.time(), "rebooted": not same_boot}
        supervisor.ended(job, end)
        return
    link.order("adopt", key=key_of(job), pid=survivor[0], ticks=survivor[1], boot_id=boot_id)


def _is_there(process: tuple[int, int]) -> bool:
    stat = read_stat(process[0])
    return stat is not None and stat[1] == process[1]


def from_before_boot(job: Job, now: float) -> Job:
    """A job as an earlier boot of the host left it: no process is left of it, and its last start was before this boot.

    The clock of an earlier boot means nothing now, its process ids are others' by now, and nobody is ready yet.
    """
    job = replace(job, held=bool(job.spec.depends_on))
    match job.state:
        case Starting():
            return replace(job, state=replace(job.state, since=0.0))
        case Running() | Stopping():
            return replace(job, state=replace(job.state, since=0.0, ticks=_NOBODY_TICKS))
        case Ending():
            return replace(job, state=replace(job.state, started=0.0))
        case Backoff():
            return replace(job, state=replace(job.state, retry_at=max(now, job.spec.throttle_s)))
        case Waiting():
            return replace(job, state=replace(job.state, since=0.0))
        case Finished():
            return job
        case _:
            assert_never(job.state)


def _in_hand(job: Job, marked_ids: set[str]) -> Job:
    """The job, adopted if what is left of it may have been another keeper's; a report can tell better."""
    if isinstance(job.state, Backoff | Waiting | Finished):
        return job
    return replace(job, adopted=job.id in marked_ids)


def _marked(socket_path: str) -> list[_Marked]:
    """Every process of this launcher's jobs."""
    found = []
    for pid in all_pids():
        env = environment_of(pid)
        if env.get(b"LAUNCH_JOB_SOCKET") == os.fsencode(socket_path) and (stat := read_stat(pid)):
            key = os.fsdecode(env.get(b"LAUNCH_JOB_ID", b"") + b"." + env.get(b"LAUNCH_JOB_RUN", b""))
            found.append(_Marked(pid, stat[1], key))
    return found


def _survivors(marked: list[_Marked]) -> dict[str, tuple[int, int]]:
    """The first processes (leaders of their session, the oldest) of this launcher's jobs, by the keeper's key."""
    found: dict[str, tuple[int, int]] = {}
    for pid, ticks, key in marked:
        if _leads_session(pid) and (key not in found or ticks < found[key][1]):
            found[key] = pid, ticks
    return found


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def _take_in(supervisor: Supervisor, link: KeeperLink, key: str, pid: int, ticks: int, boot_id: str) -> None:
    """Make a job of a process that was started here and stands in no journal, as after the journal was set aside."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = tuple(os.fsdecode(word) for word in file.read().removesuffix(b"\0").split(b"\0"))
        label = check_label(os.fsdecode(environment_of(pid).get(b"LAUNCH_JOB_LABEL", b"")))
    except (OSError, RelaunchError):
        return
    job_id, _, run = key.partition(".")
    if not is_job_id(job_id):
        return
    if supervisor.jobs.get(label) or not run.isdecimal() or not argv[0] or not is_ours(pid):
        return
    state = Running(pid, ticks, boottime())
    job = Job(
        id=job_id,
        spec=JobSpec(label=label, argv=argv),
        submitted_at=time.time(),
        state=state,
        run=int(run),
        adopted=True,
    )
    supervisor.take_in(job)
    link.order("adopt", key=key, pid=pid, ticks=ticks, boot_id=boot_id)
