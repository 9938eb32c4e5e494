"""Every key that is held: what was started or adopted for it, and how that ended, until the launcher forgets it.

Refuses to know the launcher: orders come in, reports leave as bytes for the wire. Descriptors do not grow with the
children: the parent of a process needs none, as no process id is used again before its parent has reaped it. Only an
adopted process, which has another parent, costs a pidfd.
"""

import errno
import fcntl
import os
import select
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from relaunch.keeper.preparation import SpawnFailed
from relaunch.keeper.spawn import START_TIME, Spawner, stat, stat_fields
from relaunch.keeper.wire import Message, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage

RETRY_S = 0.02
# Until its parent reaps it, the status of an adopted process can be read; after that too, if the kernel is recent;
# but not in the moment between, and on an old kernel not at all.
GIVE_UP_S = 0.5
_PIDFD_INFO = struct.Struct("<QQ11Ii")
_PIDFD_GET_INFO = 0xC000FF0B | _PIDFD_INFO.size << 16
_PIDFD_INFO_PID = 1
_PIDFD_INFO_EXIT = 8
# Of `stat_fields`: the wait status.
_EXIT_CODE = 49
# So many are reaped before the first of them is told of.
_BATCH = 64
_READ_BYTES = 1 << 16


class Children:
    """The keys that are held, each with its last report.

    Registers the pidfds of adopted processes with the epoll object given, and owns them. When one is readable, call
    `ended`; as soon as `retry_at` (monotonic seconds; None = never) has passed, call `settle`.
    """

    def __init__(
        self, epoll: select.epoll, boot_id: str, devnull: int, sockets: Callable[[str], Sequence[tuple[str, int]]]
    ) -> None:
        self.retry_at: float | None = None
        self._epoll = epoll
        self._boot_id = boot_id
        self._spawner = Spawner(devnull, sockets)
        self._listed = _open_listed()
        self._held: dict[str, bytes] = {}
        self._keys: dict[int, str] = {}
        self._pids: dict[str, int] = {}
        self._adopted: dict[int, tuple[str, int, int]] = {}
        self._pidfds: dict[str, int] = {}
        self._unsettled: dict[int, float] = {}

    def reports(self) -> Iterable[bytes]:
        """The last report of each key, ready for the wire."""
        return self._held.values()

    def spawn(self, order: Message) -> bytes:
        """Carry out a `spawn` order, and say what came of it (again, for a key that is held)."""
        key: str = order["key"]
        if key in self._held:
            return self._held[key]
        try:
            pid, ticks = self._spawner.spawn(order)
        except SpawnFailed as failure:
            return failed(key, failure.what, failure.errno, failure.subject)
        return self._has_child(key, pid, ticks)

    def adopt(self, order: Message) -> bytes:
        """Carry out an `adopt` order, and say what came of it (again, for a key that is held).

        The pidfd comes before the look at the start time: what has the right one then is what the pidfd stands for.
        """
        key: str = order["key"]
        pid: int = order["pid"]
        if key in self._held:
            return self._held[key]
        if order["boot_id"] != self._boot_id:
            return self._exited(key, pid, None, None)
        try:
            fd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL):
                return self._exited(key, pid, None, None)
            return failed(key, "fork", error.errno or errno.EIO, "pidfd")
        kept = False
        try:
            parent, ticks = stat(pid)
            if ticks != order["ticks"]:
                return self._exited(key, pid, None, None)
            if parent == os.getpid() and pid not in self._keys:
                return self._has_child(key, pid, ticks)
            self._epoll.register(fd, select.EPOLLIN)
            kept = True
        except (FileNotFoundError, ProcessLookupError):
            return self._exited(key, pid, None, None)
        finally:
            if not kept:
                os.close(fd)
        self._adopted[fd] = (key, pid, ticks)
        self._pidfds[key] = fd
        return self._spawned(key, pid, ticks)

    def forget(self, keys: list[str]) -> None:
        """Drop these keys; the end of one that still runs will be told to nobody."""
        for key in keys:
            if self._held.pop(key, None) is None:
                continue
            pid = self._pids.pop(key, None)
            if pid is not None:
                del self._keys[pid]
            fd = self._pidfds.get(key)
            if fd is not None:
                self._drop(fd)

    def reap(self, launcher: int | None) -> Iterator[tuple[int, int, bytes | None]]:
        """Reap whatever has ended, orphans that became ours included.

        Args:
            launcher: The process id of the one child that is none of these.

        Yields:
            The process id, its wait status, and the report where a key is held for it.
        """
        while batch := _reaped():
            if any(pid == launcher for pid, _, _ in batch):
                launcher = None
            keys = [self._keys.pop(pid, None) for pid, _, _ in batch]
            orphans = self._has_orphans(0 if launcher is None else 1)
            # All of them are put down before any is told of: what is done about one may concern another.
            yield from [
                (pid, status, None if key is None else self._child_exited(key, pid, status, used, orphans=orphans))
                for key, (pid, status, used) in zip(keys, batch, strict=True)
            ]

    def _has_orphans(self, others: int) -> bool:
        """Whether there is, or may be, a child that no key is held for, beside so many others.

        Nobody but this thread reaps what the kernel lists here, so that none is missing: see proc(5), of
        /proc/PID/task/TID/children.
        """
        read_bytes = listed = 0
        try:
            # However much is asked for, there is a page at a time.
            while data := os.pread(self._listed, _READ_BYTES, read_bytes):
                read_bytes += len(data)
                listed += data.count(b" ")
        except OSError:  # -1: this kernel has no such file
            return True
        return listed > len(self._keys) + others

    def ended(self, fd: int) -> None:
        """The process of this pidfd has ended: `settle` will tell how, once its parent has reaped it."""
        if fd not in self._adopted or fd in self._unsettled:
            return
        self._epoll.unregister(fd)
        now = time.monotonic()
        self._unsettled[fd] = now + GIVE_UP_S
        self.retry_at = now

    def settle(self, now: float) -> list[bytes]:
        """The reports of adopted processes whose end is known, or known to stay unknown, at `now` (monotonic)."""
        if self.retry_at is None or now < self.retry_at:
            return []
        reports = []
        for fd, give_up_at in list(self._unsettled.items()):
            key, pid, ticks = self._adopted[fd]
            status = _status_of_zombie(pid, ticks)
            if status is None:
                status = status_of_reaped(fd)
            if status is not None or now >= give_up_at:
                self._drop(fd)
                reports.append(self._exited(key, pid, status, None))
        self.retry_at = now + RETRY_S if self._unsettled else None
        return reports

    def _drop(self, fd: int) -> None:
        key, _, _ = self._adopted.pop(fd)
        del self._pidfds[key]
        self._unsettled.pop(fd, None)
        os.close(fd)  # takes it out of the epoll set as well

    def _has_child(self, key: str, pid: int, ticks: int) -> bytes:
        self._keys[pid] = key
        self._pids[key] = pid
        return self._spawned(key, pid, ticks)

    def _spawned(self, key: str, pid: int, ticks: int) -> bytes:
        report = encode({"event": "spawned", "key": key, "pid": pid, "ticks": ticks, "at": time.time()})
        self._held[key] = report
        return report

    def _child_exited(self, key: str, pid: int, status: int, used: "struct_rusage", *, orphans: bool) -> bytes:
        del self._pids[key]
        usage = {"user_s": used.ru_utime, "system_s": used.ru_stime, "rss_bytes_max": used.ru_maxrss * 1024}
        return self._exited(key, pid, status, usage, orphans=orphans)

    def _exited(self, key: str, pid: int, status: int | None, usage: Message | None, *, orphans: bool = True) -> bytes:
        report = encode(
            {
                "event": "exited",
                "key": key,
                "pid": pid,
                "status": status,
                "usage": usage,
                "orphans": orphans,
                "at": time.time(),
            }
        )
        self._held[key] = report
        return report


