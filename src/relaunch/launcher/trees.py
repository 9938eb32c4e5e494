"""The processes of each job, found and signalled.

A job's tree is everything that descends from its first process, and everything that descends from an orphan (a child
of the keeper, which is the subreaper) that carries the job's LAUNCH_JOB_ID in its environment. Where the keeper is not
the ancestor (an adopted job), every process of this host with that LAUNCH_JOB_ID belongs to it. A process is known by
pid and start time, and is signalled through a pidfd that was opened before both were checked (S22).

Refuses to know why anything is signalled.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from stat import S_ISUID
from typing import NamedTuple

from relaunch.errors import one_line

WATCHED_MAX = 64
# Processes of one tree end together: a short wait lets one look serve for all of them.
SETTLE_S = 0.005
ID_VARIABLE = b"LAUNCH_JOB_ID="
COMMAND_BYTES_MAX = 250
EXEC_LOOKS_MAX = 40
EXEC_LOOK_S = 0.0005
CHILDREN_LOOKS_MAX = 5
# How often others are looked for, at most, where no process of a tree is found.
LOOKS_MAX = 20
# For so long a process without an environment may be in the midst of an execve, as on a machine that is very busy.
UNKNOWN_S = 2.0
# A kernel thread, see PF_KTHREAD in <linux/sched.h>: it has neither environment nor command line.
PF_KTHREAD = 0x00200000


class Process(NamedTuple):
    """One process: pid and start time make it unique within a boot (proc(5), field 22 of stat)."""

    pid: int
    ticks: int


class Root(NamedTuple):
    """What is known of a job's tree: its id, its first process where that is alive, whether it was adopted.

    What else is started for a job has another ``variable`` in its environment, with an id of its own.
    """

    job_id: str
    first: Process | None
    adopted: bool
    variable: bytes = ID_VARIABLE


def read_stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time of a process; None where there is none, or only a zombie."""
    words = _stat(pid)
    return (int(words[1]), int(words[19])) if words else None


def _stat(pid: int) -> list[bytes] | None:
    """What follows the name in /proc/PID/stat."""
    words = (_read(pid, "stat") or b"").rpartition(b")")[2].split()
    return words if words and words[0] not in b"ZX" else None


def _read(pid: int, name: str) -> bytes | None:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return None


def environment_of(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty where it is gone or another's."""
    return dict(entry.split(b"=", 1) for entry in _environ(pid) or () if b"=" in entry)


def _environ(pid: int) -> list[bytes] | None:
    """The entries of /proc/PID/environ; none where it is gone or another's, None where they could not be seen yet.

    For a moment in the midst of an execve there is no environment to be seen; and in the midst of an exit, before the
    children have another parent. That is waited out: whoever were not recognised for that moment, or its children,
    would be left behind. One that really has none has a command line, look after look.
    """
    seen_without = 0
    for _ in range(EXEC_LOOKS_MAX):
        try:
            with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
                if data := file.read():
                    return data.split(b"\0")
        except PermissionError:
            return []
        except OSError:
            pass  # what there is of it tells its state
        words = _stat(pid)
        if words is None or int(words[6]) & PF_KTHREAD:
            return []
        # Field 51 of stat: where the environment ends; nowhere, as long as there is none.
        seen_without += words[48] != b"0" and bool(_read(pid, "cmdline"))
        if seen_without > 1:
            return []
        time.sleep(EXEC_LOOK_S)
    return None


def command_of(pid: int) -> str:
    """The command line of a process in one line, its words parted by blanks; only the beginning of a long one."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            words = file.read(COMMAND_BYTES_MAX + 1)
    except OSError:
        return ""
    cut = "..." if len(words) > COMMAND_BYTES_MAX else ""
    return one_line(os.fsdecode(words[:COMMAND_BYTES_MAX].rstrip(b"\0").replace(b"\0", b" "))) + cut


def is_ours(pid: int) -> bool:
    """Whether it is this user who has given a process its arguments and its environment.

    It has to have the user's id in every place. One that executes a set-user-id program may have that from the program
    alone.
    """
    try:
        mode = os.stat(f"/proc/{pid}/exe").st_mode
    except OSError:
        return False
    ids = [line.split()[1:] for line in (_read(pid, "status") or b"").splitlines() if line.startswith(b"Uid:")]
    return not mode & S_ISUID and bool(ids) and {*map(int, ids[0])} == {os.getuid()}


def all_pids() -> list[int]:
    """Every process of this host that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process."""
    # Some may be missing if one of those given was reaped meanwhile (proc(5), /proc/PID/task/TID/children); if all
    # are given again, none of them was.
    before = _children(pid)
    for _ in range(CHILDREN_LOOKS_MAX):
        found = _children(pid)
        if found == before:
            return [*map(int, found.split())]
        before = found
    return [child for child in all_pids() if (stat := read_stat(child)) and stat[0] == pid]


def _children(pid: int) -> bytes:
    found = b""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                while data := file.read(65536):
                    found += data
    except OSError:
        pass
    return found


def send_signal(process: Process, *numbers: int) -> bool:
    """Send signals to exactly this process, in order.

    Returns:
        Whether it was there to get the first. False too where the kernel forbids it (it has another user's id).
    """
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        found = read_stat(process.pid)
        if found is None or found[1] != process.ticks:
            return False
        signal.pidfd_send_signal(fd, numbers[0])
        for number in numbers[1:]:
            with contextlib.suppress(OSError):  # the first may have ended it
                signal.pidfd_send_signal(fd, number)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


class Trees:
    """Finds, signals and watches trees. Lives on one event loop.

    Args:
        keeper_pid: The subreaper that orphans of this launcher's jobs fall to.
        first_pids: The first processes of all jobs that run; the caller's own, read whenever it is needed.
    """

    def __init__(self, keeper_pid: int, first_pids: Collection[int]) -> None:
        self._keeper_pid = keeper_pid
        self._first_pids = first_pids
        self._watched: dict[str, set[int]] = {}
        self._seen: dict[str, list[Process]] = {}
        # Who has no environment to be seen, and since when; and the jobs that it may belong to.
        self._unknown: dict[int, float] = {}
        self._unsure: set[str] = set()
        self._orphans: list[int] | None = None

    def orphans(self) -> list[int]:
        """The keeper's children that are no job's first process, nor this launcher; read once in a turn of the loop."""
        if self._orphans is None:
            self._orphans = list({*children_of(self._keeper_pid)}.difference(self._first_pids, (os.getpid(),)))
            asyncio.get_running_loop().call_soon(self._turned)
        return self._orphans

    def _turned(self) -> None:
        self._orphans = None

    def look_afresh(self) -> None:
        """Forget what was read in this turn of the loop; something has been heard since that may have changed it."""
        self._orphans = None

    def members(self, root: Root) -> list[Process]:
        """The living processes of a tree, the first one first.

        Those that were seen in it before belong to it until they have ended: one that is ending has no environment any
        more by which to know it, and yet its files and sockets.
        """
        found: dict[int, Process] = {}
        looked_at: set[int] = set()
        self._unsure.discard(root.job_id)
        for look in range(LOOKS_MAX):
            heads = self._heads(root, looked_at)
            if heads is None and look:
                break
            found = self._below(root, heads or [])
            if found:
                break
            # Who was to be asked may have ended meanwhile, and left a child to the keeper: that is in a later list.
            self.look_afresh()
        for process in self._seen.pop(root.job_id, ()):
            stat = read_stat(process.pid) if process.pid not in found else None
            if stat and stat[1] == process.ticks:
                found[process.pid] = process
        processes = list(found.values())
        if processes:
            self._seen[root.job_id] = processes
        return processes

    def is_unsure(self, root: Root) -> bool:
        """Whether, when it was last looked for, something may have been in the tree that cannot be told yet."""
        return root.job_id in self._unsure

    def _heads(self, root: Root, looked_at: set[int]) -> list[int] | None:
        """Those that carry the job's id, of all that were not looked at before; None where there are no such."""
        mark = root.variable + os.fsencode(root.job_id)
        candidates = all_pids() if root.adopted else self.orphans()
        new = [pid for pid in candidates if pid not in looked_at]
        looked_at.update(new)
        heads = []
        for pid in new:
            entries = _environ(pid)
            if entries is None:
                if time.monotonic() - self._unknown.setdefault(pid, time.monotonic()) < UNKNOWN_S:
                    self._unsure.add(root.job_id)
                continue
            self._unknown.pop(pid, None)
            if mark in entries:
                heads.append(pid)
        if self._unknown:
            self._unknown = {pid: since for pid, since in self._unknown.items() if pid in candidates}
        return heads if new else None

    def _below(self, root: Root, heads: list[int]) -> dict[int, Process]:
        """Everything that descends from the first process, or from one of these."""
        todo = [root.first.pid, *heads] if root.first else list(heads)
        found: dict[int, Process] = {}
        while todo:
            pid = todo.pop(0)
            stat = read_stat(pid) if pid not in found else None
            if stat is None or (root.first and pid == root.first.pid and stat[1] != root.first.ticks):
                continue
            found[pid] = Process(pid, stat[1])
            todo += children_of(pid)
        return found

    def forget(self, root: Root) -> None:
        """Nothing is left of a tree, or nothing more is done with what is."""
        self._seen.pop(root.job_id, None)
        self._unsure.discard(root.job_id)

    def signal(self, root: Root, number: int) -> None:
        """Signal each process of a tree, once; who is forked meanwhile is found when its parent has ended.

        One that was halted (by STOP, by its terminal) goes on, or any signal but KILL would wait for that.
        """
        numbers = (number,) if number == signal.SIGKILL else (number, signal.SIGCONT)
        for process in self.members(root):
            send_signal(process, *numbers)

    def watch(self, job_id: str, processes: list[Process], on_end: Callable[[], None]) -> None:
        """Call once, soon after any of the first ``WATCHED_MAX`` of these has ended; replaces an earlier watch."""
        self.unwatch(job_id)
        loop = asyncio.get_running_loop()
        fds: set[int] = set()
        for process in processes[:WATCHED_MAX]:
            try:
                fds.add(os.pidfd_open(process.pid))
            except OSError:
                continue
        self._watched[job_id] = fds
        if not fds:
            loop.call_soon(on_end)
        for fd in fds:
            loop.add_reader(fd, self._ended, job_id, on_end)

    def _ended(self, job_id: str, on_end: Callable[[], None]) -> None:
        self.unwatch(job_id)
        asyncio.get_running_loop().call_later(SETTLE_S, on_end)

    def unwatch(self, job_id: str) -> None:
        """Forget the watch on this job's tree, if there is one."""
        for fd in self._watched.pop(job_id, ()):
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)


def carriers(variable: bytes, ending: bytes) -> list[Process]:
    """The processes of this host that have a variable in their environment whose value ends so."""
    found = []
    for pid in all_pids():
        marked = any(entry.startswith(variable) and entry.endswith(ending) for entry in _environ(pid) or ())
        stat = read_stat(pid) if marked else None
        if stat is not None:
            found.append(Process(pid, stat[1]))
    return found