def failed(key: str, what: str, number: int, subject: str) -> bytes:
    """The report of a start that failed, see `relaunch.keeper.wire`."""
    return encode({"event": "failed", "key": key, "what": what, "errno": number, "subject": subject, "at": time.time()})


def _reaped() -> "list[tuple[int, int, struct_rusage]]":
    """Some of those that have ended."""
    found: list[tuple[int, int, struct_rusage]] = []
    try:
        while len(found) < _BATCH:
            ended = os.wait4(-1, os.WNOHANG)
            if ended[0] == 0:
                break
            found.append(ended)
    except ChildProcessError:
        pass
    return found


def _open_listed() -> int:
    """The kernel's list of this thread's children; -1 where it keeps none."""
    pid = os.getpid()
    try:
        return os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _status_of_zombie(pid: int, ticks: int) -> int | None:
    """The wait status of a process that has ended and that its parent has not reaped yet; None = reaped.

    The last field of /proc/PID/stat, see proc(5); it is shown to the process's own user.
    """
    try:
        fields = stat_fields(pid)
    except OSError:
        return None
    return int(fields[_EXIT_CODE]) if fields[0] == b"Z" and int(fields[START_TIME]) == ticks else None


def status_of_reaped(pidfd: int) -> int | None:
    """The wait status that the kernel keeps for a pidfd; None = not reaped yet, or a kernel before 6.15."""
    asked = _PIDFD_INFO.pack(_PIDFD_INFO_PID | _PIDFD_INFO_EXIT, *[0] * 13)
    try:
        answer = _PIDFD_INFO.unpack(fcntl.ioctl(pidfd, _PIDFD_GET_INFO, asked))
    except OSError:
        return None
    return int(answer[-1]) if answer[0] & _PIDFD_INFO_EXIT else None
